package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/validation"
)

// TestRequests: each grant asks exactly for what its specification has.
func TestRequests(t *testing.T) {
	both := []string{"orders", "stock"}
	for grant, want := range map[string]url.Values{
		exchange.TokenExchange: { // RFC 8693 §2.1
			"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
			"subject_token":        {"client's"},
			"subject_token_type":   {"urn:ietf:params:oauth:token-type:access_token"},
			"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			"audience":             both, "resource": {"https://r.example.com/a"}, "scope": {"read write"},
		},
		exchange.OnBehalfOf: {
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"assertion":  {"client's"}, "requested_token_use": {"on_behalf_of"},
			"audience": both, "resource": {"https://r.example.com/a"}, "scope": {"read write"},
		},
		exchange.ClientCredentials: {
			"grant_type": {"client_credentials"},
			"audience":   both, "resource": {"https://r.example.com/a"}, "scope": {"read write"},
		},
	} {
		s := &server{answer: func(url.Values) (*http.Response, error) { return answered(200, good("upstream's", nil)) }}
		e := exchanger(t, s, nil)
		got, err := e.Token(t.Context(), target(grant), "client's", time.Time{})
		if err != nil || got.Bare() != "upstream's" || got.Credential() != "Bearer upstream's" {
			t.Errorf("%s: got %q, %v", grant, got.Bare(), err)
		}
		if !reflect.DeepEqual(s.forms[0], want) {
			t.Errorf("%s: got %v, want %v", grant, s.forms[0], want)
		}
		if h := s.heads[0]; h.Get("Content-Type") != "application/x-www-form-urlencoded" || h.Get("Accept") != "application/json" {
			t.Errorf("%s: got header %v", grant, h)
		}
	}
}

// TestClientAuthentication: who asks is said by the issuer's method, whatever the grant.
func TestClientAuthentication(t *testing.T) {
	for method, seen := range map[string]func(http.Header, url.Values) bool{
		validation.AuthBasic: func(h http.Header, f url.Values) bool {
			return strings.HasPrefix(h.Get("Authorization"), "Basic ") && f.Get("client_id") == ""
		},
		validation.AuthPost: func(h http.Header, f url.Values) bool {
			return h.Get("Authorization") == "" && f.Get("client_id") == "gate" && f.Get("client_secret") == "s3cret"
		},
		validation.AuthNone: func(h http.Header, f url.Values) bool {
			return h.Get("Authorization") == "" && f.Get("client_id") == "gate" && f.Get("client_secret") == ""
		},
	} {
		s := &server{answer: func(url.Values) (*http.Response, error) { return answered(200, good("t", nil)) }}
		e := exchanger(t, s, func(c *validation.Config, _ *validation.Options) { c.ClientAuthMethod = method })
		_, err := e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{})
		if err != nil || !seen(s.heads[0], s.forms[0]) {
			t.Errorf("%s: got %v, %v, %v", method, s.heads[0], s.forms[0], err)
		}
	}
}

// TestAnswers: what is no token that the upstream could use is an outage of ours, and a
// refusal is what its code says.
func TestAnswers(t *testing.T) {
	none := map[string]any{}
	change := func(name string, value any) map[string]any { return map[string]any{name: value} }
	tests := []struct {
		name   string
		status int
		body   string
		want   error // nil: a token
	}{
		{"plain", 200, good("t", none), nil},
		{"bearer in lower case", 200, good("t", change("token_type", "bearer")), nil},
		{"a jwt", 200, good("t", change("issued_token_type", "urn:ietf:params:oauth:token-type:jwt")), nil},
		{"no expires_in", 200, good("t", change("expires_in", nil)), nil},
		{"expires_in null", 200, `{"access_token":"t","token_type":"Bearer","expires_in":null,"issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}`, nil},
		{"expires_in a fraction", 200, good("t", change("expires_in", 1.5)), nil},
		{"expires_in zero", 200, good("t", change("expires_in", 0)), nil},
		{"expires_in for ever", 200, good("t", change("expires_in", 1e18)), nil},
		{"more members", 200, good("t", change("refresh_token", "r")), nil},
		{"16 KiB", 200, good(strings.Repeat("a", 16<<10), none), nil},

		{"N_A", 200, good("t", change("token_type", "N_A")), validation.ErrUnavailable},
		{"DPoP", 200, good("t", change("token_type", "DPoP")), validation.ErrUnavailable},
		{"mac", 200, good("t", change("token_type", "mac")), validation.ErrUnavailable},
		{"no token_type", 200, good("t", change("token_type", nil)), validation.ErrUnavailable},
		{"token_type no text", 200, good("t", change("token_type", 1)), validation.ErrUnavailable},
		{"token_type a list", 200, good("t", change("token_type", []string{"Bearer"})), validation.ErrUnavailable},
		{"no access_token", 200, good("t", change("access_token", nil)), validation.ErrUnavailable},
		{"access_token empty", 200, good("", none), validation.ErrUnavailable},
		{"access_token no text", 200, good("t", change("access_token", true)), validation.ErrUnavailable},
		{"access_token an object", 200, good("t", change("access_token", none)), validation.ErrUnavailable},
		{"a line break", 200, good("t\r\nx-admin: 1", none), validation.ErrUnavailable},
		{"a space", 200, good("t t", none), validation.ErrUnavailable},
		{"a NUL", 200, good("t\x00", none), validation.ErrUnavailable},
		{"no ASCII", 200, good("tökn", none), validation.ErrUnavailable},
		{"DEL", 200, good("t\x7f", none), validation.ErrUnavailable},
		{"more than 16 KiB", 200, good(strings.Repeat("a", 16<<10+1), none), validation.ErrUnavailable},
		{"more than 64 KiB", 200, good("t", change("x", strings.Repeat("a", 64<<10))), validation.ErrUnavailable},
		{"no issued_token_type", 200, good("t", change("issued_token_type", nil)), validation.ErrUnavailable},
		{"a refresh token", 200, good("t", change("issued_token_type", "urn:ietf:params:oauth:token-type:refresh_token")), validation.ErrUnavailable},
		{"an ID token", 200, good("t", change("issued_token_type", "urn:ietf:params:oauth:token-type:id_token")), validation.ErrUnavailable},
		{"issued_token_type no text", 200, good("t", change("issued_token_type", 1)), validation.ErrUnavailable},
		{"expires_in a text", 200, good("t", change("expires_in", "600")), validation.ErrUnavailable},
		{"expires_in negative", 200, good("t", change("expires_in", -1)), validation.ErrUnavailable},
		{"expires_in a list", 200, good("t", change("expires_in", []int{1})), validation.ErrUnavailable},
		{"expires_in beyond numbers", 200, strings.Replace(good("t", none), "600", "1e999", 1), validation.ErrUnavailable},
		{"a member twice", 200, `{"access_token":"t","access_token":"u","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}`, validation.ErrUnavailable},
		{"names in another case", 200, `{"Access_Token":"t","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"}`, validation.ErrUnavailable},
		{"something behind", 200, good("t", none) + "{}", validation.ErrUnavailable},
		{"an error with 200", 200, `{"error":"invalid_grant"}`, validation.ErrUnavailable},
		{"a list", 200, `[]`, validation.ErrUnavailable},
		{"null", 200, `null`, validation.ErrUnavailable},
		{"empty", 200, ``, validation.ErrUnavailable},
		{"HTML", 200, `<html>`, validation.ErrUnavailable},
		{"created", 201, good("t", none), validation.ErrUnavailable},
		{"a redirect", 302, good("t", none), validation.ErrUnavailable},
		{"not found", 404, `{"error":"invalid_grant"}`, validation.ErrUnavailable},
		{"too many", 429, `{"error":"invalid_grant"}`, validation.ErrUnavailable},
		{"broken", 500, `{"error":"invalid_grant"}`, validation.ErrUnavailable},
		{"away", 503, ``, validation.ErrUnavailable},
		{"a refusal without a code", 400, `{}`, validation.ErrUnavailable},
		{"a refusal that is no JSON", 400, `no`, validation.ErrUnavailable},
		{"a code in upper case", 400, `{"error":"INVALID_GRANT"}`, validation.ErrUnavailable},
		{"an unknown code", 400, `{"error":"interaction_required"}`, validation.ErrUnavailable},
		{"the server's own code", 400, `{"error":"temporarily_unavailable"}`, validation.ErrUnavailable},
		{"a bare 401", 401, ``, validation.ErrUnavailable},

		{"invalid_grant", 400, `{"error":"invalid_grant","error_description":"x"}`, validation.ErrInactive},
		{"invalid_request", 400, `{"error":"invalid_request"}`, validation.ErrInactive},
		{"invalid_scope", 400, `{"error":"invalid_scope"}`, exchange.ErrRefused},
		{"invalid_target", 400, `{"error":"invalid_target"}`, exchange.ErrRefused},
		{"access_denied", 403, `{"error":"access_denied"}`, exchange.ErrRefused},
		{"invalid_client", 401, `{"error":"invalid_client"}`, exchange.ErrMisconfigured},
		{"unauthorized_client", 400, `{"error":"unauthorized_client"}`, exchange.ErrMisconfigured},
		{"unsupported_grant_type", 400, `{"error":"unsupported_grant_type"}`, exchange.ErrMisconfigured},
	}
	for _, tc := range tests {
		s := &server{answer: func(url.Values) (*http.Response, error) { return answered(tc.status, tc.body) }}
		e := exchanger(t, s, nil)
		got, err := e.Token(t.Context(), target(exchange.TokenExchange), "client's", time.Time{})
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) || (got.Bare() != "") != (tc.want == nil) {
			t.Errorf("%s: got %q, %v, want %v", tc.name, got.Bare(), err, tc.want)
		}
		for _, other := range []error{validation.ErrUnavailable, validation.ErrInactive, exchange.ErrRefused, exchange.ErrMisconfigured} {
			if other != tc.want && errors.Is(err, other) { //nolint:errorlint // the very one
				t.Errorf("%s: got %v, which is %v too", tc.name, err, other)
			}
		}
	}
	// issued_token_type is a member of RFC 8693, and of no other grant's answer.
	for _, grant := range []string{exchange.OnBehalfOf, exchange.ClientCredentials} {
		s := &server{answer: func(url.Values) (*http.Response, error) {
			return answered(200, good("t", change("issued_token_type", nil)))
		}}
		if _, err := exchanger(t, s, nil).Token(t.Context(), target(grant), "c", time.Time{}); err != nil {
			t.Errorf("%s: got %v, want a token", grant, err)
		}
	}
}

func TestOtherContentTypeIsAnOutage(t *testing.T) {
	s := &server{answer: func(url.Values) (*http.Response, error) {
		resp, err := answered(200, good("t", nil))
		resp.Header.Set("Content-Type", "text/html")
		return resp, err
	}}
	_, err := exchanger(t, s, nil).Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{})
	if !errors.Is(err, validation.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, validation.ErrUnavailable)
	}
}

// TestErrorsQuoteNothing: neither the client's token nor the upstream's is in an error
// or in the log.
func TestErrorsQuoteNothing(t *testing.T) {
	var log bytes.Buffer
	for _, body := range []string{
		good("UPSTREAMS", map[string]any{"token_type": "UPSTREAMS"}), `{"error":"invalid_client","error_description":"CLIENTS"}`,
		`{"access_token":"UPSTREAMS"`, good("UPSTREAMS\n", nil), good("t", map[string]any{"expires_in": "UPSTREAMS"}),
	} {
		for _, status := range []int{200, 400} {
			s := &server{answer: func(url.Values) (*http.Response, error) { return answered(status, body) }}
			e := exchanger(t, s, func(_ *validation.Config, o *validation.Options) { o.Log = slog.New(slog.NewJSONHandler(&log, nil)) })
			_, err := e.Token(t.Context(), target(exchange.TokenExchange), "CLIENTS", time.Time{})
			if text := fmt.Sprint(err) + log.String(); err == nil || strings.Contains(text, "CLIENTS") || strings.Contains(text, "UPSTREAMS") {
				t.Errorf("%s: got %s", body, text)
			}
		}
	}
	if !strings.Contains(log.String(), `"level":"ERROR"`) {
		t.Errorf("got log %s, want the alarm of what is misconfigured", &log)
	}
}

// TestRemembered: a token serves until a tenth before it expires, and never longer than
// the client's; refusals serve for negative_ttl; outages are asked about again.
func TestRemembered(t *testing.T) {
	for _, tc := range []struct {
		name   string
		grant  string
		body   string
		status int
		expiry time.Duration // of the client's token; 0: none
		until  time.Duration // that it serves
	}{
		{"a tenth before", exchange.TokenExchange, good("t", nil), 200, 0, 540 * time.Second},
		{"no longer than the client's", exchange.TokenExchange, good("t", nil), 200, 100 * time.Second, 100 * time.Second},
		{"on behalf of", exchange.OnBehalfOf, good("t", nil), 200, 100 * time.Second, 100 * time.Second},
		{"our own", exchange.ClientCredentials, good("t", nil), 200, 100 * time.Second, 540 * time.Second},
		{"no expires_in", exchange.TokenExchange, good("t", map[string]any{"expires_in": nil}), 200, 0, time.Minute},
		{"no expires_in, no longer than the client's", exchange.TokenExchange, good("t", map[string]any{"expires_in": nil}), 200, time.Second, time.Second},
		{"expired at once", exchange.TokenExchange, good("t", map[string]any{"expires_in": 0}), 200, 0, 0},
		{"the client's expired", exchange.TokenExchange, good("t", nil), 200, -time.Second, 0},
		{"refused", exchange.TokenExchange, `{"error":"invalid_target"}`, 400, 0, 5 * time.Second},
		{"inactive", exchange.TokenExchange, `{"error":"invalid_grant"}`, 400, 0, 5 * time.Second},
		{"misconfigured", exchange.TokenExchange, `{"error":"invalid_client"}`, 401, 0, 0},
		{"unavailable", exchange.TokenExchange, `{}`, 200, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{answer: func(url.Values) (*http.Response, error) { return answered(tc.status, tc.body) }}
				e := exchanger(t, s, nil)
				var expiry time.Time
				if tc.expiry != 0 {
					expiry = time.Now().Add(tc.expiry)
				}
				ask := func() { _, _ = e.Token(t.Context(), target(tc.grant), "c", expiry) }
				ask()
				if tc.until > 0 {
					time.Sleep(tc.until - time.Millisecond)
					if ask(); s.calls() != 1 {
						t.Errorf("got %d calls right before the end, want 1", s.calls())
					}
					time.Sleep(time.Millisecond)
				}
				if ask(); s.calls() != 2 {
					t.Errorf("got %d calls afterwards, want 2", s.calls())
				}
			})
		})
	}
}

func TestCacheSwitchedOff(t *testing.T) {
	s := &server{answer: func(url.Values) (*http.Response, error) { return answered(200, good("t", nil)) }}
	e := exchanger(t, s, func(c *validation.Config, _ *validation.Options) { c.Cache.TTL = 0 })
	for range 2 {
		if _, err := e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if s.calls() != 2 || e.Entries() != 0 {
		t.Errorf("got %d calls and %d entries, want 2 and none", s.calls(), e.Entries())
	}
}

// TestKeptApart: what differs in anything that is asked for is another token.
func TestKeptApart(t *testing.T) {
	var n atomic.Int64
	s := &server{answer: func(url.Values) (*http.Response, error) {
		return answered(200, good(fmt.Sprint("t", n.Add(1)), nil))
	}}
	e := exchanger(t, s, nil)
	seen := map[string]string{}
	for name, tc := range map[string]struct {
		c     exchange.Config
		token string
	}{
		"plain":             {exchange.Config{Grant: exchange.TokenExchange}, "c"},
		"another token":     {exchange.Config{Grant: exchange.TokenExchange}, "d"},
		"another grant":     {exchange.Config{Grant: exchange.OnBehalfOf}, "c"},
		"our own":           {exchange.Config{Grant: exchange.ClientCredentials}, "c"},
		"audience ab c":     {exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"ab", "c"}}, "c"},
		"audience a bc":     {exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"a", "bc"}}, "c"},
		"audience abc":      {exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"abc"}}, "c"},
		"resource abc":      {exchange.Config{Grant: exchange.TokenExchange, Resource: []string{"abc"}}, "c"},
		"scope abc":         {exchange.Config{Grant: exchange.TokenExchange, Scopes: []string{"abc"}}, "c"},
		"scopes ab, c":      {exchange.Config{Grant: exchange.TokenExchange, Scopes: []string{"ab", "c"}}, "c"},
		"audience 1:a":      {exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"1:a"}}, "c"},
		"audience a, scope": {exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"abc"}, Scopes: []string{"abc"}}, "c"},
	} {
		got, err := e.Token(t.Context(), exchange.NewTarget(tc.c), tc.token, time.Time{})
		if err != nil || seen[got.Bare()] != "" {
			t.Errorf("%s: got %q, %v, that of %s", name, got.Bare(), err, seen[got.Bare()])
		}
		seen[got.Bare()] = name
		c := tc.c
		c.Header = "x-token" // is no part of the question
		if again, err := e.Token(t.Context(), exchange.NewTarget(c), tc.token, time.Time{}); err != nil || again != got {
			t.Errorf("%s: got %q, %v, want what is remembered", name, again.Bare(), err)
		}
	}
	first, _ := e.Token(t.Context(), target(exchange.ClientCredentials), "one", time.Time{})
	second, _ := e.Token(t.Context(), target(exchange.ClientCredentials), "two", time.Time{})
	if first != second {
		t.Errorf("got %q and %q, want one token of our own for all", first.Bare(), second.Bare())
	}
}

// TestCoalesced: 500 requests, one exchange; who leaves takes nothing from the others
// (I-24).
func TestCoalesced(t *testing.T) {
	release := make(chan struct{})
	s := &server{answer: func(url.Values) (*http.Response, error) {
		<-release
		return answered(200, good("t", nil))
	}}
	e := exchanger(t, s, func(c *validation.Config, _ *validation.Options) { c.RequestTimeout = time.Minute })
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := e.Token(ctx, target(exchange.TokenExchange), "c", time.Time{})
		gone <- err
	}()
	for s.calls() == 0 {
		time.Sleep(time.Millisecond)
	}
	var all sync.WaitGroup
	var right atomic.Int64
	for range 500 {
		all.Go(func() {
			if got, err := e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{}); err == nil && got.Bare() == "t" {
				right.Add(1)
			}
		})
	}
	leave()
	if err := <-gone; !errors.Is(err, validation.ErrUnavailable) {
		t.Errorf("got %v for the one who left, want %v", err, validation.ErrUnavailable)
	}
	close(release)
	all.Wait()
	if right.Load() != 500 || s.calls() != 1 {
		t.Errorf("got %d right answers by %d calls, want 500 by 1", right.Load(), s.calls())
	}
}

// TestInTime: who cannot wait is told so in time; the call goes on and fills the cache
// (E-08).
func TestInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(url.Values) (*http.Response, error) {
			time.Sleep(500 * time.Millisecond)
			return answered(200, good("t", nil))
		}}
		e := exchanger(t, s, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := e.Token(ctx, target(exchange.TokenExchange), "c", time.Time{})
		if took := time.Since(began); !errors.Is(err, validation.ErrUnavailable) || took != 100*time.Millisecond {
			t.Errorf("got %v after %s, want %v after 100ms", err, took, validation.ErrUnavailable)
		}
		time.Sleep(time.Second)
		if got, err := e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{}); err != nil || got.Bare() != "t" || s.calls() != 1 {
			t.Errorf("got %q, %v by %d calls, want what the first call brought", got.Bare(), err, s.calls())
		}
		done, stop := context.WithCancel(t.Context())
		stop()
		if got, err := e.Token(done, target(exchange.TokenExchange), "c", time.Time{}); err == nil {
			t.Errorf("got %q for a context that is over (A-15)", got.Bare())
		}
	})
}

// TestBreaker: a server that is down is left alone, and asked again when it is up;
// refusals open nothing, however many they are.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		s := &server{answer: func(form url.Values) (*http.Response, error) {
			switch {
			case down.Load():
				return answered(503, "")
			case form.Get("subject_token") == "bad" || strings.HasPrefix(form.Get("subject_token"), "probe"):
				return answered(400, `{"error":"invalid_request"}`)
			}
			return answered(200, good("t", nil))
		}}
		e := exchanger(t, s, func(c *validation.Config, _ *validation.Options) { c.Cache.NegativeTTL = 0 })
		ask := func(token string) error {
			_, err := e.Token(t.Context(), target(exchange.TokenExchange), token, time.Time{})
			return err
		}
		for range 50 {
			if err := ask("bad"); !errors.Is(err, validation.ErrInactive) {
				t.Fatalf("got %v, want %v", err, validation.ErrInactive)
			}
		}
		down.Store(true)
		before := s.calls()
		var last *validation.UnavailableError
		for i := range 200 {
			if err := ask(fmt.Sprint("c", i)); !errors.As(err, &last) {
				t.Fatalf("got %v, want %v", err, validation.ErrUnavailable)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := s.calls() - before; got > 50 || last.RetryAfter <= 0 {
			t.Errorf("got %d calls to a server that is down, and Retry-After %s", got, last.RetryAfter)
		}
		down.Store(false)
		time.Sleep(15 * time.Second)
		if err := ask("good"); err != nil {
			t.Errorf("got %v after the server came back", err)
		}
	})
}

func TestRetryAfterIsPassedOn(t *testing.T) {
	s := &server{answer: func(url.Values) (*http.Response, error) {
		resp, err := answered(429, "")
		resp.Header.Set("Retry-After", "7")
		return resp, err
	}}
	_, err := exchanger(t, s, nil).Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{})
	var failed *validation.UnavailableError
	if !errors.As(err, &failed) || failed.RetryAfter != 7*time.Second {
		t.Errorf("got %v, want an outage of 7s", err)
	}
}

func TestNoEndpoint(t *testing.T) {
	for _, tc := range []struct {
		source published
		want   error
	}{
		{published{}, exchange.ErrMisconfigured},
		{published{err: errors.New("not fetched yet")}, validation.ErrUnavailable},
	} {
		e := exchanger(t, &server{}, func(_ *validation.Config, o *validation.Options) { o.Source = tc.source })
		if _, err := e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{}); !errors.Is(err, tc.want) {
			t.Errorf("got %v, want %v", err, tc.want)
		}
	}
}

// TestDrop: a token that was revoked has nothing left that was got for it, what is on
// its way included.
func TestDrop(t *testing.T) {
	var release atomic.Pointer[chan struct{}]
	s := &server{answer: func(url.Values) (*http.Response, error) {
		if wait := release.Load(); wait != nil {
			<-*wait
		}
		return answered(200, good("t", nil))
	}}
	e := exchanger(t, s, nil)
	ask := func(grant, token string) {
		t.Helper()
		if _, err := e.Token(t.Context(), target(grant), token, time.Time{}); err != nil {
			t.Error(err)
		}
	}
	for _, grant := range []string{exchange.TokenExchange, exchange.OnBehalfOf, exchange.ClientCredentials} {
		ask(grant, "revoked")
		ask(grant, "other")
	}
	if e.Entries() != 5 { // our own token is one
		t.Fatalf("got %d entries, want 5", e.Entries())
	}
	e.Drop("revoked")
	if e.Entries() != 3 {
		t.Errorf("got %d entries, want the 3 that have nothing to do with it", e.Entries())
	}
	wait := make(chan struct{})
	release.Store(&wait)
	before, done := s.calls(), make(chan struct{})
	go func() { defer close(done); ask(exchange.TokenExchange, "revoked") }()
	for s.calls() == before {
		time.Sleep(time.Millisecond)
	}
	e.Drop("revoked")
	close(wait)
	<-done
	if e.Entries() != 3 {
		t.Errorf("got %d entries, want none of what was on its way", e.Entries())
	}
}

func TestPanicIsAnOutage(t *testing.T) {
	s := &server{answer: func(url.Values) (*http.Response, error) { panic("s3cret") }}
	e := exchanger(t, s, nil)
	if _, err := e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{}); !errors.Is(err, validation.ErrUnavailable) ||
		strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v, want %v", err, validation.ErrUnavailable)
	}
}

func TestInherit(t *testing.T) {
	s := &server{answer: func(url.Values) (*http.Response, error) { return answered(200, good("t", nil)) }}
	before := exchanger(t, s, nil)
	if _, err := before.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{}); err != nil {
		t.Fatal(err)
	}
	same := exchanger(t, s, nil)
	same.Inherit(before)
	other := exchanger(t, s, func(c *validation.Config, _ *validation.Options) { c.ClientID = "other" })
	other.Inherit(before)
	if same.Entries() != 1 || other.Entries() != 0 {
		t.Errorf("got %d and %d entries, want those of the same client only", same.Entries(), other.Entries())
	}
	same.Drop("c")
	if same.Entries() != 0 {
		t.Error("what was inherited is not dropped")
	}
}

// TestEvents: calls and look-ups are told, with results of closed sets.
func TestEvents(t *testing.T) {
	for status, tc := range map[int]struct{ body, want string }{
		200: {good("t", nil), "success"}, 400: {`{"error":"invalid_target"}`, "refused"},
		403: {`{"error":"invalid_grant"}`, "inactive"}, 401: {`{"error":"invalid_client"}`, "misconfigured"}, 500: {"", "error"},
	} {
		var got []string
		var mu sync.Mutex
		s := &server{answer: func(url.Values) (*http.Response, error) { return answered(status, tc.body) }}
		e := exchanger(t, s, func(_ *validation.Config, o *validation.Options) {
			o.Events.Ended = func(_ context.Context, event validation.Event) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, event.Operation+" "+event.Cache+" "+event.Result+" "+event.Issuer)
			}
		})
		_, _ = e.Token(t.Context(), target(exchange.TokenExchange), "c", time.Time{})
		mu.Lock()
		want := []string{"cache exchange miss https://as.example.com", "token_exchange  " + tc.want + " https://as.example.com"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got %q, want %q", status, got, want)
		}
		mu.Unlock()
	}
}

// TestProbe: nothing that could be issued is asked for.
func TestProbe(t *testing.T) {
	for status, tc := range map[int]struct {
		body string
		want error
	}{
		400: {`{"error":"invalid_request"}`, nil}, 401: {`{"error":"invalid_client"}`, exchange.ErrMisconfigured},
		500: {"", validation.ErrUnavailable},
	} {
		s := &server{answer: func(form url.Values) (*http.Response, error) {
			if form.Get("grant_type") == "client_credentials" {
				t.Error("a token was asked for in earnest")
			}
			return answered(status, tc.body)
		}}
		if err := exchanger(t, s, nil).Probe(t.Context()); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%d: got %v, want %v", status, err, tc.want)
		}
	}
}

// TestProbeAsksAsTheRulesDo: a server that knows no other grant than theirs is no
// misconfigured one, and no alarm.
func TestProbeAsksAsTheRulesDo(t *testing.T) {
	const jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for _, tc := range []struct {
		grants []string
		knows  string // the grant that the server knows
		code   string // that it has for all others
		want   error
	}{
		{[]string{exchange.OnBehalfOf}, jwtBearer, "unsupported_grant_type", nil},
		{[]string{exchange.OnBehalfOf, exchange.ClientCredentials}, jwtBearer, "unsupported_grant_type", nil},
		{[]string{exchange.ClientCredentials}, "client_credentials", "unsupported_grant_type", nil},
		{[]string{exchange.ClientCredentials}, "client_credentials", "unauthorized_client", nil},
		{[]string{exchange.ClientCredentials}, "client_credentials", "invalid_client", exchange.ErrMisconfigured},
		{[]string{exchange.TokenExchange}, jwtBearer, "unsupported_grant_type", exchange.ErrMisconfigured},
		{[]string{exchange.OnBehalfOf}, "client_credentials", "unauthorized_client", exchange.ErrMisconfigured},
	} {
		var log bytes.Buffer
		s := &server{answer: func(form url.Values) (*http.Response, error) {
			switch form.Get("grant_type") {
			case "client_credentials":
				t.Error("a token was asked for in earnest")
			case tc.knows:
				return answered(400, `{"error":"invalid_grant"}`)
			}
			return answered(400, `{"error":"`+tc.code+`"}`)
		}}
		err := exchanger(t, s, func(c *validation.Config, o *validation.Options) {
			c.Exchanges, o.Log = tc.grants, slog.New(slog.NewJSONHandler(&log, nil))
		}).Probe(t.Context())
		if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) || (log.Len() == 0) != (tc.want == nil) {
			t.Errorf("%v, %s: got %v and log %q, want %v", tc.grants, tc.code, err, &log, tc.want)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		c    exchange.Config
		want string
	}{
		{exchange.Config{Grant: exchange.TokenExchange}, ""},
		{exchange.Config{Grant: "password"}, "grant"},
		{exchange.Config{Grant: exchange.OnBehalfOf, Audience: []string{"a", ""}}, "audience[1]"},
		{exchange.Config{Grant: exchange.OnBehalfOf, Resource: []string{"orders"}}, "resource[0]"},
		{exchange.Config{Grant: exchange.OnBehalfOf, Resource: []string{"https://a.example.com/#x"}}, "resource[0]"},
		{exchange.Config{Grant: exchange.OnBehalfOf, Scopes: []string{"a b"}}, "scopes[0]"},
	} {
		err := tc.c.Validate()
		var at *field.Error
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &at) || at.Path != tc.want) {
			t.Errorf("%+v: got %v, want a mistake at %q", tc.c, err, tc.want)
		}
	}
}

func TestSecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.ClientSecret, cfg.ClientSecretFile = "", file
	if _, err := exchange.New(cfg, validation.Options{Source: published{}, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("got an Exchanger that cannot say who it is")
	}
}

// TestClientsTokenIsNoAnswer: a server that hands back what it was sent would have the
// client's own token go upstream, which an exchange is there to prevent (M-11).
func TestClientsTokenIsNoAnswer(t *testing.T) {
	s := &server{answer: func(form url.Values) (*http.Response, error) {
		return answered(200, good(form.Get("subject_token")+form.Get("assertion"), nil))
	}}
	e := exchanger(t, s, nil)
	for _, grant := range []string{exchange.TokenExchange, exchange.OnBehalfOf} {
		for range 2 { // nothing of it is remembered
			got, err := e.Token(t.Context(), target(grant), "client's", time.Time{})
			if !errors.Is(err, validation.ErrUnavailable) || got.Bare() != "" {
				t.Errorf("%s: got %q, %v, want %v", grant, got.Bare(), err, validation.ErrUnavailable)
			}
		}
	}
}
