package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// applySecret stores a Secret.
func applySecret(t *testing.T, name string, data map[string]string) {
	t.Helper()
	text := "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nstringData:\n"
	for key, value := range data {
		text += "  " + key + ": |\n" + indent(value)
	}
	apply(t, text)
}

// applyClientSecret stores what the Pods introspect by.
func applyClientSecret(t *testing.T, secret string) {
	t.Helper()
	applySecret(t, "oauth-client", map[string]string{"client_secret": secret})
}

// rotateClientSecret gives the client a new secret as operators do: the
// authorization server accepts both until every Pod has the new one.
func rotateClientSecret(t *testing.T, r *installation, issuer *authServer) {
	t.Helper()
	pods := r.pods(t)
	load := startGatewayLoad(t, issuer)
	issuer.accept("first-secret", "second-secret")
	applyClientSecret(t, "second-secret")
	begin := time.Now()
	eventually(t, "the new secret at every Pod", func() error {
		for _, pod := range pods {
			if got := issuer.shows(pod); got != "second-secret" {
				return fmt.Errorf("%s: got %s", pod, got)
			}
		}
		return nil
	})
	t.Logf("shown by every Pod after %s", time.Since(begin).Round(time.Second))
	issuer.accept("second-secret")
	time.Sleep(3 * time.Second) // longer than an answer is cached
	allRight(t, load.stop())
	if n := issuer.turnedAway(); n != 0 {
		t.Errorf("got %d calls with a secret that is not accepted, want none", n)
	}
	if now := r.pods(t); len(common(pods, now)) != len(pods) {
		t.Errorf("got Pods %v after %v, want the same", now, pods)
	}
}

// rotateCertificate gives a release that speaks TLS another certificate, while
// it is asked by connections of before and by new ones.
func rotateCertificate(t *testing.T, config, token string) {
	t.Helper()
	const secret = "gate-certificate"
	r := &installation{name: "tls"}
	host := r.service() + "." + namespace + ".svc"
	first, second := newCertificate(t, host), newCertificate(t, host)
	applySecret(t, secret, first.files)
	config = strings.Replace(config, "server: {",
		"server: {tls: {cert_file: /etc/bearergate/tls/tls.crt, key_file: /etc/bearergate/tls/tls.key}, ", 1)
	r.must(t, config, "install", "--wait", "--timeout", "90s", "--set", "replicaCount=1,tls.secretName="+secret)
	r.test(t)

	trusted := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: host, MinVersion: tls.VersionTLS13}
	trusted.RootCAs.AddCert(first.certificate)
	trusted.RootCAs.AddCert(second.certificate)
	target := r.target(t)
	load := startTLSLoad(t, target, trusted, token)
	applySecret(t, secret, second.files)
	begin := time.Now()
	eventually(t, "the new certificate", func() error {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", target, withH2(trusted))
		if err != nil {
			return err
		}
		defer conn.Close()
		if !conn.ConnectionState().PeerCertificates[0].Equal(second.certificate) {
			return errors.New("got the one of before")
		}
		return nil
	})
	t.Logf("served after %s", time.Since(begin).Round(time.Second))
	allRight(t, load.stop())
	if err := execute(inWork("helm"), "uninstall", r.name, "--namespace", namespace, "--wait"); err != nil {
		t.Error(err)
	}
	if err := server.remove(t.Context(), "/api/v1/namespaces/"+namespace+"/secrets/"+secret); err != nil {
		t.Error(err)
	}
}

// withH2 offers HTTP/2, without which gRPC ends the handshake.
func withH2(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	return config
}

// startTLSLoad asks by one connection that is kept, and by one for each Check.
func startTLSLoad(t *testing.T, target string, config *tls.Config, token string) *load {
	t.Helper()
	dial := func() (*grpc.ClientConn, error) {
		return grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	}
	kept, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	return startAsking(t,
		func() string { return check(authv3.NewAuthorizationClient(kept), token) },
		func() string {
			conn, err := dial()
			if err != nil {
				return err.Error()
			}
			defer conn.Close()
			return check(authv3.NewAuthorizationClient(conn), token)
		},
	)
}

// certificate is one with the files of a Secret.
type certificate struct {
	certificate *x509.Certificate
	files       map[string]string
}

func newCertificate(t *testing.T, host string) certificate {
	t.Helper()
	pair := selfSigned(t, &x509.Certificate{DNSNames: []string{host}})
	parsed, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: parsed.Raw}))
	return certificate{parsed, map[string]string{
		"tls.crt": chain, "ca.crt": chain,
		"tls.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
	}}
}
