package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/harness"
)

const (
	jwtResource    = "https://api.example.com/jwt"
	opaqueResource = "https://api.example.com/opaque"
)

// provider is an authorization server that none of us wrote.
type provider struct{ url string }

func newProvider(t *testing.T, address string) (*provider, *harness.Process) {
	t.Helper()
	folder, err := exec.Command(filepath.Join("..", "tools", "oidc-provider.sh")).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(address, ":")
	process := harness.Run(t, []string{"NODE_NO_WARNINGS=1"}, "node", "testdata/oidc-provider.mjs",
		strings.TrimSpace(string(folder)), port)
	process.Wait(t, "http://"+address+"/.well-known/openid-configuration", http.StatusOK)
	return &provider{url: "http://" + address}, process
}

func (p *provider) post(t *testing.T, path string, form url.Values) map[string]any {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, p.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("app", "app-secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&answer)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %d %v", path, resp.StatusCode, answer)
	}
	return answer
}

func (p *provider) token(t *testing.T, resource, scope string) string {
	t.Helper()
	return p.post(t, "/token", url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {scope}})["access_token"].(string)
}

func (p *provider) config(strategy string) string {
	return `server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}
auth:
  issuer: ` + p.url + `
  audience: [` + jwtResource + `, ` + opaqueResource + `]
  token_validation: ` + strategy + `
  client_id: gate
  client_secret: gate-secret
  required_scopes: [read]
  insecure_http: true
cache: {ttl: 1s}
`
}

func TestOIDCProvider(t *testing.T) {
	p, _ := newProvider(t, harness.Free(t))
	upstream := harness.Echo(t)
	service := harness.Serve(t, p.config("both")).Ready(t)
	s := &stage{service: service, upstream: upstream, envoy: harness.Gateway(t, service.GRPC, upstream.Address)}
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	opaque, jwt := p.token(t, opaqueResource, "read write"), p.token(t, jwtResource, "read")
	if strings.Count(jwt, ".") != 2 || strings.Contains(opaque, ".") {
		t.Fatalf("got %q and %q, want a JWT and an opaque token", jwt, opaque)
	}
	upstream.Take()
	for name, token := range map[string]string{"opaque": opaque, "JWT": jwt} {
		if resp, body := s.get(t, "/x", bearer(token)); resp.StatusCode != 200 {
			t.Fatalf("%s: got %d %s %s", name, resp.StatusCode, resp.Header.Get("WWW-Authenticate"), body)
		}
		h := upstream.Take()[0].Header
		if h.Get("X-Auth-Client-Id") != "app" || !strings.Contains(h.Get("X-Auth-Scope"), "read") {
			t.Errorf("%s: got %v", name, h)
		}
		// An opaque client-credential token has no sub: no header, whatever the client sent (I-05).
		headers := bearer(token)
		headers.Set("X-Auth-Sub", "admin")
		s.get(t, "/x", headers)
		if got := upstream.Take()[0].Header.Get("X-Auth-Sub"); name == "opaque" && got != "" || got == "admin" {
			t.Errorf("%s: got subject %q", name, got)
		}
	}
	if resp, _ := s.get(t, "/x", bearer(p.token(t, jwtResource, "write"))); resp.StatusCode != 403 {
		t.Errorf("without the scope: got %d, want 403", resp.StatusCode)
	}
	p.post(t, "/token/revocation", url.Values{"token": {opaque}})
	harness.Eventually(t, "the revoked token is refused (I-13)", func() bool {
		resp, _ := s.get(t, "/x", bearer(opaque))
		return resp.StatusCode == 401
	})
}

func TestOIDCProviderRefusesToIntrospectItsJWTs(t *testing.T) { // I-10
	p, _ := newProvider(t, harness.Free(t))
	service := harness.Serve(t, p.config("introspection")).Ready(t)
	client := service.Client(t)
	for range 30 {
		reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+p.token(t, jwtResource, "read"))
		if err != nil || reason != "inactive" {
			t.Fatalf("got %s, %v; want inactive", reason, err)
		}
	}
	if got := service.Metric(t, `bearergate_introspection_requests_total{issuer="`+p.url+`",result="rejected"}`); got != 30 {
		t.Errorf("got %v rejected, want 30", got)
	}
	if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+p.token(t, opaqueResource, "read")); err != nil || reason != "allowed" {
		t.Errorf("got %s, %v; the rejections must not open the breaker", reason, err)
	}
}

func TestStartedBeforeItsAuthorizationServer(t *testing.T) { // D-15
	address := harness.Free(t)
	p := &provider{url: "http://" + address}
	service := harness.Serve(t, p.config("both"))
	service.Wait(t, "http://"+service.Admin+"/readyz", http.StatusServiceUnavailable)
	client := service.Client(t)
	if reason, response, err := harness.Ask(t.Context(), client, "/", "Bearer x"); err != nil ||
		reason != "unavailable" || response.GetDeniedResponse().GetStatus().GetCode() != 503 {
		t.Errorf("got %s, %v", reason, err)
	}
	p, process := newProvider(t, address)
	service.Ready(t)
	token := p.token(t, opaqueResource, "read")
	if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+token); err != nil || reason != "allowed" {
		t.Errorf("got %s, %v", reason, err)
	}
	_ = process.Stop()
	if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer other"); err != nil || reason != "unavailable" {
		t.Errorf("got %s, %v", reason, err)
	}
}
