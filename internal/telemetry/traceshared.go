package telemetry

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/bearergate/bearergate/internal/observe"
	"github.com/bearergate/bearergate/internal/shared"
)

// spanShared is a call of the shared store.
const spanShared = "shared"

const keyOperation = attribute.Key("operation")

// Shared makes a span of each call of the shared store that a Check waits for.
func (t *Traces) Shared() observe.Observer[shared.Event] {
	if t == nil {
		return observe.Observer[shared.Event]{}
	}
	return observe.Observer[shared.Event]{Ended: func(ctx context.Context, e shared.Event) {
		if !trace.SpanFromContext(ctx).IsRecording() {
			return
		}
		_, span := t.tracer.Start(ctx, spanShared, trace.WithSpanKind(trace.SpanKindClient),
			trace.WithTimestamp(time.Now().Add(-e.Duration)),
			trace.WithAttributes(keyOperation.String(e.Operation), keyResult.String(e.Result)))
		if e.Err != nil {
			span.SetStatus(codes.Error, kept(e.Err.Error()))
		}
		span.End()
	}}
}
