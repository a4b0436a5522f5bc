package explain

import (
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/walk"
)

func TestRejectedIsNotCalledInactive(t *testing.T) {
	w := walked{token: "opaque", steps: []walk.Step{
		{Name: "strategy", Detail: "both: introspection"},
		{Name: "decision: inactive", Detail: "token inactive: rejected by the introspection endpoint"},
	}}
	if got := w.hint("inactive"); !strings.Contains(got, "answered 400") || strings.Contains(got, "active: false") {
		t.Errorf("got %q, want what happened", got)
	}
}

func TestHintsNeedNoSteps(*testing.T) { // what is not recorded is not said, and breaks nothing
	for _, reason := range []string{
		"inactive", "wrong_audience", "wrong_type", "unknown_key", "wrong_issuer", "malformed_token", "wrong_binding", "invalid_proof",
		"internal", "",
	} {
		for _, token := range []string{"", ".", "..", "a.b.c", "a.bnVsbA.c", "a.W10.c", "a.eyJpc3MiOjF9.c", "opaque"} {
			for _, detail := range []string{"", ": ", "x"} {
				_ = walked{token: token, steps: []walk.Step{{Name: "decision: " + reason, Detail: detail}}}.hint(reason)
			}
			_ = walked{token: token}.hint(reason)
		}
	}
}
