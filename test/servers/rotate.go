package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrRestart is for servers whose keys change by a restart alone, or never.
var ErrRestart = errors.New("no new key while it runs")

// Rotate makes a server sign with a new key while it runs. The keys before stay
// published, so that their tokens pass, until retire takes them away.
func (s *Server) Rotate(ctx context.Context) (retire func(context.Context) error, err error) {
	switch s.name {
	case "keycloak":
		return s.rotateKeycloak(ctx)
	case "hydra":
		return s.rotateHydra(ctx)
	}
	return nil, fmt.Errorf("%s: %w", s.name, ErrRestart)
}

// keyProvider is what Keycloak calls a component that makes keys.
type keyProvider struct {
	ID           string              `json:"id,omitempty"`
	Name         string              `json:"name"`
	ProviderID   string              `json:"providerId"`
	ProviderType string              `json:"providerType"`
	Config       map[string][]string `json:"config"`
}

// rotateKeycloak adds a provider of a higher priority than those of the realm,
// as its documentation tells administrators to.
func (s *Server) rotateKeycloak(ctx context.Context) (func(context.Context) error, error) {
	answer, err := post(ctx, s.Admin.Token, Client{}, url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"},
		"username": {s.Admin.Username}, "password": {s.Admin.Password},
	})
	if err != nil {
		return nil, err
	}
	var token string
	if err := json.Unmarshal(answer["access_token"], &token); err != nil {
		return nil, err
	}
	components := s.Admin.Keys
	var before []keyProvider
	query := "?type=org.keycloak.keys.KeyProvider"
	if err := call(ctx, http.MethodGet, components+query, token, nil, &before); err != nil {
		return nil, err
	}
	next := keyProvider{
		Name: fmt.Sprintf("next-%d", time.Now().UnixNano()), ProviderID: "rsa-generated",
		ProviderType: "org.keycloak.keys.KeyProvider",
		Config:       map[string][]string{"priority": {"200"}, "algorithm": {"RS256"}},
	}
	if err := call(ctx, http.MethodPost, components, token, next, nil); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for _, old := range before {
			if old.ProviderID != "rsa-generated" {
				continue // the keys of its own cookies and refresh tokens
			}
			old.Config["enabled"], old.Config["active"] = []string{"false"}, []string{"false"}
			if err := call(ctx, http.MethodPut, components+"/"+old.ID, token, old, nil); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// rotateHydra adds a key to the set that signs JWT access tokens: the newest
// one signs.
func (s *Server) rotateHydra(ctx context.Context) (func(context.Context) error, error) {
	set := s.Admin.Keys
	var before struct {
		Keys []struct {
			KeyID string `json:"kid"`
		} `json:"keys"`
	}
	if err := call(ctx, http.MethodGet, set, "", nil, &before); err != nil {
		return nil, err
	}
	next := map[string]string{"alg": "RS256", "use": "sig", "kid": fmt.Sprintf("next-%d", time.Now().UnixNano())}
	if err := call(ctx, http.MethodPost, set, "", next, nil); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		for _, old := range before.Keys {
			if err := call(ctx, http.MethodDelete, set+"/"+url.PathEscape(old.KeyID), "", nil, nil); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// call sends JSON to an administrative API, and reads JSON where some is wanted.
func call(ctx context.Context, method, address, token string, body, answer any) error {
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, address, &content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: got status %d %.500s", method, address, resp.StatusCode, strings.TrimSpace(string(text)))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
