package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// client is what introspection is asked as, by whichever secret is accepted.
const client = "bearergate"

// authServer is an authorization server whose client's secret can be rotated.
type authServer struct {
	*devissuer.Issuer
	own string // the secret that the issuer knows, and nobody else

	mu       sync.Mutex
	accepted []string
	shown    map[netip.Addr]string // by whom, the last secret
	turned   int                   // away, for their secret
}

// ServeHTTP lets in whoever shows an accepted secret.
func (a *authServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, secret, ok := r.BasicAuth(); ok && id == client {
		a.mu.Lock()
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
			a.shown[from.Addr()] = secret
		}
		if slices.Contains(a.accepted, secret) {
			r.SetBasicAuth(client, a.own)
		} else {
			a.turned++
		}
		a.mu.Unlock()
	}
	a.Issuer.ServeHTTP(w, r)
}

// token returns a new JWT for an audience, which the Pods decide themselves.
func (a *authServer) token(audience string) string { return a.JWT(claims(audience)) }

// opaque returns a new token, about which the Pods ask.
func (a *authServer) opaque() string { return a.Opaque("", claims("orders-api")) }

func claims(audience string) devissuer.Claims {
	return devissuer.Claims{"sub": "alice", "aud": audience, "scope": "orders:read", "client_id": "shop"}
}

// accept has these secrets accepted from now on, and no other.
func (a *authServer) accept(secrets ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted = secrets
}

// shows returns the secret that a Pod showed last.
func (a *authServer) shows(pod netip.Addr) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown[pod]
}

// turnedAway returns how many calls had a secret that was not accepted.
func (a *authServer) turnedAway() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.turned
}

// startIssuer serves an authorization server at the node's address, and
// returns what its certificate is trusted by.
func startIssuer(t *testing.T, secret string) (issuer *authServer, ca string) {
	t.Helper()
	own := rand.Text()
	issuer = &authServer{own: own, accepted: []string{secret}, shown: map[netip.Addr]string{}}
	issuer.Issuer = devissuer.New("https://"+address+":8443", map[string]string{client: own})
	certificate := serveTLS(t, address+":8443", issuer)
	return issuer, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
}

// serveTLS serves until the end of the test, and returns the certificate.
func serveTLS(t *testing.T, at string, handler http.Handler) (certificate []byte) {
	t.Helper()
	pair := selfSigned(t, &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(address)}})
	listener, err := tls.Listen("tcp", at, &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	service := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = service.Serve(listener) }()
	t.Cleanup(func() { _ = service.Close() })
	return pair.Certificate[0]
}

// selfSigned returns a certificate that is its own authority, for an hour.
func selfSigned(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	template.IsCA, template.BasicConstraintsValid = true, true
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}
}
