package exchange_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

// FuzzAnswer: whatever a token endpoint answers, it is a token that can stand in a
// header field, or one of the errors that are known.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		good("t", nil), good("t", map[string]any{"token_type": "N_A"}), good("t\n", nil), `{"error":"invalid_grant"}`,
		`{"error":"access_denied","error":"x"}`, `{"access_token":"\u0074"}`, `[`, ``,
	} {
		f.Add(200, body)
		f.Add(400, body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		s := &server{answer: func(url.Values) (*http.Response, error) { return answered(status, body) }}
		e := exchanger(t, s, func(c *validation.Config, _ *validation.Options) { c.Cache.TTL = 0 })
		got, err := e.Token(t.Context(), target(exchange.TokenExchange), "client's", time.Time{})
		if err == nil {
			if status != 200 || got.Bare() == "" || len(got.Bare()) > 16<<10 {
				t.Errorf("got %q for status %d", got.Bare(), status)
			}
			for _, b := range []byte(got.Bare()) {
				if b <= ' ' || b > '~' {
					t.Errorf("got %q, which cannot stand in a header field", got.Bare())
				}
			}
			return
		}
		for _, known := range []error{
			validation.ErrUnavailable, validation.ErrInactive, exchange.ErrRefused, exchange.ErrMisconfigured,
		} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Errorf("got %v, which is none of the errors that are known", err)
	})
}
