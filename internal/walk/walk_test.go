package walk_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/walk"
)

func TestStepsAreRecordedInOrder(t *testing.T) {
	ctx, recorder := walk.With(context.Background())
	w := walk.From(ctx)
	words := func() (string, string) { return "orders", "billing" }
	if w.Check("authz", "aud", false, words) || !w.Check("authz", "scope", true, words) {
		t.Error("Check does not return what it was given")
	}
	broken := errors.New("broken")
	if !errors.Is(w.Err("validation", "signature", broken), broken) || w.Err("validation", "typ", nil) != nil {
		t.Error("Err does not return what it was given")
	}
	w.Note("authz", "rule", func() string { return "matches" })
	want := []walk.Step{
		{Package: "authz", Name: "aud", Result: walk.Failed, Want: "orders", Got: "billing"},
		{Package: "authz", Name: "scope", Result: walk.Passed, Want: "orders", Got: "billing"},
		{Package: "validation", Name: "signature", Result: walk.Failed, Detail: "broken"},
		{Package: "validation", Name: "typ", Result: walk.Passed},
		{Package: "authz", Name: "rule", Result: walk.Noted, Detail: "matches"},
	}
	if diff := cmp.Diff(want, recorder.Steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestNobodyAsks(t *testing.T) {
	w := walk.From(context.Background())
	if w != nil {
		t.Fatalf("got %v, want nil", w)
	}
	checks := testing.AllocsPerRun(100, func() {
		w.Check("authz", "aud", true, func() (string, string) { t.Error("put into words"); return "", "" })
		w.Note("authz", "rule", func() string { t.Error("put into words"); return "" })
		_ = w.Err("validation", "typ", nil)
	})
	if checks != 0 || w.Check("authz", "aud", false, nil) || w.Steps() != nil {
		t.Errorf("%v allocations, want none", checks)
	}
}
