package authz

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCaseWarnings(t *testing.T) {
	at := func(paths ...string) *Match { return &Match{Paths: paths} }
	everything := at("/**")
	for name, tc := range map[string]struct {
		defaultAccess string
		rules         []Rule
		want          []string // beginnings, and what holds instead
	}{
		"nothing":                  {"token", nil, nil},
		"as strong as the default": {"token", []Rule{{Name: "a", Match: at("/orders/**")}}, nil},
		"public":                   {"token", []Rule{{Name: "a", Match: at("/public/**"), Access: "public"}}, nil},
		"public below deny":        {"deny", []Rule{{Name: "a", Match: at("/public/**"), Access: "public"}}, nil},
		"default deny":             {"deny", []Rule{{Name: "a", Match: at("/orders/**"), Scopes: []string{"s"}}}, nil},
		"shadow, beneath": {
			"deny", []Rule{{Name: "a", Match: at("/orders/**")}, {Name: "b", Match: at("/**"), Enforce: new(bool)}}, []string{"rules[0]: rule b"},
		},
		"deny":                       {"token", []Rule{{Name: "a", Match: at("/admin/**"), Access: "deny"}}, []string{"rules[0]: default_access token"}},
		"scopes":                     {"token", []Rule{{Name: "a", Match: at("/public")}, {Name: "b", Match: at("/orders"), Scopes: []string{"s"}}}, []string{"rules[1]: default_access token"}},
		"when":                       {"token", []Rule{{Name: "a", Match: at("/orders"), When: "true"}}, []string{"rules[0]: default_access"}},
		"issuers":                    {"token", []Rule{{Name: "a", Match: at("/orders"), Issuers: []string{"https://as"}}}, []string{"rules[0]: default_access"}},
		"audience":                   {"token", []Rule{{Name: "a", Match: at("/orders"), Audience: []string{"x"}}}, []string{"rules[0]: default_access"}},
		"acr_values":                 {"token", []Rule{{Name: "a", Match: at("/orders"), ACRValues: []string{"x"}}}, []string{"rules[0]: default_access"}},
		"max_age":                    {"token", []Rule{{Name: "a", Match: at("/orders"), MaxAge: time.Second}}, []string{"rules[0]: default_access"}},
		"ignore_case":                {"token", []Rule{{Name: "a", Match: &Match{Paths: []string{"/admin/**"}, IgnoreCase: true}, Access: "deny"}}, nil},
		"no letters":                 {"token", []Rule{{Name: "a", Match: at("/1/*", "/%c3%bc", "/**"), Access: "deny"}}, nil},
		"no match":                   {"token", []Rule{{Name: "a", Access: "deny"}}, nil},
		"no paths":                   {"token", []Rule{{Name: "a", Match: &Match{Methods: []string{"PUT"}}, Access: "deny"}}, nil},
		"a later rule denies":        {"token", []Rule{{Name: "a", Match: at("/orders"), Scopes: []string{"s"}}, {Name: "b", Match: everything, Access: "deny"}}, nil},
		"a later rule is weaker":     {"deny", []Rule{{Name: "a", Match: at("/orders")}, {Name: "b", Match: everything, Access: "public"}}, []string{"rules[0]: rule b"}},
		"a later rule has the scope": {"token", []Rule{{Name: "a", Match: at("/orders"), Scopes: []string{"s"}}, {Name: "b", Match: everything, Scopes: []string{"s", "t"}}}, nil},
		"a later rule lacks one": {
			"deny", []Rule{{Name: "a", Match: at("/orders"), Scopes: []string{"s"}}, {Name: "b", Match: everything, Scopes: []string{"t"}}}, []string{"rules[0]: rule b"},
		},
		"a later rule for others": {
			"deny", []Rule{{Name: "a", Match: &Match{Paths: []string{"/orders"}, Methods: []string{"PUT"}}, Scopes: []string{"s"}}, {Name: "b", Match: &Match{Methods: []string{"GET"}}, Access: "public"}}, nil,
		},
		"a later rule for some": {
			"token", []Rule{{Name: "a", Match: at("/orders"), Access: "deny"}, {Name: "b", Match: &Match{Methods: []string{"GET"}}, Access: "deny"}}, []string{"rules[0]: default_access token"},
		},
		"wildcards fit": {"deny", []Rule{{Name: "a", Match: at("/orders/1"), Access: "deny"}, {Name: "b", Match: at("/*/*"), Access: "public"}}, []string{"rules[0]: rule b"}},
		"one text for many": {
			"token", []Rule{{Name: "a", Match: at("/a"), Access: "deny"}, {Name: "b", Match: at("/b"), Access: "deny"}, {Name: "c", Match: at("/c"), Access: "deny"}},
			[]string{"rules[0]: and of 2 more rules"},
		},
	} {
		c := Config{
			Realm: "r", DefaultAccess: tc.defaultAccess, Issuers: []IssuerConfig{{Issuer: "https://as"}},
			Rules: tc.rules,
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := slices.DeleteFunc(c.Warnings(), func(w string) bool { return strings.Contains(w, ".enforce: ") })
		if len(got) != len(tc.want) {
			t.Errorf("%s: got %q, want %d", name, got, len(tc.want))
			continue
		}
		for i, want := range tc.want {
			at, instead, _ := strings.Cut(want, ": ")
			if !strings.HasPrefix(got[i], at+": ") || !strings.Contains(got[i], instead) ||
				!strings.Contains(got[i], "match.ignore_case: true") {
				t.Errorf("%s: got %s, want %s", name, got[i], want)
			}
		}
	}
}

func TestAudienceWarnings(t *testing.T) {
	c := Config{
		Realm: "r", DefaultAccess: "token", Resources: []Resource{{Resource: "https://r/mcp"}},
		Issuers: []IssuerConfig{{Issuer: "https://as", Audience: []string{"https://r/mcp"}}, {Issuer: "https://b", Audience: []string{"https://r/mcp", "api"}}},
	}
	got := c.Warnings()
	if len(got) != 1 || !strings.HasPrefix(got[0], "issuers[1].audience: ") || !strings.Contains(got[0], `"api"`) {
		t.Errorf("got %q", got)
	}
	c.Resources = nil
	if got := c.Warnings(); got != nil {
		t.Errorf("no resources: got %q", got)
	}
}

func TestResourcesOnLoopback(t *testing.T) { // http is for development alone
	for identifier, ok := range map[string]bool{
		"http://localhost:8080/mcp": true, "http://127.0.0.1/mcp": true, "http://[::1]:1/mcp": true, "https://mcp.example.com": true,
		"http://mcp.example.com/mcp": false, "http://localhost.example.com": false, "http://10.0.0.1": false, "ftp://localhost": false, "https://mcp.example.com./mcp": false,
	} {
		c := Config{Realm: "r", DefaultAccess: "token", Resources: []Resource{{Resource: identifier}}}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%s: got %v", identifier, err)
		}
	}
}
