package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

// Names of attributes; those of a Check are the members of the decision log.
const (
	keyReason   = attribute.Key("reason")
	keyShadow   = attribute.Key("shadow")
	keyDecision = attribute.Key("decision")
	keyRule     = attribute.Key("rule")
	keyIssuer   = attribute.Key("issuer")
	keyClient   = attribute.Key("client_id")
	keyRequest  = attribute.Key("request_id")
	keyMethod   = attribute.Key("method")
	keyHost     = attribute.Key("host")
	keyPath     = attribute.Key("path")
	keyCache    = attribute.Key("cache")
	keyResult   = attribute.Key("result")
)

// maxText bounds each text of a span that a client can choose: a queue of spans must not
// hold as many paths of 60 KiB.
const maxText = 1024

// Checks makes a span of each Check.
func (t *Traces) Checks() envoy.Observer {
	if t == nil {
		return envoy.Observer{}
	}
	return envoy.Observer{Started: t.startCheck, Ended: endCheck}
}

func (t *Traces) startCheck(ctx context.Context, operation string) context.Context {
	ctx, _ = t.tracer.Start(joined(ctx), operation, t.asCheck...)
	return ctx
}

func endCheck(ctx context.Context, e envoy.Event) {
	span := current(ctx, envoy.OperationCheck)
	if span == nil {
		return
	}
	span.SetAttributes(checkAttributes(e)...)
	switch e.Decision.Reason {
	case authz.Unavailable, authz.Internal, authz.Misconfigured: // a refusal is no failure
		span.SetStatus(codes.Error, e.Decision.Reason.String())
	}
	span.End()
}

// checkAttributes never hold a token, a subject or a query, in which a token may be.
func checkAttributes(e envoy.Event) []attribute.KeyValue {
	path, _, _ := strings.Cut(e.Request.Path, "?")
	all := []attribute.KeyValue{
		keyDecision.String(e.Decision.Outcome().String()), keyReason.String(e.Decision.Reason.String()),
		keyMethod.String(kept(e.Request.Method)), keyHost.String(kept(e.Request.Host)), keyPath.String(kept(path)),
	}
	optional := []attribute.KeyValue{
		keyRule.String(e.Decision.Rule), keyIssuer.String(e.Decision.Issuer), keyRequest.String(kept(e.Request.ID)),
	}
	if e.Decision.Token != nil {
		optional = append(optional, keyClient.String(kept(e.Decision.Token.ClientID)))
	}
	if e.Decision.Shadow {
		all = append(all, keyShadow.Bool(true))
	}
	for _, a := range optional {
		if a.Value.AsString() != "" {
			all = append(all, a)
		}
	}
	return all
}

// kept makes a text fit to be kept: the request's own are views of its message.
func kept(text string) string {
	return strings.ToValidUTF8(strings.Clone(text[:min(len(text), maxText)]), "\uFFFD")
}

// Validation makes a span of each look-up, verification and call.
func (t *Traces) Validation() validation.Observer {
	if t == nil {
		return validation.Observer{}
	}
	return validation.Observer{Started: t.start, Ended: func(ctx context.Context, e validation.Event) {
		if e.Operation == validation.OperationCache {
			t.lookedUp(ctx, e)
			return
		}
		failure := ""
		if e.Result == "error" {
			failure = "no answer that could be used"
		}
		end(ctx, e.Operation, e.Issuer, e.Result, failure)
	}}
}

// Discovery makes a span of each fetch of keys and metadata: of those that a token with
// an unknown key ID caused within its Check, of those that were due in a trace of their
// own.
func (t *Traces) Discovery() discovery.Observer {
	if t == nil {
		return discovery.Observer{}
	}
	return discovery.Observer{Started: t.start, Ended: func(ctx context.Context, e discovery.Event) {
		if e.Err != nil {
			end(ctx, e.Operation, e.Issuer, "failure", e.Err.Error())
			return
		}
		end(ctx, e.Operation, e.Issuer, "success", "")
	}}
}

// start begins a child, unless its parent is not recorded either.
func (t *Traces) start(ctx context.Context, operation string) context.Context {
	if parent := trace.SpanFromContext(ctx); parent.SpanContext().IsValid() && !parent.IsRecording() {
		return ctx
	}
	kind := trace.SpanKindClient
	if operation == validation.OperationVerify {
		kind = trace.SpanKindInternal
	}
	ctx, _ = t.tracer.Start(ctx, operation, trace.WithSpanKind(kind))
	return ctx
}

func end(ctx context.Context, operation, issuer, result, failure string) {
	span := current(ctx, operation)
	if span == nil {
		return
	}
	span.SetAttributes(keyIssuer.String(issuer), keyResult.String(result))
	if failure != "" {
		span.SetStatus(codes.Error, kept(failure))
	}
	span.End()
}

// lookedUp makes a span of what takes no time, and has the Check say how the last
// look-up ended, which is the one that it was answered by.
func (t *Traces) lookedUp(ctx context.Context, e validation.Event) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	if e.Cache != exchange.Cache && e.Cache != validation.CacheShared { // cache of a Check is this replica's own
		parent.SetAttributes(keyCache.String(e.Result))
	}
	_, span := t.tracer.Start(ctx, e.Operation, trace.WithAttributes(
		keyIssuer.String(e.Issuer), keyCache.String(e.Cache), keyResult.String(e.Result)))
	span.End()
}

// current returns the span of ctx if it is that operation's, and is recorded. What is
// told of an end only has the span around it in ctx, which is not to be ended.
func current(ctx context.Context, operation string) trace.Span {
	span, ok := trace.SpanFromContext(ctx).(sdktrace.ReadWriteSpan)
	if !ok || span.Name() != operation {
		return nil
	}
	return span
}

// joined returns ctx with the span that a Check belongs to. The request's traceparent
// says which trace it is in, and Envoy's own, on the call, which of Envoy's spans asks:
// where both are of one trace, Envoy's is the nearer parent, and knows whether Envoy
// has the trace recorded. A request that has none is in the trace that Envoy began.
func joined(ctx context.Context) context.Context {
	var w3c propagation.TraceContext
	call := w3c.Extract(ctx, carrier(func(name string) string {
		return only(metadata.ValueFromIncomingContext(ctx, name))
	}))
	r := envoy.RequestOf(ctx)
	if r == nil || r.Header == nil {
		return call
	}
	request := w3c.Extract(ctx, carrier(func(name string) string { value, _ := r.Header(name); return value }))
	asks, within := trace.SpanContextFromContext(call), trace.SpanContextFromContext(request)
	if !within.IsValid() || within.TraceID() == asks.TraceID() {
		return call
	}
	return request
}

// only returns the value of a field that is there once: which of several counts would be
// a guess.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// carrier reads header fields by their lower-case names.
type carrier func(name string) string

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(name string) string { return strings.Clone(c(name)) }

// Set implements propagation.TextMapCarrier.
func (carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (carrier) Keys() []string { return nil }
