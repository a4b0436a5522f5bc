package authz_test

import (
	"fmt"
	"testing"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/devissuer"
)

// BenchmarkDecide is a warm decision, all but the gateway's part: the token is in the cache.
func BenchmarkDecide(b *testing.B) {
	bench := newBench(b)
	token := []string{"Bearer " + bench.first.JWT(devissuer.Claims{
		"sub": "alice", "client_id": "app", "aud": "api", "scope": "base orders:read", "tenant": "acme",
	})}
	header := func(name string) (string, bool) { return "add", name == "mcp-name" }
	for name, rule := range map[string]authz.Rule{
		"public": {Access: "public"}, "token": {}, "scopes": {Scopes: []string{"orders:read"}},
		"when":    {When: `claims.tenant == "acme" && request.method != "DELETE"`},
		"headers": {When: `request.headers["mcp-name"] == "add"`},
	} {
		rule.Name, rule.Match = "r", &authz.Match{Paths: []string{"/orders/**"}}
		p := bench.with(b, func(c *authz.Config) {
			c.Rules = []authz.Rule{rule}
			c.Headers = map[string]string{"x-auth-sub": "sub", "x-auth-scope": "scope", "x-auth-client-id": "client_id"}
		})
		r := authz.Request{
			Method: "GET", Host: "api.example.com", Path: "/orders/1?q=1", Authorization: token, Header: header,
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := p.Decide(b.Context(), &r); d.Reason.Outcome() != authz.Allow {
					b.Fatal(d.Reason, d.Err)
				}
			}
		})
	}
}

// TestRequestsWithoutTokenAllocateNothing: what they cost is finding the rule.
func TestRequestsWithoutTokenAllocateNothing(t *testing.T) {
	p := newBench(t).with(t, func(c *authz.Config) {
		c.Rules = []authz.Rule{{Name: "r", Match: &authz.Match{Paths: []string{"/orders/**"}}, Access: "public"}}
		c.Headers = map[string]string{"x-auth-sub": "sub", "x-auth-scope": "scope"}
	})
	r := authz.Request{Method: "GET", Host: "api.example.com:443", Path: "/orders/1?q=1"}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { p.Decide(ctx, &r) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

// BenchmarkRules decides without a token, so that finding the rule is what takes time: the last one, and none.
func BenchmarkRules(b *testing.B) {
	bench := newBench(b)
	for _, n := range []int{5, 100, 10_000} {
		p := bench.with(b, func(c *authz.Config) {
			c.DefaultAccess = "deny"
			for i := range n {
				c.Rules = append(c.Rules, authz.Rule{Name: fmt.Sprint(i), Access: "public", Match: &authz.Match{
					Paths: []string{fmt.Sprintf("/service-%d/orders/*/items", i), fmt.Sprintf("/service-%d/public/**", i)},
					Hosts: []string{fmt.Sprintf("host-%d.example.com", i%50)}, Methods: []string{"GET", "HEAD"},
				}})
			}
		})
		last := fmt.Sprintf("host-%d.example.com", (n-1)%50)
		for name, tc := range map[string]struct {
			path string
			want authz.Reason
		}{
			"last": {fmt.Sprintf("/service-%d/orders/17/items?page=2", n-1), authz.Public},
			"none": {"/elsewhere/orders/17/items", authz.Forbidden},
		} {
			r := authz.Request{Method: "GET", Host: last, Path: tc.path}
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := p.Decide(b.Context(), &r); d.Reason != tc.want {
						b.Fatal(d.Reason)
					}
				}
			})
		}
	}
}
