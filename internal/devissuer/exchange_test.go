package devissuer_test

import (
	"reflect"
	"testing"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestExchange: a token in place of another's has its subject, the audience that was
// asked for, and no scope that the other has not.
func TestExchange(t *testing.T) {
	as := start(t)
	as.Targets("orders", "stock", "https://r.example.com")
	subject := as.JWT(claims{"sub": "alice", "aud": "api", "scope": "read write", "client_id": "app"})
	revoked := as.Opaque("", claims{"sub": "bob"})
	as.Revoke(revoked)
	const access = "urn:ietf:params:oauth:token-type:access_token"
	rfc8693 := []string{"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token_type", access}
	entra := []string{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use", "on_behalf_of"}
	for name, tc := range map[string]struct {
		with authentication
		base []string
		form []string
		want claims
		err  string
	}{
		"audience":         {basic(confidential, secret), rfc8693, []string{"subject_token", subject, "audience", "orders"}, claims{"sub": "alice", "aud": "orders", "scope": "read write", "client_id": confidential}, ""},
		"fewer scopes":     {basic(confidential, secret), rfc8693, []string{"subject_token", subject, "resource", "https://r.example.com", "scope", "read"}, claims{"aud": "https://r.example.com", "scope": "read"}, ""},
		"no audience":      {inForm(confidential, secret), rfc8693, []string{"subject_token", subject}, claims{"sub": "alice", "aud": nil}, ""},
		"another audience": {basic(confidential, secret), rfc8693, []string{"subject_token", subject, "audience", "bank"}, nil, "invalid_target"},
		"more scopes":      {basic(confidential, secret), rfc8693, []string{"subject_token", subject, "scope", "admin"}, nil, "invalid_scope"},
		"revoked":          {basic(confidential, secret), rfc8693, []string{"subject_token", revoked}, nil, "invalid_request"},
		"an ID token":      {basic(confidential, secret), rfc8693, []string{"subject_token", subject, "requested_token_type", "urn:ietf:params:oauth:token-type:id_token"}, nil, "invalid_request"},
		"on behalf of":     {basic(confidential, secret), entra, []string{"assertion", subject, "scope", "read"}, claims{"sub": "alice", "scope": "read"}, ""},
		"junk":             {basic(confidential, secret), entra, []string{"assertion", "junk"}, nil, "invalid_grant"},
		"another use":      {basic(confidential, secret), entra, []string{"assertion", subject, "requested_token_use", "x"}, nil, "invalid_request"},
		"nobody":           {nil, entra, []string{"assertion", subject}, nil, "invalid_client"},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, as.URL()+devissuer.PathToken, tc.with, append(append([]string{}, tc.base...), tc.form...)...)
			if tc.want == nil {
				if a.members["error"] != tc.err || a.members["access_token"] != nil {
					t.Errorf("got %d %s, want %s", a.status, a.text, tc.err)
				}
				return
			}
			token, _ := a.members["access_token"].(string)
			if a.status != 200 || token == "" || (a.members["issued_token_type"] == access) != (tc.base[1] == rfc8693[1]) {
				t.Fatalf("got %d %s", a.status, a.text)
			}
			_, got := verify(t, as, token)
			for member, value := range tc.want {
				if !reflect.DeepEqual(got[member], value) {
					t.Errorf("%s: got %v, want %v", member, got[member], value)
				}
			}
		})
	}
	as.AnswerTokens(claims{"token_type": "N_A", "expires_in": nil})
	a := post(t, as.URL()+devissuer.PathToken, basic(confidential, secret), append(rfc8693, "subject_token", subject)...)
	if _, ok := a.members["expires_in"]; ok || a.members["token_type"] != "N_A" {
		t.Errorf("got %s, want N_A without expires_in", a.text)
	}
}
