package devissuer_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// proving authenticates the client, and adds DPoP fields.
func proving(proofs ...string) authentication {
	return func(r *http.Request, form url.Values) {
		basic(confidential, secret)(r, form)
		r.Header["Dpop"] = proofs
	}
}

func TestTokensBoundToAKey(t *testing.T) { // RFC 9449 §5, §6
	as := start(t)
	endpoint := as.URL() + devissuer.PathToken
	for _, algorithm := range []string{"ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256"} {
		for _, format := range []string{"jwt", "opaque"} {
			client := devissuer.NewProverOf(algorithm)
			a := post(t, endpoint, proving(client.Proof("POST", endpoint, "", nil)), "grant_type", "client_credentials", "format", format)
			token, _ := a.members["access_token"].(string)
			if a.status != 200 || a.members["token_type"] != "DPoP" {
				t.Fatalf("%s %s: got %d %s", algorithm, format, a.status, a.text)
			}
			want := claims{"jkt": client.Thumbprint()}
			got := introspected(t, as, token)
			if diff := cmp.Diff(want, got["cnf"]); diff != "" || got["token_type"] != "DPoP" {
				t.Errorf("%s %s: got %v (-want +got):\n%s", algorithm, format, got, diff)
			}
		}
	}
}

func TestBadProofsAtTheTokenEndpoint(t *testing.T) { // RFC 9449 §4.3
	as := start(t)
	endpoint := as.URL() + devissuer.PathToken
	client := devissuer.NewProver()
	other := devissuer.NewProver()
	used := client.Proof("POST", endpoint, "", nil)
	post(t, endpoint, proving(used), "grant_type", "client_credentials")
	with := func(change claims) string {
		all := devissuer.ProofClaims("POST", endpoint, "", nil)
		for name, value := range change {
			all[name] = value
		}
		return client.Sign(nil, all)
	}
	for name, proofs := range map[string][]string{
		"no JWT":           {"junk"},
		"used":             {used},
		"two fields":       {client.Proof("POST", endpoint, "", nil), client.Proof("POST", endpoint, "", nil)},
		"another method":   {client.Proof("GET", endpoint, "", nil)},
		"another endpoint": {client.Proof("POST", as.URL()+devissuer.PathRevocation, "", nil)},
		"old":              {with(claims{"iat": time.Now().Add(-time.Hour).Unix()})},
		"from the future":  {with(claims{"iat": time.Now().Add(time.Hour).Unix()})},
		"no jti":           {with(claims{"jti": ""})},
		"another key":      {client.Sign(map[string]any{"jwk": other.JWK()}, devissuer.ProofClaims("POST", endpoint, "", nil))},
		"no key":           {client.Sign(map[string]any{"jwk": nil}, devissuer.ProofClaims("POST", endpoint, "", nil))},
		"another type":     {client.Sign(map[string]any{"typ": "JWT"}, devissuer.ProofClaims("POST", endpoint, "", nil))},
	} {
		a := post(t, endpoint, proving(proofs...), "grant_type", "client_credentials")
		if a.status != http.StatusBadRequest || a.members["error"] != "invalid_dpop_proof" || a.members["access_token"] != nil {
			t.Errorf("%s: got %d %s", name, a.status, a.text)
		}
	}
}

func TestNonceOfTheTokenEndpoint(t *testing.T) { // RFC 9449 §8
	as := start(t)
	as.RequireNonce("n-1")
	endpoint := as.URL() + devissuer.PathToken
	client := devissuer.NewProver()
	for _, nonce := range []any{nil, "n-0"} {
		a := post(t, endpoint, proving(client.Proof("POST", endpoint, "", claims{"nonce": nonce})), "grant_type", "client_credentials")
		if a.status != 400 || a.members["error"] != "use_dpop_nonce" || a.header.Get("DPoP-Nonce") != "n-1" {
			t.Errorf("nonce %v: got %d %s and nonce %q", nonce, a.status, a.text, a.header.Get("DPoP-Nonce"))
		}
	}
	a := post(t, endpoint, proving(client.Proof("POST", endpoint, "", claims{"nonce": "n-1"})), "grant_type", "client_credentials")
	if a.status != 200 || a.members["token_type"] != "DPoP" {
		t.Errorf("got %d %s", a.status, a.text)
	}
}

func TestTokensBoundToACertificate(t *testing.T) { // RFC 8705 §3
	as := devissuer.New("https://as.example.com", map[string]string{confidential: secret})
	server := httptest.NewUnstartedServer(as)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	// Any certificate does for a client's, and the server has one.
	own := server.TLS.Certificates[0]
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.Certificates = []tls.Certificate{own}
	defer transport.CloseIdleConnections()
	form := strings.NewReader("grant_type=client_credentials")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+devissuer.PathToken, form)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	basic(confidential, secret)(req, nil)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := read(t, resp)
	if a.status != 200 || a.members["token_type"] != "Bearer" { // RFC 8705 §3: no type of its own
		t.Fatalf("got %d %s", a.status, a.text)
	}
	token, _ := a.members["access_token"].(string)
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(own.Certificate[0])
	thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
	if payload := string(jws.UnsafePayloadWithoutVerification()); !strings.Contains(payload, `"cnf":{"x5t#S256":"`+thumbprint+`"}`) {
		t.Errorf("got %s, want it bound to %s", payload, thumbprint)
	}
	certificate, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := devissuer.BoundToCertificate(certificate)["x5t#S256"]; got != thumbprint {
		t.Errorf("got %s, want %s", got, thumbprint)
	}
}

// Ed25519 by its own name (RFC 9864), which no other test here signs with.
func TestEveryProverSigns(t *testing.T) {
	p := devissuer.NewProverOf("Ed25519")
	parts := strings.Split(p.Proof("GET", "https://api.example.com/", "token", claims{"nonce": "n"}), ".")
	if len(parts) != 3 || len(parts[2]) != 86 || len(p.Thumbprint()) != 43 {
		t.Errorf("got %q", parts)
	}
}
