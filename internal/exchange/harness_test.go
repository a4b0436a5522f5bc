package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

const endpoint = "https://as.example.com/token"

// published is what the authorization server publishes.
type published struct {
	endpoint string
	err      error
}

func (p published) Metadata() (discovery.Metadata, error) {
	return discovery.Metadata{TokenEndpoint: p.endpoint}, p.err
}

func (published) Key(context.Context, string, string) (discovery.Key, error) {
	return discovery.Key{}, errors.New("no keys")
}

func (published) Trusted(string) error { return nil }

// server is a token endpoint within the process, so that its clock can be the test's.
type server struct {
	answer func(form url.Values) (*http.Response, error)

	mu    sync.Mutex
	forms []url.Values
	heads []http.Header
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || r.Method != http.MethodPost || r.URL.String() != endpoint {
		return nil, errors.New("not a request of a token")
	}
	s.mu.Lock()
	s.forms, s.heads = append(s.forms, form), append(s.heads, r.Header)
	s.mu.Unlock()
	resp, err := s.answer(form)
	if gone := r.Context().Err(); gone != nil { // whoever asked has left
		return nil, gone
	}
	return resp, err
}

// calls counts those for tokens, probes aside.
func (s *server) calls() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, form := range s.forms {
		if !strings.HasPrefix(form.Get("subject_token"), "probe") {
			n++
		}
	}
	return n
}

func answered(status int, body string) (*http.Response, error) {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// good is an answer for a token, with members changed; nil removes one.
func good(token string, change map[string]any) string {
	members := map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": 600,
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	}
	for name, value := range change {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	body, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(body)
}

func config() validation.Config {
	return validation.Config{
		Issuer: "https://as.example.com", Strategy: validation.StrategyJWT, Exchanges: []string{exchange.TokenExchange},
		ClientID: "gate", ClientSecret: "s3cret", ClientAuthMethod: validation.AuthBasic, RequestTimeout: time.Second,
		Cache: validation.CacheConfig{MaxEntries: 1000, MaxBytes: bytesize.MiB, TTL: time.Minute, NegativeTTL: 5 * time.Second},
	}
}

// exchanger returns one that asks s.
func exchanger(t *testing.T, s *server, change func(*validation.Config, *validation.Options)) *exchange.Exchanger {
	t.Helper()
	cfg, options := config(), validation.Options{
		Source: published{endpoint: endpoint}, Client: &http.Client{Transport: s}, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg, &options)
	}
	e, err := exchange.New(cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func target(grant string) *exchange.Target {
	return exchange.NewTarget(exchange.Config{
		Grant: grant, Audience: []string{"orders", "stock"}, Resource: []string{"https://r.example.com/a"},
		Scopes: []string{"read", "write"}, Header: "authorization",
	})
}
