package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// credential is a client's certificate and its key.
type credential struct {
	leaf  *x509.Certificate
	chain [][]byte // DER, the leaf first
	key   *ecdsa.PrivateKey
}

// client returns a certificate of the authority for a new key, or for that of an
// older certificate; of nobody, when it signs itself.
func (a *authority) client(t *testing.T, name string, older *credential) *credential {
	t.Helper()
	key := newKey(t)
	if older != nil {
		key = older.key
	}
	if a == nil {
		return certify(t, name, key, nil, key)
	}
	return certify(t, name, key, a.certificate, a.key)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certify makes one certificate; without a parent it is self-signed.
func certify(t *testing.T, name string, key *ecdsa.PrivateKey, parent *x509.Certificate, signer *ecdsa.PrivateKey) *credential {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &credential{leaf, [][]byte{der}, key}
}

// intermediate returns an authority below a.
func (a *authority) intermediate(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "intermediate CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate: certificate, key: key}
}

func (c *credential) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.chain[0]})
}

// with is an HTTP client that has the credential, and trusts the authority.
func (a *authority) with(t *testing.T, c *credential) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	settings := &tls.Config{RootCAs: pool}
	if c != nil {
		own := &tls.Certificate{Certificate: c.chain, PrivateKey: c.key}
		// Whoever is asked for: crypto/tls would keep a self-signed one to itself.
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	transport := &http.Transport{TLSClientConfig: settings}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// mtlsStage is a stage to which clients speak TLS, with the chain for it.
type mtlsStage struct {
	*stage

	ca *authority
}

func newMTLSStage(t *testing.T, ca *authority, config string, changes ...string) *mtlsStage {
	t.Helper()
	dir := t.TempDir()
	chain, key := ca.issue(t, "api.example.com")
	for name, content := range map[string][]byte{"tls.crt": chain, "tls.key": key, "clients.crt": ca.pem} {
		write(t, dir, name, content)
	}
	s := &mtlsStage{stage: &stage{upstream: harness.Echo(t)}, ca: ca}
	s.service = harness.Serve(t, config).Ready(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: s.service.GRPC, Upstream: s.upstream.Address, Admin: harness.Free(t),
	}
	s.envoy = harness.StartEnvoy(t, "mtls.yaml", a, append([]string{"/etc/envoy/tls", dir}, changes...)...)
	s.envoy.URL = "https://" + a.Listener
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, err := s.ask(t, ca.with(t, ca.client(t, "client.example.com", nil)), nil)
		return err == nil && resp.StatusCode == http.StatusUnauthorized
	})
	s.upstream.Take()
	return s
}

// ask sends a GET as a client.
func (s *mtlsStage) ask(t *testing.T, client *http.Client, headers http.Header) (*http.Response, error) {
	t.Helper()
	return s.askFor(t, client, "/x", headers)
}

func (s *mtlsStage) askFor(t *testing.T, client *http.Client, path string, headers http.Header) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.envoy.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range headers {
		req.Header[name] = values
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp, resp.Body.Close()
}

// expect wants the status, and something upstream where it is 200.
func (s *mtlsStage) expect(t *testing.T, what string, client *http.Client, headers http.Header, status int) {
	t.Helper()
	s.upstream.Take()
	resp, err := s.ask(t, client, headers)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	seen := s.upstream.Take()
	if resp.StatusCode != status || (status == 200) != (len(seen) == 1) {
		t.Errorf("%s: got %d %q and %d requests upstream, want %d", what, resp.StatusCode,
			resp.Header.Values("WWW-Authenticate"), len(seen), status)
	}
	for _, r := range seen {
		if r.Header["Authorization"] != nil || r.Header["Client-Cert"] != nil {
			t.Errorf("%s: the upstream got %v", what, r.Header)
		}
	}
}

const mtlsRules = `rules:
  - {name: public, match: {paths: ["/public/**"]}, access: public}
  - {name: strong, match: {paths: ["/strong"]}, token_binding: mtls}
`

// field is a certificate as RFC 9440 writes it.
func (c *credential) field() string { return ":" + base64.StdEncoding.EncodeToString(c.chain[0]) + ":" }

func TestCertificateBoundTokens(t *testing.T) { // RFC 8705 §3, P-01
	ca := newAuthority(t)
	issuer := harness.Issuer(t)
	s := newMTLSStage(t, ca, harness.Config(issuer.URL())+mtlsRules+"mtls: {}\n")
	s.issuer = issuer
	owner := ca.client(t, "client.example.com", nil)
	renewed := ca.client(t, "client.example.com", owner)
	stranger := ca.client(t, "client.example.com", nil)
	below := ca.intermediate(t)
	chained := below.client(t, "client.example.com", nil)
	chained.chain = append(chained.chain, below.certificate.Raw)

	token := s.jwt(claims{"cnf": devissuer.BoundToCertificate(owner.leaf)})
	opaque := issuer.Opaque("", claims{"aud": "api", "cnf": devissuer.BoundToCertificate(owner.leaf)})
	for kind, token := range map[string]string{"JWT": token, "opaque": opaque} {
		s.expect(t, kind+", right", ca.with(t, owner), bearer(token), 200)
		s.expect(t, kind+", another's", ca.with(t, stranger), bearer(token), 401)
		s.expect(t, kind+", renewed with the same key", ca.with(t, renewed), bearer(token), 401)
	}
	ofChain := s.jwt(claims{"cnf": devissuer.BoundToCertificate(chained.leaf)})
	s.expect(t, "a chain of two", ca.with(t, chained), bearer(ofChain), 200)
	ofAuthority := s.jwt(claims{"cnf": devissuer.BoundToCertificate(below.certificate)})
	s.expect(t, "bound to the second of a chain", ca.with(t, chained), bearer(ofAuthority), 401)
	s.expect(t, "no bound token", ca.with(t, owner), bearer(s.jwt(nil)), 200)

	// What the client says about its certificate is not looked at.
	forged := bearer(token)
	forged.Set("Client-Cert", owner.field())
	forged.Set("X-Forwarded-Client-Cert", "Cert="+url.QueryEscape(string(owner.pem())))
	if resp, err := s.ask(t, ca.with(t, stranger), forged); err != nil || resp.StatusCode != 401 {
		t.Errorf("forged fields: got %v, %v", resp, err)
	}

	// Another member of cnf is another kind of binding, which is not switched on.
	both := devissuer.BoundToCertificate(owner.leaf)
	both["jkt"] = devissuer.NewProver().Thumbprint()
	s.expect(t, "bound to a key, too", ca.with(t, owner), bearer(s.jwt(claims{"cnf": both})), 401)
	s.expect(t, "a binding that nobody knows", ca.with(t, owner), bearer(s.jwt(claims{"cnf": claims{"kid": "k"}})), 401)

	for what, tc := range map[string]struct {
		token  string
		status int
	}{"bound": {token, 200}, "unbound": {s.jwt(nil), 401}} {
		resp, err := s.askFor(t, ca.with(t, owner), "/strong", bearer(tc.token))
		if err != nil || resp.StatusCode != tc.status {
			t.Errorf("token_binding: mtls, %s: got %v, %v; want %d", what, resp, err, tc.status)
		}
	}
	// The chain lets nobody in without a certificate of the authority.
	for what, client := range map[string]*http.Client{
		"none": ca.with(t, nil), "self-signed": ca.with(t, (*authority)(nil).client(t, "client.example.com", nil)),
	} {
		s.upstream.Take()
		if resp, err := s.ask(t, client, bearer(token)); err == nil || len(s.upstream.Take()) != 0 {
			t.Errorf("%s: got %v, want no connection", what, resp)
		}
	}
}

// Where the chain lets clients in that have no certificate, a bound token is not
// theirs, whatever they say about themselves; a bearer token is.
func TestCertificateIsMissing(t *testing.T) { // P-01
	ca := newAuthority(t)
	issuer := harness.Issuer(t)
	s := newMTLSStage(t, ca, harness.Config(issuer.URL())+mtlsRules+"mtls: {}\n",
		append([]string{"require_client_certificate: true", "require_client_certificate: false"}, letThrough()...)...)
	s.issuer = issuer
	owner := ca.client(t, "client.example.com", nil)
	token := s.jwt(claims{"cnf": devissuer.BoundToCertificate(owner.leaf)})
	nobody := ca.with(t, nil)
	s.expect(t, "with it", ca.with(t, owner), bearer(token), 200)
	s.expect(t, "without", nobody, bearer(token), 401)
	s.expect(t, "unbound, without", nobody, bearer(s.jwt(nil)), 200)
	forged := bearer(token)
	forged.Set("Client-Cert", owner.field())
	forged.Set("X-Forwarded-Client-Cert", "Cert="+url.QueryEscape(string(owner.pem())))
	s.expect(t, "forged fields", nobody, forged, 401)
}

// A token that is bound to both needs both. Envoy reports the host without its port,
// so that without origins the proof is for that.
func TestTokenBoundToCertificateAndKey(t *testing.T) {
	ca := newAuthority(t)
	issuer := harness.Issuer(t)
	s := newMTLSStage(t, ca, harness.Config(issuer.URL())+mtlsRules+"mtls: {}\ndpop: {}\n")
	s.issuer = issuer
	owner, stranger := ca.client(t, "client.example.com", nil), ca.client(t, "client.example.com", nil)
	prover, thief := devissuer.NewProver(), devissuer.NewProver()
	cnf := devissuer.BoundToCertificate(owner.leaf)
	cnf["jkt"] = prover.Thumbprint()
	token := s.jwt(claims{"cnf": cnf})
	proof := func(p *devissuer.Prover) string { return p.Proof("GET", "https://127.0.0.1/x", token, nil) }
	s.expect(t, "both", ca.with(t, owner), dpop(token, proof(prover)), 200)
	s.expect(t, "another certificate", ca.with(t, stranger), dpop(token, proof(prover)), 401)
	s.expect(t, "another key", ca.with(t, owner), dpop(token, proof(thief)), 401)
	s.expect(t, "no proof", ca.with(t, owner), dpop(token), 401)
	s.expect(t, "as bearer", ca.with(t, owner), bearer(token), 401)
}

// letThrough are the changes to a chain that has a TLS terminator in front of it,
// which says in a field what it verified (RFC 9440).
func letThrough() []string {
	return []string{
		"- {prefix: mcp-, ignore_case: true}", "- {prefix: mcp-, ignore_case: true}\n                          - {exact: client-cert, ignore_case: true}",
		`regex: "^(`, `regex: "^(client[-_]cert|`,
	}
}

// With the switch it is the field that counts, and nothing else; it never goes
// upstream.
func TestCertificateOfATerminatorInFront(t *testing.T) { // RFC 9440
	ca := newAuthority(t)
	issuer := harness.Issuer(t)
	s := newMTLSStage(t, ca, harness.Config(issuer.URL())+mtlsRules+"mtls: {client_certificate_header: Client-Cert}\n", letThrough()...)
	s.issuer = issuer
	owner, terminator := ca.client(t, "client.example.com", nil), ca.client(t, "terminator.example.com", nil)
	as := ca.with(t, terminator)
	token := s.jwt(claims{"cnf": devissuer.BoundToCertificate(owner.leaf)})
	with := func(token string, fields ...string) http.Header {
		h := bearer(token)
		h["Client-Cert"] = fields
		return h
	}
	s.expect(t, "right", as, with(token, owner.field()), 200)
	s.expect(t, "a chain beside it", as, func() http.Header {
		h := with(token, owner.field())
		h["Client-Cert-Chain"] = []string{":" + base64.StdEncoding.EncodeToString(ca.certificate.Raw) + ":"}
		return h
	}(), 200)
	s.expect(t, "no token of its own to bind", as, with(s.jwt(nil), owner.field()), 200)
	s.expect(t, "another's", as, with(token, ca.client(t, "client.example.com", nil).field()), 401)
	s.expect(t, "none", as, with(token), 401)
	s.expect(t, "empty", as, with(token, ""), 401)
	s.expect(t, "two fields", as, with(token, owner.field(), owner.field()), 401)
	s.expect(t, "joined", as, with(token, owner.field()+", "+owner.field()), 401)
	s.expect(t, "no byte sequence", as, with(token, strings.Trim(owner.field(), ":")), 401)
	s.expect(t, "PEM", as, with(token, url.QueryEscape(string(owner.pem()))), 401)
	s.expect(t, "a parameter", as, with(token, owner.field()+";a=b"), 401)

	// The connection's own certificate is the terminator's, which proves nothing.
	ofTerminator := s.jwt(claims{"cnf": devissuer.BoundToCertificate(terminator.leaf)})
	s.expect(t, "the connection's", as, bearer(ofTerminator), 401)

	s.upstream.Take()
	if resp, err := s.askFor(t, as, "/public/x", with("junk", owner.field())); err != nil || resp.StatusCode != 200 {
		t.Fatalf("public: got %v, %v", resp, err)
	}
	if seen := s.upstream.Take(); len(seen) != 1 || seen[0].Header["Client-Cert"] != nil {
		t.Error("public: the field went upstream")
	}
}

// acceptUntrusted is the change to the chain that takes self-signed certificates.
var acceptUntrusted = []string{"trusted_ca:", "trust_chain_verification: ACCEPT_UNTRUSTED\n                  trusted_ca:"}

// newTLSProvider is an oidc-provider that speaks TLS, and knows clients by their
// certificates.
func newTLSProvider(t *testing.T, ca *authority, own *credential) *provider {
	t.Helper()
	folder, err := exec.Command(filepath.Join("..", "tools", "oidc-provider.sh")).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chain, key := ca.issue(t, "as.example.com")
	for name, content := range map[string][]byte{
		"server.crt": chain, "server.key": key, "ca.crt": ca.pem, "self-signed.crt": own.pem(),
	} {
		write(t, dir, name, content)
	}
	address := harness.Free(t)
	_, port, _ := net.SplitHostPort(address)
	process := harness.Run(t, []string{"NODE_NO_WARNINGS=1"}, "node", "testdata/oidc-provider.mjs",
		strings.TrimSpace(string(folder)), port, dir)
	p := &provider{url: "https://" + address}
	client := ca.with(t, nil)
	harness.Eventually(t, "oidc-provider answers", func() bool {
		select {
		case <-process.Ended():
			t.Fatal("it ended")
		default:
		}
		resp, err := client.Get(p.url + "/.well-known/openid-configuration")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	return p
}

// Tokens that oidc-provider binds to the certificate with which the client
// authenticated: one of an authority, and one that is self-signed.
func TestCertificateBoundTokensOfOIDCProvider(t *testing.T) { // RFC 8705 §2, §3
	ca := newAuthority(t)
	authorized := ca.client(t, "client.example.com", nil)
	self := (*authority)(nil).client(t, "self-signed", nil)
	p := newTLSProvider(t, ca, self)
	config := strings.Replace(p.config("both"), "  insecure_http: true\n", "  ca_file: "+write(t, t.TempDir(), "ca.crt", ca.pem)+"\n", 1)
	// A self-signed certificate is no less bound; which of them it takes is Envoy's.
	s := newMTLSStage(t, ca, config+"mtls: {}\n")
	untrusting := newMTLSStage(t, ca, config+"mtls: {}\n", acceptUntrusted...)
	for id, tc := range map[string]struct {
		own    *credential
		stages []*mtlsStage
	}{
		"authorized": {authorized, []*mtlsStage{s, untrusting}}, "self-signed": {self, []*mtlsStage{untrusting}},
	} {
		for kind, resource := range map[string]string{"JWT": jwtResource, "opaque": opaqueResource} {
			form := url.Values{
				"grant_type": {"client_credentials"}, "client_id": {id}, "resource": {resource}, "scope": {"read"},
			}
			req, err := http.NewRequest(http.MethodPost, p.url+"/token", strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			token := tokenOf(t, ca.with(t, tc.own), req, "Bearer")
			for _, s := range tc.stages {
				s.expect(t, id+" "+kind, ca.with(t, tc.own), bearer(token), 200)
				s.expect(t, id+" "+kind+", stolen", ca.with(t, ca.client(t, "client.example.com", nil)), bearer(token), 401)
				s.expect(t, id+" "+kind+", renewed", ca.with(t, ca.client(t, "client.example.com", tc.own)), bearer(token), 401)
			}
		}
	}
}
