package authz_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/devissuer"
)

// TestARuleInShadowModeStopsNothing: what it says is told as it would be, and the
// request passes without any identity. What is not the rule's to say still counts.
func TestARuleInShadowModeStopsNothing(t *testing.T) {
	b := newBench(t)
	shadow := new(bool)
	p := b.with(t, func(c *authz.Config) {
		c.Headers = map[string]string{"x-auth-sub": "sub"}
		c.Rules = []authz.Rule{
			{Name: "shadow", Match: &authz.Match{Paths: []string{"/shadow/**"}}, Scopes: []string{"write"}, Enforce: shadow},
			{Name: "closed", Match: &authz.Match{Paths: []string{"/closed"}}, Access: "deny", Enforce: shadow},
			{Name: "when", Match: &authz.Match{Paths: []string{"/when"}}, When: "claims.none == 1", Enforce: shadow},
		}
	})
	good := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base write"})
	poor := b.first.JWT(claims{"sub": "alice", "aud": "api", "scope": "base"})
	b.first.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 503})
	for name, tc := range map[string]struct {
		path, token string
		route       authz.Route
		want        authz.Reason
		stops       bool
	}{
		"would pass":     {"/shadow/x", good, authz.Route{}, authz.Allowed, false},
		"no token":       {"/shadow/x", "", authz.Route{}, authz.NoToken, false},
		"junk":           {"/shadow/x", good[:len(good)-8] + "AAAAAAAA", authz.Route{}, authz.BadSignature, false},
		"poor":           {"/shadow/x", poor, authz.Route{}, authz.InsufficientScope, false},
		"two":            {"/shadow/x", good + ", Bearer " + good, authz.Route{}, authz.BadRequest, false},
		"outage":         {"/shadow/x", "opaque", authz.Route{}, authz.Unavailable, false},
		"deny":           {"/closed", "", authz.Route{}, authz.Forbidden, false},
		"when":           {"/when", good, authz.Route{}, authz.Forbidden, false},
		"named":          {"/elsewhere", "", authz.Route{Rule: "shadow", HasRule: true}, authz.NoToken, false},
		"route's scopes": {"/shadow/x", good, authz.Route{Scopes: []string{"admin"}, HasScopes: true}, authz.InsufficientScope, false},
		"another rule":   {"/x", "", authz.Route{}, authz.NoToken, true},
		"ambiguous path": {"/shadow/../x", good, authz.Route{}, authz.BadRequest, true},
		"route":          {"/shadow/x", good, authz.Route{Unknown: "bearergate.x"}, authz.Misconfigured, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := authz.Request{Method: "GET", Host: "api.example.com", Path: tc.path, Route: tc.route}
			if tc.token != "" {
				r.Authorization = []string{"Bearer " + tc.token}
			}
			d := p.Decide(context.Background(), &r)
			if d.Reason != tc.want || d.Shadow == tc.stops || (d.Outcome() == authz.Deny) != tc.stops {
				t.Fatalf("got %s, shadow %v (%v), want %s, stopped %v", d.Reason, d.Shadow, d.Err, tc.want, tc.stops)
			}
			if tc.stops {
				return
			}
			if len(d.Set) > 0 || len(d.Challenges) > 0 || !slices.Contains(d.Remove, "x-auth-sub") ||
				!slices.Contains(d.Remove, "authorization") {
				t.Errorf("got %+v, want no identity and no challenge", d)
			}
		})
	}
	warned := slices.ContainsFunc(authz.Config{Rules: []authz.Rule{{Name: "a", Enforce: shadow}}}.Warnings(), func(w string) bool {
		return strings.HasPrefix(w, "rules[0].enforce: false")
	})
	if !warned {
		t.Error("nobody is warned of a rule that stops nothing")
	}
}
