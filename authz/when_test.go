package authz

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/validation"
)

func TestWhenMistakes(t *testing.T) {
	for expression, want := range map[string]string{
		`claims.tenant ==`:       "column",
		`request.metod == "GET"`: "column 8",
		`token.scope == "x"`:     "column 6",
		`claims.admin`:           "want bool",
		`"text"`:                 "want bool",
		`request.headers["x-forwarded-for"] == ""`: "must not decide",
		`request.headers["X-A"] == ""`:             "lower case",
		`request.headers["authorization"] != ""`:   "must not decide",
		`request.headers["x_forwarded_for"] == ""`: "must not decide",
		`request.headers.x_envoy_peer == ""`:       "must not decide",
		`"proxy_authorization" in request.headers`: "must not decide",
		`request.headers["x_real_ip"] == ""`:       "must not decide",
		`request.headers[request.path] == ""`:      "by a literal",
		`request.headers.size() > 0`:               "by a literal",
		`request.headers.exists(h, h == "x")`:      "by a literal",
		`request.path.matches("(")`:                "column",
		`request.method == 5`:                      "column 16",
		`undefined(claims)`:                        "column",
	} {
		if _, err := new(conditions).compile(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", expression, err, want)
		}
	}
}

func TestWhen(t *testing.T) {
	token := &validation.Token{Issuer: "https://as", Scopes: []string{"read"}, ClientID: "app", Claims: claimsOf(map[string]any{
		"tenant": "acme", "level": json.Number("3"), "rate": json.Number("1.5"), "groups": []any{"a", "b"}, "org": map[string]any{"id": json.Number("7")},
	})}
	r := &Request{Method: "GET", Host: "API.example.com:443", Header: func(name string) (string, bool) {
		value, ok := map[string]string{"mcp-name": "add", "x-other": "1"}[name]
		return value, ok
	}}
	for expression, want := range map[string]bool{
		`claims.tenant == "acme" && request.method != "DELETE"`: true,
		`claims.tenant == "other"`:                              false,
		`claims.level >= 3 && claims.level < 4`:                 true,
		`claims.rate > 1.0`:                                     true,
		`claims.org.id == 7`:                                    true,
		`"a" in claims.groups`:                                  true,
		`claims.groups.exists(g, g == "z")`:                     false,
		`has(claims.missing)`:                                   false,
		`claims.missing == "x"`:                                 false, // an error is no allow
		`claims.missing != "x"`:                                 false,
		`!(claims.missing == "x")`:                              false,
		`claims["tenant"].startsWith("ac")`:                     true,
		`request.headers["mcp-name"] == "add"`:                  true,
		`"mcp-name" in request.headers`:                         true,
		`"mcp-method" in request.headers`:                       false,
		`request.headers["absent"] == ""`:                       false,
		`request.host == "api.example.com"`:                     true,
		`request.path == "/p"`:                                  true,
		`token.issuer == "https://as" && "read" in token.scopes && token.client_id == "app"`: true,
		`claims.tenant.matches("^a.*e$")`: true,
	} {
		c, err := new(conditions).compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got, err := c.holds(t.Context(), r, "api.example.com", "/p", token); got != want {
			t.Errorf("%s: got %v, %v; want %v", expression, got, err, want)
		}
	}
	c, err := new(conditions).compile(`[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, claims.level * a * b * c * d != 0))))`)
	if err != nil {
		t.Fatal(err)
	}
	if holds, err := c.holds(t.Context(), r, "api.example.com", "/p", token); holds || err == nil ||
		!strings.Contains(err.Error(), "cost") {
		t.Errorf("an expensive expression: got %v, %v; want the cost limit", holds, err)
	}
}

// TestLoopsCanBeInterrupted: nobody waits for the answer any longer.
func TestLoopsCanBeInterrupted(t *testing.T) {
	token := &validation.Token{Claims: claimsOf(expensiveClaims())}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for expression, loops := range map[string]bool{
		`claims.list.exists(g, g == "g7999")`: true, `claims.object.all(k, k != "")`: true,
		`[1].all(x, claims.list.exists(g, g == "g3000"))`: true, `claims.list[0] == "g0"`: false, `has(claims.text)`: false,
	} {
		c, err := new(conditions).compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		if holds, err := c.holds(t.Context(), &Request{}, "", "/", token); !holds {
			t.Errorf("%s: got %v, want it to hold", expression, err)
		}
		if holds, err := c.holds(ctx, &Request{}, "", "/", token); holds == loops {
			t.Errorf("%s: when cancelled, got %v, %v", expression, holds, err)
		}
	}
}

func BenchmarkWhen(b *testing.B) {
	c, err := new(conditions).compile(`claims.tenant == "acme" && request.method != "DELETE"`)
	if err != nil {
		b.Fatal(err)
	}
	token := &validation.Token{Claims: claimsOf(map[string]any{"tenant": "acme"})}
	r := &Request{Method: "GET"}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := c.holds(b.Context(), r, "", "/p", token); !ok {
			b.Fatal(err)
		}
	}
}
