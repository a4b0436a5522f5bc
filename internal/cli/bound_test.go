package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestExplainOfBoundTokens walks the code of serve with a proof and a certificate, and
// prints neither.
func TestExplainOfBoundTokens(t *testing.T) {
	as, client := issuer(t), devissuer.NewProver()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	toKey := as.JWT(devissuer.Claims{"aud": "api", "cnf": devissuer.Claims{"jkt": client.Thumbprint()}})
	toCertificate := as.JWT(devissuer.Claims{"aud": "api", "cnf": devissuer.Claims{
		"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:]),
	}})
	const url = "https://api.example.com/orders"
	proofs := map[string]string{
		"proof":       client.Proof("GET", url, toKey, nil),
		"plain-proof": client.Proof("GET", "http://api.example.com/orders", toKey, nil),
	}
	auth := "auth: {issuer: '" + as.URL() + "', audience: api, insecure_http: true}\n"
	all := map[string]string{
		"off.yaml": auth, "on.yaml": auth + "dpop: {}\nmtls: {}\n",
		"key": toKey, "certificate": toCertificate + "\n", "proof": proofs["proof"] + "\n", "plain-proof": proofs["plain-proof"],
		"cert.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "junk.pem": "junk",
	}
	dir := files(t, all)
	in := func(flag, name string) string { return "--" + flag + "=" + filepath.Join(dir, name) }
	on, off := in("config", "on.yaml"), in("config", "off.yaml")
	for name, tc := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"proof":             {[]string{on, in("token-file", "key"), in("dpop-file", "proof")}, 0, "reason: allowed"},
		"steps":             {[]string{on, in("token-file", "key"), in("dpop-file", "proof")}, 0, "binding htu"},
		"no proof":          {[]string{on, in("token-file", "key")}, 3, "hint: the token is bound to a key of its client: send it with the scheme DPoP"},
		"off":               {[]string{off, in("token-file", "key")}, 3, "hint: the token is bound to a key of its client: dpop: {}"},
		"off, proof":        {[]string{off, in("token-file", "key"), in("dpop-file", "proof")}, 3, "reason: no_token"},
		"another method":    {[]string{on, in("token-file", "key"), in("dpop-file", "proof"), "--method=PUT"}, 3, "reason: invalid_proof"},
		"another scheme":    {[]string{on, in("token-file", "key"), in("dpop-file", "plain-proof")}, 3, "dpop.origins has what clients use"},
		"scheme":            {[]string{on, in("token-file", "key"), in("dpop-file", "plain-proof"), "--scheme=http"}, 0, "reason: allowed"},
		"certificate":       {[]string{on, in("token-file", "certificate"), in("client-cert-file", "cert.pem")}, 0, "reason: allowed"},
		"no certificate":    {[]string{on, in("token-file", "certificate")}, 3, "include_peer_certificate: true"},
		"junk":              {[]string{on, in("token-file", "certificate"), in("client-cert-file", "junk.pem")}, 1, "junk.pem: does not begin with a certificate"},
		"no such proof":     {[]string{on, in("token-file", "key"), in("dpop-file", "none")}, 1, "no such file"},
		"no token, a proof": {[]string{on, in("dpop-file", "proof")}, 3, "reason: no_token"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"explain", "--host=api.example.com", "--path=/orders"}, tc.args...)
			if status := Run(t.Context(), build, args, &out, &out); status != tc.status || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), tc.want) {
				t.Errorf("got status %d and %s, want %d and %q", status, &out, tc.status, tc.want)
			}
			for _, secret := range []string{toKey, toCertificate, proofs["proof"], proofs["plain-proof"]} {
				if strings.Contains(out.String(), secret) {
					t.Error("a token or a proof was printed")
				}
			}
		})
	}
}

// TestExplainShowsNoUpstreamToken: that there is one, it says.
func TestExplainShowsNoUpstreamToken(t *testing.T) {
	as := issuer(t)
	const secret = "s3cret-of-the-upstream"
	as.Behave(devissuer.PathToken, devissuer.Behaviour{Status: 200, Body: `{"access_token":"` + secret + `","token_type":"Bearer",` +
		`"expires_in":60,"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`})
	dir := files(t, map[string]string{
		"token": as.JWT(devissuer.Claims{"sub": "alice", "aud": "api"}),
		"gate.yaml": "auth: {issuer: '" + as.URL() + "', audience: api, insecure_http: true, client_id: gate, client_secret: s3cret}\nrules:\n" +
			"- {name: a, match: {paths: [/a]}, upstream_token: {audience: [b]}}\n" +
			"- {name: b, match: {paths: [/b]}, upstream_token: {audience: [b], header: X-Upstream-Token}}\n",
	})
	for _, path := range []string{"/a", "/b"} {
		for _, output := range []string{"text", "json"} {
			var out bytes.Buffer
			status := Run(t.Context(), build, []string{
				"explain", "--config=" + filepath.Join(dir, "gate.yaml"), "--token-file=" + filepath.Join(dir, "token"),
				"--path=" + path, "--output=" + output,
			}, &out, &out)
			if status != 0 || strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "[redacted]") ||
				!strings.Contains(out.String(), "alice") {
				t.Errorf("%s as %s: got %d and %s", path, output, status, &out)
			}
		}
	}
}
