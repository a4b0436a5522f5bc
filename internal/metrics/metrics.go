// Package metrics counts what the rooms tell of, as the Prometheus metrics of
// docs/contract.md §7. It decides nothing.
//
// Labels come from closed sets only, reasons, results and configured issuers: a
// label that a request can choose would let anybody fill the memory of whoever
// scrapes it.
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

// Metrics is a registry of its own. Its methods are safe for concurrent use.
type Metrics struct {
	registry registry

	checks   []prometheus.Counter // by reason, as shadows are
	shadows  []prometheus.Counter
	duration [authz.Serve + 1]prometheus.Observer

	decisions         *prometheus.CounterVec
	lookups           map[lookup]prometheus.Counter
	introspections    *prometheus.CounterVec
	introspectionTime *prometheus.HistogramVec
	breaker           *prometheus.GaugeVec
	exchanges         *prometheus.CounterVec
	exchangeTime      *prometheus.HistogramVec
	keys              *prometheus.CounterVec
	keysSuccess       *prometheus.GaugeVec
	discoveries       *prometheus.CounterVec
	ready             *prometheus.GaugeVec
	reloads           *prometheus.CounterVec
	pending           prometheus.Gauge
	unwritten         prometheus.Counter
	proofs            map[string]prometheus.Counter
	fleet             fleetMetrics

	gathering sync.Mutex
	entries   *prometheus.GaugeVec
}

// New returns metrics that show version and commit.
func New(version, commit string) *Metrics {
	r := registry{prometheus.NewRegistry()}
	m := &Metrics{
		registry: r,
		checks:   make([]prometheus.Counter, len(authz.Reasons())),
		shadows:  make([]prometheus.Counter, len(authz.Reasons())),

		lookups: map[lookup]prometheus.Counter{},
		introspections: r.counter("introspection_requests_total",
			"Calls to introspection endpoints.", "issuer", "result"),
		introspectionTime: r.histogram("introspection_duration_seconds",
			"Time of a call to an introspection endpoint.", prometheus.DefBuckets, "issuer"),
		breaker: r.gauge("introspection_breaker_open",
			"1 while the circuit breaker of an introspection endpoint lets no or only trial calls through.", "issuer"),
		exchanges: r.counter("token_exchange_requests_total",
			"Calls for tokens for upstreams.", "issuer", "result"),
		exchangeTime: r.histogram("token_exchange_duration_seconds",
			"Time of a call for a token for an upstream.", prometheus.DefBuckets, "issuer"),
		keys: r.counter("jwks_refreshes_total",
			"Fetches of the JWKS, alarms about its keys included as failures.", "issuer", "result"),
		keysSuccess: r.gauge("jwks_last_success_timestamp_seconds",
			"When the keys were last fetched.", "issuer"),
		discoveries: r.counter("discovery_refreshes_total",
			"Fetches of the metadata document.", "issuer", "result"),
		ready: r.gauge("issuer_ready",
			"1 when tokens of the issuer can be decided.", "issuer"),
		reloads: r.counter("config_reloads_total",
			"Reloads of the configuration.", "result"),
		pending: r.gauge("config_pending", "1 while a new configuration waits for an issuer.").WithLabelValues(),
		unwritten: r.counter("decision_log_dropped_total",
			"Decisions that the decision log should have and could not.").WithLabelValues(),
		entries: r.gauge("cache_entries", "Entries in the caches.", "cache"),
		fleet:   newFleetMetrics(r),
	}
	m.prepareChecks()
	m.prepareLookups()
	m.prepareProofs()
	m.reloads.WithLabelValues(success)
	m.reloads.WithLabelValues(failure)
	build := r.gauge("build_info", "Always 1.", "version", "commit", "go_version")
	build.WithLabelValues(version, commit, runtime.Version()).Set(1)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// checkBuckets reach from a cached token's tens of microseconds to the longest
// time that anybody waits for an authorization server.
func checkBuckets() []float64 {
	return []float64{
		.00001, .000025, .00005, .0001, .00025, .0005,
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5,
	}
}

// prepareChecks looks the series of every decision up once, instead of at every
// request; a scrape shows those that have not happened yet, too.
func (m *Metrics) prepareChecks() {
	m.decisions = m.registry.counter("checks_total", "Decisions by reason.", "decision", "reason")
	shadows := m.registry.counter("shadow_total", "Decisions of rules that are not enforced, by reason.", "reason")
	for _, r := range authz.Reasons() {
		m.checks[r] = m.decisions.WithLabelValues(r.Outcome().String(), r.String())
		m.shadows[r] = shadows.WithLabelValues(r.String())
	}
	duration := m.registry.histogram("check_duration_seconds", "Time to decide.", checkBuckets(), "decision")
	for _, o := range []authz.Outcome{authz.Deny, authz.Allow, authz.Serve} {
		m.duration[o] = duration.WithLabelValues(o.String())
	}
}

// counter returns the series of a decision. One that a rule in shadow mode let pass
// for a reason to deny is an allow for that reason, and is looked up when it comes.
func (m *Metrics) counter(r authz.Reason, o authz.Outcome) prometheus.Counter {
	if o == r.Outcome() {
		return m.checks[r]
	}
	return m.decisions.WithLabelValues(o.String(), r.String())
}

// lookup is what a look-up in a cache is counted by.
type lookup struct{ cache, result string }

func (m *Metrics) prepareLookups() {
	lookups := m.registry.counter("cache_requests_total", "Look-ups in the caches.", "cache", "result")
	for _, cache := range []string{"jwt", "introspection", "negative", "exchange", validation.CacheShared} {
		for _, result := range []string{"hit", "miss", "stale"} {
			m.lookups[lookup{cache, result}] = lookups.WithLabelValues(cache, result)
		}
	}
}

func (m *Metrics) prepareProofs() {
	proofs := m.registry.counter("proofs_total", "DPoP proofs, by what became of them.", "result")
	m.proofs = map[string]prometheus.Counter{}
	for _, result := range []string{
		binding.Accepted, binding.Invalid, binding.Replayed, binding.NonceWanted, binding.Unavailable,
	} {
		m.proofs[result] = proofs.WithLabelValues(result)
	}
}

// registry makes metrics under the one namespace and registers them.
type registry struct{ *prometheus.Registry }

const namespace = "bearergate"

func (r registry) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func (r registry) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func (r registry) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, Buckets: buckets,
	}, labels)
	r.MustRegister(v)
	return v
}

// The values of the label result of a refresh or reload.
const (
	success = "success"
	failure = "failure"
)

func result(err error) string {
	if err != nil {
		return failure
	}
	return success
}

// Checks counts decisions.
func (m *Metrics) Checks() envoy.Observer {
	return envoy.Observer{Ended: func(_ context.Context, e envoy.Event) {
		reason := e.Decision.Reason
		if int(reason) >= len(m.checks) {
			reason = authz.Internal
		}
		if e.Decision.Shadow {
			m.shadows[reason].Inc()
		}
		m.counter(reason, e.Decision.Outcome()).Inc()
		m.duration[e.Decision.Outcome()].Observe(e.Took.Seconds())
	}}
}

// Discovery counts fetches.
func (m *Metrics) Discovery() discovery.Observer {
	return discovery.Observer{Ended: func(_ context.Context, e discovery.Event) {
		if e.Operation == discovery.OperationMetadata {
			m.discoveries.WithLabelValues(e.Issuer, result(e.Err)).Inc()
			return
		}
		m.keys.WithLabelValues(e.Issuer, result(e.Err)).Inc()
		if e.Err == nil {
			m.keysSuccess.WithLabelValues(e.Issuer).SetToCurrentTime()
		}
	}}
}

// Validation counts look-ups, and calls for introspection and for tokens for upstreams.
func (m *Metrics) Validation() validation.Observer {
	return validation.Observer{Ended: func(_ context.Context, e validation.Event) {
		switch e.Operation {
		case validation.OperationCache:
			if counter, ok := m.lookups[lookup{e.Cache, e.Result}]; ok {
				counter.Inc()
			}
		case validation.OperationIntrospection:
			m.introspections.WithLabelValues(e.Issuer, e.Result).Inc()
			m.introspectionTime.WithLabelValues(e.Issuer).Observe(e.Took.Seconds())
		case exchange.Operation:
			m.exchanges.WithLabelValues(e.Issuer, e.Result).Inc()
			m.exchangeTime.WithLabelValues(e.Issuer).Observe(e.Took.Seconds())
		case validation.OperationBreaker:
			m.breaker.WithLabelValues(e.Issuer).Set(number(e.Down))
		}
	}}
}

// Reload counts a reload of the configuration.
func (m *Metrics) Reload(err error) { m.reloads.WithLabelValues(result(err)).Inc() }

// Unwritten counts decisions that the decision log should have and has not.
func (m *Metrics) Unwritten(n int) { m.unwritten.Add(float64(n)) }

// Proof counts a DPoP proof.
func (m *Metrics) Proof(result string) {
	if counter, ok := m.proofs[result]; ok {
		counter.Inc()
	}
}

// Forget drops the series of an issuer that is no longer configured.
func (m *Metrics) Forget(issuer string) {
	labels := prometheus.Labels{"issuer": issuer}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.introspections, m.introspectionTime, m.breaker, m.exchanges, m.exchangeTime,
		m.keys, m.keysSuccess, m.discoveries, m.ready, m.fleet.revocations,
	} {
		v.DeletePartialMatch(labels)
	}
}

// State is what is asked for when the metrics are read.
type State interface {
	Issuers() map[string]error // nil: tokens of the issuer can be decided
	Entries() map[string]int   // of the caches, by name
	Pending() error            // what a new configuration waits for; nil: none waits
	Shares() Fleet
}

// Handler serves the metrics, with the readiness and cache sizes of state.
func (m *Metrics) Handler(state State) http.Handler {
	return promhttp.HandlerFor(m.Gatherer(state), promhttp.HandlerOpts{Registry: m.registry})
}

// Gatherer returns what Handler serves, for whoever sends it elsewhere.
func (m *Metrics) Gatherer(state State) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		m.gathering.Lock() // or one would read what another is about to fill in
		defer m.gathering.Unlock()
		m.ask(state)
		return m.registry.Gather()
	})
}

// ask fills in what nobody tells of as it changes.
func (m *Metrics) ask(state State) {
	m.entries.Reset()
	for cache, n := range state.Entries() {
		m.entries.WithLabelValues(cache).Set(float64(n))
	}
	for issuer, err := range state.Issuers() {
		m.ready.WithLabelValues(issuer).Set(number(err == nil))
		// A series that begins at 1 never increases: the first failure would be on no graph.
		m.keys.WithLabelValues(issuer, failure)
		m.discoveries.WithLabelValues(issuer, failure)
	}
	m.fleet.ask(state.Shares(), state.Issuers())
	m.pending.Set(number(state.Pending() != nil))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
