package trace_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/trace"
)

func TestStepsAreRecordedInOrder(t *testing.T) {
	ctx, recorder := trace.With(context.Background())
	trace.From(ctx).Check("validation", "aud", false, "orders", "billing")
	trace.From(ctx).Add(trace.Step{Room: "authz", Name: "rule", Result: trace.Noted, Got: "orders-write"})
	want := []trace.Step{
		{Room: "validation", Name: "aud", Result: trace.Failed, Want: "orders", Got: "billing"},
		{Room: "authz", Name: "rule", Result: trace.Noted, Got: "orders-write"},
	}
	if diff := cmp.Diff(want, recorder.Steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestNoRecorderByDefault(t *testing.T) {
	if got := trace.From(context.Background()); got != nil {
		t.Errorf("got %v, want nil", got)
	}
}
