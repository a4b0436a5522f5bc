package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{
		certificate: certificate, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
}

// issue returns a certificate for 127.0.0.1 with one more DNS name or URI.
func (a *authority) issue(t *testing.T, name string) (chain, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if u, err := url.Parse(name); err == nil && u.Scheme != "" {
		template.URIs = []*url.URL{u}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{
		Type: "PRIVATE KEY", Bytes: encoded,
	})
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask makes one call over a connection of its own.
func ask(t *testing.T, address string, creds credentials.TransportCredentials, token string) (string, error) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	reason, _, err := harness.Ask(ctx, authv3.NewAuthorizationClient(conn), "/", "Bearer "+token)
	return reason, err
}

func TestMutualTLS(t *testing.T) {
	issuer, ca, stranger := harness.Issuer(t), newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	chain, key := ca.issue(t, "bearergate")
	write(t, dir, "tls.crt", chain)
	write(t, dir, "tls.key", key)
	write(t, dir, "ca.crt", ca.pem)
	clientChain, clientKey := ca.issue(t, "envoy.example.com")
	settings := strings.Replace(harness.Config(issuer.URL()), `admin_address: "$ADMIN"`, fmt.Sprintf(
		`admin_address: "$ADMIN", tls: {cert_file: %[1]s/tls.crt, key_file: %[1]s/tls.key, client_ca_file: %[1]s/ca.crt, allowed_client_sans: ["spiffe://mesh/envoy", envoy.example.com]}`, dir), 1)
	service := harness.Serve(t, settings).Ready(t)
	token := issuer.JWT(claims{"aud": "api"})
	roots := x509.NewCertPool()
	roots.AddCert(ca.certificate)
	client := func(a *authority, name string) credentials.TransportCredentials {
		config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if a != nil {
			chain, key := a.issue(t, name)
			pair, err := tls.X509KeyPair(chain, key)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		return credentials.NewTLS(config)
	}
	for name, tc := range map[string]struct {
		creds credentials.TransportCredentials
		want  bool
	}{
		"allowed URI":       {client(ca, "spiffe://mesh/envoy"), true},
		"allowed DNS name":  {client(ca, "envoy.example.com"), true},
		"another URI":       {client(ca, "spiffe://mesh/envoy2"), false},
		"another name":      {client(ca, "x.envoy.example.com"), false},
		"another authority": {client(stranger, "envoy.example.com"), false},
		"no certificate":    {client(nil, ""), false},
		"no TLS":            {insecure.NewCredentials(), false},
	} {
		reason, err := ask(t, service.GRPC, tc.creds, token)
		if (err == nil && reason == "allowed") != tc.want {
			t.Errorf("%s: got %s, %v; want an answer %v", name, reason, err, tc.want)
		}
	}
	write(t, dir, "client.crt", clientChain)
	write(t, dir, "client.key", clientKey)
	health := []string{"health", "--address", service.GRPC, "--tls-ca", filepath.Join(dir, "ca.crt")}
	if output, err := exec.Command(harness.Binary(t), append(health, "--tls-cert", filepath.Join(dir, "client.crt"), "--tls-key", filepath.Join(dir, "client.key"))...).CombinedOutput(); err != nil {
		t.Errorf("health over mutual TLS: %v\n%s", err, output)
	}
	if err := exec.Command(harness.Binary(t), health...).Run(); err == nil {
		t.Error("health without a client certificate was answered")
	}
	// All three files are re-read: a new authority, on both sides.
	next := newAuthority(t)
	chain, key = next.issue(t, "bearergate")
	write(t, dir, "tls.crt", chain)
	write(t, dir, "tls.key", key)
	write(t, dir, "ca.crt", next.pem)
	roots.AddCert(next.certificate)
	harness.Eventually(t, "the new authority is known", func() bool {
		reason, err := ask(t, service.GRPC, client(next, "envoy.example.com"), token)
		return err == nil && reason == "allowed"
	})
	if _, err := ask(t, service.GRPC, client(ca, "envoy.example.com"), token); err == nil {
		t.Error("the old authority is still trusted")
	}
}

func TestUnixSocket(t *testing.T) {
	issuer := harness.Issuer(t)
	socket := filepath.Join(t.TempDir(), "authz.sock")
	for range 2 { // a socket that a killed process left is no obstacle
		service := harness.ServeAt(t, "unix://"+socket, harness.Free(t), harness.Config(issuer.URL())).Ready(t)
		if reason, err := ask(t, service.GRPC, insecure.NewCredentials(), issuer.JWT(claims{"aud": "api"})); err != nil || reason != "allowed" {
			t.Errorf("got %s, %v", reason, err)
		}
		service.Kill()
	}
}

// TestFilesOfTheIssuer rotates the client secret and the trust anchors under a
// running service.
func TestFilesOfTheIssuer(t *testing.T) {
	ca, next := newAuthority(t), newAuthority(t)
	clients := map[string]string{"gate": "first"}
	serve := func(a *authority, address string) (*devissuer.Issuer, *httptest.Server) {
		server := httptest.NewUnstartedServer(nil)
		if address != "" {
			_ = server.Listener.Close()
			var err error
			if server.Listener, err = net.Listen("tcp", address); err != nil {
				t.Fatal(err)
			}
		}
		chain, key := a.issue(t, "as")
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			t.Fatal(err)
		}
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
		issuer := devissuer.New("https://"+server.Listener.Addr().String(), clients)
		server.Config.Handler = issuer
		server.EnableHTTP2 = true
		server.StartTLS()
		return issuer, server
	}
	issuer, server := serve(ca, "")
	address := server.Listener.Addr().String()
	dir := t.TempDir()
	secret, anchors := write(t, dir, "secret", []byte("first\n")), write(t, dir, "ca.crt", ca.pem)
	settings := strings.Replace(harness.Config(issuer.URL()), "client_secret: s3cret", "client_secret_file: "+secret+"\n  ca_file: "+anchors, 1) + "cache: {ttl: 0s}\n"
	service := harness.Serve(t, strings.Replace(settings, "  insecure_http: true\n", "", 1)).Ready(t)
	client := service.Client(t)
	allowed := func() bool {
		reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+issuer.Opaque("", claims{"aud": "api"}))
		return err == nil && reason == "allowed"
	}
	if !allowed() {
		t.Fatal("not allowed at first")
	}
	server.CloseClientConnections()
	server.Close()
	clients["gate"] = "second"
	issuer, server = serve(next, address)
	defer server.Close()
	if allowed() {
		t.Error("a server with another authority's certificate was trusted")
	}
	write(t, dir, "secret", []byte("second"))
	write(t, dir, "ca.crt", next.pem)
	harness.Eventually(t, "the new secret and trust anchors are in use", allowed)
}
