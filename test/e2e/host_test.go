package e2e

import (
	"net/http"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

// TestHostsMeanTheSameToEnvoyAndBearergate puts a virtual host beside the others,
// as Bearergate's rules may have a host of their own: whoever writes that host in
// another way must not get the routes of the one and the rules of the other.
func TestHostsMeanTheSameToEnvoyAndBearergate(t *testing.T) {
	const all = `                    - name: all
`
	s := newStage(t, all, `                    - name: public
                      domains: [public.example.com]
                      request_headers_to_add: [{header: {key: x-virtual-host, value: public}}]
                      routes: [{match: {prefix: /}, route: {cluster: upstream}}]
`+all+`                      request_headers_to_add: [{header: {key: x-virtual-host, value: all}}]
`)
	token := "Authorization: Bearer " + s.jwt(nil)
	for _, tc := range []struct{ host, virtualHost, upstream string }{
		{"public.example.com", "public", "public.example.com"},
		{"public.example.com:1", "public", "public.example.com"},
		{"public.example.com:65535", "public", "public.example.com"},
		{"public.example.com.", "public", "public.example.com"},
		{"public.example.com.:443", "public", "public.example.com"},
		{"PUBLIC.example.com:80", "public", "PUBLIC.example.com"},
		{"api.example.com:1", "all", "api.example.com"},
		{"[::1]:8080", "all", "[::1]"},
	} {
		status := rawTo(t, s.envoy.URL, tc.host, "/x", token)
		seen := s.upstream.Take()
		if status != 200 || len(seen) != 1 {
			t.Errorf("%s: got %d, want 200", tc.host, status)
			continue
		}
		if got := seen[0].Header.Get("X-Virtual-Host"); got != tc.virtualHost || seen[0].Host != tc.upstream {
			t.Errorf("%s: got virtual host %s and Host %s, want %s and %s", tc.host, got, seen[0].Host, tc.virtualHost,
				tc.upstream)
		}
	}
	// What is no port cannot be stripped: it stays another host, which Bearergate
	// refuses where its rules look at hosts.
	for _, host := range []string{
		"public.example.com:evil.com", "public.example.com:", "public.example.com:1:1", "public.example.com..",
		"x@public.example.com",
	} {
		rawTo(t, s.envoy.URL, host, "/x", token)
		for _, r := range s.upstream.Take() {
			if r.Header.Get("X-Virtual-Host") != "all" {
				t.Errorf("%s: got virtual host %s", host, r.Header.Get("X-Virtual-Host"))
			}
		}
	}
}

// TestMCPHost has the chain answer for the resource's host alone: elsewhere no
// entry of `resources` holds, and the issuer's own audience would do (M-11).
func TestMCPHost(t *testing.T) {
	harness.OnlyExtAuthz(t, "a module decides first what no route takes")
	s := newMCPStage(t)
	token := "Authorization: Bearer " + s.issuer.JWT(claims{"aud": s.resource, "scope": "mcp:read mcp:write"})
	asked := s.service.Metric(t, `bearergate_checks_total{decision="allow",reason="allowed"}`)
	for _, host := range []string{"other.example.com", "127.0.0.2", "127.0.0.1:evil.com", "localhost"} {
		for _, path := range []string{"/mcp", "/MCP", "/.well-known/oauth-protected-resource/mcp"} {
			if got := rawTo(t, s.envoy.URL, host, path, token); got != http.StatusNotFound {
				t.Errorf("%s %s: got %d, want 404", host, path, got)
			}
		}
	}
	if got := s.service.Metric(t, `bearergate_checks_total{decision="allow",reason="allowed"}`); got != asked {
		t.Errorf("got %v more allowed", got-asked)
	}
	harness.Eventually(t, "its own host, however written", func() bool {
		return rawTo(t, s.envoy.URL, "127.0.0.1:1", "/mcp", "Accept: text/event-stream") == http.StatusUnauthorized
	})
}
