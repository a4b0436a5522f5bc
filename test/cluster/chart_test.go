package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const namespace = "gate"

// TestChartOnANode installs the chart in a real Kubernetes, under the security
// level restricted, and asks the Pods for decisions while things happen to them.
func TestChartOnANode(t *testing.T) {
	if work == "" {
		t.Skip("run.sh runs this where it can make a node")
	}
	startNode(t)
	issuer, ca := startIssuer(t, "first-secret")
	restricted(t, namespace)
	apply(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: issuer-ca, namespace: "+namespace+"}\n"+
		"data:\n  ca.crt: |\n"+indent(ca))
	applyClientSecret(t, "first-secret")
	config := gateConfig(issuer.URL())
	token := issuer.token("orders-api")
	release := &installation{name: "gate"}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(podLogs())
		}
	})
	eventually(t, "what Kubernetes itself puts into a namespace", func() error {
		base := "/api/v1/namespaces/" + namespace
		_, errAnchors := server.get(t.Context(), base+"/configmaps/kube-root-ca.crt")
		_, errAccount := server.get(t.Context(), base+"/serviceaccounts/default")
		return errors.Join(errAnchors, errAccount)
	})
	before := stored(t)

	t.Run("install", func(t *testing.T) {
		release.must(t, config, "install", "--wait", "--timeout", "90s")
	})
	if t.Failed() {
		return
	}
	t.Run("helm test", release.test)
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
		allRight(t, load.stop())
	})
	t.Run("configuration that Bearergate rejects", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		err := release.helm(t, config+"no_such_key: 1\n", "upgrade", "--timeout", "60s") // the hook finds it
		allRight(t, load.stop())
		if err == nil {
			t.Error("got an upgrade that succeeds")
		}
	})
	t.Run("the right one after it", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		release.must(t, config, "upgrade", "--wait", "--timeout", "120s")
		allRight(t, load.stop())
	})
	t.Run("issuer that nobody can reach", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		typo := strings.Replace(config, ":8443", ":8444", 1)
		if err := release.helm(t, typo, "upgrade", "--wait", "--timeout", "25s"); err == nil {
			t.Error("got an upgrade that succeeds")
		}
		release.must(t, config, "upgrade", "--wait", "--timeout", "120s")
		allRight(t, load.stop())
	})
	t.Run("eviction", func(t *testing.T) {
		load := startLoad(t, release.target(t), token)
		evict(t, release)
		allRight(t, load.stop())
	})
	// From here on by an Envoy as NOTES.txt shows it.
	startGateway(t, release, token)
	t.Run("shares of three replicas", func(t *testing.T) { shares(t, release.pods(t), token) })
	t.Run("killed process", func(t *testing.T) {
		load := startGatewayLoad(t, issuer)
		kill(t, release, load)
		// Those that were under way, and no later one: it is asked of another Pod. The new process cannot decide before
		// it has the issuer's keys (D-15), and says so to who asks it meanwhile.
		answers := load.stop()
		rightBut(t, answers, map[string]int{unasked: askers, undecided: answers[allowed] / 10})
		shares(t, release.pods(t), token)
	})
	t.Run("rotation of the client secret", func(t *testing.T) { rotateClientSecret(t, release, issuer) })
	t.Run("memory of 20 MiB", func(t *testing.T) {
		load := startGatewayLoad(t, issuer)
		littleMemory(t, release, config+"realm: little\n")
		allRight(t, load.stop())
	})
	t.Run("rollback", func(t *testing.T) {
		load := startGatewayLoad(t, issuer)
		rollBack(t, release)
		allRight(t, load.stop())
	})
	t.Run("autoscaling", func(t *testing.T) {
		load := startGatewayLoad(t, issuer)
		autoscale(t, release, config)
		allRight(t, load.stop())
	})
	t.Run("rotation of the certificate", func(t *testing.T) { rotateCertificate(t, config, token) })
	t.Run("uninstall", func(t *testing.T) { uninstall(t, release, config, before) })
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
		"--set", "secrets[0].name=oauth,secrets[0].secretName=oauth-client",
	}, args...)...)
}

func (r *installation) must(t *testing.T, config, action string, args ...string) {
	t.Helper()
	if err := r.helm(t, config, action, args...); err != nil {
		t.Fatal(err)
	}
}

// test is helm test.
func (r *installation) test(t *testing.T) {
	if err := execute(inWork("helm"), "test", r.name, "--namespace", namespace, "--timeout", "60s"); err != nil {
		t.Error(err)
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

// gateConfig is a configuration with one issuer, which is asked about opaque
// tokens, and about the same one again each second.
func gateConfig(issuer string) string {
	return `server: {probe_address: ":9193"}
auth:
  issuer: ` + issuer + `
  audience: orders-api
  ca_file: /etc/bearergate/ca/issuer/ca.crt
  request_timeout: 4s
  token_validation: both
  client_id: ` + client + `
  client_secret_file: /etc/bearergate/secrets/oauth/client_secret
cache: {ttl: 1s, negative_ttl: 1s}
`
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
