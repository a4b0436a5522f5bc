package validation_test

import (
	"testing"

	"github.com/bearergate/bearergate/validation"
)

func TestScopeTokens(t *testing.T) { // RFC 6749 §3.3
	for s, want := range map[string]bool{
		"read": true, "orders:read": true, "!": true, "~": true, "#[]'": true, "https://example.com/a.b": true,
		"": false, "a b": false, `a"b`: false, `a\b`: false, "a\x7f": false, "é": false, "a\n": false, "\t": false,
	} {
		if got := validation.IsScopeToken(s); got != want {
			t.Errorf("%q: got %t", s, got)
		}
	}
}
