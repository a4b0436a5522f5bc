package authz

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/validation"
)

func TestCredential(t *testing.T) { // B-01, B-02, B-03, A-11
	long := strings.Repeat("a", validation.MaxTokenBytes)
	for name, tc := range map[string]struct {
		values []string
		target string
		want   string
		err    error
	}{
		"bearer":             {values: []string{"Bearer abc"}, want: "abc"},
		"any case":           {values: []string{"bEARER abc"}, want: "abc"},
		"several spaces":     {values: []string{"Bearer   abc"}, want: "abc"},
		"all characters":     {values: []string{"Bearer aZ0-._~+/=="}, want: "aZ0-._~+/=="},
		"16 KiB":             {values: []string{"Bearer " + long}, want: long},
		"none":               {err: errNoToken},
		"empty":              {values: []string{""}, err: errNoToken},
		"basic":              {values: []string{"Basic dTpw"}, err: errNoToken},
		"DPoP":               {values: []string{"DPoP abc"}, err: errNoToken},
		"digest":             {values: []string{`Digest username="a", realm="b", qop = auth`}, err: errNoToken},
		"query only":         {target: "/?access_token=abc", err: errNoToken},
		"no token":           {values: []string{"Bearer"}, err: errBadRequest},
		"only spaces":        {values: []string{"Bearer   "}, err: errBadRequest},
		"only padding":       {values: []string{"Bearer =="}, err: errBadRequest},
		"padding inside":     {values: []string{"Bearer a=b"}, err: errBadRequest},
		"two words":          {values: []string{"Bearer a b"}, err: errBadRequest},
		"tab":                {values: []string{"Bearer\tabc"}, err: errBadRequest},
		"joined":             {values: []string{"Bearer a,Bearer b"}, err: errBadRequest},
		"joined with space":  {values: []string{"Bearer a, Bearer b"}, err: errBadRequest},
		"comma":              {values: []string{"Bearer a,"}, err: errBadRequest},
		"basic and bearer":   {values: []string{"Basic dTpw,Bearer abc"}, err: errBadRequest},
		"basic and basic":    {values: []string{"Basic dTpw, Basic dTpw"}, err: errBadRequest},
		"two fields":         {values: []string{"Bearer a", "Bearer a"}, err: errBadRequest},
		"two other fields":   {values: []string{"Basic a", "Basic b"}, err: errBadRequest},
		"JSON":               {values: []string{`Bearer {"a":1}`}, err: errBadRequest},
		"newline":            {values: []string{"Bearer a\nb"}, err: errBadRequest},
		"not ASCII":          {values: []string{"Bearer ä"}, err: errBadRequest},
		"scheme not ASCII":   {values: []string{"Bäarer abc"}, err: errBadRequest},
		"too long":           {values: []string{"Bearer a" + long}, err: errBadRequest},
		"header and query":   {values: []string{"Bearer a"}, target: "/?x=1&access_token=b", err: errBadRequest},
		"encoded query name": {values: []string{"Bearer a"}, target: "/?access%5ftoken=b", err: errBadRequest},
		"harmless query":     {values: []string{"Bearer a"}, target: "/?my_access_token=b", want: "a"},
	} {
		got, err := credential(tc.values, tc.target, false)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %.20q, %v; want %.20q, %v", name, got, err, tc.want, tc.err)
		}
	}
}

// TestOpaqueTokens: where an issuer introspects, real servers' tokens are taken.
func TestOpaqueTokens(t *testing.T) {
	for value, want := range map[string]string{
		"Bearer 00D!AQ8.x_y": "00D!AQ8.x_y", "Bearer a=b": "a=b", "Bearer {a:1}": "{a:1}", "bearer  ~!@#$%^&*()": "~!@#$%^&*()",
		"Bearer a,Bearer b": "", "Bearer a!,b": "", `Bearer a"b`: "", `Bearer a\b`: "", "Bearer a b": "", "Bearer a!\tb": "", "Bearer ä": "", "Bearer a\x7f": "", "Bearer": "", "Bearer !,": "",
	} {
		got, err := credential([]string{value}, "/", true)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", value, got, err, want)
		}
	}
	for _, value := range []string{"Basic dTpw,Bearer a!b", "Basic dTpw, Bearer a!b", `Digest a="b", Token a!b`} {
		if _, err := credential([]string{value}, "/", true); !errors.Is(err, errBadRequest) {
			t.Errorf("%q: got %v, want a bad request", value, err)
		}
	}
}

func FuzzCredential(f *testing.F) {
	f.Add("Bearer abc", "/")
	f.Add("Basic a,Bearer b", "/?access_token=x")
	f.Fuzz(func(t *testing.T, value, target string) {
		token, err := credential([]string{value}, target, false)
		if (err == nil) != isB64Token(token) || err == nil && strings.Contains(value, ",") {
			t.Errorf("%q: got %q, %v", value, token, err)
		}
	})
}

func TestScopeImplication(t *testing.T) { // I-07, M-14
	m := closeOver(map[string][]string{"admin": {"write"}, "write": {"read"}, "a": {"b"}, "b": {"a"}})
	for _, tc := range []struct {
		granted, demanded []string
		want              bool
	}{
		{nil, nil, true},
		{[]string{"read"}, []string{"read"}, true},
		{[]string{"admin"}, []string{"read", "write"}, true},
		{[]string{"read"}, []string{"write"}, false},
		{[]string{"a"}, []string{"b", "a"}, true},
		{[]string{"reader"}, []string{"read"}, false},
		{[]string{"READ"}, []string{"read"}, false},
		{nil, []string{"read"}, false},
	} {
		if got := m.grants(tc.granted, tc.demanded); got != tc.want {
			t.Errorf("%v for %v: got %v", tc.granted, tc.demanded, got)
		}
	}
}

func TestSpellings(t *testing.T) { // E-04, A-10
	got := spellings("x-a_b")
	slices.Sort(got)
	if diff := cmp.Diff([]string{"x-a-b", "x-a_b", "x_a-b", "x_a_b"}, got); diff != "" {
		t.Error(diff)
	}
	if got := len(spellings("a-b-c-d-e-f")); got != 32 {
		t.Errorf("got %d spellings, want 32", got)
	}
}

func TestHeaderValues(t *testing.T) { // docs/contract.md §5, E-09, A-18
	claims := map[string]any{
		"text": "a b", "inject": "a\r\nx-admin: 1", "percent": "100%", "umlaut": "ä", "edge": " a ", "number": json.Number("1.50"),
		"yes": true, "list": []any{"a", json.Number("2"), "b c"}, "object": map[string]any{"deep": "x", "list": []any{}},
		"null": nil, "empty": "", "mixed": []any{map[string]any{}}, "https://a.b/c": "url", "ctl": "a\x00\x7f", "roles": []any{"user admin", "x"}, "role": "user admin",
		"kubernetes.io": map[string]any{"namespace": "ns", "pod": map[string]any{"name": "p", "app.kubernetes.io/name": "orders"}},
		"a.b":           map[string]any{"c": "longest"},
		"a":             map[string]any{"b": map[string]any{"c": "shorter", "d": "deep"}, "null": "behind null"},
		"a.null":        nil,
	}
	for claim, want := range map[string]string{
		"text": "a b", "inject": "a%0D%0Ax-admin: 1", "percent": "100%25", "umlaut": "%C3%A4", "edge": "%20a%20", "number": "1.50",
		"yes": "true", "list": "a 2 b%20c", "object": "", "object.deep": "x", "object.list": "", "null": "", "empty": "", "missing": "",
		"mixed": "", "https://a.b/c": "url", "ctl": "a%00%7F", "roles": "user%20admin x", "role": "user admin",
		"kubernetes.io.namespace": "ns", "kubernetes.io.pod.name": "p", "kubernetes.io.pod.app.kubernetes.io/name": "orders", "kubernetes.io": "", "kubernetes": "",
		"a.b.c": "longest", "a.b.d": "deep", "a.b.e": "", "a.null": "behind null", ".": "", "a.": "", ".a": "", "text.deep": "", "sub": "s%25", "scope": "r w", "client_id": "c",
	} {
		in := newInjector(map[string]string{"X-H": claim}, false)
		set, remove := in.changes(&validation.Token{Subject: "s%", Scopes: []string{"r", "w"}, ClientID: "c", Claims: claims})
		got := ""
		if len(set) == 1 {
			got = set[0].Value
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", claim, got, want)
		}
		if slices.Contains(remove, "x-h") == (want != "") || !slices.Contains(remove, "authorization") || !slices.Contains(remove, "x_h") {
			t.Errorf("%s: removes %v", claim, remove) // E-02, E-03
		}
	}
}

func TestChangesDoNotShare(t *testing.T) {
	in := newInjector(map[string]string{"x-a": "a", "x-b": "b"}, true)
	_, first := in.changes(&validation.Token{Claims: map[string]any{"b": "1"}})
	_, second := in.changes(&validation.Token{Claims: map[string]any{"a": "1"}})
	if !slices.Contains(first, "x-a") || slices.Contains(first, "x-b") || !slices.Contains(second, "x-b") {
		t.Errorf("got %v and %v", first, second)
	}
}

func TestChallenge(t *testing.T) { // B-03…B-07
	c := challenge{realm: "r", scopes: []string{"a", "b"}, acrValues: []string{"x", "y"}, maxAge: time.Minute}
	resource := c
	resource.resourceMetadata = "https://h/.well-known/oauth-protected-resource"
	for _, tc := range []struct {
		c      challenge
		reason Reason
		want   string
	}{
		{c, NoToken, `Bearer realm="r"`},
		{c, BadRequest, `Bearer realm="r", error="invalid_request", error_description="The request is malformed"`},
		{c, Expired, `Bearer realm="r", error="invalid_token", error_description="The access token expired"`},
		{c, InsufficientScope, `Bearer realm="r", error="insufficient_scope", error_description="The access token lacks a scope that is needed", scope="a b"`},
		{c, InsufficientAuthentication, `Bearer realm="r", error="insufficient_user_authentication", error_description="A different or more recent authentication is needed", acr_values="x y", max_age="60"`},
		{c, Forbidden, ""}, {c, Unavailable, ""}, {c, Misconfigured, ""}, {c, Internal, ""}, {c, Allowed, ""},
		{resource, NoToken, `Bearer realm="r", scope="a b", resource_metadata="https://h/.well-known/oauth-protected-resource"`},
		{resource, Forbidden, ""},
	} {
		if got := tc.c.header(tc.reason); got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.reason, got, tc.want)
		}
	}
}

func TestZeroDecisionDenies(t *testing.T) {
	var d Decision
	if d.Reason.Outcome() != Deny || d.Reason.String() != "internal" || Reason(200).Outcome() != Deny || Reason(200).Status() != 500 {
		t.Errorf("got %v", d.Reason)
	}
}

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
	token := &validation.Token{Issuer: "https://as", Scopes: []string{"read"}, ClientID: "app", Claims: map[string]any{
		"tenant": "acme", "level": json.Number("3"), "rate": json.Number("1.5"), "groups": []any{"a", "b"}, "org": map[string]any{"id": json.Number("7")},
	}}
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
	if holds, err := c.holds(t.Context(), r, "api.example.com", "/p", token); holds || err == nil || !strings.Contains(err.Error(), "cost") {
		t.Errorf("an expensive expression: got %v, %v; want the cost limit", holds, err)
	}
}

func BenchmarkWhen(b *testing.B) {
	c, err := new(conditions).compile(`claims.tenant == "acme" && request.method != "DELETE"`)
	if err != nil {
		b.Fatal(err)
	}
	token := &validation.Token{Claims: map[string]any{"tenant": "acme"}}
	r := &Request{Method: "GET"}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := c.holds(b.Context(), r, "", "/p", token); !ok {
			b.Fatal(err)
		}
	}
}

func TestHeaderNames(t *testing.T) { // docs/contract.md §2
	for _, name := range []string{"x-auth-sub", "X-User", "x_user", "x-forwarded-user", "x-forwarded-email", "tenant", "a-b-c-d-e-f"} {
		if err := checkHeaderName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ":path", "Host", "authorization", "Content-Length", "content-type", "connection", "Transfer-Encoding", "x-envoy-original-path", "X_Envoy_Y",
		"x-forwarded-for", "x_forwarded_host", "cookie", "te", "upgrade", "x y", "x\n", "x-ä", "a-b-c-d-e-f-g", "proxy-authorization", "x-request-id",
	} {
		if checkHeaderName(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
}

func TestConfigMistakes(t *testing.T) {
	good := func() Config {
		return Config{Realm: "r", DefaultAccess: "token", Issuers: []IssuerConfig{{Issuer: "https://as", Audience: []string{"api"}}}, Headers: map[string]string{"x-auth-sub": "sub"}}
	}
	if err := good().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		`realm: want visible`:                      func(c *Config) { c.Realm = `a"b` },
		`realm: is empty`:                          func(c *Config) { c.Realm = "" },
		`default_access: got "public"`:             func(c *Config) { c.DefaultAccess = "public" },
		`issuers[0].required_scopes[0]: got "a b"`: func(c *Config) { c.Issuers[0].RequiredScopes = []string{"a b"} },
		`headers.Host: is a header`:                func(c *Config) { c.Headers["Host"] = "sub" },
		`headers.x_envoy_y: names that begin`:      func(c *Config) { c.Headers["x_envoy_y"] = "sub" },
		`headers.:path: want letters`:              func(c *Config) { c.Headers[":path"] = "sub" },
		`headers.a-b-c-d-e-f-g: want at most 5`:    func(c *Config) { c.Headers["a-b-c-d-e-f-g"] = "sub" },
		`headers.x_auth_sub: is another spelling`:  func(c *Config) { c.Headers["x_auth_sub"] = "sub" },
		`headers.x-y: names no claim`:              func(c *Config) { c.Headers["x-y"] = "" },
		`rules[0].name: missing`:                   func(c *Config) { c.Rules = []Rule{{}} },
		`rules[1].name: "a" is the name`:           func(c *Config) { c.Rules = []Rule{{Name: "a"}, {Name: "a"}} },
		`rules[0].access: got "open"`:              func(c *Config) { c.Rules = []Rule{{Name: "a", Access: "open"}} },
		`rules[0].scopes: is never looked at`:      func(c *Config) { c.Rules = []Rule{{Name: "a", Access: "public", Scopes: []string{"x"}}} },
		`rules[0].issuers[0]: "https://b" is not`:  func(c *Config) { c.Rules = []Rule{{Name: "a", Issuers: []string{"https://b"}}} },
		`rules[0].match.paths[0]: got "a"`:         func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{Paths: []string{"a"}}}} },
		`rules[0].match.methods[0]: got "get"`:     func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{Methods: []string{"get"}}}} },
		`rules[0].match.hosts[0]: got "a:80"`:      func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{Hosts: []string{"a:80"}}}} },
		`rules[0].match: is empty`:                 func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{}}} },
		`rules[0].match: is empty: a rule`:         func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{IgnoreCase: true}}} },
		`rules[0].match.paths: is empty`:           func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{Paths: []string{}}}} },
		`rules[0].match.methods: is empty`: func(c *Config) {
			c.Rules = []Rule{{Name: "a", Match: &Match{Paths: []string{"/**"}, Methods: []string{}}}}
		},
		`rules[0].match.hosts: is empty`: func(c *Config) {
			c.Rules = []Rule{{Name: "a", Match: &Match{Paths: []string{"/**"}, Hosts: []string{}}}}
		},
		`rules[0].match.hosts[0]: got "a."`:     func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{Hosts: []string{"a."}}}} },
		`rules[0].match.paths[0]: got "/a%2Fb"`: func(c *Config) { c.Rules = []Rule{{Name: "a", Match: &Match{Paths: []string{"/a%2Fb"}}}} },
		`ambiguous_paths: got "maybe"`:          func(c *Config) { c.AmbiguousPaths = "maybe" },
		`encoded_slashes: got "allow"`:          func(c *Config) { c.EncodedSlashes = "allow" },
		`ambiguous_paths: allow, and rules[1].match.p`: func(c *Config) {
			c.AmbiguousPaths, c.Rules = "allow", []Rule{{Name: "a"}, {Name: "b", Match: &Match{Paths: []string{"/**"}}}}
		},
		`ambiguous_paths: allow, and rules[0].when`: func(c *Config) {
			c.AmbiguousPaths, c.Rules = "allow", []Rule{{Name: "a", When: `request.path == "/"`}}
		},
		`ambiguous_paths: allow, and resources[0]`:  func(c *Config) { c.AmbiguousPaths, c.Resources = "allow", []Resource{{Resource: "https://r/a"}} },
		`resources[0].resource: want visible ASCII`: func(c *Config) { c.Resources = []Resource{{Resource: `https://r"x/a`}} },
		`resources[0].resource: want visible`:       func(c *Config) { c.Resources = []Resource{{Resource: "https://r/a b"}} },
		`resources[0].resource: want visible ASC`:   func(c *Config) { c.Resources = []Resource{{Resource: `https://r/a"b`}} },
		`resources[0].resource: want visible AS`:    func(c *Config) { c.Resources = []Resource{{Resource: "https://r/ä"}} },
		`rules[0].when: the pattern is too large`: func(c *Config) {
			c.Rules = []Rule{{Name: "a", When: `request.method.matches("` + strings.Repeat("x{1000}", 12) + `")`}}
		},
		`rules[0].when: column 8`:                     func(c *Config) { c.Rules = []Rule{{Name: "a", When: `request.metod == ""`}} },
		`rules[0].resource: "https://r" is not`:       func(c *Config) { c.Rules = []Rule{{Name: "a", Resource: "https://r"}} },
		`rules[0].max_age: got`:                       func(c *Config) { c.Rules = []Rule{{Name: "a", MaxAge: -time.Second}} },
		`resources[0].resource: has a fragment`:       func(c *Config) { c.Resources = []Resource{{Resource: "https://r#x"}} },
		`resources[0].resource: "http" is not`:        func(c *Config) { c.Resources = []Resource{{Resource: "http://r"}} },
		`resources[1].resource: has the host`:         func(c *Config) { c.Resources = []Resource{{Resource: "https://r/a"}, {Resource: "https://R/a/"}} },
		`resources[0].issuers[0]: "https://b" is not`: func(c *Config) { c.Resources = []Resource{{Resource: "https://r", Issuers: []string{"https://b"}}} },
		`scope_implies.a[0]: got "b c"`:               func(c *Config) { c.ScopeImplies = map[string][]string{"a": {"b c"}} },
	} {
		c := good()
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || len(field.List(err)) != 1 {
			t.Errorf("got %v, want just %s", err, want)
		}
	}
}
