package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	texttemplate "text/template"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
)

// labels of each series, those of Kubernetes besides: a closed set, and API.
var series = map[string][]string{
	"bearergate_checks_total":                           {"decision", "reason"},
	"bearergate_check_duration_seconds_bucket":          {"decision", "le"},
	"bearergate_cache_requests_total":                   {"cache", "result"},
	"bearergate_cache_entries":                          {"cache"},
	"bearergate_introspection_requests_total":           {"issuer", "result"},
	"bearergate_introspection_duration_seconds_bucket":  {"issuer", "le"},
	"bearergate_introspection_breaker_open":             {"issuer"},
	"bearergate_token_exchange_requests_total":          {"issuer", "result"},
	"bearergate_token_exchange_duration_seconds_bucket": {"issuer", "le"},
	"bearergate_jwks_refreshes_total":                   {"issuer", "result"},
	"bearergate_jwks_last_success_timestamp_seconds":    {"issuer"},
	"bearergate_discovery_refreshes_total":              {"issuer", "result"},
	"bearergate_issuer_ready":                           {"issuer"},
	"bearergate_config_reloads_total":                   {"result"},
	"bearergate_config_pending":                         {},
	"bearergate_shadow_total":                           {"reason"},
	"bearergate_decision_log_dropped_total":             {},
	"bearergate_proofs_total":                           {"result"},
	"bearergate_revocations_total":                      {"issuer", "source"},
	"bearergate_revocation_entries":                     {},
	"bearergate_events_total":                           {"transmitter", "result"},
	"bearergate_event_stream_age_seconds":               {"transmitter"},
	"bearergate_shared_up":                              {},
	"bearergate_shared_requests_total":                  {"operation", "result"},
	"bearergate_shared_lag_seconds":                     {},
	"bearergate_build_info":                             {"version", "commit", "go_version"},
}

// checkQuery wants PromQL that names only series and labels there are.
func checkQuery(query string) error {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	var wrong error
	known := map[string]bool{"namespace": true, "pod": true, "__name__": true}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			labels, there := series[selector.Name]
			if !there {
				wrong = fmt.Errorf("%s: no such metric: %s", query, selector.Name)
			}
			for _, l := range labels {
				known[l] = true
			}
			for _, m := range selector.LabelMatchers {
				if !slices.Contains(labels, m.Name) && m.Name != "namespace" && m.Name != "pod" && m.Name != "__name__" {
					wrong = fmt.Errorf("%s: %s has no label %s", query, selector.Name, m.Name)
				}
			}
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if aggregate, ok := node.(*parser.AggregateExpr); ok {
			for _, l := range aggregate.Grouping {
				if !known[l] {
					wrong = fmt.Errorf("%s: grouped by %s, which no series has", query, l)
				}
			}
		}
		return nil
	})
	return wrong
}

func TestCheckQuery(t *testing.T) {
	for _, query := range []string{
		"sum(", "up", `bearergate_checks_total{result="a"}`, "sum by (issuer) (bearergate_cache_entries)",
	} {
		if checkQuery(query) == nil {
			t.Errorf("%s: got no error", query)
		}
	}
}

func TestAlerts(t *testing.T) {
	rule := find[monitoringv1.PrometheusRule](t, objects(t, "observability"))
	alerts := map[string]monitoringv1.Rule{}
	for _, r := range rule.Spec.Groups[0].Rules {
		alerts[r.Alert] = r
		if err := checkQuery(r.Expr.String()); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if r.Labels["severity"] == "" || r.Labels["team"] != "platform" {
			t.Errorf("%s: got labels %v", r.Alert, r.Labels)
		}
		for name, text := range r.Annotations {
			checkAnnotation(t, r.Alert+" "+name, text)
		}
	}
	for _, name := range []string{
		"Down", "UnavailableDecisions", "ErrorRate", "IssuerNotReady", "KeysStale", "ConfigReloadFailed", "Latency",
		"SharedStoreDown", "SharedLag", "SharedUnreadable", "EventStreamSilent", "EventsRefused", "RevocationsFull",
	} {
		if _, ok := alerts["Bearergate"+name]; !ok {
			t.Errorf("got %v, want %s", slices.Sorted(maps.Keys(alerts)), name)
		}
	}
}

// checkAnnotation parses what Prometheus will fill in.
func checkAnnotation(t *testing.T, name, text string) {
	t.Helper()
	functions := texttemplate.FuncMap{"humanizePercentage": fmt.Sprint, "humanizeDuration": fmt.Sprint}
	if _, err := texttemplate.New(name).Funcs(functions).Parse("{{ $labels := . }}{{ $value := . }}" + text); err != nil {
		t.Error(err)
	}
}

func TestDashboard(t *testing.T) {
	var config *corev1.ConfigMap
	for _, o := range objects(t, "observability") {
		if c, ok := o.(*corev1.ConfigMap); ok && c.Labels["grafana_dashboard"] == "1" {
			config = c
		}
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(config.Data["bearergate.json"]), &dashboard); err != nil {
		t.Fatal(err)
	}
	replace := strings.NewReplacer("$__rate_interval", "5m", "$namespace", "security")
	ids, shown := map[int]bool{}, map[string]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: got id %d at %+v", p.Title, p.ID, p.GridPos)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if err := checkQuery(replace.Replace(target.Expr)); err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
			for name := range series {
				shown[name] = shown[name] || strings.Contains(target.Expr, name)
			}
		}
	}
	for name := range series {
		if !shown[name] {
			t.Errorf("%s: on no panel", name)
		}
	}
}
