package clientauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/clientauth"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/strictjws"
)

func text(s string) func() string { return func() string { return s } }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func method(t *testing.T, c clientauth.Config, o clientauth.Options) clientauth.Method {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	m, err := clientauth.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// added is what one call gets.
type added struct {
	Header http.Header
	Form   url.Values
}

func authenticate(t *testing.T, m clientauth.Method) added {
	t.Helper()
	a := added{http.Header{}, url.Values{}}
	if err := m.Authenticate(t.Context(), a.Header, a.Form); err != nil {
		t.Fatal(err)
	}
	return a
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatACallGets: each method adds what its RFC says, and nothing else: a
// server that finds two methods in one call has to refuse it (RFC 6749 §2.3).
func TestWhatACallGets(t *testing.T) {
	secretFile := file(t, []byte("s3cret&%:é\r\n"))
	for name, tc := range map[string]struct {
		config clientauth.Config
		want   added
	}{
		// Both parts are form-encoded before they are joined (RFC 6749 §2.3.1).
		clientauth.Basic: {
			clientauth.Config{ClientID: "ga:te", Secret: text("s3cret&%:é")},
			added{http.Header{"Authorization": {"Basic Z2ElM0F0ZTpzM2NyZXQlMjYlMjUlM0ElQzMlQTk="}}, url.Values{}},
		},
		"of a file": {
			clientauth.Config{Method: clientauth.Post, ClientID: "gate", Secret: text("another"), SecretFile: secretFile},
			added{http.Header{}, url.Values{"client_id": {"gate"}, "client_secret": {"s3cret&%:é"}}},
		},
		clientauth.Post: {
			clientauth.Config{ClientID: "gate", Secret: text("s3cret&%:é")},
			added{http.Header{}, url.Values{"client_id": {"gate"}, "client_secret": {"s3cret&%:é"}}},
		},
		clientauth.TLS:  {clientauth.Config{ClientID: "gate"}, added{http.Header{}, url.Values{"client_id": {"gate"}}}},
		clientauth.None: {clientauth.Config{}, added{http.Header{}, url.Values{}}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.config.Method == "" {
				tc.config.Method = name
			}
			m := method(t, tc.config, clientauth.Options{})
			if diff := cmp.Diff(tc.want, authenticate(t, m)); diff != "" {
				t.Error(diff)
			}
			m.Rejected()
			if diff := cmp.Diff(tc.want, authenticate(t, m)); diff != "" {
				t.Error("after a refusal:", diff)
			}
		})
	}
}

// TestSecretIsAskedAtEachCall: it may have been rotated.
func TestSecretIsAskedAtEachCall(t *testing.T) {
	secret := "old"
	c := clientauth.Config{Method: clientauth.Post, ClientID: "gate", Secret: func() string { return secret }}
	m := method(t, c, clientauth.Options{})
	authenticate(t, m)
	secret = "new"
	if got := authenticate(t, m).Form.Get("client_secret"); got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestWhatCannotAuthenticate(t *testing.T) {
	empty := file(t, []byte("\n"))
	for name, c := range map[string]clientauth.Config{
		"no method":        {},
		"unknown method":   {Method: "client_secret_jwt"},
		"no secret":        {Method: clientauth.Basic, ClientID: "gate"},
		"empty secret":     {Method: clientauth.Post, ClientID: "gate", SecretFile: empty},
		"no file":          {Method: clientauth.Bearer, ClientID: "gate", SecretFile: empty + ".none"},
		"key of no use":    {Method: clientauth.PrivateKeyJWT, ClientID: "gate", KeyFile: empty},
		"no key":           {Method: clientauth.PrivateKeyJWT, ClientID: "gate"},
		"secret file, too": {Method: clientauth.Basic, Secret: text("s3cret"), SecretFile: empty},
	} {
		if m, err := clientauth.New(c, clientauth.Options{Log: quiet()}); err == nil || m != nil {
			t.Errorf("%s: got %v, %v", name, m, err)
		}
	}
	if clientauth.CheckSecret([]byte("\r\n")) == nil || clientauth.CheckSecret([]byte("x")) != nil {
		t.Error("CheckSecret takes an empty secret, or refuses one")
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	c := clientauth.Config{Method: clientauth.Basic, Secret: text("s3cret")}
	m := method(t, c, clientauth.Options{})
	for _, printed := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%v %+v %#v", m, m, m)} {
		if strings.Contains(printed, "s3cret") {
			t.Errorf("%s leaks the secret", printed)
		}
	}
}

func TestAssertion(t *testing.T) { // RFC 7523 §2.2, §3
	now := time.Unix(1_764_000_000, 0)
	for alg, key := range keys(t) {
		path := file(t, pemOf(t, key))
		m := method(t, clientauth.Config{
			Method: clientauth.PrivateKeyJWT, ClientID: "gate", KeyFile: path, KeyID: "k1", Audience: "https://as.example.com",
		}, clientauth.Options{Now: func() time.Time { return now }})
		seen := map[string]bool{}
		for range 2 {
			a := authenticate(t, m)
			if len(a.Header) > 0 || a.Form.Get("client_id") != "gate" ||
				a.Form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("%s: got %v", alg, a)
			}
			signed, err := jwt.ParseSigned(a.Form.Get("client_assertion"), []jose.SignatureAlgorithm{alg})
			if err != nil {
				t.Fatal(alg, err)
			}
			var c jwt.Claims
			if err := signed.Claims(key.Public(), &c); err != nil {
				t.Fatal(alg, err)
			}
			want := jwt.Claims{
				Issuer: "gate", Subject: "gate", Audience: jwt.Audience{"https://as.example.com"}, ID: c.ID,
				IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Minute)),
			}
			if diff := cmp.Diff(want, c); diff != "" || signed.Headers[0].KeyID != "k1" || seen[c.ID] || c.ID == "" {
				t.Errorf("%s: kid %q, jti %q: %s", alg, signed.Headers[0].KeyID, c.ID, diff)
			}
			seen[c.ID] = true // an assertion is good once
		}
	}
}

// TestBearer: a token of our own is kept until it is refused, and what the token
// endpoint says against us is not quoted.
func TestBearer(t *testing.T) {
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	endpoint := func() (string, error) { return as.URL() + devissuer.PathToken, nil }
	c := clientauth.Config{
		Method: clientauth.Bearer, ClientID: "gate", Secret: text("s3cret"), Scopes: []string{"introspect"},
	}
	m := method(t, c, clientauth.Options{Client: http.DefaultClient, TokenEndpoint: endpoint})
	first := authenticate(t, m)
	if second := authenticate(t, m); !cmp.Equal(first, second) || as.Calls(devissuer.PathToken) != 1 {
		t.Errorf("got %d calls, want one for both", as.Calls(devissuer.PathToken))
	}
	token, ok := strings.CutPrefix(first.Header.Get("Authorization"), "Bearer ")
	claims, err := strictjws.UnverifiedClaims(token)
	if !ok || err != nil || claims.Get("client_id") != `"gate"` || claims.Get("scope") != `"introspect"` {
		t.Errorf("got %s, %v, want a token for us and of the scope", claims.Text, err)
	}
	m.Rejected()
	if second := authenticate(t, m); cmp.Equal(first, second) || as.Calls(devissuer.PathToken) != 2 {
		t.Errorf("got %d calls and the same token after it was refused", as.Calls(devissuer.PathToken))
	}

	refused := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_scope","error_description":"of the secret s3cret"}`)
	}))
	defer refused.Close()
	endpoint = func() (string, error) { return refused.URL, nil }
	m = method(t, c, clientauth.Options{Client: http.DefaultClient, TokenEndpoint: endpoint})
	err = m.Authenticate(t.Context(), http.Header{}, url.Values{})
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "invalid_scope") {
		t.Errorf("got %v", err)
	}

	nowhere := errors.New("not discovered yet")
	endpoint = func() (string, error) { return "", nowhere }
	m = method(t, c, clientauth.Options{Client: http.DefaultClient, TokenEndpoint: endpoint})
	header := http.Header{}
	if err := m.Authenticate(context.Background(), header, url.Values{}); !errors.Is(err, nowhere) || len(header) > 0 {
		t.Errorf("got %v and %v", err, header)
	}
}

func TestCertificate(t *testing.T) { // RFC 8705 §2
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"gate"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	c := clientauth.Config{
		Method: clientauth.TLS, ClientID: "gate", KeyFile: file(t, pemOf(t, private)),
		CertFile: file(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}
	certificate, err := clientauth.Certificate(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := certificate(); err != nil || got.Leaf.DNSNames[0] != "gate" {
		t.Errorf("got %v, %v", got, err)
	}
	c.KeyFile = file(t, pemOf(t, keys(t)[jose.ES384]))
	if certificate, err := clientauth.Certificate(c, quiet()); err == nil || certificate != nil {
		t.Error("a key of another certificate is taken")
	}
	c.Method = clientauth.PrivateKeyJWT
	if certificate, err := clientauth.Certificate(c, quiet()); err != nil || certificate != nil {
		t.Errorf("another method: got a certificate, or %v", err)
	}
}

// keys has a key of each type that can sign assertions.
func keys(t *testing.T) map[jose.SignatureAlgorithm]crypto.Signer {
	t.Helper()
	must := func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return map[jose.SignatureAlgorithm]crypto.Signer{
		jose.RS256: must(rsa.GenerateKey(rand.Reader, 2048)),
		jose.ES256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		jose.ES384: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		jose.ES512: must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		jose.EdDSA: must(ed, err),
	}
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(t *testing.T, key any) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8(t, key)})
}

func TestPrivateKeyFiles(t *testing.T) { // docs/contract.md §2: PKCS #8, PKCS #1, SEC 1
	all := keys(t)
	sec1, err := x509.MarshalECPrivateKey(all[jose.ES384].(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		kind string
		der  []byte
		ok   bool
	}{
		"PKCS #8 EC":      {"PRIVATE KEY", pkcs8(t, all[jose.ES384]), true},
		"PKCS #8 RSA":     {"PRIVATE KEY", pkcs8(t, all[jose.RS256]), true},
		"PKCS #8 Ed25519": {"PRIVATE KEY", pkcs8(t, all[jose.EdDSA]), true},
		"PKCS #1":         {"RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(all[jose.RS256].(*rsa.PrivateKey)), true},
		"SEC 1":           {"EC PRIVATE KEY", sec1, true},
		"P-224":           {"PRIVATE KEY", pkcs8(t, p224), false},
		"garbage":         {"PRIVATE KEY", []byte("x"), false},
		"public":          {"PUBLIC KEY", []byte("x"), false},
	} {
		content := pem.EncodeToMemory(&pem.Block{Type: tc.kind, Bytes: tc.der})
		if err := clientauth.CheckPrivateKey(content); (err == nil) != tc.ok {
			t.Errorf("%s: got %v", name, err)
		}
		c := clientauth.Config{Method: clientauth.PrivateKeyJWT, ClientID: "gate", KeyFile: file(t, content)}
		if _, err := clientauth.New(c, clientauth.Options{Log: quiet()}); (err == nil) != tc.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
