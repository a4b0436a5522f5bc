// Package monitoring asks a real Prometheus about the dashboard and the alerts
// that the chart ships: a query may be well formed and name series that exist,
// and still never return anything.
package monitoring

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

const root = "../.."

var tools = sync.OnceValues(func() (string, error) {
	cmd := exec.Command(filepath.Join(root, "test", "tools", "prometheus.sh"))
	var said strings.Builder
	cmd.Stderr = &said
	path, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 77 {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("%w: %s", err, said.String())
	}
	return strings.TrimSpace(string(path)), nil
})

// tool returns the path of a program of Prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	folder, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	if folder == "" {
		t.Skip("left out: no Prometheus can be had here")
	}
	return filepath.Join(folder, name)
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// alerts are the names of the chart's alerts, and rules is the file that
// Prometheus reads them from, next to which the case's own files may lie. The
// manifest is the chart's golden one, which the tests of the chart keep true.
func alerts(t *testing.T) (names []string, rules string) {
	t.Helper()
	manifests := yaml.NewDecoder(strings.NewReader(
		read(t, filepath.Join(root, "test", "kubernetes", "testdata", "observability", "golden.yaml"))))
	for {
		var m struct {
			Kind string
			Spec yaml.Node
		}
		if err := manifests.Decode(&m); err != nil {
			t.Fatalf("no PrometheusRule in the manifest: %v", err)
		}
		if m.Kind != "PrometheusRule" {
			continue
		}
		var spec struct {
			Groups []struct{ Rules []struct{ Alert string } }
		}
		content, err := yaml.Marshal(&m.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, &spec); err != nil {
			t.Fatal(err)
		}
		for _, g := range spec.Groups {
			for _, r := range g.Rules {
				names = append(names, r.Alert)
			}
		}
		rules = filepath.Join(t.TempDir(), "rules.yaml")
		write(t, rules, string(content))
		return names, rules
	}
}

// TestAlertsFireWhenTheyShould has promtool read the rules and play the cases.
func TestAlertsFireWhenTheyShould(t *testing.T) {
	promtool := tool(t, "promtool")
	_, rules := alerts(t)
	cases := filepath.Join(filepath.Dir(rules), "alerts.yaml")
	write(t, cases, read(t, "testdata/alerts.yaml"))
	for _, arguments := range [][]string{{"check", "rules", rules}, {"test", "rules", cases}} {
		if output, err := exec.Command(promtool, arguments...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", arguments, err, output)
		}
	}
}

// TestEveryAlertHasBothCases: one where it fires, and one where it must not.
func TestEveryAlertHasBothCases(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert string `yaml:"alertname"`
				Want  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "testdata/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	names, _ := alerts(t)
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if !slices.Contains(names, c.Alert) {
				t.Errorf("the cases name %s, which the chart does not have", c.Alert)
			}
			fires[c.Alert] = fires[c.Alert] || len(c.Want) > 0
			rests[c.Alert] = rests[c.Alert] || len(c.Want) == 0
		}
	}
	for _, name := range names {
		if !fires[name] || !rests[name] {
			t.Errorf("%s: a case where it fires: %v; where it does not: %v; want both", name, fires[name], rests[name])
		}
	}
}

// config has an issuer that answers and one that nobody reaches, and fetches
// keys as soon as a token names one that is not known.
func config(issuer, unreachable string) string {
	return `server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}
issuers:
  - {issuer: "` + issuer + `", audience: api, token_validation: both, client_id: gate, client_secret: s3cret,
     insecure_http: true, opaque_token_prefix: good}
  - {issuer: "` + unreachable + `", audience: api, insecure_http: true}
jwks: {min_refresh_interval: 1s}
rules:
  - {name: public, match: {paths: ["/public"]}, access: public}
  - {name: write, match: {paths: ["/write"]}, scopes: ["orders:write"]}
  - {name: closed, match: {paths: ["/closed"]}, access: deny}
  - {name: own, match: {paths: ["/own"]}, issuers: ["` + issuer + `"], upstream_token: {audience: [upstream]}}
resources:
  - resource: https://api.example.com/mcp
`
}

// fleet has a store, and a transmitter of events that is silent.
func fleet(t *testing.T, issuer string) string {
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, strings.Repeat("k", 32))
	return fmt.Sprintf("shared: {address: %q, key_file: %q}\nrevocation: {receiver_address: %q, events: "+
		"[{transmitter: %q, issuer: %q, audience: gate}]}\n",
		"redis://"+harness.StartRedis(t).Address, key, harness.Free(t), issuer, issuer)
}

// TestEachQueryReturnsData makes every kind of traffic and of trouble, and asks
// what Grafana would ask.
func TestEachQueryReturnsData(t *testing.T) {
	_, rules := alerts(t)
	issuer := harness.Issuer(t)
	good := config(issuer.URL(), "http://"+harness.Free(t)) + fleet(t, issuer.URL())
	service := harness.Serve(t, good)
	prometheus := scrape(t, tool(t, "prometheus"), service.Admin, rules)
	harness.Eventually(t, "the first scrape", func() bool {
		return len(prometheus.query(t, `bearergate_build_info`)) > 0
	})
	harness.Eventually(t, "the issuer is ready", func() bool {
		return service.Metric(t, fmt.Sprintf("bearergate_issuer_ready{issuer=%q}", issuer.URL())) == 1
	})
	// A rate is of what changes between two scrapes.
	traffic(t, service, issuer)
	harness.Eventually(t, "a scrape after the first calls", func() bool {
		return len(prometheus.query(t, `bearergate_introspection_requests_total{result="inactive"}`)) > 0
	})
	traffic(t, service, issuer)
	trouble(t, service, issuer, good)
	for title, queries := range panels(t) {
		for _, query := range queries {
			harness.Eventually(t, title+": "+query+" returns a number", func() bool {
				return slices.ContainsFunc(prometheus.query(t, query), func(v float64) bool { return !math.IsNaN(v) })
			})
		}
	}
	for _, failed := range panels(t)["Refreshes that failed"] {
		harness.Eventually(t, failed+" shows what failed", func() bool {
			return slices.ContainsFunc(prometheus.query(t, failed), func(v float64) bool { return v > 0 })
		})
	}
	if got := prometheus.names(t, "namespace"); !slices.Contains(got, "security") {
		t.Errorf("the dashboard's variable offers namespaces %q", got)
	}
	prometheus.wantAlerts(t, map[string]bool{
		"BearergateDown": false, "BearergateKeysStale": false, "BearergateUnavailableDecisions": true,
		"BearergateErrorRate": true, "BearergateIssuerNotReady": true, "BearergateConfigReloadFailed": true,
		"BearergateConfigPending": true, "BearergateSharedStoreDown": false, "BearergateRevocationsFull": false,
	})
}

// traffic is allowed, answered by Bearergate itself, and refused for each kind of
// reason: the client's, the rule's, the route's.
func traffic(t *testing.T, service *harness.Service, issuer *devissuer.Issuer) {
	t.Helper()
	client := service.Client(t)
	jwt := func(claims devissuer.Claims) string {
		all := devissuer.Claims{"sub": "alice", "aud": "api", "scope": "orders:read"}
		for name, value := range claims {
			all[name] = value
		}
		return "Bearer " + issuer.JWT(all)
	}
	opaque := "Bearer " + issuer.Opaque("good", devissuer.Claims{"sub": "bob", "aud": "api"})
	for _, c := range []struct{ path, authorization, reason string }{
		{"/orders", jwt(nil), "allowed"},
		{"/orders", opaque, "allowed"},
		{"/orders", opaque, "allowed"},
		{"/orders", "Bearer good-for-nothing-" + rand.Text(), "inactive"},
		{"/orders", "", "no_token"},
		{"/orders", jwt(devissuer.Claims{"exp": 1}), "expired"},
		{"/orders", jwt(devissuer.Claims{"aud": "other"}), "wrong_audience"},
		{"/write", jwt(nil), "insufficient_scope"},
		{"/closed", jwt(nil), "forbidden"},
		{"/public", "", "public"},
		{"/own", jwt(nil), "allowed"},
		{"/.well-known/oauth-protected-resource/mcp", "", "metadata"},
	} {
		if got, _, err := harness.Ask(t.Context(), client, c.path, c.authorization); got != c.reason {
			t.Errorf("%s: got %s, want %s (%v)", c.path, got, c.reason, err)
		}
	}
	typo := harness.Check("GET", "api.example.com", "/orders", nil, map[string]string{"bearergate.rule": "nope"})
	if response, err := client.Check(t.Context(), typo); harness.Reason(response) != "misconfigured" {
		t.Errorf("got %v, want misconfigured (%v)", response, err)
	}
}

// trouble opens the circuit breaker, breaks keys and configuration, and
// leaves a new configuration waiting.
func trouble(t *testing.T, service *harness.Service, issuer *devissuer.Issuer, config string) {
	t.Helper()
	client := service.Client(t)
	issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: http.StatusInternalServerError})
	for n := range 20 {
		_, _, _ = harness.Ask(t.Context(), client, "/orders", fmt.Sprintf("Bearer good%d", n))
	}
	issuer.Rotate(0)
	issuer.Behave(devissuer.PathJWKS, devissuer.Behaviour{Status: http.StatusInternalServerError})
	token := "Bearer " + issuer.JWT(devissuer.Claims{"aud": "api"})
	failures := fmt.Sprintf("bearergate_jwks_refreshes_total{issuer=%q,result=\"failure\"}", issuer.URL())
	harness.Eventually(t, "keys that cannot be fetched", func() bool {
		_, _, _ = harness.Ask(t.Context(), client, "/orders", token)
		return service.Metric(t, failures) > 0
	})
	service.Write(t, config+"nope: true\n")
	service.Signal(syscall.SIGHUP)
	harness.Eventually(t, "a configuration that is refused", func() bool {
		return service.Metric(t, `bearergate_config_reloads_total{result="failure"}`) > 0
	})
	service.Write(t, strings.Replace(config, "issuers:\n",
		"issuers:\n  - {issuer: \"http://"+harness.Free(t)+"\", audience: api, insecure_http: true}\n", 1))
	service.Signal(syscall.SIGHUP)
	harness.Eventually(t, "a configuration that waits", func() bool {
		return service.Metric(t, "bearergate_config_pending") == 1
	})
}

// panels are the queries of the dashboard, as Grafana sends them.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	file := filepath.Join(root, "helm", "bearergate", "dashboards", "bearergate.json")
	if err := json.Unmarshal([]byte(read(t, file)), &dashboard); err != nil {
		t.Fatal(err)
	}
	filled := strings.NewReplacer("$__rate_interval", "1m", "$namespace", "security")
	all := map[string][]string{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], filled.Replace(target.Expr))
		}
	}
	if len(all) < 10 {
		t.Fatalf("got %d panels, want at least 10", len(all))
	}
	return all
}

// server is a running Prometheus.
type server struct {
	*harness.Process

	url string
}

// scrape starts Prometheus, which asks target every second and labels its series
// as it would those of the release's Pod.
func scrape(t *testing.T, binary, target, rules string) server {
	t.Helper()
	dir := t.TempDir()
	file, address := filepath.Join(dir, "prometheus.yaml"), harness.Free(t)
	write(t, file, `global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: ["`+rules+`"]
scrape_configs:
  - job_name: bearergate
    static_configs:
      - targets: ["`+target+`"]
        labels: {namespace: security, pod: gate-bearergate-0}
`)
	s := server{url: "http://" + address}
	s.Process = harness.Run(t, nil, binary, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	s.Wait(t, s.url+"/-/ready", http.StatusOK)
	return s
}

// api asks for a path of the HTTP API and reads its data.
func (s server) api(t *testing.T, path string, data any) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url+"/api/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %d %v\n%s", path, response.StatusCode, err, body)
	}
	if err := json.Unmarshal(body, &struct{ Data any }{data}); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, body)
	}
}

// query returns the values of each series that a query returns now.
func (s server) query(t *testing.T, query string) []float64 {
	t.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	s.api(t, "query?query="+url.QueryEscape(query), &data)
	values := make([]float64, len(data.Result))
	for n, r := range data.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		values[n] = value
	}
	return values
}

// names returns what label_values(bearergate_build_info, label) offers.
func (s server) names(t *testing.T, label string) []string {
	t.Helper()
	var names []string
	s.api(t, "label/"+label+"/values?match[]=bearergate_build_info", &names)
	return names
}

// wantAlerts waits until Prometheus has evaluated each alert, and those that
// should be are pending or fire. Others of the chart may be either.
func (s server) wantAlerts(t *testing.T, want map[string]bool) {
	t.Helper()
	type rule struct{ Name, State, Health, LastError string }
	var got map[string]rule
	right := func() bool {
		var data struct{ Groups []struct{ Rules []rule } }
		s.api(t, "rules?type=alert", &data)
		got = map[string]rule{}
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				got[r.Name] = r
			}
		}
		for name, active := range want {
			if r := got[name]; r.Health != "ok" || (r.State != "inactive") != active {
				return false
			}
		}
		for _, r := range got {
			if r.Health != "ok" {
				return false
			}
		}
		return true
	}
	defer func() {
		if t.Failed() {
			t.Logf("alerts: %+v", got)
		}
	}()
	harness.Eventually(t, "the alerts", right)
}
