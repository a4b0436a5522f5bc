package authz_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

// refuser gives no tokens.
type refuser struct {
	err   error
	asked int
}

func (*refuser) Knows(*exchange.Target, string) bool { return false }

func (r *refuser) Token(context.Context, *exchange.Target, string, time.Time) (exchange.Value, error) {
	r.asked++
	return exchange.Value{}, r.err
}

// published is what the first issuer publishes of tokens.
type published struct{ url string }

func (p published) Metadata() (discovery.Metadata, error) {
	return discovery.Metadata{TokenEndpoint: p.url + devissuer.PathToken}, nil
}

func (published) Key(context.Context, string, string) (discovery.Key, error) {
	return discovery.Key{}, discovery.ErrUnavailable
}

func (published) Trusted(string) error { return nil }

// giver gets tokens of the first issuer.
func (b *bench) giver(t *testing.T) authz.Exchanger {
	t.Helper()
	e, err := exchange.New(validation.Config{
		Issuer: b.first.URL(), ClientID: "gate", ClientAuthMethod: validation.AuthNone, RequestTimeout: time.Second,
		Cache: validation.CacheConfig{MaxEntries: 100, MaxBytes: 1 << 20, TTL: time.Minute},
	}, validation.Options{
		Source: published{b.first.URL()}, Client: http.DefaultClient, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func upstream(header string) *exchange.Config {
	return &exchange.Config{Grant: exchange.TokenExchange, Audience: []string{"orders"}, Header: header}
}

func (b *bench) upstreams(t *testing.T, forward bool, by authz.Exchanger) *authz.Policy {
	t.Helper()
	p := b.with(t, func(c *authz.Config) {
		c.ForwardToken = forward
		c.Headers = map[string]string{"x-auth-sub": "sub"}
		at := func(path string) *authz.Match { return &authz.Match{Paths: []string{path}} }
		c.Rules = []authz.Rule{
			{Name: "plain", Match: at("/plain")},
			{Name: "public", Match: at("/public"), Access: "public"},
			{Name: "own", Match: at("/own"), UpstreamToken: upstream("authorization")},
			{Name: "other", Match: at("/other"), UpstreamToken: upstream("X-Up-Token")},
			{Name: "maybe", Match: at("/maybe"), Access: "optional", UpstreamToken: upstream("authorization")},
			{Name: "strict", Match: at("/strict"), Scopes: []string{"admin"}, UpstreamToken: upstream("authorization")},
			{Name: "never", Match: at("/never"), When: "false", UpstreamToken: upstream("authorization")},
		}
	})
	if by != nil {
		p.SetExchangers(map[string]authz.Exchanger{b.first.URL(): by})
	}
	return p
}

func set(d authz.Decision, name string) string {
	for _, h := range d.Set {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// TestUpstreamToken: the upstream gets a token of its own, every header that could
// carry one is ours on every allow, and the client's token stays here.
func TestUpstreamToken(t *testing.T) {
	b := newBench(t)
	token := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base"})
	ups := []string{"x-up-token", "x_up-token", "x-up_token", "x_up_token"}
	for _, forward := range []bool{false, true} {
		p := b.upstreams(t, forward, b.giver(t))
		for _, tc := range []struct {
			path, token, set string
			remove           []string
		}{
			{"/plain", token, "", append([]string{"authorization"}, ups...)},
			{"/public", token, "", append([]string{"authorization"}, ups...)},
			{"/public", "", "", append([]string{"authorization"}, ups...)},
			{"/own", token, "authorization", ups},
			{"/other", token, "x-up-token", append([]string{"authorization"}, ups[1:]...)},
			{"/maybe", "", "", append([]string{"authorization"}, ups...)},
			{"/maybe", token, "authorization", ups},
		} {
			what := fmt.Sprintf("forward_token %t, %s", forward, tc.path)
			r := authz.Request{Method: "GET", Host: "api.example.com", Path: tc.path}
			if tc.token != "" {
				r.Authorization = []string{"Bearer " + tc.token}
			}
			d := p.Decide(t.Context(), &r)
			if d.Outcome() != authz.Allow {
				t.Fatalf("%s: got %s (%v)", what, d.Reason, d.Err)
			}
			for _, name := range tc.remove {
				if !slices.Contains(d.Remove, name) {
					t.Errorf("%s: %s is not removed: %v", what, name, d.Remove)
				}
			}
			for _, h := range d.Set {
				if strings.Contains(h.Value, token) || slices.Contains(d.Remove, h.Name) {
					t.Errorf("%s: %s is set to %q, and removed: %v", what, h.Name, h.Value, d.Remove)
				}
			}
			for _, name := range []string{"authorization", "x-up-token"} {
				value := set(d, name)
				if (value != "") != (name == tc.set) || strings.HasPrefix(value, "Bearer ") != (value != "" && name == "authorization") {
					t.Errorf("%s: got %s %q, want %q set", what, name, value, tc.set)
				}
			}
		}
	}
}

// TestClientsTokenStaysHere: where the upstream gets a token of its own under another
// name, Authorization is removed, although forward_token lets it pass elsewhere.
func TestClientsTokenStaysHere(t *testing.T) {
	b := newBench(t)
	token := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base"})
	p := b.with(t, func(c *authz.Config) {
		c.ForwardToken = true
		at := func(path string) *authz.Match { return &authz.Match{Paths: []string{path}} }
		c.Rules = []authz.Rule{
			{Name: "other", Match: at("/other"), UpstreamToken: upstream("x-up-token")},
			{Name: "maybe", Match: at("/maybe"), Access: "optional", UpstreamToken: upstream("x-up-token")},
			{Name: "plain", Match: at("/plain")},
		}
	})
	p.SetExchangers(map[string]authz.Exchanger{b.first.URL(): b.giver(t)})
	for _, tc := range []struct {
		path, authorization string
		removed             bool
	}{
		{"/other", "Bearer " + token, true}, {"/maybe", "Bearer " + token, true}, {"/maybe", "Basic Zm9vOmJhcg==", true},
		{"/plain", "Bearer " + token, false},
	} {
		d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: tc.path, Authorization: []string{tc.authorization}})
		if d.Outcome() != authz.Allow || slices.Contains(d.Remove, "authorization") != tc.removed {
			t.Errorf("%s, %.6s: got %s, removed %v, want Authorization removed: %t", tc.path, tc.authorization, d.Reason, d.Remove, tc.removed)
		}
	}
}

// TestNoUpstreamToken: whatever keeps the upstream from its token keeps the request
// from the upstream.
func TestNoUpstreamToken(t *testing.T) {
	b := newBench(t)
	token := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base"})
	for want, err := range map[authz.Reason]error{
		authz.ExchangeRefused: fmt.Errorf("%w: x", exchange.ErrRefused), authz.Misconfigured: exchange.ErrMisconfigured,
		authz.Inactive: validation.ErrInactive, authz.Unavailable: &validation.UnavailableError{RetryAfter: 7 * time.Second},
		authz.Internal: errors.New("x"),
	} {
		for _, path := range []string{"/own", "/other", "/maybe"} {
			p := b.upstreams(t, true, &refuser{err: err})
			d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: path, Authorization: []string{"Bearer " + token}})
			if d.Reason != want || d.Outcome() != authz.Deny || len(d.Set) > 0 {
				t.Errorf("%s, %v: got %s, want %s", path, err, d.Reason, want)
			}
			if want == authz.Unavailable && d.RetryAfter != 7*time.Second {
				t.Errorf("got Retry-After %s, want 7s", d.RetryAfter)
			}
			if challenged := len(d.Challenges) > 0; challenged != (want == authz.Inactive) {
				t.Errorf("%s: got challenges %q", d.Reason, d.Challenges)
			}
		}
	}
	if d := b.upstreams(t, true, nil).Decide(t.Context(), &authz.Request{
		Method: "GET", Host: "h", Path: "/own", Authorization: []string{"Bearer " + token},
	}); d.Reason != authz.Misconfigured {
		t.Errorf("got %s where nobody gives tokens, want %s", d.Reason, authz.Misconfigured)
	}
}

// TestRefusedRequestsCostNoExchange: it comes after everything else.
func TestRefusedRequestsCostNoExchange(t *testing.T) {
	b := newBench(t)
	asked := &refuser{err: exchange.ErrRefused}
	p := b.upstreams(t, false, asked)
	good := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base"})
	for path, token := range map[string]string{
		"/strict": good, "/never": good, "/own": b.first.JWT(claims{"aud": "other", "scope": "base"}), "/other": "", "/plain": good,
	} {
		r := authz.Request{Method: "GET", Host: "h", Path: path}
		if token != "" {
			r.Authorization = []string{"Bearer " + token}
		}
		if d := p.Decide(t.Context(), &r); asked.asked != 0 {
			t.Errorf("%s: %s cost an exchange", path, d.Reason)
		}
	}
}

// TestExplainShowsNoUpstreamToken: a step says what was asked for, and no token.
func TestExplainShowsNoUpstreamToken(t *testing.T) {
	b := newBench(t)
	token := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base"})
	ctx, recorder := walk.With(t.Context())
	d := b.upstreams(t, false, b.giver(t)).Decide(ctx, &authz.Request{
		Method: "GET", Host: "h", Path: "/own", Authorization: []string{"Bearer " + token},
	})
	given := strings.TrimPrefix(set(d, "authorization"), "Bearer ")
	text := fmt.Sprint(recorder.Steps())
	if given == "" || strings.Contains(text, given) || strings.Contains(text, token) {
		t.Errorf("got %s", text)
	}
	if !strings.Contains(text, "upstream_token passed a token by token_exchange, audience orders") {
		t.Errorf("got %s, want the step", text)
	}
}

func TestUpstreamTokenMistakes(t *testing.T) {
	enforce := false
	for _, tc := range []struct {
		rule authz.Rule
		want string
	}{
		{authz.Rule{UpstreamToken: upstream("authorization")}, ""},
		{authz.Rule{UpstreamToken: upstream("Authorization"), Access: "optional"}, ""},
		{authz.Rule{UpstreamToken: upstream("x-token")}, ""},
		{authz.Rule{UpstreamToken: upstream("authorization"), Access: "public"}, "rules[0].upstream_token"},
		{authz.Rule{UpstreamToken: upstream("authorization"), Access: "deny"}, "rules[0].upstream_token"},
		{authz.Rule{UpstreamToken: upstream("authorization"), Enforce: &enforce}, "rules[0].upstream_token"},
		{authz.Rule{UpstreamToken: upstream("host")}, "rules[0].upstream_token.header"},
		{authz.Rule{UpstreamToken: upstream("")}, "rules[0].upstream_token.header"},
		{authz.Rule{UpstreamToken: upstream("x-envoy-x")}, "rules[0].upstream_token.header"},
		{authz.Rule{UpstreamToken: upstream("proxy_authorization")}, "rules[0].upstream_token.header"},
		{authz.Rule{UpstreamToken: upstream("X_Auth-Sub")}, "rules[0].upstream_token.header"},
		{authz.Rule{UpstreamToken: &exchange.Config{Grant: "x", Header: "authorization"}}, "rules[0].upstream_token.grant"},
		{authz.Rule{UpstreamToken: &exchange.Config{Grant: exchange.TokenExchange, Scopes: []string{"a b"}, Header: "x-t"}}, "rules[0].upstream_token.scopes[0]"},
	} {
		tc.rule.Name = "r"
		err := authz.Config{
			Realm: "r", DefaultAccess: "token", Issuers: []authz.IssuerConfig{{Issuer: "https://as"}},
			Headers: map[string]string{"x-auth-sub": "sub"}, Rules: []authz.Rule{tc.rule},
		}.Validate()
		var at *field.Error
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &at) || at.Path != tc.want) {
			t.Errorf("%+v: got %v, want a mistake at %q", tc.rule.UpstreamToken, err, tc.want)
		}
	}
	two := authz.Config{
		Realm: "r", DefaultAccess: "token", Issuers: []authz.IssuerConfig{{Issuer: "https://as"}},
		Rules: []authz.Rule{{Name: "a", UpstreamToken: upstream("x-token")}, {Name: "b", UpstreamToken: upstream("x_token")}},
	}
	if err := two.Validate(); err == nil || !strings.Contains(err.Error(), "another spelling") {
		t.Errorf("got %v, want two spellings of one header refused", err)
	}
	two.Rules, two.ForwardToken = two.Rules[:1], true
	if got := two.Warnings(); len(got) != 0 {
		t.Errorf("got %q", got)
	}
	two.Rules[0].UpstreamToken.Header = "authorization"
	if got := two.Warnings(); len(got) != 1 || !strings.HasPrefix(got[0], "forward_token: ") {
		t.Errorf("got %q, want forward_token to be warned of", got)
	}
}
