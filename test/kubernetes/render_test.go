package kubernetes

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	sets := map[string][]string{"defaults": nil, "ci": {"--values", chart + "/ci/minimal-values.yaml"}}
	for _, name := range cases(t) {
		sets[name] = arguments(name)
	}
	for name, args := range sets {
		t.Run(name, func(t *testing.T) {
			out, errs, err := helm(append([]string{"lint", "--strict", chart}, args...)...)
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, errs)
			}
		})
	}
}

func TestGolden(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			golden(t, filepath.Join("testdata", name, "golden.yaml"), rendered(t, name))
		})
	}
}

// TestNeverFailsOpen is A-12, for all that is rendered or shown.
func TestNeverFailsOpen(t *testing.T) {
	texts := map[string]string{}
	for _, name := range cases(t) {
		texts[name] = rendered(t, name) + notes(t, name)
	}
	for _, file := range chains {
		texts[file] = read(t, file)
	}
	for name, text := range texts {
		folded := strings.NewReplacer("_", "", " ", "", `"`, "").Replace(strings.ToLower(text))
		for _, open := range []string{"failuremodeallow:true", "failopen:true", "shadowmode:true", "disabled:true"} {
			if strings.Contains(folded, open) {
				t.Errorf("%s: got %s: nothing may pass undecided", name, open)
			}
		}
	}
}

// notes returns what a user reads after the installation.
func notes(t *testing.T, name string) string {
	t.Helper()
	return notesOf(t, arguments(name)[:2]...)
}

func notesOf(t *testing.T, args ...string) string {
	t.Helper()
	all := []string{"install", "gate", chart, "--namespace", "security", "--dry-run=client", "--output", "json"}
	out, errs, err := helm(append(all, args...)...)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	var release struct {
		Info struct {
			Notes string `json:"notes"`
		} `json:"info"`
	}
	if err := json.Unmarshal([]byte(out), &release); err != nil {
		t.Fatal(err)
	}
	if release.Info.Notes == "" {
		t.Fatal("no notes")
	}
	return release.Info.Notes
}

type mistake struct{ name, config, set, want string }

// tooLate would install, and then fail or mislead.
var tooLate = []mistake{
	{"port unquoted", "server: {grpc_address: 9191}", "", `server.grpc_address: got 9191, want ":PORT" in quotes`},
	{"admin port unquoted", "server: {admin_address: 9192}", "", `server.admin_address: got 9192, want ":PORT" in quotes`},
	{"server is no mapping", "server: 5", "", "config: server: got 5, want a mapping"},
	{"headers are no mapping", "headers: [x-a]", "", `config: headers: got ["x-a"], want a mapping`},
	{"one port twice", `server: {grpc_address: ":9192"}`, "", "got port 9192 for grpc_address and admin_address"},
	{"probes on the gRPC port", `server: {probe_address: ":9191"}`, "", "got port 9191 for probe_address and another one"},
	{"probes on the admin port", `server: {probe_address: ":9192"}`, "", "got port 9192 for probe_address and another one"},
	{"least above most", "realm: a", "autoscaling.enabled=true,autoscaling.minReplicas=11", "got minReplicas 11, want at most maxReplicas 10"},
	{"request above its limit", "realm: a", "resources.requests.memory=1Gi", "got a request of 1Gi memory, want at most the limit of 512Mi"},
	{"request above its limit, in thousandths", "realm: a", "resources.requests.cpu=2001m", "got a request of 2001m cpu"},
	{"grace below the drain", "server: {drain_delay: 10s}", "shutdown.terminationGracePeriodSeconds=36", "got 36, want at least 37"},
	{"secret of nobody", "auth: {client_secret_file: /etc/bearergate/secrets/oauth/secret}", "", `config: auth.client_secret_file: got "/etc/bearergate/secrets/oauth/secret", which nothing mounts`},
	{"secret of another name", "issuers: [{client_key_file: /etc/bearergate/secrets/oauths/key}]", "secrets[0].name=oauth,secrets[0].secretName=b", "config: issuers[0].client_key_file"},
	{"key not picked", "auth: {client_secret_file: /etc/bearergate/secrets/oauth/secret}", "secrets[0].name=oauth,secrets[0].secretName=b,secrets[0].keys[0]=c", "secrets picks other keys of oauth: c"},
	{"anchors of nobody", "auth: {ca_file: /etc/bearergate/ca/internal/ca.crt}", "", "config: auth.ca_file"},
	{"relative file", "auth: {jwks_file: keys.json}", "", "config: auth.jwks_file"},
	{"secret twice", "realm: a", "secrets[0].name=a,secrets[0].secretName=b,secrets[1].name=a,secrets[1].secretName=c", "secrets: got a twice"},
	{"receiver of several replicas", `revocation: {receiver_address: ":9194"}`, "", "each event and logout token reaches one of up to 2 replicas"},
	{"poller of several replicas", "revocation: {events: [{delivery: poll}]}", "replicaCount=3", "one of up to 3 replicas"},
	{"logout of several replicas", "revocation: {backchannel_logout: [a]}", "", "one of up to 2 replicas"},
	{"receiver that is scaled", `revocation: {receiver_address: ":9194"}`, "replicaCount=1,autoscaling.enabled=true", "one of up to 10 replicas"},
	{"receiver on loopback", `revocation: {receiver_address: "127.0.0.1:9194"}`, "replicaCount=1", "revocation.receiver_address: got \"127.0.0.1:9194\""},
	{"receiver unquoted", "revocation: {receiver_address: 9194}", "replicaCount=1", `revocation.receiver_address: got 9194, want ":PORT" in quotes`},
	{"receiver on the gRPC port", `revocation: {receiver_address: ":9191"}`, "replicaCount=1", "got port 9191, which another listener has"},
	{"receiver on the probe port", "{server: {probe_address: \":9193\"}, revocation: {receiver_address: \":9193\"}}", "replicaCount=1", "got port 9193, which another"},
	{"receiver that nobody reaches", `revocation: {receiver_address: ":9194"}`, "replicaCount=1,networkPolicy.enabled=true", "networkPolicy.senders: missing"},
	{"senders to nothing", "realm: a", "networkPolicy.enabled=true,networkPolicy.senders[0].podLabels.a=b", "revocation.receiver_address: missing"},
	{"certificate of no receiver", `revocation: {receiver_address: ":9194"}`, "replicaCount=1,receiver.tlsSecretName=a", "revocation.receiver_tls: missing"},
	{"key of no store", "realm: a", "shared.keySecretName=a", "config: shared: missing"},
	{"password of no store", "realm: a", "shared.passwordSecretName=a", "config: shared: missing"},
	{"anchors of no store", "realm: a", "shared.tlsSecretName=a", "config: shared: missing"},
	{"key that nothing mounts", "shared: {key_file: /etc/bearergate/shared/key/a}", "shared.passwordSecretName=a", "config: shared.key_file"},
	{"admin token that nothing mounts", "server: {admin_token_file: /etc/bearergate/admin/token}", "", "config: server.admin_token_file"},
	{"admin token that nobody asks for", "realm: a", "admin.tokenSecretName=a", "config: server.admin_token_file: missing"},
	{"port in a variable", "shared: {address: 'redis://${STORE}'}", "networkPolicy.enabled=true", "networkPolicy.storePorts: missing"},
	{"port of a cluster in a variable", "shared: {address: ['redis://a', '${STORE}']}", "networkPolicy.enabled=true", "networkPolicy.storePorts: missing"},
	{"store is no mapping", "shared: redis", "", `config: shared: got "redis", want a mapping`},
	{"revocation is no mapping", "revocation: true", "", "config: revocation: got true, want a mapping"},
	{"label of the selector", "realm: a", `commonLabels.app\.kubernetes\.io/instance=b`, "commonLabels: got app.kubernetes.io/instance, which is the chart's own"},
	{"label of the selector on Pods", "realm: a", `podLabels.app\.kubernetes\.io/name=b`, "podLabels: got app.kubernetes.io/name"},
	{"label of Helm", "realm: a", `commonLabels.app\.kubernetes\.io/managed-by=b`, "commonLabels: got app.kubernetes.io/managed-by"},
}

// TestFilesThatAreThere is the other side of the above.
func TestFilesThatAreThere(t *testing.T) {
	for file, set := range map[string]string{
		"/etc/ssl/certs/ca-certificates.crt": "",
		"${DIR}/secret":                      "",
		"":                                   "",
		"/etc/bearergate/secrets/a/b":        "secrets[0].name=a,secrets[0].secretName=b,secrets[0].keys[0]=b",
		"/etc/bearergate/ca/a/b":             "caBundles[0].name=a,caBundles[0].configMapName=b",
		"/vault/b":                           "extraVolumes[0].name=a,extraVolumeMounts[0].name=a,extraVolumeMounts[0].mountPath=/vault/",
		"/vault":                             "extraVolumes[0].name=a,extraVolumeMounts[0].name=a,extraVolumeMounts[0].mountPath=/vault",
	} {
		render(t, fmt.Sprintf("auth: {ca_file: %q}", file), "--set", set)
	}
}

// TestImage: a registry of one's own takes the place of the one there is.
func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for set, want := range map[string]string{
		"":                           "ghcr.io/bearergate/bearergate:0.1.0",
		"image.tag=v1":               "ghcr.io/bearergate/bearergate:v1",
		"image.registry=a.example":   "a.example/bearergate/bearergate:0.1.0",
		"global.imageRegistry=b:5/c": "b:5/c/bearergate/bearergate:0.1.0",
		"global.imageRegistry=b.example,image.registry=a.example/": "a.example/bearergate/bearergate:0.1.0",
		"image.registry=a.example,image.repository=team/gate":      "a.example/team/gate:0.1.0",
		"image.registry=a.example,image.repository=localhost/gate": "a.example/gate:0.1.0",
		"image.repository=gate,image.digest=" + digest:             "gate@" + digest,
	} {
		if got := render(t, "realm: a", "--set", set).Containers[0].Image; got != want {
			t.Errorf("%s: got %s, want %s", set, got, want)
		}
	}
}

// TestMistakes is what the chart refuses, and says why.
func TestMistakes(t *testing.T) {
	const listening = "server: {probe_address: \":9193\"}\n"
	tests := []mistake{
		{"no configuration", "", "", "config: missing"},
		{"not YAML", "a: [", "", "config: not YAML"},
		{"socket", "server: {grpc_address: unix:///a}", "", `server.grpc_address: got "unix:///a", want ":PORT"`},
		{"loopback", `server: {grpc_address: "127.0.0.1:9191"}`, "", "server.grpc_address"},
		{"port from the environment", `server: {grpc_address: ":${PORT}"}`, "", "server.grpc_address"},
		{"admin port from the environment", `server: {admin_address: ":${PORT}"}`, "", "server.admin_address"},
		{"probes on loopback", `server: {probe_address: "127.0.0.1:9193"}`, "", "server.probe_address"},
		{"no duration", "server: {drain_delay: soon}", "", `server.drain_delay: got "soon"`},
		{"certificate not used", listening, "tls.secretName=x", "config: server.tls: missing"},
		{"certificate not mounted", "server: {tls: {cert_file: a}}", "", "tls: missing"},
		{"metrics out of reach", "realm: a", "metrics.podMonitor.enabled=true", "server.probe_address"},
		{"scraped out of reach", "realm: a", "networkPolicy.enabled=true,networkPolicy.scrapers[0].podLabels.a=b", "server.probe_address"},
		{"probes with TLS out of reach", "server: {tls: {cert_file: a}}", "tls.secretName=x", "server.probe_address"},
		{"two monitors", listening, "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true", "both enabled"},
		{"certificate of nobody", listening + "  ", "tls.certManager.enabled=true", "server.tls: missing"},
		{"no metric to scale by", listening, "autoscaling.enabled=true,autoscaling.targetCPUUtilizationPercentage=null", "autoscaling: no metric"},
		{"policy of nothing", listening, "envoyGateway.securityPolicy.enabled=true", "targetRefs: missing"},
		{"filter of everything", listening, "istio.envoyFilter.enabled=true", "selector: missing"},
		{"asked twice", listening, "istio.authorizationPolicy.enabled=true,istio.envoyFilter.enabled=true,istio.envoyFilter.selector.a=b", "asked about twice"},
		{"TLS to plain text", listening, "istio.destinationRule.enabled=true", "needs tls"},
		{"selector and target", listening, "istio.authorizationPolicy.enabled=true,istio.authorizationPolicy.selector.a=b,istio.authorizationPolicy.targetRefs[0].kind=Gateway,istio.authorizationPolicy.targetRefs[0].name=a", "want one of them"},
	}
	for _, test := range append(tests, tooLate...) {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"--set-literal", "config=" + test.config}
			if test.set != "" {
				args = append(args, "--set", test.set)
			}
			_, errs, err := template(args...)
			if err == nil {
				t.Fatal("got no error")
			}
			if !strings.Contains(errs, test.want) || strings.Contains(errs, "wrong type") {
				t.Errorf("got %q, want %q in it", errs, test.want)
			}
		})
	}
}
