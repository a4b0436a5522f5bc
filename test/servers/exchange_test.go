package servers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

// tryExchange has the server give upstreams tokens of their own, where it can: in place
// of the client's by RFC 8693, and by client credentials. What it refuses is told as
// what it is.
func tryExchange(ctx context.Context, t *testing.T, s *Server) {
	t.Helper()
	if s.Exchange == "" {
		return
	}
	client := serveWith(t, s, "", fmt.Sprintf(`
rules:
  - {name: own, match: {paths: [/own]}, upstream_token: {audience: [%s]}}
  - {name: ours, match: {paths: [/ours]}, upstream_token: {grant: client_credentials}}
  - {name: scope, match: {paths: [/scope]}, upstream_token: {audience: [%s], scopes: [nobody-has-it]}}
  - {name: elsewhere, match: {paths: [/elsewhere]}, upstream_token: {audience: [nobody]}}
`, s.Exchange, s.Exchange))
	for _, token := range access(ctx, t, s) {
		got := map[string]string{}
		for _, path := range []string{"/own", "/ours", "/scope", "/elsewhere"} {
			reason, response, err := harness.Ask(ctx, client, path, "Bearer "+token.Raw)
			if err != nil {
				t.Fatal(err)
			}
			got[path] = reason
			if reason != "allowed" {
				continue
			}
			for _, h := range response.GetOkResponse().GetHeaders() {
				if h.GetHeader().GetKey() == "authorization" {
					got[path] += " " + whose(t, h.GetHeader().GetValue(), s.Exchange)
				}
			}
		}
		t.Logf("%s, %s: %v", s.name, token.Grant, got)
		if got["/own"] != "allowed for the upstream by "+s.Gate.ID || got["/ours"] != got["/own"] {
			t.Errorf("%s: got %v, want tokens for the upstream", token.Grant, got)
		}
		if got["/scope"] != "exchange_refused" || got["/elsewhere"] == "allowed" {
			t.Errorf("%s: got %v, want what the server refuses refused", token.Grant, got)
		}
	}
}

// whose says whom a JWT is for, and to whom it was issued.
func whose(t *testing.T, authorization, audience string) string {
	t.Helper()
	parts := strings.Split(strings.TrimPrefix(authorization, "Bearer "), ".")
	if len(parts) != 3 {
		return "no JWT"
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Audience any    `json:"aud"`
		Party    string `json:"azp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	list, _ := claims.Audience.([]any)
	if claims.Audience != audience && !slices.Contains(list, any(audience)) {
		return fmt.Sprintf("for %v by %s", claims.Audience, claims.Party)
	}
	return "for the upstream by " + claims.Party
}
