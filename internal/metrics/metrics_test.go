package metrics_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/validation"
)

// state is what is asked for when the metrics are read.
type state struct {
	issuers map[string]error
	entries map[string]int
	pending error
	fleet   metrics.Fleet
}

func (s *state) Issuers() map[string]error { return s.issuers }
func (s *state) Entries() map[string]int   { return s.entries }
func (s *state) Pending() error            { return s.pending }
func (s *state) Shares() metrics.Fleet     { return s.fleet }

// scrape reads m as Prometheus does, and returns our own samples: series and
// value.
func scrape(t *testing.T, read func(*httptest.ResponseRecorder)) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	read(w)
	body, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("got status %d and %v, want 200", w.Code, err)
	}
	samples := map[string]string{}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimSpace(line)
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "bearergate_") && at > 0 {
			samples[line[:at]] = line[at+1:]
		}
	}
	return samples
}

func reader(m *metrics.Metrics, s *state) func(*httptest.ResponseRecorder) {
	handler := m.Handler(s)
	return func(w *httptest.ResponseRecorder) {
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	}
}

func want(t *testing.T, samples map[string]string, series, value string) {
	t.Helper()
	if got, ok := samples[series]; !ok || got != value {
		t.Errorf("%s: got %q, want %q", series, got, value)
	}
}

// decisionOf says again, and apart from the code, what dashboards sum up by.
func decisionOf(r authz.Reason) string {
	switch r.String() {
	case "allowed", "public":
		return "allow"
	case "metadata":
		return "serve"
	}
	return "deny"
}

func checks(r authz.Reason) string {
	return `bearergate_checks_total{decision="` + decisionOf(r) + `",reason="` + r.String() + `"}`
}

// Alerts on a reason that has not come up yet need its zero.
func TestEveryReasonHasItsSeriesFromTheStart(t *testing.T) {
	samples := scrape(t, reader(metrics.New("v", "c"), &state{}))
	for _, r := range authz.Reasons() {
		want(t, samples, checks(r), "0")
	}
	for _, d := range []string{"allow", "deny", "serve"} {
		want(t, samples, `bearergate_check_duration_seconds_count{decision="`+d+`"}`, "0")
	}
	for _, r := range []string{"success", "failure"} {
		want(t, samples, `bearergate_config_reloads_total{result="`+r+`"}`, "0")
	}
	want(t, samples, `bearergate_build_info{commit="c",go_version="`+runtime.Version()+`",version="v"}`, "1")
}

// TestShadowsAreCountedApart: for the alarms on denies they are none.
func TestShadowsAreCountedApart(t *testing.T) {
	m := metrics.New("v", "c")
	read := reader(m, &state{})
	m.Checks().End(t.Context(), envoy.Event{Decision: &authz.Decision{Reason: authz.NoToken, Shadow: true}})
	got := scrape(t, read)
	for series, want := range map[string]string{
		`bearergate_shadow_total{reason="no_token"}`:                  "1",
		`bearergate_shadow_total{reason="expired"}`:                   "0",
		`bearergate_checks_total{decision="allow",reason="no_token"}`: "1",
		`bearergate_checks_total{decision="deny",reason="no_token"}`:  "0",
		`bearergate_check_duration_seconds_count{decision="allow"}`:   "1",
	} {
		if value, ok := got[series]; !ok || value != want {
			t.Errorf("%s: got %q, want %q", series, value, want)
		}
	}
}

func TestDecisionsAreCountedByReason(t *testing.T) {
	m := metrics.New("v", "c")
	read := reader(m, &state{})
	for n, r := range authz.Reasons() {
		for range n + 1 {
			m.Checks().End(t.Context(), envoy.Event{Decision: &authz.Decision{Reason: r}, Took: time.Millisecond})
		}
	}
	samples := scrape(t, read)
	total := map[string]int{}
	for n, r := range authz.Reasons() {
		want(t, samples, checks(r), strconv.Itoa(n+1))
		total[decisionOf(r)] += n + 1
	}
	for d, n := range total {
		want(t, samples, `bearergate_check_duration_seconds_count{decision="`+d+`"}`, strconv.Itoa(n))
	}
}

// Nothing that a client can choose may become a label: every one would be a
// series that stays until the process ends.
func TestLabelsComeFromClosedSets(t *testing.T) {
	m := metrics.New("v", "c")
	read := reader(m, &state{})
	before := scrape(t, read)
	const hostile = "client-s-own-words"
	for _, reason := range []authz.Reason{authz.Allowed, authz.Expired, 200, 255} {
		m.Checks().End(t.Context(), envoy.Event{
			Request: &authz.Request{
				ID: hostile, Method: hostile, Host: hostile, Path: hostile, Authorization: []string{hostile},
				Route: authz.Route{Rule: hostile, Issuer: hostile, Audience: hostile, Unknown: hostile},
			},
			Decision: &authz.Decision{Reason: reason, Rule: hostile, Issuer: hostile, Challenges: []string{hostile}, Err: errors.New(hostile)},
			Took:     time.Millisecond,
		})
	}
	after := scrape(t, read)
	if got, want := series(after), series(before); !slices.Equal(got, want) {
		t.Errorf("got other series after hostile requests than before: %q, want %q", got, want)
	}
	// What is no reason is a fault of ours, and counted as one.
	want(t, after, checks(authz.Internal), "2")
}

func series(samples map[string]string) []string {
	var all []string
	for s := range samples {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

const issuer = `{issuer="https://as.example.com"`

// told tells m of everything that is known of one issuer.
func told(m *metrics.Metrics, name string) {
	ctx, down := context.Background(), errors.New("down")
	for _, e := range []discovery.Event{
		{Operation: discovery.OperationMetadata}, {Operation: discovery.OperationMetadata, Err: down},
		{Operation: discovery.OperationKeys}, {Operation: discovery.OperationKeys, Err: down}, {Operation: discovery.OperationKeys, Err: down},
	} {
		e.Issuer = name
		m.Discovery().End(ctx, e)
	}
	for _, result := range []string{"active", "inactive", "rejected", "error"} {
		m.Validation().End(ctx, validation.Event{
			Operation: validation.OperationIntrospection, Issuer: name, Result: result, Took: time.Millisecond,
		})
	}
	m.Validation().End(ctx, validation.Event{Operation: validation.OperationBreaker, Issuer: name, Down: true})
}

func TestRefreshesAndCalls(t *testing.T) {
	m := metrics.New("v", "c")
	s := &state{issuers: map[string]error{"https://as.example.com": nil}, entries: map[string]int{"jwt": 3}}
	read := reader(m, s)
	told(m, "https://as.example.com")
	m.Validation().End(t.Context(), validation.Event{Operation: validation.OperationCache, Cache: "jwt", Result: "hit"})
	m.Reload(nil)
	m.Reload(errors.New("invalid"))
	m.Reload(errors.New("invalid"))
	samples := scrape(t, read)
	for series, value := range map[string]string{
		"discovery_refreshes_total" + issuer + `,result="success"}`:     "1",
		"discovery_refreshes_total" + issuer + `,result="failure"}`:     "1",
		"jwks_refreshes_total" + issuer + `,result="success"}`:          "1",
		"jwks_refreshes_total" + issuer + `,result="failure"}`:          "2",
		"introspection_requests_total" + issuer + `,result="active"}`:   "1",
		"introspection_requests_total" + issuer + `,result="rejected"}`: "1",
		"introspection_duration_seconds_count" + issuer + "}":           "4",
		"introspection_breaker_open" + issuer + "}":                     "1",
		"issuer_ready" + issuer + "}":                                   "1",
		`cache_requests_total{cache="jwt",result="hit"}`:                "1",
		`cache_entries{cache="jwt"}`:                                    "3",
		`config_reloads_total{result="success"}`:                        "1",
		`config_reloads_total{result="failure"}`:                        "2",
		"config_pending":                                                "0",
	} {
		want(t, samples, "bearergate_"+series, value)
	}
	if samples["bearergate_jwks_last_success_timestamp_seconds"+issuer+"}"] == "" {
		t.Error("got no time of the last success")
	}

	m.Validation().End(t.Context(), validation.Event{
		Operation: validation.OperationBreaker, Issuer: "https://as.example.com",
	})
	s.issuers["https://as.example.com"] = errors.New("down")
	s.entries = map[string]int{"introspection": 1}
	s.pending = errors.New("not fetched yet")
	samples = scrape(t, read)
	want(t, samples, "bearergate_introspection_breaker_open"+issuer+"}", "0")
	want(t, samples, "bearergate_issuer_ready"+issuer+"}", "0")
	want(t, samples, `bearergate_cache_entries{cache="introspection"}`, "1")
	want(t, samples, "bearergate_config_pending", "1")
	want(t, samples, "bearergate_decision_log_dropped_total", "0")
	m.Unwritten(3)
	want(t, scrape(t, read), "bearergate_decision_log_dropped_total", "3")
	want(t, samples, `bearergate_proofs_total{result="replayed"}`, "0")
	m.Proof("replayed")
	m.Proof("whatever a client likes")
	want(t, scrape(t, read), `bearergate_proofs_total{result="replayed"}`, "1")
	if _, ok := samples[`bearergate_cache_entries{cache="jwt"}`]; ok {
		t.Error("got entries of a cache that is gone, want none")
	}
}

// The time of the last success must not move by a failure: it is what alerts on
// old keys look at.
func TestFailedRefreshIsNoSuccess(t *testing.T) {
	m := metrics.New("v", "c")
	m.Discovery().End(t.Context(), discovery.Event{
		Operation: discovery.OperationKeys, Issuer: "https://as.example.com", Err: errors.New("down"),
	})
	samples := scrape(t, reader(m, &state{}))
	if got, ok := samples["bearergate_jwks_last_success_timestamp_seconds"+issuer+"}"]; ok {
		t.Errorf("got %s, want no time of a success that never was", got)
	}
}

func TestForgetDropsOneIssuer(t *testing.T) {
	m := metrics.New("v", "c")
	s := &state{issuers: map[string]error{"https://gone.example.com": nil, "https://stays.example.com": nil}}
	read := reader(m, s)
	told(m, "https://gone.example.com")
	told(m, "https://stays.example.com")
	before := scrape(t, read)
	delete(s.issuers, "https://gone.example.com")
	m.Forget("https://gone.example.com")
	after := scrape(t, read)
	for series := range before {
		_, kept := after[series]
		if gone := strings.Contains(series, "gone.example.com"); gone == kept {
			t.Errorf("%s: got kept %t, want %t", series, kept, !gone)
		}
	}
}
