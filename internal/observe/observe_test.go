package observe_test

import (
	"context"
	"slices"
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

func TestAllAreTold(t *testing.T) {
	var told []string
	tells := func(name string) observe.Observer[string] {
		return observe.Observer[string]{
			Started: func(ctx context.Context, _ string) context.Context {
				before, _ := ctx.Value(key{}).(string)
				told = append(told, name+" start after "+before)
				return context.WithValue(ctx, key{}, before+name)
			},
			Ended: func(ctx context.Context, event string) {
				told = append(told, name+" "+event+" in "+ctx.Value(key{}).(string))
			},
		}
	}
	onlyEnd := tells("b")
	onlyEnd.Started = nil
	o := observe.All(tells("a"), observe.Observer[string]{}, onlyEnd, tells("c"))
	o.End(o.Start(t.Context(), "fetch"), "well")
	want := []string{"a start after ", "c start after a", "c well in ac", "b well in ac", "a well in ac"}
	if !slices.Equal(told, want) {
		t.Errorf("got %q, want %q", told, want)
	}
}

func TestAllOfNobody(t *testing.T) {
	if o := observe.All(observe.Observer[string]{}); o.Started != nil || o.Ended != nil {
		t.Error("got functions, want none")
	}
}
