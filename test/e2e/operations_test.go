package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

func TestDemo(t *testing.T) {
	cmd := exec.Command(harness.Binary(t), "demo", "--check")
	cmd.Env = append(os.Environ(), "ENVOY="+harness.EnvoyBinary(t), "GORACE=atexit_sleep_ms=0")
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	want := `200  a JWT
200  an opaque token
401  no token
401  an expired token
403  a token without the scope
200  a spoofed x-auth-sub, which does not get through
200  an upstream that gets a token of its own in place of the client's
`
	if !strings.Contains(string(output), "allowed through Envoy after") || !strings.HasSuffix(string(output), want) {
		t.Errorf("got\n%s\nwant\n%s", output, want)
	}
}

// TestMetricNames: names and labels are API (docs/contract.md §7).
func TestMetricNames(t *testing.T) {
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t)
	client := service.Client(t)
	secret := "never-issued-subject"
	jwt, opaque := issuer.JWT(claims{"aud": "api", "sub": secret}), issuer.Opaque("", claims{"aud": "api"})
	for _, token := range []string{jwt, jwt, opaque, opaque, "junk", "junk"} {
		if _, _, err := harness.Ask(t.Context(), client, "/path-of-a-client", "Bearer "+token); err != nil {
			t.Fatal(err)
		}
	}
	issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	if _, _, err := harness.Ask(t.Context(), client, "/", "Bearer other"); err != nil {
		t.Fatal(err)
	}
	of := `{issuer="` + issuer.URL() + `"`
	for series, want := range map[string]float64{
		`bearergate_checks_total{decision="allow",reason="allowed"}`:           4,
		`bearergate_checks_total{decision="deny",reason="inactive"}`:           2,
		`bearergate_checks_total{decision="deny",reason="unavailable"}`:        1,
		`bearergate_checks_total{decision="serve",reason="metadata"}`:          0,
		`bearergate_check_duration_seconds_count{decision="allow"}`:            4,
		`bearergate_cache_requests_total{cache="jwt",result="hit"}`:            1,
		`bearergate_cache_requests_total{cache="jwt",result="miss"}`:           1,
		`bearergate_cache_requests_total{cache="introspection",result="hit"}`:  1,
		`bearergate_cache_requests_total{cache="negative",result="hit"}`:       1,
		`bearergate_cache_entries{cache="jwt"}`:                                1,
		`bearergate_cache_entries{cache="introspection"}`:                      1,
		`bearergate_cache_entries{cache="negative"}`:                           1,
		`bearergate_introspection_requests_total` + of + `,result="active"}`:   1,
		`bearergate_introspection_requests_total` + of + `,result="inactive"}`: 1,
		`bearergate_introspection_requests_total` + of + `,result="error"}`:    1,
		`bearergate_introspection_duration_seconds_count` + of + `}`:           3,
		`bearergate_jwks_refreshes_total` + of + `,result="success"}`:          1,
		`bearergate_discovery_refreshes_total` + of + `,result="success"}`:     1,
		`bearergate_issuer_ready` + of + `}`:                                   1,
		`bearergate_config_reloads_total{result="success"}`:                    0,
		`bearergate_config_reloads_total{result="failure"}`:                    0,
		`bearergate_config_pending`:                                            0,
	} {
		if got := service.Metric(t, series); got != want {
			t.Errorf("%s: got %v, want %v", series, got, want)
		}
	}
	for i := range 30 {
		if _, _, err := harness.Ask(t.Context(), client, "/", fmt.Sprintf("Bearer other%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := service.Metric(t, `bearergate_introspection_breaker_open`+of+`}`); got != 1 {
		t.Errorf("the breaker is open after 30 failures: got %v", got)
	}
	all := page(t, service, "/metrics", 200)
	for _, name := range []string{
		"bearergate_jwks_last_success_timestamp_seconds" + of + "}",
		`bearergate_build_info{commit="unknown",go_version="go1.`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(all, name) {
			t.Errorf("no series %s", name)
		}
	}
	if strings.Contains(all, secret) || strings.Contains(all, "path-of-a-client") || strings.Contains(all, "junk") {
		t.Error("a client-chosen string is in the metrics (A-20)")
	}
}

func page(t *testing.T, service *harness.Service, path string, status int) string {
	t.Helper()
	resp, err := http.Get("http://" + service.Admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s: got %d, %v, want %d", path, resp.StatusCode, err, status)
	}
	return string(body)
}

func TestAdminPages(t *testing.T) { // docs/contract.md §6
	issuer := harness.Issuer(t)
	for _, path := range []string{devissuer.PathOAuth, devissuer.PathOpenID} {
		issuer.Behave(path, devissuer.Behaviour{Status: 500})
	}
	service := harness.Serve(t, harness.Config(issuer.URL()))
	page(t, service, "/livez", 200)
	if body := page(t, service, "/readyz", 503); !strings.Contains(body, issuer.URL()) {
		t.Errorf("got %q, want the issuer and why", body)
	}
	if body := page(t, service, "/", 200); !strings.Contains(body, "not ready") {
		t.Errorf("got %s", body)
	}
	page(t, service, "/nowhere", 404)
	if err := exec.Command(harness.Binary(t), "health", "--address", service.GRPC).Run(); err == nil {
		t.Error("health says SERVING while not ready")
	}
	issuer.Behave(devissuer.PathOAuth, devissuer.Behaviour{})
	service.Ready(t)
	if err := exec.Command(harness.Binary(t), "health", "--address", service.GRPC).Run(); err != nil {
		t.Errorf("health: %v", err)
	}
	if body := page(t, service, "/", 200); !strings.Contains(body, "ready") || strings.Contains(body, "not ready") {
		t.Errorf("got %s", body)
	}
}
