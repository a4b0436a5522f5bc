package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

const namespace = "gate"

// TestChartOnANode installs the chart in a real Kubernetes, under the security
// level restricted, and asks the Pods for decisions while things happen to them.
func TestChartOnANode(t *testing.T) {
	if work == "" {
		t.Skip("run.sh runs this where it can make a node")
	}
	startNode(t)
	issuer, ca := startIssuer(t)
	restricted(t, namespace)
	apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: issuer-ca, namespace: "+namespace+"}\n"+
		"data:\n  ca.crt: |\n"+indent(ca))
	config := gateConfig(issuer.URL())
	token := issuer.JWT(devissuer.Claims{"sub": "alice", "aud": "orders-api", "scope": "orders:read", "client_id": "shop"})
	release := &installation{name: "gate"}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(podLogs())
		}
	})

	t.Run("install", func(t *testing.T) {
		release.must(t, config, "install", "--wait", "--timeout", "90s")
	})
	if t.Failed() {
		return
	}
	t.Run("helm test", func(t *testing.T) {
		if err := execute(inWork("helm"), "test", release.name, "--namespace", namespace, "--timeout", "60s"); err != nil {
			t.Error(err)
		}
	})
	t.Run("rolling update", func(t *testing.T) {
		before := release.pods(t)
		load := startLoad(t, release.target(t), token)
		release.must(t, config, "upgrade", "--wait", "--timeout", "120s", "--set-string", "podAnnotations.roll=1")
		eventually(t, "the Pods of before", func() error {
			if old := len(common(before, release.pods(t))); old > 0 {
				return fmt.Errorf("%d still get requests", old)
			}
			return nil
		})
		allAllowed(t, load.stop())
	})
	t.Run("configuration that Bearergate rejects", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		err := release.helm(t, config+"no_such_key: 1\n", "upgrade", "--timeout", "60s") // the hook finds it
		allAllowed(t, load.stop())
		if err == nil {
			t.Error("got an upgrade that succeeds")
		}
	})
	t.Run("the right one after it", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		release.must(t, config, "upgrade", "--wait", "--timeout", "120s")
		allAllowed(t, load.stop())
	})
	t.Run("issuer that nobody can reach", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		typo := strings.Replace(config, ":8443", ":8444", 1)
		if err := release.helm(t, typo, "upgrade", "--wait", "--timeout", "25s"); err == nil {
			t.Error("got an upgrade that succeeds")
		}
		release.must(t, config, "upgrade", "--wait", "--timeout", "120s")
		allAllowed(t, load.stop())
	})
	t.Run("eviction", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		evict(t, release)
		allAllowed(t, load.stop())
	})
	t.Run("shares of three replicas", func(t *testing.T) {
		startGateway(t, release.service()+"-headless", token)
		shares(t, release.pods(t), token)
	})
}

// evict has each Pod of a release evicted, as a drain of its node does: a
// disruption that the budget does not allow yet is asked for again.
func evict(t *testing.T, r *installation) {
	t.Helper()
	before := r.pods(t)
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct{ PodIP netip.Addr }
		}
	}
	base := "/api/v1/namespaces/" + namespace + "/pods"
	getJSON(t, base, &list)
	for _, pod := range list.Items {
		if !slices.Contains(before, pod.Status.PodIP) {
			continue
		}
		name := pod.Metadata.Name
		body := fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q}}`, name)
		eventually(t, "eviction of "+name, func() error {
			path := base + "/" + name + "/eviction"
			_, err := server.do(t.Context(), http.MethodPost, path, "application/json", []byte(body))
			return err
		})
	}
	eventually(t, "Pods in place of the evicted ones", func() error {
		if now := r.pods(t); len(now) != len(before) || len(common(before, now)) > 0 {
			return fmt.Errorf("got %v after %v", now, before)
		}
		return nil
	})
}

func getJSON(t *testing.T, path string, into any) {
	t.Helper()
	content, err := server.get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatal(err)
	}
}

// installation is one release of the chart.
type installation struct{ name string }

// helm installs or upgrades it, with three replicas of the image that the node has.
func (r *installation) helm(t *testing.T, config, action string, args ...string) error {
	t.Helper()
	file := inWork("bearergate.yaml")
	write(t, file, config)
	return execute(inWork("helm"), append([]string{
		action, r.name, root + "/helm/bearergate", "--namespace", namespace, "--set-file", "config=" + file,
		"--set", "image.repository=" + repository + ",image.tag=test,image.pullPolicy=Never,replicaCount=3",
		"--set", "caBundles[0].name=issuer,caBundles[0].configMapName=issuer-ca",
	}, args...)...)
}

func (r *installation) must(t *testing.T, config, action string, args ...string) {
	t.Helper()
	if err := r.helm(t, config, action, args...); err != nil {
		t.Fatal(err)
	}
}

// target is the address of its Service.
func (r *installation) target(t *testing.T) string {
	t.Helper()
	addresses := server.lookup(t.Context(), r.service()+"."+namespace+".svc.cluster.local.")
	if len(addresses) == 0 {
		t.Fatalf("got no Service %s", r.service())
	}
	return addresses[0].String() + ":9191"
}

// pods are the addresses of those that get requests.
func (r *installation) pods(t *testing.T) []netip.Addr {
	t.Helper()
	return server.endpoints(t.Context(), namespace, r.service())
}

// common returns what is in both.
func common(a, b []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(a), func(x netip.Addr) bool { return !slices.Contains(b, x) })
}

func (r *installation) service() string { return r.name + "-bearergate" }

// gateConfig is a configuration with one issuer.
func gateConfig(issuer string) string {
	return `server: {admin_address: ":9192"}
auth:
  issuer: ` + issuer + `
  audience: orders-api
  ca_file: /etc/bearergate/ca/issuer/ca.crt
`
}

// allAllowed wants a good deal of answers, and all of them right.
func allAllowed(t *testing.T, answers map[string]int) {
	t.Helper()
	t.Logf("answers: %v", answers)
	if answers["allowed"] < 100 || len(answers) != 1 {
		t.Errorf("got answers %v, want at least 100 and all of them allowed", answers)
	}
}

// startIssuer serves an authorization server at the node's address, and
// returns what its certificate is trusted by.
func startIssuer(t *testing.T) (issuer *devissuer.Issuer, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
		IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", address+":8443", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	issuer = devissuer.New("https://"+address+":8443", nil)
	service := &http.Server{Handler: issuer, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = service.Serve(listener) }()
	t.Cleanup(func() { _ = service.Close() })
	return issuer, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
}

// apply stores an object.
func apply(t *testing.T, text string) {
	t.Helper()
	objects, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if err := server.apply(t.Context(), o, false); err != nil {
			t.Fatal(fmt.Errorf("%s: %w", o, err))
		}
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

// podLogs returns what the Pods printed, and what Kubernetes says about them.
func podLogs() string {
	content, err := server.get(context.Background(), "/api/v1/namespaces/"+namespace+"/events")
	if err != nil {
		return err.Error()
	}
	var list struct {
		Items []struct {
			InvolvedObject struct{ Name string }
			Reason         string
			Message        string
		}
	}
	if err := json.Unmarshal(content, &list); err != nil {
		return err.Error()
	}
	var events strings.Builder
	for _, e := range list.Items {
		fmt.Fprintf(&events, "%s: %s: %s\n", e.InvolvedObject.Name, e.Reason, e.Message)
	}
	logs := output("sh", "-c", "tail -n 20 /var/log/pods/"+namespace+"_*/*/*.log")
	return tail([]byte(events.String())) + "\n" + tail(logs)
}
