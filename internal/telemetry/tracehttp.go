package telemetry

import (
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Transport returns base for calls that say which span they belong to.
func (t *Traces) Transport(base http.RoundTripper) http.RoundTripper {
	if t == nil {
		return base
	}
	return &propagating{base}
}

// propagating adds a traceparent. It leaves tracestate and baggage out: they may hold
// whatever text a client chose, which is nothing for an authorization server.
type propagating struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (p *propagating) RoundTrip(r *http.Request) (*http.Response, error) {
	span := trace.SpanContextFromContext(r.Context())
	if !span.IsValid() {
		return p.base.RoundTrip(r)
	}
	ctx := trace.ContextWithSpanContext(r.Context(), span.WithTraceState(trace.TraceState{}))
	r = r.Clone(r.Context()) // a RoundTripper leaves the caller's request as it is
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	return p.base.RoundTrip(r)
}

// CloseIdleConnections is found by http.Client.CloseIdleConnections.
func (p *propagating) CloseIdleConnections() {
	if base, ok := p.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}
