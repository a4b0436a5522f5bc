package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bearergate/bearergate/internal/observe"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
)

// Fleet is what a replica has in common with others, when the metrics are read.
type Fleet struct {
	Revokes     bool // revocations can be told
	Revocations int
	Streams     map[string]time.Duration // of events: how long ago the last sign of life was

	Store, Up bool
	Lag       time.Duration
}

// fleetMetrics are about revocations and what replicas share.
type fleetMetrics struct {
	revocations *prometheus.CounterVec
	entries     prometheus.Gauge
	events      *prometheus.CounterVec
	age         *prometheus.GaugeVec
	calls       map[lookup]prometheus.Counter
	up, lag     *prometheus.GaugeVec
}

func newFleetMetrics(r registry) fleetMetrics {
	f := fleetMetrics{
		revocations: r.counter("revocations_total", "Revocations that were new here, by who told of them.",
			"issuer", "source"),
		entries: r.gauge("revocation_entries", "Revocations that are remembered.").WithLabelValues(),
		events: r.counter("events_total", "Security events that came, by what became of them.",
			"transmitter", "result"),
		age: r.gauge("event_stream_age_seconds",
			"Time since the last sign of life of a transmitter of security events.", "transmitter"),
		up:    r.gauge("shared_up", "1 while the shared store answers; absent where there is none."),
		lag:   r.gauge("shared_lag_seconds", "How long the last revocation of another replica was under way."),
		calls: map[lookup]prometheus.Counter{},
	}
	calls := r.counter("shared_requests_total", "Calls of the shared store.", "operation", "result")
	for _, operation := range shared.Operations() {
		for _, result := range shared.Results() {
			f.calls[lookup{operation, result}] = calls.WithLabelValues(operation, result)
		}
	}
	return f
}

// sources are all who tell of revocations, and eventResults all that becomes of events.
func sources() []string {
	return []string{
		revocation.SourceAdmin, revocation.SourceSSF, revocation.SourceLogout, revocation.SourceRecheck,
		revocation.SourceShared,
	}
}

func eventResults() []string {
	return []string{
		revocation.ResultRevoked, revocation.ResultDropped, revocation.ResultAnswered, revocation.ResultIgnored,
		revocation.ResultDuplicate, revocation.ResultRefused,
	}
}

// Revocations counts revocations and security events.
func (m *Metrics) Revocations() revocation.Observer {
	return revocation.Observer{Ended: func(_ context.Context, e revocation.Event) {
		switch e.Operation {
		case revocation.OperationRevocation:
			m.fleet.revocations.WithLabelValues(e.Issuer, e.Source).Inc()
		case revocation.OperationEvent:
			m.fleet.events.WithLabelValues(e.Transmitter, e.Result).Inc()
		}
	}}
}

// Shared counts calls of the shared store.
func (m *Metrics) Shared() observe.Observer[shared.Event] {
	return observe.Observer[shared.Event]{Ended: func(_ context.Context, e shared.Event) {
		if counter, ok := m.fleet.calls[lookup{e.Operation, e.Result}]; ok {
			counter.Inc()
		}
	}}
}

// ask fills in what nobody tells of as it changes.
func (f *fleetMetrics) ask(now Fleet, issuers map[string]error) {
	f.entries.Set(float64(now.Revocations))
	f.age.Reset()
	for transmitter, age := range now.Streams {
		f.age.WithLabelValues(transmitter).Set(age.Seconds())
		for _, result := range eventResults() {
			f.events.WithLabelValues(transmitter, result) // one that begins at 1 never increases
		}
	}
	for issuer := range issuers {
		for _, source := range sources() {
			if now.Revokes {
				f.revocations.WithLabelValues(issuer, source)
			}
		}
	}
	f.up.Reset()
	f.lag.Reset()
	if now.Store {
		f.up.WithLabelValues().Set(number(now.Up))
		f.lag.WithLabelValues().Set(now.Lag.Seconds())
	}
}
