package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// The events that a stream is asked for.
const (
	sessionRevoked   = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	credentialChange = "https://schemas.openid.net/secevent/caep/event-type/credential-change"
)

// administrator returns a token of Keycloak's administrative API.
func (s *Server) administrator(ctx context.Context) (string, error) {
	return s.token(ctx, s.Admin.Token, Client{}, url.Values{
		"grant_type": {"password"}, "client_id": {"admin-cli"},
		"username": {s.Admin.Username}, "password": {s.Admin.Password},
	})
}

func (s *Server) token(ctx context.Context, endpoint string, c Client, form url.Values) (string, error) {
	answer, err := post(ctx, endpoint, c, form)
	if err != nil {
		return "", err
	}
	var token string
	return token, json.Unmarshal(answer["access_token"], &token)
}

// manage calls the administrative API.
func (s *Server) manage(ctx context.Context, method, address string, body, answer any) error {
	token, err := s.administrator(ctx)
	if err != nil {
		return err
	}
	return call(ctx, method, address, token, body, answer)
}

// PushStream has events sent to the receiver (RFC 8935), with that Authorization.
func (s *Server) PushStream(ctx context.Context, authorization string) error {
	return s.manage(ctx, http.MethodPost, s.Signals.Streams+"/"+s.Signals.Push.ID+"/stream", map[string]any{
		"events_requested": []string{sessionRevoked, credentialChange},
		"delivery": map[string]string{
			"method": "urn:ietf:rfc:8935", "endpoint_url": "http://" + s.Signals.Receiver + "/events",
			"authorization_header": authorization,
		},
	}, nil)
}

// PollStream has events kept for whoever polls (RFC 8936), and returns where, and with
// what token. It is a client's that may read the stream, and good for five minutes.
func (s *Server) PollStream(ctx context.Context) (endpoint, token string, err error) {
	var stream struct {
		Delivery struct {
			Endpoint string `json:"endpoint_url"`
		} `json:"delivery"`
	}
	if err := s.grantScopes(ctx, s.Signals.Poll.ID, "ssf.read", "ssf.manage"); err != nil {
		return "", "", err
	}
	err = s.manage(ctx, http.MethodPost, s.Signals.Streams+"/"+s.Signals.Poll.ID+"/stream", map[string]any{
		"events_requested": []string{sessionRevoked, credentialChange},
		"delivery":         map[string]string{"method": "urn:ietf:rfc:8936"},
	}, &stream)
	if err != nil {
		return "", "", err
	}
	token, err = s.token(ctx, s.Token, s.Signals.Poll, url.Values{"grant_type": {"client_credentials"}})
	return stream.Delivery.Endpoint, token, err
}

// grantScopes gives a client the scopes that Keycloak makes when it starts to be a
// transmitter.
func (s *Server) grantScopes(ctx context.Context, client string, wanted ...string) error {
	type named struct{ ID, Name string }
	var scopes, clients []named
	if err := s.manage(ctx, http.MethodGet, s.Signals.Realm+"/client-scopes", nil, &scopes); err != nil {
		return err
	}
	if err := s.manage(ctx, http.MethodGet, s.Signals.Realm+"/clients?clientId="+client, nil, &clients); err != nil {
		return err
	}
	if len(clients) != 1 {
		return fmt.Errorf("got %d clients %s, want one", len(clients), client)
	}
	for _, scope := range scopes {
		for _, name := range wanted {
			if scope.Name != name {
				continue
			}
			address := s.Signals.Realm + "/clients/" + clients[0].ID + "/default-client-scopes/" + scope.ID
			if err := s.manage(ctx, http.MethodPut, address, nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// user returns where the administrative API has the user.
func (s *Server) user(ctx context.Context) (string, error) {
	var users []struct{ ID string }
	err := s.manage(ctx, http.MethodGet, s.Signals.Realm+"/users?exact=true&username="+s.User.Name, nil, &users)
	if err == nil && len(users) != 1 {
		err = fmt.Errorf("got %d users %s, want one", len(users), s.User.Name)
	}
	if err != nil {
		return "", err
	}
	return s.Signals.Realm + "/users/" + users[0].ID, nil
}

// LogOutEverywhere ends all sessions of the user, as an administrator.
func (s *Server) LogOutEverywhere(ctx context.Context) error {
	user, err := s.user(ctx)
	if err != nil {
		return err
	}
	return s.manage(ctx, http.MethodPost, user+"/logout", nil, nil)
}

// LogOutOf ends one session, as an administrator.
func (s *Server) LogOutOf(ctx context.Context, sid string) error {
	return s.manage(ctx, http.MethodDelete, s.Signals.Realm+"/sessions/"+url.PathEscape(sid), nil, nil)
}

// ResetPassword gives the user the same password again, as an administrator.
func (s *Server) ResetPassword(ctx context.Context) error {
	user, err := s.user(ctx)
	if err != nil {
		return err
	}
	return s.manage(ctx, http.MethodPut, user+"/reset-password", map[string]any{
		"type": "password", "value": s.User.Password, "temporary": false,
	}, nil)
}
