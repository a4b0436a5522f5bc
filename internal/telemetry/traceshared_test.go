package telemetry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/shared"
)

// TestSharedIsAChild: a call of the store that a Check waits for is a span of it; what
// the background does is none.
func TestSharedIsAChild(t *testing.T) {
	traces, spans := recorded()
	event := shared.Event{Operation: shared.Get, Result: shared.TimedOut, Duration: time.Millisecond, Err: errors.New("slow")}
	traces.Shared().End(context.Background(), event)
	ctx := traces.Checks().Start(t.Context(), envoy.OperationCheck)
	traces.Shared().End(ctx, event)
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Name() != "shared" || ended[0].Parent().SpanID().IsValid() == false ||
		ended[0].Status().Description != "slow" || ended[0].EndTime().Sub(ended[0].StartTime()) < time.Millisecond {
		t.Errorf("got %+v", ended)
	}
	var off *Traces
	off.Shared().End(ctx, event)
}
