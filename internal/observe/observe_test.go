package observe_test

import (
	"context"
	"testing"

	"github.com/bearergate/bearergate/internal/observe"
)

type key struct{}

func TestObserver(t *testing.T) {
	var told []string
	o := observe.Observer[string]{
		Started: func(ctx context.Context, operation string) context.Context {
			told = append(told, operation)
			return context.WithValue(ctx, key{}, operation)
		},
		Ended: func(ctx context.Context, event string) { told = append(told, ctx.Value(key{}).(string)+" "+event) },
	}
	ctx := o.Start(t.Context(), "fetch")
	o.End(ctx, "well")
	if len(told) != 2 || told[0] != "fetch" || told[1] != "fetch well" {
		t.Errorf("got %q", told)
	}
}

func TestNobodyIsTold(t *testing.T) {
	var o observe.Observer[string]
	ctx := o.Start(t.Context(), "fetch")
	o.End(ctx, "well")
	if ctx != t.Context() {
		t.Error("got another context")
	}
}
