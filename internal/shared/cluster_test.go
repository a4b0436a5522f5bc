package shared_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/shared"
)

// startCluster starts masters that share the slots.
func startCluster(t testing.TB, masters int) (all []*server) {
	t.Helper()
	var first []string
	for range masters {
		s := startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
		all = append(all, s)
		first = append(first, s.address)
	}
	all[0].cli(append(append([]string{"--cluster", "create"}, first...), "--cluster-yes")...)
	within(t, 20*time.Second, "cluster is there", func() bool {
		for _, s := range all {
			if !strings.Contains(s.cli("cluster", "info"), "cluster_state:ok") {
				return false
			}
		}
		return true
	})
	return all
}

func TestCluster(t *testing.T) {
	nodes := startCluster(t, 3)
	f := newFleet(t, nodes[0].address, nodes[1].address, nodes[2].address)
	a, b := f.following(), f.following()
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() {
			store := a.Store
			if i%2 == 0 {
				store = b.Store
			}
			value, _, err := store.Once(t.Context(), "s", keyOf(i/10), nil,
				func(context.Context) ([]byte, time.Duration, error) {
					made.Add(1)
					time.Sleep(20 * time.Millisecond)
					return []byte("v"), time.Minute, nil
				})
			if string(value) != "v" || err != nil {
				t.Errorf("got %q, %v", value, err)
			}
		})
	}
	all.Wait()
	if made.Load() != 30 {
		t.Errorf("made %d times, want once for each of 30", made.Load())
	}
	for i := range 30 {
		first, err := a.Claim(t.Context(), keyOf(i), time.Now().Add(time.Minute))
		again, err2 := b.Claim(t.Context(), keyOf(i), time.Now().Add(time.Minute))
		if !first || again || err != nil || err2 != nil {
			t.Errorf("got %t, %v, then %t, %v", first, err, again, err2)
		}
		a.revoke(fmt.Sprint(i))
	}
	within(t, time.Second, "known by the other", func() bool { return b.has("0", "29") })
	f.cfg.Address = f.cfg.Address[:1]
	if !f.following().has("0", "29") {
		t.Error("one address of the cluster leads to another log")
	}

	// A slot moves while it is in use.
	slot := nodes[0].cli("cluster", "keyslot", "bearergate:revocations")
	var from, to *server
	for i, n := range nodes {
		if n.cli("exists", "bearergate:revocations") == "1" {
			from, to = n, nodes[(i+1)%3]
		}
	}
	fromID, toID := from.cli("cluster", "myid"), to.cli("cluster", "myid")
	to.cli("cluster", "setslot", slot, "importing", fromID)
	from.cli("cluster", "setslot", slot, "migrating", toID)
	host, port, _ := net.SplitHostPort(to.address)
	from.cli("migrate", host, port, "bearergate:revocations", "0", "1000")
	for _, n := range []*server{to, from} {
		n.cli("cluster", "setslot", slot, "node", toID)
	}
	within(t, 5*time.Second, "shared after the move", func() bool { return a.revoke("moved") })
	within(t, 5*time.Second, "known after the move", func() bool { return b.has("moved") })

	// One node is gone: each replica is for itself, or asks the others.
	nodes[2].stop()
	for i := range 20 {
		value, _, err := a.Once(t.Context(), "t", keyOf(i), nil,
			func(context.Context) ([]byte, time.Duration, error) { return []byte("v"), time.Minute, nil })
		if string(value) != "v" || err != nil {
			t.Errorf("got %q, %v", value, err)
		}
	}
}

// authority issues certificates of a test.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir         string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.certificate, a.key = a.issue("ca", nil, nil)
	return a
}

// issue writes NAME.crt and NAME.key.
func (a *authority) issue(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, _ := x509.ParseCertificate(der)
	private, _ := x509.MarshalPKCS8PrivateKey(key)
	write(a.t, a.path(name+".crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(a.t, a.path(name+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return certificate, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func TestTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	for _, a := range []*authority{ours, theirs} {
		a.issue("server", a.certificate, a.key)
		a.issue("client", a.certificate, a.key)
	}
	redis := startRedis(t, "--port", "0", "--tls-port", "PORT", "--tls-cert-file", ours.path("server.crt"),
		"--tls-key-file", ours.path("server.key"), "--tls-ca-cert-file", ours.path("ca.crt"), "--tls-auth-clients", "yes")
	f := newFleet(t, "rediss://"+redis.address)
	f.cfg.CAFile, f.cfg.CertFile, f.cfg.KeyPEMFile = ours.path("ca.crt"), ours.path("client.crt"), ours.path("client.key")
	r := f.following()
	if !r.revoke("x") {
		t.Error("not shared")
	}
	strange := func(c *shared.Config, _ *shared.Options) {
		c.CAFile, c.CertFile, c.KeyPEMFile = theirs.path("ca.crt"), theirs.path("client.crt"), theirs.path("client.key")
	}
	for name, change := range map[string]func(*shared.Config, *shared.Options){
		"no client certificate": func(c *shared.Config, _ *shared.Options) { c.CertFile, c.KeyPEMFile = "", "" },
		"a stranger's certificate": func(c *shared.Config, _ *shared.Options) {
			c.CertFile, c.KeyPEMFile = theirs.path("client.crt"), theirs.path("client.key")
		},
		"other anchors":      func(c *shared.Config, _ *shared.Options) { c.CAFile = theirs.path("ca.crt") },
		"the system anchors": func(c *shared.Config, _ *shared.Options) { c.CAFile = "" },
	} {
		s := f.open(change)
		time.Sleep(400 * time.Millisecond)
		if s.Up() {
			t.Errorf("%s: up", name)
		}
	}
	// The anchors and the certificate are replaced by those that the server wants.
	s := f.open(strange)
	time.Sleep(1100 * time.Millisecond)
	for _, name := range []string{"ca.crt", "client.crt", "client.key"} {
		write(t, theirs.path(name), read(t, ours.path(name)))
	}
	within(t, 10*time.Second, "up", s.Up)
}
