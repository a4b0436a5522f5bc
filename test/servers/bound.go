package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"strings"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// GetBound asks for an access token that is bound to the client's key (RFC 9449
// §5), and says the nonce that the server wants in the proof, where it wants one.
func (s *Server) GetBound(ctx context.Context, g Grant, client *devissuer.Prover) (raw string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	session := &Session{server: s, grant: g, browser: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	form, err := session.form(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", g.Name, err)
	}
	resp, err := send(ctx, s.Token, g.Client, form, client.Proof(http.MethodPost, s.Token, "", nil))
	if err == nil && resp.status != http.StatusOK && strings.Contains(string(resp.body), `"use_dpop_nonce"`) {
		proof := client.Proof(http.MethodPost, s.Token, "", devissuer.Claims{"nonce": resp.nonce})
		resp, err = send(ctx, s.Token, g.Client, form, proof)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", g.Name, err)
	}
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	err = json.Unmarshal(resp.body, &answer)
	if err == nil && (resp.status != http.StatusOK || !strings.EqualFold(answer.Type, "DPoP")) {
		err = errors.New("got no token of type DPoP")
	}
	if err != nil {
		return "", fmt.Errorf("%s: status %d %.500s: %w", g.Name, resp.status, resp.body, err)
	}
	return answer.Token, nil
}
