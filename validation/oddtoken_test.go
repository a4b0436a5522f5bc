package validation_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/validation"
)

// TestOddTokensHarmNobody: a server that fails for one client's tokens, in any
// way, is asked about those of others all the same; whoever sends a token whose
// answer is too large has it read once in negative_ttl (contract §4).
func TestOddTokensHarmNobody(t *testing.T) {
	for kind, behaviour := range map[string]devissuer.Behaviour{
		"error":      {Status: http.StatusInternalServerError},
		"pause":      {Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "15"}},
		"disconnect": {Abort: true},
		"flood":      {Status: http.StatusOK, Body: fmt.Sprintf(`{"active":true,"x":%q}`, strings.Repeat("x", 64<<10))},
		"flood 400":  {Status: http.StatusBadRequest, Body: strings.Repeat(" ", 64<<10) + `{"error":"temporarily_unavailable"}`},
		"cut 400":    {Status: http.StatusBadRequest, Body: `{"error":`, Header: map[string]string{"Content-Length": "40"}},
		"nonsense":   {Status: http.StatusOK, Body: "<html>"},
	} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, nil)
			b.as.BehaveTo("odd", behaviour)
			for n := range 100 {
				b.want(t, fmt.Sprint("odd", n), validation.ErrUnavailable)
				if n%10 == 5 {
					b.want(t, b.as.Opaque("", nil), nil)
				}
			}
			if kind != "flood" {
				return
			}
			for range 10 {
				b.want(t, "odd-again", validation.ErrUnavailable)
			}
			if calls := b.as.Calls("odd-again"); calls != 1 {
				t.Errorf("asked %d times about the same token, want once in negative_ttl", calls)
			}
		})
	}
}

// TestOutageIsNotRemembered: what fails while nobody gets an answer says nothing
// about the token.
func TestOutageIsNotRemembered(t *testing.T) {
	b := newBench(t, nil)
	token := b.as.Opaque("", nil)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: http.StatusInternalServerError})
	b.want(t, token, validation.ErrUnavailable)
	b.as.Behave(devissuer.PathIntrospection, devissuer.Behaviour{})
	b.want(t, token, nil)
}

// TestRetryAfterIsBounded: clients are not sent away for an hour.
func TestRetryAfterIsBounded(t *testing.T) {
	b := newBench(t, nil)
	b.want(t, b.as.Opaque("", nil), nil) // the server answers others
	for value, want := range map[string]time.Duration{"3600": 15 * time.Second, "7": 7 * time.Second, "-1": 0, "soon": 0} {
		b.as.BehaveTo("odd", devissuer.Behaviour{
			Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": value},
		})
		_, err := b.Validate(t.Context(), "odd"+value)
		var unavailable *validation.UnavailableError
		if !errors.As(err, &unavailable) || unavailable.RetryAfter != want {
			t.Errorf("Retry-After: %s: got %v, want a pause of %s", value, err, want)
		}
	}
}
