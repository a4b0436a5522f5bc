package envoy

import (
	"context"
	"log/slog"
	"testing"

	"github.com/bearergate/bearergate/authz"
)

// Who is told of the start of a Check reads the request's headers, and what it adds to
// the context reaches the policy and the end.
func TestObserverSeesTheRequest(t *testing.T) {
	type key struct{}
	var decidedIn, endedIn any
	s := NewServer(Observer{
		Started: func(ctx context.Context, operation string) context.Context {
			value, _ := RequestOf(ctx).Header("traceparent")
			return context.WithValue(ctx, key{}, operation+" "+value)
		},
		Ended: func(ctx context.Context, _ Event) { endedIn = ctx.Value(key{}) },
	}, slog.New(slog.DiscardHandler))
	s.Use(decider(func(ctx context.Context, r *authz.Request) authz.Decision {
		decidedIn = ctx.Value(key{})
		if RequestOf(ctx) != r {
			t.Error("got another request")
		}
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the context of the observer lost the deadline")
		}
		return authz.Decision{Reason: authz.Allowed}
	}))
	if _, err := s.Check(t.Context(), request(map[string]string{"traceparent": "00-1"})); err != nil {
		t.Fatal(err)
	}
	if want := OperationCheck + " 00-1"; decidedIn != want || endedIn != want {
		t.Errorf("got %v and %v, want %s", decidedIn, endedIn, want)
	}
	if RequestOf(t.Context()) != nil {
		t.Error("got a request where none is decided")
	}
}
