package authz

import (
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/field"
)

func TestConfigMistakes(t *testing.T) {
	good := func() Config {
		return Config{
			Realm: "r", DefaultAccess: "token",
			Issuers: []IssuerConfig{{Issuer: "https://as", Audience: []string{"api"}}},
			Headers: map[string]string{"x-auth-sub": "sub"},
		}
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
