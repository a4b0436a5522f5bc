package validation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/validation"
)

func base64URL(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestClientAuthentication(t *testing.T) { // I-02
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte("s3cret&%:é\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*validation.Config){
		"basic":       func(*validation.Config) {},
		"post":        func(c *validation.Config) { c.ClientAuthMethod = validation.AuthPost },
		"bearer":      func(c *validation.Config) { c.ClientAuthMethod = validation.AuthBearer },
		"secret file": func(c *validation.Config) { c.ClientSecret, c.ClientSecretFile = "", secretFile },
		"signed":      func(c *validation.Config) { c.IntrospectionResponse = validation.ResponseJWT },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, change)
			b.want(t, b.as.Opaque("", claims{"sub": "alice"}), nil)
			b.want(t, "unknown", validation.ErrInactive)
		})
	}
	wrong := newBench(t, func(c *validation.Config) { c.ClientSecret = "wrong" })
	wrong.want(t, wrong.as.Opaque("", nil), validation.ErrUnavailable) // never a 401
}

func TestPrivateKeyJWT(t *testing.T) { // RFC 7523 §2.2
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	var url string
	var problem error
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != devissuer.PathIntrospection {
			fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":%q}`, url, url+devissuer.PathIntrospection)
			return
		}
		problem = checkAssertion(r, private, url)
		fmt.Fprint(w, `{"active":true}`)
	}))
	defer server.Close()
	url = server.URL
	issuer := against(t, url, func(c *validation.Config) {
		c.ClientAuthMethod, c.ClientKeyFile, c.ClientKeyID = validation.AuthPrivateKeyJWT, file, "k1"
	})
	if _, err := issuer.Validate(t.Context(), "token"); err != nil || problem != nil {
		t.Errorf("got %v, %v", err, problem)
	}
}

func checkAssertion(r *http.Request, private *ecdsa.PrivateKey, issuer string) error {
	if got := r.PostFormValue("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return fmt.Errorf("client_assertion_type is %q", got)
	}
	assertion, err := jwt.ParseSigned(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return err
	}
	var c jwt.Claims
	if err := assertion.Claims(private.Public(), &c); err != nil {
		return err
	}
	if assertion.Headers[0].KeyID != "k1" || c.ID == "" || c.Expiry == nil {
		return fmt.Errorf("kid, jti or exp is missing: %+v %+v", assertion.Headers, c)
	}
	return c.Validate(jwt.Expected{Issuer: "gate", Subject: "gate", AnyAudience: jwt.Audience{issuer}, Time: time.Now()})
}

func TestSignedAnswers(t *testing.T) { // I-12, RFC 9701
	now := time.Now().Unix()
	inner := claims{"active": true, "sub": "alice"}
	for name, tc := range map[string]struct {
		typ, kind string
		change    claims
		want      error
	}{
		"good":            {want: nil},
		"inactive":        {change: claims{"token_introspection": claims{"active": false}}, want: validation.ErrInactive},
		"typ of a token":  {typ: "at+jwt", want: validation.ErrUnavailable},
		"another issuer":  {change: claims{"iss": "https://evil.example"}, want: validation.ErrUnavailable},
		"for another":     {change: claims{"aud": "someone"}, want: validation.ErrUnavailable},
		"no audience":     {change: claims{"aud": nil}, want: validation.ErrUnavailable},
		"no iat":          {change: claims{"iat": nil}, want: validation.ErrUnavailable},
		"active outside":  {change: claims{"token_introspection": nil, "active": true}, want: validation.ErrUnavailable},
		"plain JSON type": {kind: "application/json", want: validation.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *validation.Config) { c.IntrospectionResponse = validation.ResponseJWT })
			all := claims{"iss": b.as.URL(), "aud": "gate", "iat": now, "token_introspection": inner}
			for n, v := range tc.change {
				all[n] = v
				if v == nil {
					delete(all, n)
				}
			}
			if tc.typ == "" {
				tc.typ = "token-introspection+jwt"
			}
			if tc.kind == "" {
				tc.kind = "application/token-introspection+jwt"
			}
			body := devissuer.Sign(b.as.Key(), map[string]any{"typ": tc.typ}, all)
			b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 200, Kind: tc.kind, Body: body})
			b.want(t, "token", tc.want)
			b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{
				Status: 200, Kind: tc.kind, Body: body[:len(body)-8] + "AAAAAAAA",
			})
			b.want(t, "forged", validation.ErrUnavailable)
		})
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := validation.Config{ClientSecret: "s3cret"}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		string(encoded), fmt.Sprint(c),
		fmt.Sprintf("%v %+v %#v %s %x %q", c, c, c, c.ClientSecret, c.ClientSecret, c.ClientSecret),
	} {
		for _, leak := range []string{"s3cret", fmt.Sprintf("%x", "s3cret")} {
			if contains(s, leak) {
				t.Errorf("%q leaks the secret", s)
			}
		}
	}
}

func TestTLSClientAuth(t *testing.T) { // RFC 8705 §2
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
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, kind string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var url string
	var presented []*x509.Certificate
	var client string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != devissuer.PathIntrospection {
			fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":%q}`, url, url+devissuer.PathIntrospection)
			return
		}
		presented, client = r.TLS.PeerCertificates, r.PostFormValue("client_id")
		fmt.Fprint(w, `{"active":true}`)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	url = server.URL
	issuer := against(t, url, func(c *validation.Config) {
		c.ClientAuthMethod, c.ClientCertFile, c.ClientKeyFile = validation.AuthTLS, file("c.pem", "CERTIFICATE", der), file("k.pem", "PRIVATE KEY", key)
		c.CAFile = file("ca.pem", "CERTIFICATE", server.Certificate().Raw)
	})
	if _, err := issuer.Validate(t.Context(), "token"); err != nil {
		t.Fatal(err)
	}
	if len(presented) != 1 || presented[0].DNSNames[0] != "gate" || client != "gate" {
		t.Errorf("got %v and client_id %q", presented, client)
	}
}
