package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/test/harness"
)

// TestEveryBootstrapIsValid has a real Envoy read each file as it stands.
func TestEveryBootstrapIsValid(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t)
	chain, key := ca.issue(t, "spiffe://example.com/envoy")
	for name, content := range map[string][]byte{"tls.crt": chain, "tls.key": key, "ca.crt": ca.pem, "clients.crt": ca.pem} {
		write(t, dir, name, content)
	}
	for _, name := range []string{
		"minimal.yaml", "envoy.yaml", "routes.yaml", "mcp.yaml", "mutual-tls.yaml", "mtls.yaml", "unix-socket.yaml",
	} {
		file, err := chains.File(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(file, "# ") || !strings.Contains(file, "failure_mode_allow: false") {
			t.Errorf("%s does not say what it is for, or fails open (A-12)", name)
		}
		for setting, where := range map[string]string{
			"strip_any_host_port: true":     "HttpConnectionManager",
			"strip_trailing_host_dot: true": "HttpConnectionManager",
			"encode_raw_headers: true":      "filters.http.ext_authz.v3.ExtAuthz\n",
			"validate_mutations: true":      "filters.http.ext_authz.v3.ExtAuthz\n",
			"allowed_headers:":              "filters.http.ext_authz.v3.ExtAuthz\n",
			"disallow_is_error: true":       "decoder_header_mutation_rules:",
			"{exact: traceparent,":          "allowed_headers:",
			"{exact: tracestate,":           "allowed_headers:",
		} {
			if got, want := strings.Count(file, setting), strings.Count(file, where); got != want {
				t.Errorf("%s: got %d times %q, want %d, as often as %q", name, got, setting, want, where)
			}
		}
		if strings.Contains(file, "disabled: true") && !strings.Contains(file, "direct_response: {status: 400}") {
			t.Errorf("%s has a route that does not ask, and nothing that refuses ambiguous paths there (A-14)", name)
		}
		path := write(t, dir, name, []byte(strings.ReplaceAll(file, "/etc/envoy/tls", dir)))
		if output, err := exec.Command(harness.EnvoyBinary(t), "--mode", "validate", "-c", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
}

// allowsAndRefuses sends one request with a token and one without.
func (s *stage) allowsAndRefuses(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/x", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	s.upstream.Take()
	if resp, _ := s.get(t, "/x", bearer(s.jwt(nil))); resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
	if seen := s.upstream.Take(); len(seen) != 1 || seen[0].Header.Get("X-Auth-Sub") != "alice" {
		t.Errorf("the upstream got %d requests", len(seen))
	}
	s.service.Kill()
	if resp, _ := s.get(t, "/x", bearer(s.jwt(nil))); resp.StatusCode != 503 || len(s.upstream.Take()) != 0 {
		t.Errorf("Bearergate down: got %d, want 503", resp.StatusCode)
	}
}

func TestMinimalChain(t *testing.T) {
	harness.OnlyExtAuthz(t, "with the binary gone a module goes on")
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())).Ready(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
	}
	s.envoy = harness.StartEnvoy(t, "minimal.yaml", a)
	s.allowsAndRefuses(t)
}

func TestUnixSocketChain(t *testing.T) {
	dir, err := os.MkdirTemp("", "uds") // a socket path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "authz.sock")
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	s.service = harness.ServeAt(t, "unix://"+socket, harness.Free(t), harness.Config(s.issuer.URL())).Ready(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: "127.0.0.1:1", Upstream: s.upstream.Address, Admin: harness.Free(t),
	}
	s.envoy = harness.StartEnvoy(t, "unix-socket.yaml", a, "/run/bearergate/authz.sock", socket)
	s.allowsAndRefuses(t)
}

func TestMutualTLSChain(t *testing.T) {
	harness.OnlyExtAuthz(t, "with the binary gone a module goes on")
	ca := newAuthority(t)
	gate, envoy := t.TempDir(), t.TempDir()
	for dir, name := range map[string]string{gate: "bearergate", envoy: "spiffe://example.com/envoy"} {
		chain, key := ca.issue(t, name)
		for file, content := range map[string][]byte{"tls.crt": chain, "tls.key": key, "ca.crt": ca.pem} {
			write(t, dir, file, content)
		}
	}
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	settings := strings.Replace(harness.Config(s.issuer.URL()), `admin_address: "$ADMIN"`, fmt.Sprintf(
		`admin_address: "$ADMIN", tls: {cert_file: %[1]s/tls.crt, key_file: %[1]s/tls.key, client_ca_file: %[1]s/ca.crt, allowed_client_sans: ["spiffe://example.com/envoy"]}`, gate), 1)
	s.service = harness.Serve(t, settings).Ready(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
	}
	s.envoy = harness.StartEnvoy(t, "mutual-tls.yaml", a, "/etc/envoy/tls", envoy)
	s.allowsAndRefuses(t)
}
