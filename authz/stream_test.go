package authz_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/walk"
)

const timeoutHeader = "x-envoy-upstream-rq-timeout-ms"

// TestStreamUntilExpiry: the header is set to what the token has left, or removed;
// where the rule does not want it, and on what does not pass, it is left alone.
func TestStreamUntilExpiry(t *testing.T) { // docs/contract.md §13
	b := newBench(t)
	shadow := new(bool)
	now := time.Now().Truncate(time.Second).Add(250 * time.Millisecond)
	p := b.with(t, func(c *authz.Config) {
		c.Headers = map[string]string{"x-auth-sub": "sub"}
		c.Rules = []authz.Rule{
			{Name: "stream", Match: &authz.Match{Paths: []string{"/stream"}}, StreamUntilExpiry: true},
			{Name: "optional", Match: &authz.Match{Paths: []string{"/optional"}}, Access: "optional", StreamUntilExpiry: true},
			{Name: "shadow", Match: &authz.Match{Paths: []string{"/shadow"}}, StreamUntilExpiry: true, Enforce: shadow},
			{Name: "admin", Match: &authz.Match{Paths: []string{"/admin"}}, Scopes: []string{"admin"}, StreamUntilExpiry: true},
			{Name: "plain", Match: &authz.Match{Paths: []string{"/plain"}}},
		}
	})
	jwt := func(exp any) string {
		return b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base", "exp": exp})
	}
	minute := jwt(now.Unix() + 60)
	const removed = "removed"
	for name, tc := range map[string]struct {
		path, token string
		reason      authz.Reason
		want        string // "": left alone
	}{
		"a minute left":            {"/stream", minute, authz.Allowed, "59750"},
		"a fraction":               {"/stream", jwt(float64(now.Unix()) + 10.5), authz.Allowed, "10250"},
		"two days left":            {"/stream", jwt(now.Unix() + 2*86400), authz.Allowed, "86400000"},
		"alive by clock_skew":      {"/stream?late", minute, authz.Allowed, "1"},
		"opaque":                   {"/stream", b.first.Opaque("", claims{"aud": "api", "scope": "base", "exp": now.Unix() + 3}), authz.Allowed, "2750"},
		"opaque without exp":       {"/stream", b.first.Opaque("", claims{"aud": "api", "scope": "base", "exp": nil}), authz.Allowed, removed},
		"optional with a token":    {"/optional", minute, authz.Allowed, "59750"},
		"optional without a token": {"/optional", "", authz.Public, removed},
		"in shadow mode":           {"/shadow", minute, authz.Allowed, removed},
		"shadow, would be refused": {"/shadow", "", authz.NoToken, removed},
		"refused":                  {"/admin", minute, authz.InsufficientScope, ""},
		"another rule":             {"/plain", minute, authz.Allowed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p.SetClock(func() time.Time { return now })
			if strings.HasSuffix(tc.path, "?late") {
				p.SetClock(func() time.Time { return now.Add(61 * time.Second) })
			}
			r := authz.Request{Method: "GET", Host: "api.example.com", Path: tc.path}
			if tc.token != "" {
				r.Authorization = []string{"Bearer " + tc.token}
			}
			d := p.Decide(context.Background(), &r)
			got := ""
			if slices.Contains(d.Remove, timeoutHeader) {
				got = removed
			}
			for _, h := range d.Set {
				if h.Name == timeoutHeader {
					got += h.Value // never both: Envoy removes last (E-03)
				}
			}
			if d.Reason != tc.reason || got != tc.want {
				t.Errorf("got %s (%v), %q, want %s, %q", d.Reason, d.Err, got, tc.reason, tc.want)
			}
		})
	}
}

// TestStreamUntilExpiryIsExplained as a step of its own.
func TestStreamUntilExpiryIsExplained(t *testing.T) {
	b := newBench(t)
	now := time.Now().Truncate(time.Second)
	p := b.with(t, func(c *authz.Config) {
		c.Rules = []authz.Rule{{
			Name: "r", Match: &authz.Match{Paths: []string{"/**"}}, Access: "optional", StreamUntilExpiry: true,
		}}
	})
	p.SetClock(func() time.Time { return now })
	token := b.first.JWT(claims{"aud": "api", "scope": "base", "exp": now.Unix() + 90})
	for _, tc := range []struct {
		authorization []string
		want          string
	}{
		{[]string{"Bearer " + token}, "Envoy ends the response 1m30s after the request"},
		{nil, "no end is set: there is no token"},
	} {
		ctx, w := walk.With(t.Context())
		p.Decide(ctx, &authz.Request{
			Method: "GET", Host: "api.example.com", Path: "/", Authorization: tc.authorization,
		})
		if !slices.ContainsFunc(w.Steps(), func(s walk.Step) bool {
			return s.Name == "stream_until_expiry" && s.Detail == tc.want
		}) {
			t.Errorf("got %+v, want %q", w.Steps(), tc.want)
		}
	}
}

func TestStreamUntilExpiryNeedsAToken(t *testing.T) {
	for access, wrong := range map[string]bool{"": false, "token": false, "optional": false, "public": true, "deny": true} {
		err := authz.Config{
			Realm: "r", Rules: []authz.Rule{{Name: "r", Access: access, StreamUntilExpiry: true}},
		}.Validate()
		if got := err != nil && strings.Contains(err.Error(), "rules[0].stream_until_expiry: is never looked at"); got != wrong {
			t.Errorf("%q: got %v, want an error: %v", access, err, wrong)
		}
	}
}

// TestStreamUntilExpiryIsMissedInAnotherCase: a path that slips out of the rule slips
// out of the end of its streams.
func TestStreamUntilExpiryIsMissedInAnotherCase(t *testing.T) {
	warnings := authz.Config{DefaultAccess: "token", Rules: []authz.Rule{
		{Name: "r", Match: &authz.Match{Paths: []string{"/events"}}, StreamUntilExpiry: true},
	}}.Warnings()
	if len(warnings) != 1 || !strings.Contains(warnings[0], "default_access token, which asks for less") {
		t.Errorf("got %v", warnings)
	}
}
