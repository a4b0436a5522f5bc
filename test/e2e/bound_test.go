package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// TestDPoPThroughEnvoy: what a client sends and gets, by a real Envoy and the shipped
// chain, which strips the port that htu has.
func TestDPoPThroughEnvoy(t *testing.T) {
	harness.OnlyExtAuthz(t, "the counters asked are the binary's, and a module has its own")
	s, client := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}, devissuer.NewProver()
	listener := harness.Free(t)
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+
		"dpop: {nonce: required, origins: ['http://"+listener+"']}\n"+
		"rules: [{name: open, match: {paths: [/open]}, access: public}]\n").Ready(t)
	s.envoy = harness.StartEnvoy(t, "envoy.yaml", chains.Addresses{
		Listener: listener, Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
	})
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	s.upstream.Take()
	token := s.jwt(claims{"cnf": claims{"jkt": client.Thumbprint()}})
	with := func(authorization string, proofs ...string) http.Header {
		return http.Header{"Authorization": {authorization}, "Dpop": proofs}
	}
	proof := func(change devissuer.Claims) string { return client.Proof("GET", s.envoy.URL+"/x", token, change) }

	resp, _ := s.get(t, "/x", nil)
	wantChallenges(t, "no token", resp, `Bearer realm="bearergate"`, `DPoP realm="bearergate", algs="`)
	resp, _ = s.get(t, "/x", with("Bearer "+token))
	wantChallenges(t, "bearer", resp, `Bearer realm="bearergate", error="invalid_token"`, `DPoP realm="bearergate", algs="`)
	resp, _ = s.get(t, "/x", with("DPoP "+token))
	wantChallenges(t, "no proof", resp, `DPoP realm="bearergate", error="invalid_dpop_proof"`, `Bearer realm="bearergate"`)
	resp, _ = s.get(t, "/x", with("DPoP "+token, proof(nil)))
	wantChallenges(t, "no nonce", resp, `DPoP realm="bearergate", error="use_dpop_nonce"`, `Bearer realm="bearergate"`)
	nonces := resp.Header["Dpop-Nonce"]
	if len(nonces) != 1 || nonces[0] == "" {
		t.Fatalf("got DPoP-Nonce %q, want one", nonces)
	}
	good := func() string { return proof(devissuer.Claims{"nonce": nonces[0]}) }
	resp, _ = s.get(t, "/x", with("DPoP "+token, good(), good()))
	wantChallenges(t, "two proofs", resp, `DPoP realm="bearergate", error="invalid_dpop_proof"`, `Bearer realm="bearergate"`)
	if seen := s.upstream.Take(); len(seen) > 0 {
		t.Errorf("the upstream got %d requests that were refused", len(seen))
	}
	once := good()
	if resp, body := s.get(t, "/x", with("DPoP "+token, once)); resp.StatusCode != 200 {
		t.Errorf("a good proof: got %d %s", resp.StatusCode, body)
	}
	resp, _ = s.get(t, "/x", with("DPoP "+token, once))
	wantChallenges(t, "replayed", resp, `DPoP realm="bearergate", error="invalid_dpop_proof"`, `Bearer realm="bearergate"`)
	if resp, _ := s.get(t, "/open", with("DPoP "+token, good())); resp.StatusCode != 200 {
		t.Errorf("public: got %d", resp.StatusCode)
	}
	if resp, _ := s.get(t, "/x", with("Bearer "+s.jwt(nil), good())); resp.StatusCode != 200 {
		t.Errorf("an unbound token: got %d", resp.StatusCode)
	}
	seen := s.upstream.Take()
	if len(seen) != 3 {
		t.Fatalf("the upstream got %d requests, want 3", len(seen))
	}
	for _, r := range seen {
		if len(r.Header["Dpop"]) > 0 || len(r.Header["Authorization"]) > 0 {
			t.Errorf("%s: the upstream got the proof or the token", r.URL)
		}
	}
	for result, want := range map[string]float64{"accepted": 1, "replayed": 1, "nonce": 1, "invalid": 2} {
		if got := s.service.Metric(t, `bearergate_proofs_total{result="`+result+`"}`); got != want {
			t.Errorf("proofs %s: got %v, want %v", result, got, want)
		}
	}
	if strings.Contains(s.service.String(), once) {
		t.Error("a proof is in the log")
	}
}

// wantChallenges wants a 401 with these beginnings, each in a field of its own.
func wantChallenges(t *testing.T, name string, resp *http.Response, want ...string) {
	t.Helper()
	got := resp.Header["Www-Authenticate"]
	if resp.StatusCode != http.StatusUnauthorized || len(got) != len(want) {
		t.Errorf("%s: got %d with %q, want 401 with %q", name, resp.StatusCode, got, want)
		return
	}
	for n := range want {
		if !strings.HasPrefix(got[n], want[n]) {
			t.Errorf("%s: got %q, want %q", name, got[n], want[n])
		}
	}
}

// TestCertificateBoundTokensThroughEnvoy, by the shipped chain.
func TestCertificateBoundTokensThroughEnvoy(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	chain, key := ca.issue(t, "gateway.example.com")
	for file, content := range map[string][]byte{"tls.crt": chain, "tls.key": key, "clients.crt": ca.pem} {
		write(t, dir, file, content)
	}
	s := &stage{issuer: harness.Issuer(t), upstream: harness.Echo(t)}
	s.service = harness.Serve(t, strings.Replace(harness.Config(s.issuer.URL()), "  audience: api\n", "  audience: api\n  token_binding: mtls\n", 1)+
		"mtls: {}\n").Ready(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
	}
	s.envoy = harness.StartEnvoy(t, "mtls.yaml", a, "/etc/envoy/tls", dir)
	alice, alicesToken := s.clientOf(t, ca)
	_, othersToken := s.clientOf(t, ca)
	status := func(client *http.Client, token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+a.Listener+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool { return status(alice, alicesToken) == 200 })
	for name, tc := range map[string]struct {
		client *http.Client
		token  string
		want   int
	}{
		"hers":           {alice, alicesToken, 200},
		"another's":      {alice, othersToken, 401},
		"bound to none":  {alice, s.jwt(nil), 401},
		"no certificate": {clientWith(t, ca, nil), alicesToken, 0},
	} {
		if got := status(tc.client, tc.token); got != tc.want {
			t.Errorf("%s: got %d, want %d", name, got, tc.want)
		}
	}
}

// clientOf returns a client with a certificate, and a token that is bound to it.
func (s *stage) clientOf(t *testing.T, ca *authority) (*http.Client, string) {
	t.Helper()
	chain, key := ca.issue(t, "client.example.com")
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	sum := sha256.Sum256(block.Bytes)
	return clientWith(t, ca, &certificate), s.jwt(claims{"cnf": claims{
		"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:]),
	}})
}

func clientWith(t *testing.T, ca *authority, certificate *tls.Certificate) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.pem)
	settings := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		settings.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: settings}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
