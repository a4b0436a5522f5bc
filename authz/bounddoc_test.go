package authz_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/authz"
)

// TestDocumentsTellOfBinding (RFC 9728 §2): which proofs are taken, whether nothing but
// bound tokens passes, and whether certificates count.
func TestDocumentsTellOfBinding(t *testing.T) {
	b := newBench(t)
	on := func(paths ...string) *authz.Match { return &authz.Match{Paths: paths} }
	const resource = "https://mcp.example.com/mcp"
	for name, tc := range map[string]struct {
		which    int
		ofIssuer string
		access   string // default_access
		rules    []authz.Rule
		want     bool // dpop_bound_access_tokens_required
	}{
		"off":                    {neither, "accept", "token", nil, false},
		"mtls":                   {onlyMTLS, "mtls", "token", nil, false},
		"accept":                 {onlyDPoP, "accept", "token", nil, false},
		"the issuer's":           {onlyDPoP, "dpop", "token", nil, true},
		"required, nothing else": {onlyDPoP, "required", "token", nil, true},
		"required, mtls will do": {bothKinds, "required", "token", nil, false},
		"its one rule": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: on("/mcp/**"), TokenBinding: "dpop"},
		}, true},
		"not all of it": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: on("/mcp/deep/**"), TokenBinding: "dpop"},
		}, false},
		"all there is": {onlyDPoP, "accept", "deny", []authz.Rule{
			{Name: "r", Match: on("/mcp/deep/**"), TokenBinding: "dpop"},
		}, true},
		"one method only": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: &authz.Match{Paths: []string{"/**"}, Methods: []string{"GET"}}, TokenBinding: "dpop"},
		}, false},
		"one of two": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: on("/mcp/a"), TokenBinding: "accept"}, {Name: "s", Match: on("/**"), TokenBinding: "dpop"},
		}, false},
		"elsewhere, another": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: on("/other/**"), TokenBinding: "accept"}, {Name: "s", Match: on("/**"), TokenBinding: "dpop"},
		}, true},
		"of another host": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: &authz.Match{Hosts: []string{"a.example.com"}}, TokenBinding: "accept"},
			{Name: "s", Match: on("/**"), TokenBinding: "dpop"},
		}, true},
		"public beside": {onlyDPoP, "accept", "token", []authz.Rule{
			{Name: "r", Match: on("/mcp/health"), Access: "public"}, {Name: "s", Match: on("/*/**"), TokenBinding: "dpop"},
		}, true},
		"public, all of it": {onlyDPoP, "dpop", "token", []authz.Rule{{Name: "r", Match: on("/**"), Access: "public"}}, false},
		"named by a rule": {onlyDPoP, "dpop", "token", []authz.Rule{
			{Name: "r", Match: on("/elsewhere"), Resource: resource, TokenBinding: "accept"},
		}, false},
		"by name only": {onlyDPoP, "dpop", "token", []authz.Rule{{Name: "r", TokenBinding: "accept"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.bound(t, tc.which, tc.ofIssuer, "", func(c *authz.Config) {
				c.DefaultAccess, c.Rules, c.Resources = tc.access, tc.rules, []authz.Resource{{Resource: resource}}
			})
			d := p.Decide(t.Context(), &authz.Request{
				Method: "GET", Host: "mcp.example.com", Path: "/.well-known/oauth-protected-resource/mcp",
			})
			var got map[string]any
			if err := json.Unmarshal(d.Document, &got); err != nil {
				t.Fatalf("%s: %v", d.Document, err)
			}
			want := map[string]any{
				"resource": resource, "bearer_methods_supported": []any{"header"}, "authorization_servers": got["authorization_servers"],
			}
			if tc.which == onlyDPoP || tc.which == bothKinds {
				want["dpop_signing_alg_values_supported"] = []any{"ES256", "EdDSA"}
			}
			if tc.which == onlyMTLS || tc.which == bothKinds {
				want["tls_client_certificate_bound_access_tokens"] = true
			}
			if tc.want {
				want["dpop_bound_access_tokens_required"] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWeakerBindingInAnotherCase: a path in another case that asks for less is warned of.
func TestWeakerBindingInAnotherCase(t *testing.T) {
	c := authz.Config{DefaultAccess: "token", Rules: []authz.Rule{
		{Name: "bound", Match: &authz.Match{Paths: []string{"/admin/**"}}, TokenBinding: "dpop"},
		{Name: "rest", Match: &authz.Match{Paths: []string{"/**"}}},
	}}
	if got := fmt.Sprint(c.Warnings()); len(c.Warnings()) != 1 {
		t.Errorf("got %s, want one of rule bound", got)
	}
}
