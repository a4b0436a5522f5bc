// Package e2e proves the main job with a real Envoy.
package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

type claims = devissuer.Claims

const rules = `rules:
  - name: public
    match: {paths: ["/public/**"]}
    access: public
  - name: write
    match: {paths: ["/write"]}
    scopes: [orders:write]
  - name: closed
    match: {paths: ["/closed"]}
    access: deny
`

// stage is Envoy, Bearergate, an authorization server and an upstream.
type stage struct {
	issuer   *devissuer.Issuer
	service  *harness.Service
	envoy    *harness.Envoy
	upstream *harness.Upstream
}

func newStage(t *testing.T, changes ...string) *stage {
	t.Helper()
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+rules).Ready(t)
	s.envoy = harness.Gateway(t, s.service.GRPC, s.upstream.Address, changes...)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	s.upstream.Take()
	return s
}

// get sends a request through Envoy and returns response and body.
func (s *stage) get(t *testing.T, path string, headers http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.envoy.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

func (s *stage) jwt(change claims) string {
	all := claims{"sub": "alice", "aud": "api", "scope": "read", "client_id": "app"}
	for name, value := range change {
		all[name] = value
	}
	return s.issuer.JWT(all)
}

func TestDecisionsAsTheClientSeesThem(t *testing.T) {
	s := newStage(t)
	for name, tc := range map[string]struct {
		path      string
		headers   http.Header
		status    int
		challenge string
		body      string
	}{
		"JWT":            {"/x", bearer(s.jwt(nil)), 200, "", ""},
		"opaque":         {"/x", bearer(s.issuer.Opaque("", claims{"sub": "bob", "aud": "api"})), 200, "", ""},
		"public":         {"/public/x", nil, 200, "", ""},
		"no token":       {"/x", nil, 401, `Bearer realm="bearergate"`, `{"error":"unauthorized","error_description":"An access token is required"}`},
		"expired":        {"/x", bearer(s.jwt(claims{"exp": 1})), 401, `Bearer realm="bearergate", error="invalid_token", error_description="The access token expired"`, `{"error":"invalid_token","error_description":"The access token expired"}`},
		"wrong audience": {"/x", bearer(s.jwt(claims{"aud": "other"})), 401, `Bearer realm="bearergate", error="invalid_token", error_description="The access token is meant for another audience"`, ""},
		"inactive":       {"/x", bearer("junk"), 401, `Bearer realm="bearergate", error="invalid_token", error_description="The access token is not active"`, ""},
		"scope":          {"/write", bearer(s.jwt(nil)), 403, `Bearer realm="bearergate", error="insufficient_scope", error_description="The access token lacks a scope that is needed", scope="orders:write"`, ""},
		"closed":         {"/closed", bearer(s.jwt(nil)), 403, "", `{"error":"access_denied","error_description":"The request is not allowed"}`},
		"two fields":     {"/x", http.Header{"Authorization": {"Bearer " + s.jwt(nil), "Bearer " + s.jwt(nil)}}, 400, `Bearer realm="bearergate", error="invalid_request", error_description="The request is malformed"`, ""},
		"broken":         {"/x", http.Header{"Authorization": {"Bearer a b"}}, 400, `Bearer realm="bearergate", error="invalid_request", error_description="The request is malformed"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := s.get(t, tc.path, tc.headers)
			seen := s.upstream.Take()
			if resp.StatusCode != tc.status || resp.Header.Get("WWW-Authenticate") != tc.challenge ||
				tc.body != "" && body != tc.body {
				t.Errorf("got %d\n%s\n%s", resp.StatusCode, resp.Header.Get("WWW-Authenticate"), body)
			}
			if want := map[bool]int{true: 1}[tc.status == 200]; len(seen) != want {
				t.Errorf("the upstream got %d requests, want %d", len(seen), want)
			}
			if tc.status != 200 &&
				(resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Content-Type") != "application/json") {
				t.Errorf("got headers %v", resp.Header)
			}
		})
	}
}

// spoofed are names that a client might hope to get through.
var spoofed = []string{
	"x-auth-sub", "X-Auth-Sub", "x-auth-scope", "x-auth-client-id", "x_auth_sub", "x-auth_sub", "x_auth-sub",
	"x_auth_client_id", "x-auth-client_id",
}

func TestSpoofedIdentityNeverReachesTheUpstream(t *testing.T) { // A-10, E-04
	for name, changes := range map[string][]string{
		"chain as shipped": nil,
		"underscores let through": {
			"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, changes...)
			passed := 0
			for _, header := range spoofed {
				for _, tc := range []struct{ path, authorization string }{
					{"/x", "Bearer " + s.jwt(nil)}, {"/public/x", ""}, {"/x", "Bearer " + s.jwt(claims{"sub": nil, "scope": nil, "client_id": nil})},
				} {
					raw(t, s.envoy.URL, tc.path, tc.authorization, header+": admin", header+": root")
				}
			}
			for _, r := range s.upstream.Take() {
				passed++
				for name, values := range r.Header {
					if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "_", "-"), "x-auth-") {
						for _, v := range values {
							if v == "admin" || v == "root" || len(values) != 1 {
								t.Errorf("the upstream got %s: %v", name, values)
							}
						}
					}
				}
				if r.Header.Get("Authorization") != "" {
					t.Error("the upstream got the token (M-11)")
				}
			}
			want := 3 * len(spoofed)
			if changes == nil { // names with underscores are refused by Envoy itself
				want = 3 * 4
			}
			if passed != want {
				t.Errorf("%d requests passed, want %d", passed, want)
			}
		})
	}
}

// raw sends header lines as they are: net/http would tidy them up.
func raw(t *testing.T, url, path, authorization string, lines ...string) {
	t.Helper()
	if authorization != "" {
		lines = append(lines, "Authorization: "+authorization)
	}
	rawTo(t, url, "api.example.com", path, lines...)
}

// rawTo sends path and header lines to any Host as they are, and returns the status.
func rawTo(t *testing.T, url, host, path string, lines ...string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lines = append([]string{"GET " + path + " HTTP/1.1", "Host: " + host, "Connection: close"}, lines...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

func TestIdentityHeaders(t *testing.T) { // docs/contract.md §5
	s := newStage(t)
	s.get(t, "/x", bearer(s.jwt(claims{"sub": "ä\r\nx-admin: 1", "scope": []string{"read", "write"}})))
	seen := s.upstream.Take()
	if len(seen) != 1 {
		t.Fatalf("got %d requests", len(seen))
	}
	h := seen[0].Header
	if h.Get("X-Auth-Sub") != "%C3%A4%0D%0Ax-admin: 1" || h.Get("X-Auth-Scope") != "read write" ||
		h.Get("X-Auth-Client-Id") != "app" || h.Get("X-Admin") != "" {
		t.Errorf("got %v", h)
	}
}

func TestAuthorizationServerDown(t *testing.T) { // E-07
	s := newStage(t)
	s.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	resp, body := s.get(t, "/x", bearer("opaque"))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("got %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if len(s.upstream.Take()) != 0 {
		t.Error("something passed")
	}
}

func TestSlowAuthorizationServer(t *testing.T) { // E-08
	s := newStage(t, "timeout: 1s", "timeout: 0.2s")
	token := s.issuer.Opaque("", claims{"aud": "api"})
	s.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: time.Second})
	resp, _ := s.get(t, "/x", bearer(token))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %v, want Bearergate's own 503", resp.StatusCode, resp.Header)
	}
	harness.Eventually(t, "the call fills the cache", func() bool {
		resp, _ := s.get(t, "/x", bearer(token))
		return resp.StatusCode == 200
	})
	if calls := s.issuer.Calls(devissuer.PathIntrospection); calls != 1 {
		t.Errorf("got %d calls, want the first one only", calls)
	}
}

func TestBearergateDown(t *testing.T) { // E-06, A-12
	harness.OnlyExtAuthz(t, "with the binary gone a module goes on")
	s := newStage(t)
	s.service.Kill()
	for range 10 {
		if resp, _ := s.get(t, "/x", bearer(s.jwt(nil))); resp.StatusCode != 503 {
			t.Errorf("got %d, want 503", resp.StatusCode)
		}
	}
	if len(s.upstream.Take()) != 0 {
		t.Error("something passed")
	}
}

func TestGRPCStatus(t *testing.T) {
	s := newStage(t)
	for path, want := range map[string]struct{ token, status string }{"/x": {"", "16"}, "/closed": {s.jwt(nil), "7"}} {
		req, err := http.NewRequest(http.MethodPost, s.envoy.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		if want.token != "" {
			req.Header.Set("Authorization", "Bearer "+want.token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Grpc-Status"); got != want.status {
			t.Errorf("%s: got grpc-status %q, want %q (%v)", path, got, want.status, resp.Header)
		}
	}
}

func TestDynamicMetadataInTheAccessLog(t *testing.T) {
	s := newStage(t)
	s.get(t, "/logged", bearer(s.jwt(nil)))
	s.get(t, "/logged-deny", nil)
	for path, want := range map[string]map[string]string{
		"/logged":      {"reason": "allowed", "sub": "alice", "client_id": "app"},
		"/logged-deny": {"reason": "no_token"},
	} {
		var line map[string]any
		harness.Eventually(t, "access log of "+path, func() bool {
			for _, l := range strings.Split(s.envoy.String(), "\n") {
				if strings.Contains(l, `"`+path+`"`) && json.Unmarshal([]byte(l), &line) == nil {
					return true
				}
			}
			return false
		})
		for name, value := range want {
			if line[name] != value {
				t.Errorf("%s: got %v, want %s %s", path, line, name, value)
			}
		}
	}
}
