package authz_test

import (
	"strings"
	"testing"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/devissuer"
)

// with returns a policy over b's issuers.
func (b *bench) with(t testing.TB, change func(*authz.Config)) *authz.Policy {
	t.Helper()
	c := authz.Config{Realm: "r", DefaultAccess: "token", Issuers: b.issuers}
	change(&c)
	p, err := authz.New(c, b.set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ambiguousPaths() []string {
	return []string{
		"/public/%2e%2e;/orders/1", "/orders;x/1", "/;/orders/1", "/public/../x", "//x", `/a\b`, "/a%2fb", "/%252e%252e/x", "/%25%32%65%25%32%65/x", "/a%00", "/a%zz", "/%ff",
	}
}

// TestAmbiguousPathsAreRefusedWithoutPathRules: Envoy chose the route by them.
func TestAmbiguousPathsAreRefusedWithoutPathRules(t *testing.T) {
	b := newBench(t)
	good := []string{"Bearer " + b.first.JWT(devissuer.Claims{"aud": "api", "scope": "base"})}
	open := authz.Rule{Name: "open", Access: "public"}
	for name, rules := range map[string][]authz.Rule{"no rule": nil, "a named rule": {open}, "a rule of methods": {open, {Name: "get", Match: &authz.Match{Methods: []string{"GET"}}, Access: "public"}}} {
		p := b.with(t, func(c *authz.Config) { c.Rules = rules })
		for _, path := range ambiguousPaths() {
			for _, route := range []authz.Route{{}, {HasRule: len(rules) > 0, Rule: "open"}} {
				d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: path, Authorization: good, Route: route})
				if d.Reason != authz.BadRequest {
					t.Errorf("%s, %s, %+v: got %s, want bad_request", name, path, route, d.Reason)
				}
			}
		}
	}
}

func TestAmbiguousPathsCanBeAllowed(t *testing.T) {
	b := newBench(t)
	p := b.with(t, func(c *authz.Config) {
		c.AmbiguousPaths = "allow"
		c.Rules = []authz.Rule{{Name: "h", Match: &authz.Match{Hosts: []string{"h"}}, Access: "public"}}
	})
	for _, path := range append(ambiguousPaths(), "/", "*") {
		if d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: path}); d.Reason != authz.Public {
			t.Errorf("%s: got %s, want public", path, d.Reason)
		}
	}
	if d := p.Decide(t.Context(), &authz.Request{Method: "CONNECT", Host: "h"}); d.Reason != authz.BadRequest { // E-11
		t.Errorf("no path: got %s, want bad_request", d.Reason)
	}
}

func TestEncodedSlashes(t *testing.T) {
	b := newBench(t)
	p := b.with(t, func(c *authz.Config) {
		c.EncodedSlashes, c.DefaultAccess = "literal", "deny"
		c.Rules = []authz.Rule{
			{Name: "package", Match: &authz.Match{Paths: []string{"/@scope%2fname/*"}}, Access: "public"},
			{Name: "project", Match: &authz.Match{Paths: []string{"/projects/*/issues"}}, Access: "public"},
			{Name: "when", Match: &authz.Match{Paths: []string{"/when/**"}}, Access: "public", When: `request.path == "/when/a%2Fb"`},
		}
	})
	for path, want := range map[string]authz.Reason{
		"/@scope%2Fname/1": authz.Public, "/%40scope%2fname/1/": authz.Public, "/@scope/name/1": authz.Forbidden, "/projects/g%2Fp/issues": authz.Public, "/projects/g/p/issues": authz.Forbidden,
		"/when/a%2fb": authz.Public, "/when/a/b": authz.Forbidden, "/projects/g%252Fp/issues": authz.BadRequest, "/projects/..%2Fp/issues": authz.BadRequest, "/projects/g%5cp/issues": authz.BadRequest,
	} {
		if d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: path}); d.Reason != want {
			t.Errorf("%s: got %s, want %s", path, d.Reason, want)
		}
	}
}

// TestHostsThatEnvoyReadsOtherwise are refused where somebody looks at hosts.
func TestHostsThatEnvoyReadsOtherwise(t *testing.T) {
	b := newBench(t)
	hosts := []string{
		"public.example.com.", "public.example.com:", "public.example.com:evil.com", "x@public.example.com",
		"public.example.com.:80", "public.example.com\x7f", "public.example.com ",
	}
	for name, change := range map[string]func(*authz.Config){
		"rule": func(c *authz.Config) {
			c.Rules = []authz.Rule{{Name: "p", Match: &authz.Match{Hosts: []string{"public.example.com"}}, Access: "public"}}
		},
		"condition": func(c *authz.Config) {
			c.Rules = []authz.Rule{{Name: "p", Match: &authz.Match{Paths: []string{"/**"}}, Access: "public", When: `request.host == "public.example.com"`}}
		},
		"resource": func(c *authz.Config) {
			c.Resources = []authz.Resource{{Resource: "https://public.example.com/mcp"}}
			c.Rules = []authz.Rule{{Name: "p", Match: &authz.Match{Paths: []string{"/**"}}, Access: "public"}}
		},
	} {
		p := b.with(t, change)
		for _, host := range hosts {
			if d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: host, Path: "/x"}); d.Reason != authz.BadRequest {
				t.Errorf("%s, %s: got %s, want bad_request", name, host, d.Reason)
			}
		}
		if d := p.Decide(t.Context(), &authz.Request{
			Method: "GET", Host: "Public.example.com:8443", Path: "/x",
		}); d.Reason != authz.Public {
			t.Errorf("%s: got %s, want public", name, d.Reason)
		}
	}
	p := b.with(t, func(c *authz.Config) {
		c.Rules = []authz.Rule{{Name: "p", Match: &authz.Match{Paths: []string{"/**"}}, Access: "public"}}
	})
	for _, host := range hosts {
		if d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: host, Path: "/x"}); d.Reason != authz.Public {
			t.Errorf("nobody looks at hosts, %s: got %s, want public", host, d.Reason)
		}
	}
	p = b.with(t, func(c *authz.Config) {
		c.Rules = []authz.Rule{{Name: "p", Match: &authz.Match{Hosts: []string{"[2001:DB8::1]"}}, Access: "public"}}
	})
	if d := p.Decide(t.Context(), &authz.Request{
		Method: "GET", Host: "[2001:db8::1]:443", Path: "/x",
	}); d.Reason != authz.Public {
		t.Errorf("IPv6: got %s, want public", d.Reason)
	}
}

// TestOpaqueTokensNeedIntrospection: elsewhere RFC 6750's grammar holds.
func TestOpaqueTokensNeedIntrospection(t *testing.T) {
	b := newBench(t)
	p := b.with(t, func(c *authz.Config) {
		for n := range c.Issuers {
			c.Issuers[n].Introspects = false
		}
	})
	d := p.Decide(t.Context(), &authz.Request{
		Method: "GET", Host: "h", Path: "/x", Authorization: []string{"Bearer 00D!AQ8"},
	})
	if d.Reason != authz.BadRequest {
		t.Errorf("got %s, want bad_request", d.Reason)
	}
}

// TestConditionsTellNoClaims: their errors go to the log.
func TestConditionsTellNoClaims(t *testing.T) {
	b := newBench(t)
	token := []string{
		"Bearer " + b.first.JWT(devissuer.Claims{"aud": "api", "scope": "base", "secret": "hunter2", "hunter2": 1}),
	}
	for _, when := range []string{
		`timestamp(claims.secret) < timestamp("2030-01-01T00:00:00Z")`, `claims[claims.secret + "x"] == 1`, `claims.missing == 1`, `int(claims.secret) == 1`,
		`claims.secret.matches(claims.secret + "(")`, `claims.secret == "x"`, `duration(claims.secret) == duration("1s")`,
	} {
		p := b.with(t, func(c *authz.Config) {
			c.Rules = []authz.Rule{{Name: "w", Match: &authz.Match{Paths: []string{"/**"}}, When: when}}
		})
		d := p.Decide(t.Context(), &authz.Request{Method: "GET", Host: "h", Path: "/x", Authorization: token})
		if d.Reason != authz.Forbidden || d.Err == nil || strings.Contains(d.Err.Error(), "hunter2") ||
			strings.Contains(d.Err.Error(), "missing ==") {
			t.Errorf("%s: got %s, %v", when, d.Reason, d.Err)
		}
	}
}
