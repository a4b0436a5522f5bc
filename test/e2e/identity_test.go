package e2e

import (
	"net/http"
	"strings"
	"testing"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/test/harness"
)

// withEmail hands the upstream a claim that no shipped chain knows of.
const withEmail = `headers: {x-auth-sub: sub, x-auth-scope: scope, x-auth-client-id: client_id, x-auth-email: email}
`

func newEmailStage(t *testing.T, chain string, changes ...string) *stage {
	t.Helper()
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+withEmail+rules).Ready(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
	}
	s.envoy = harness.StartEnvoy(t, chain, a, changes...)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/x", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	return s
}

// TestHeaderThatTheChainDoesNotKnow adds a header to the configuration and not to
// the chain: Envoy must not pass over our change and let the client's value
// through.
func TestHeaderThatTheChainDoesNotKnow(t *testing.T) {
	harness.OnlyExtAuthz(t, "modules are held to no decoder_header_mutation_rules")
	forged := func(authorization string) http.Header {
		h := http.Header{"X-Auth-Email": {"root@example.com"}}
		if authorization != "" {
			h.Set("Authorization", authorization)
		}
		return h
	}
	tests := []struct{ name, path, email string }{
		{"set", "/x", "alice@example.com"}, {"removed", "/x", ""}, {"removed, public", "/public/x", ""},
	}
	token := func(s *stage, path, email string) string {
		if path == "/public/x" {
			return ""
		}
		if email == "" {
			return "Bearer " + s.jwt(nil)
		}
		return "Bearer " + s.jwt(claims{"email": email})
	}
	t.Run("refused", func(t *testing.T) {
		s := newEmailStage(t, "envoy.yaml")
		for _, tc := range tests {
			resp, _ := s.get(t, tc.path, forged(token(s, tc.path, tc.email)))
			if resp.StatusCode != 500 {
				t.Errorf("%s: got %d, want 500", tc.name, resp.StatusCode)
			}
			for _, r := range s.upstream.Take() {
				t.Errorf("%s: the upstream got x-auth-email %q", tc.name, r.Header.Values("X-Auth-Email"))
			}
		}
	})
	for name, stage := range map[string]func(*testing.T) *stage{
		"added to the chain": func(t *testing.T) *stage {
			return newEmailStage(t, "envoy.yaml", "(sub|scope|", "(sub|email|scope|")
		},
		"no mutation rules": func(t *testing.T) *stage { return newEmailStage(t, "minimal.yaml") },
	} {
		t.Run(name, func(t *testing.T) {
			s := stage(t)
			for _, tc := range tests {
				resp, _ := s.get(t, tc.path, forged(token(s, tc.path, tc.email)))
				seen := s.upstream.Take()
				if resp.StatusCode != 200 || len(seen) != 1 ||
					strings.Join(seen[0].Header.Values("X-Auth-Email"), ",") != tc.email {
					t.Errorf("%s: got %d, %d requests, want x-auth-email %q", tc.name, resp.StatusCode, len(seen), tc.email)
				}
			}
		})
	}
}

// cgi is the variable that upstreams which speak CGI make of a header's name:
// lighttpd, for one, puts _ for everything that is no letter and no digit.
func cgi(header string) string {
	return "HTTP_" + strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(header))
}

// TestOtherSpellingsOfIdentity sends identity headers with every separator that
// a header's name may have, on routes that ask Bearergate and one that does not.
func TestOtherSpellingsOfIdentity(t *testing.T) {
	var forged []string
	for _, c := range "!#$%&'*+-.^`|~" { // RFC 9110 §5.6.2, without _, which Envoy refuses
		for _, name := range []string{"X-Auth-Sub", "x-auth-scope", "X-AUTH-CLIENT-ID"} {
			forged = append(forged, strings.ReplaceAll(name, "-", string(c))+": root")
		}
	}
	for _, mixture := range []string{"x.auth-sub", "x-auth.sub", "x-auth-client.id", "X~Auth-Client.Id", "x-auth-sub"} {
		forged = append(forged, mixture+": root")
	}
	check := func(t *testing.T, s *stage, path, authorization string) {
		t.Helper()
		s.upstream.Take()
		raw(t, s.envoy.URL, path, authorization, append(forged, "x-author: kept", "x.authsub: kept", "x-auth-subject: kept")...)
		seen := s.upstream.Take()
		if len(seen) != 1 {
			t.Fatalf("%s: the upstream got %d requests, want 1", path, len(seen))
		}
		for name, values := range seen[0].Header {
			switch cgi(name) {
			case "HTTP_X_AUTH_SUB", "HTTP_X_AUTH_SCOPE", "HTTP_X_AUTH_CLIENT_ID":
				if len(values) != 1 || values[0] == "root" {
					t.Errorf("%s: the upstream got %s: %q", path, name, values)
				}
			}
		}
		for _, name := range []string{"X-Author", "X.authsub", "X-Auth-Subject"} {
			if seen[0].Header.Get(name) != "kept" {
				t.Errorf("%s: %s is gone, which names nobody", path, name)
			}
		}
	}
	t.Run("asked", func(t *testing.T) {
		s := newStage(t)
		check(t, s, "/x", "Bearer "+s.jwt(nil))
		check(t, s, "/x", "Bearer "+s.jwt(claims{"sub": nil, "scope": nil, "client_id": nil}))
		check(t, s, "/public/x", "")
	})
	t.Run("not asked", func(t *testing.T) {
		s, _ := newRoutesStage(t)
		check(t, s, "/legacy/x", "")
	})
}
