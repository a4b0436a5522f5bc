package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/strictfile"
	"github.com/bearergate/bearergate/validation"
)

func env(name string) (string, bool) {
	value, ok := map[string]string{"OAUTH_CLIENT_SECRET": "s3$cret${X}", "EMPTY": "", "HOST": "auth.example.com"}[name]
	return value, ok
}

func load(t *testing.T, name, content string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, env)
}

// contractTOML is the block of docs/contract.md §2 that works as it stands.
const contractTOML = `[auth]
type = "oauth"
issuer = "https://auth.example.com"
audience = "mcp-proxy"
client_id = "mcp-proxy-client"
client_secret = "${OAUTH_CLIENT_SECRET}"
token_validation = "both"
# jwks_uri = "https://auth.example.com/custom/jwks"
# introspection_endpoint = "https://auth.example.com/custom/introspect"
`

const inYAML = `# the same in YAML
auth:
  type: oauth
  issuer: https://${HOST}
  audience: [mcp-proxy]
  client_id: mcp-proxy-client
  client_secret: ${OAUTH_CLIENT_SECRET}
  token_validation: both
`

const inJSON = `{"auth": {"type": "oauth", "issuer": "https://auth.example.com", "audience": "mcp-proxy",
 "client_id": "mcp-proxy-client", "client_secret": "${OAUTH_CLIENT_SECRET}", "token_validation": "both"}}`

func TestFormatsAgree(t *testing.T) {
	want, err := load(t, "a.toml", contractTOML)
	if err != nil {
		t.Fatal(err)
	}
	if i := want.Issuers[0]; i.Validation.ClientSecret.Reveal() != "s3$cret${X}" ||
		i.Authz.Audience[0] != "mcp-proxy" || i.Authz.ClockSkew != 30*time.Second {
		t.Errorf("got %+v", i)
	}
	const mark = "\uFEFF"
	for name, content := range map[string]string{
		"a.yaml": inYAML, "b.yml": inYAML, "a.json": inJSON, "mark.toml": mark + contractTOML, "mark.yaml": mark + inYAML, "mark.json": mark + inJSON,
	} {
		got, err := load(t, name, content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got.Digest = want.Digest // they are different files
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "variables")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

const full = `server:
  grpc_address: "unix:///run/a.sock"
  admin_address: "127.0.0.1:1"
  drain_delay: 1s
  shutdown_timeout: 5s
log: {level: debug, format: text}
realm: api
issuers:
  - issuer: https://a.example.com
    audience: a
    required_scopes: [x]
  - issuer: https://b.example.com
    audience: []
    token_validation: introspection
    client_auth_method: none
    opaque_token_prefix: b_
    metadata_url: https://b.internal/metadata
    ca_file: ""
cache: {max_entries: 10, ttl: 0s, negative_ttl: 1s, stale_if_error: 2s}
jwks: {refresh_interval: 1m, min_refresh_interval: 1s, max_stale: 1h}
headers: {x-user: org.user}
forward_token: true
default_access: deny
scope_implies: {admin: [read, write]}
rules:
  - name: r
    match: {paths: ["/a/**"], methods: [GET], hosts: [A.example.com]}
    issuers: [https://a.example.com]
    audience: one
    scopes: [s]
    when: 'claims.t.matches("^x$$")'
    resource: https://a.example.com/mcp
    acr_values: [mfa]
    max_age: 5m
resources:
  - resource: https://a.example.com/mcp
    scopes_supported: [s]
    issuers: [https://a.example.com]
`

func TestEveryKey(t *testing.T) {
	c, err := load(t, "a.yaml", full)
	if err != nil {
		t.Fatal(err)
	}
	want := authz.Rule{
		Name: "r", Match: &authz.Match{Paths: []string{"/a/**"}, Methods: []string{"GET"}, Hosts: []string{"A.example.com"}},
		Issuers: []string{"https://a.example.com"}, Access: "token", Audience: []string{"one"}, Scopes: []string{"s"},
		When: `claims.t.matches("^x$")`, Resource: "https://a.example.com/mcp", ACRValues: []string{"mfa"}, MaxAge: 5 * time.Minute,
	}
	if diff := cmp.Diff(want, c.Authz.Rules[0]); diff != "" {
		t.Error(diff)
	}
	if got := c.Issuers[0].Validation.Cache.MaxEntries; got != 5 {
		t.Errorf("got %d entries for each of two issuers, want 5", got)
	}
	if d := c.Issuers[1].Discovery; d.NeedKeys || !d.NeedIntrospection || d.MaxStale != time.Hour ||
		d.MetadataURL != "https://b.internal/metadata" {
		t.Errorf("got %+v", d)
	}
	if len(c.Warnings()) != 3 {
		t.Errorf("got warnings %q", c.Warnings())
	}
}

func TestTrustIsPlumbed(t *testing.T) { // all that decides whom we trust reaches the room that compares it
	const auth = "auth: {issuer: 'https://a.example.com', audience: a, token_validation: introspection, client_id: gate, "
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	i := Issuer{
		Discovery: discovery.Config{Issuer: "https://a", CAFile: "/ca.pem"},
		Validation: validation.Config{
			Strategy: "introspection", ClientAuthMethod: "tls_client_auth", ClientCertFile: certificate, ClientKeyFile: key,
		},
	}
	c := &Config{Issuers: []Issuer{i}}
	c.assemble()
	if d := c.Issuers[0].Discovery; d.CAFile != "/ca.pem" || d.ClientCertFile != certificate || d.ClientKeyFile != key {
		t.Errorf("got %+v", d)
	}
	i.Validation.ClientAuthMethod = "private_key_jwt" // its key is no part of a connection
	c = &Config{Issuers: []Issuer{i}}
	c.assemble()
	if d := c.Issuers[0].Discovery; d.ClientCertFile != "" || d.ClientKeyFile != "" {
		t.Errorf("got %+v", d)
	}
	identifier := strings.Replace(auth, "https://a.example.com", "accounts.google.com", 1) + "client_secret: x, introspection_endpoint: 'https://a/introspect'}\n"
	if _, err := load(t, "a.yaml", identifier); err != nil {
		t.Errorf("an identifier that is no URL: %v", err)
	}
}

// TestNeeds: what is asked of an authorization server follows from how its
// tokens are validated, and nothing is asked that is not needed.
func TestNeeds(t *testing.T) {
	const introspecting = "client_id: c, client_secret: s, token_validation: "
	for keys, want := range map[string]discovery.Config{
		"token_validation: jwt":                                      {NeedKeys: true},
		introspecting + "both":                                       {NeedKeys: true, NeedIntrospection: true},
		introspecting + "introspection":                              {NeedIntrospection: true},
		introspecting + "introspection, introspection_response: jwt": {NeedIntrospection: true, NeedKeys: true},
		introspecting + "introspection, client_auth_method: bearer":  {NeedIntrospection: true, NeedToken: true},
		"token_validation: jwt, client_auth_method: bearer":          {NeedKeys: true},
		"token_validation: jwt, client_auth_method: tls_client_auth": {NeedKeys: true},
	} {
		c, err := load(t, "a.yaml", "auth: {issuer: https://a.example.com, audience: a, "+keys+"}\n")
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		d := c.Issuers[0].Discovery
		got := discovery.Config{
			NeedKeys: d.NeedKeys, NeedIntrospection: d.NeedIntrospection, NeedToken: d.NeedToken, MutualTLS: d.MutualTLS,
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", keys, got, want)
		}
	}
}

// TestPolicyKeys: what the policy knows of the issuers and of paths.
func TestPolicyKeys(t *testing.T) {
	c, err := load(t, "a.yaml", `
auth: {issuer: "https://a.example.com", audience: a, clock_skew: 7s, token_validation: both, client_id: c, client_auth_method: none}
encoded_slashes: literal
rules: [{name: a, match: {paths: ["/a%2fb"], ignore_case: true}, access: deny}, {name: b, match: {paths: [/b]}, access: deny}, {name: named}]
resources: [{resource: "https://a.example.com/mcp"}]
`)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Authz
	if i := got.Issuers[0]; i.ClockSkew != 7*time.Second || !i.Introspects {
		t.Errorf("got %+v", i)
	}
	if got.EncodedSlashes != "literal" || got.AmbiguousPaths != "refuse" || !got.Rules[0].Match.IgnoreCase ||
		got.Rules[2].Match != nil {
		t.Errorf("got %+v", got)
	}
	want := []string{"auth.audience: tokens for", "rules[1]: a path of this rule in another case"}
	if w := c.Warnings(); len(w) != 2 || !strings.HasPrefix(w[0], want[0]) || !strings.HasPrefix(w[1], want[1]) {
		t.Errorf("got %q, want %q", w, want)
	}
}

func TestMistakes(t *testing.T) {
	const auth = "auth:\n  issuer: https://a.example.com\n  audience: a\n"
	for name, tc := range map[string]struct {
		file, content string
		want          []string // position, path and message of each mistake
	}{
		"nothing":           {"a.yaml", "", []string{":1:1: auth: missing"}},
		"unknown key":       {"a.yaml", auth + "  jwks_url: https://x\n", []string{":4:3: auth.jwks_url: unknown key, did you mean jwks_uri?"}},
		"unknown, top":      {"a.yaml", auth + "zzz: 1\n", []string{":4:1: zzz: unknown key\n"}},
		"both":              {"a.yaml", auth + "issuers: []\n", []string{":4:1: issuers: given together with auth"}},
		"metadata_url":      {"a.yaml", auth + "  metadata_url: http://as.internal/metadata\n", []string{`:4:3: auth.metadata_url: "http" is not allowed, use https`}},
		"keys from nowhere": {"a.yaml", auth + "  jwks_file: /nowhere/keys.json\n", []string{":4:3: auth.jwks_file: open /nowhere/keys.json: no such file"}},
		"keys of nothing":   {"a.yaml", auth + "  jwks_file: /dev/null\n", []string{":4:3: auth.jwks_file: /dev/null: not a JSON object"}},
		"keys, twice": {"a.yaml", auth + "  jwks_file: /dev/null\n  jwks_uri: https://a.example.com/jwks\n", []string{
			":4:3: auth.jwks_file: given together with jwks_uri, want one of them", ":4:3: auth.jwks_file: /dev/null: not a JSON object",
		}},
		"any text":          {"a.yaml", strings.Replace(auth, "https://a.example.com", "accounts.google.com", 1), []string{`:2:3: auth.issuer: has no host, want an absolute URL; with jwks_uri it may be any text`}},
		"type of value":     {"a.yaml", auth + "  clock_skew: 5\n", []string{":4:3: auth.clock_skew: got a number, want a duration"}},
		"null":              {"a.yaml", auth + "rules:\n", []string{":4:1: rules: got nothing, want a list"}},
		"text for a flag":   {"a.yaml", auth + "forward_token: \"yes\"\n", []string{":4:1: forward_token: got a string, want true or false"}},
		"flow in flow":      {"a.yaml", auth + "rules: [{name: a, scopes: [orders:read], nope: 1}]\n", []string{":4:42: rules[0].nope: unknown key"}},
		"text for a list":   {"a.yaml", auth + "  required_scopes: a b\n", []string{":4:3: auth.required_scopes: got a string, want a list"}},
		"variable missing":  {"a.yaml", auth + "  client_id: ${NOPE}\n", []string{`:4:3: auth.client_id: environment variable "NOPE" is not set`}},
		"variable unclosed": {"a.yaml", auth + "  client_id: ${NOPE\n", []string{":4:3: auth.client_id: ${ without }"}},
		"variable, no name": {"a.yaml", auth + "  client_id: ${}\n", []string{":4:3: auth.client_id: what is in ${…} is not the name"}},
		"variable, not one": {"a.yaml", auth + "  client_id: ${A-B}\n", []string{":4:3: auth.client_id: what is in ${…} is not the name"}},
		"byte-order mark":   {"a.json", "\uFEFF{\"nope\": 1}", []string{":1:2: nope: unknown key"}},
		"mark and nothing":  {"a.yaml", "\uFEFF", []string{":1:1: auth: missing"}},
		"two marks":         {"a.json", "\uFEFF\uFEFF{}", []string{":1:1: "}},
		"several at once":   {"a.yaml", auth + "  token_validation: both\n  request_timeout: -1s\nlog: {level: loud}\nrealm: ''\n", []string{":1:1: auth.client_id", "client_id", "client_secret", ":5:3: auth.request_timeout", ":6:7: log.level", ":7:1: realm"}},
		"no audience":       {"a.yaml", "auth: {issuer: https://a.example.com}\n", []string{":1:1: auth.audience: missing"}},
		"http":              {"a.yaml", "auth: {issuer: 'http://a.example.com', audience: a}\n", []string{`auth.issuer: "http" is not allowed, use https`}},
		"two issuers":       {"a.yaml", "issuers:\n- {issuer: https://a, audience: a}\n- {issuer: https://a, audience: a}\n", []string{`:3:4: issuers[1].issuer: "https://a" is configured twice`}},
		"room path":         {"a.yaml", auth + "jwks: {refresh_interval: 0s}\n", []string{":4:8: jwks.refresh_interval: got 0s"}},
		"rule":              {"a.yaml", auth + "rules:\n- name: a\n  when: 'claims.x ='\n", []string{":6:3: rules[0].when: column"}},
		"empty match":       {"a.yaml", auth + "rules:\n- name: a\n  match: {}\n", []string{":6:3: rules[0].match: is empty"}},
		"empty paths":       {"a.yaml", auth + "rules:\n- name: a\n  match: {paths: []}\n", []string{":6:11: rules[0].match.paths: is empty"}},
		"empty paths, JSON": {"a.json", `{"auth": {"issuer": "https://a.example.com", "audience": "a"}, "rules": [{"name": "a", "match": {"hosts": []}}]}`, []string{"rules[0].match.hosts: is empty"}},
		"empty paths, TOML": {"a.toml", "[auth]\nissuer = 'https://a.example.com'\naudience = 'a'\n[[rules]]\nname = 'a'\n[rules.match]\nmethods = []\n", []string{"rules[0].match.methods: is empty"}},
		"ambiguous paths":   {"a.yaml", auth + "ambiguous_paths: allow\nrules:\n- {name: a, match: {paths: [/a]}}\n", []string{":4:1: ambiguous_paths: allow, and rules[0].match.paths looks at paths"}},
		"switches":          {"a.yaml", auth + "ambiguous_paths: no\nencoded_slashes: yes please\n", []string{"ambiguous_paths: got", `encoded_slashes: got "yes please"`}},
		"missing file":      {"a.yaml", auth + "  ca_file: /nonexistent\n", []string{":4:3: auth.ca_file: open /nonexistent"}},
		"files": {"a.yaml", "server: {tls: {cert_file: /dev/null, key_file: /dev/null, client_ca_file: /dev/null}}\nauth:\n  issuer: https://a.example.com\n  audience: a\n  ca_file: /dev/null\n  token_validation: both\n  client_id: a\n  client_secret_file: /dev/null\n",
			[]string{":1:16: server.tls.cert_file: ", "server.tls.client_ca_file: no PEM certificate", ":5:3: auth.ca_file: /dev/null: no PEM certificate", ":8:3: auth.client_secret_file: /dev/null: the secret is empty"}},
		"share above one":      {"a.yaml", auth + "telemetry: {decision_log: {allows: 10}}\n", []string{":4:28: telemetry.decision_log.allows: got 10, want 0 to 1"}},
		"no denies":            {"a.yaml", auth + "telemetry: {decision_log: {denies_per_second: 0}}\n", []string{"telemetry.decision_log.denies_per_second: got 0, want 1 or more"}},
		"short subject key":    {"a.yaml", auth + "telemetry: {decision_log: {subject_key_file: /dev/null}}\n", []string{"telemetry.decision_log.subject_key_file: /dev/null: got a key of 0 bytes, want at least 32"}},
		"no subject key":       {"a.yaml", auth + "telemetry: {decision_log: {subject_key_file: /nonexistent}}\n", []string{"telemetry.decision_log.subject_key_file: open /nonexistent"}},
		"admin port":           {"a.yaml", auth + "server: {admin_address: '127.0.0.1:99999'}\n", []string{"server.admin_address: got"}},
		"admin host":           {"a.yaml", auth + "server: {admin_address: 'no.such.host.invalid:9192'}\n", []string{"server.admin_address: got \"no.such.host.invalid:9192\", nobody can listen there: "}},
		"admin elsewhere":      {"a.yaml", auth + "server: {admin_address: '192.0.2.1:9192'}\n", []string{"server.admin_address: got \"192.0.2.1:9192\", nobody can listen there: bind: cannot assign requested address"}},
		"gRPC elsewhere":       {"a.yaml", auth + "server: {grpc_address: '192.0.2.1:9191'}\n", []string{"server.grpc_address: got \"192.0.2.1:9191\", nobody can listen there: "}},
		"socket, relative":     {"a.yaml", auth + "server: {grpc_address: 'unix:a.sock'}\n", []string{"server.grpc_address: got \"unix:a.sock\", want unix:// and an absolute path"}},
		"socket, long":         {"a.yaml", auth + "server: {grpc_address: 'unix:///" + strings.Repeat("x", 107) + "'}\n", []string{"its path has 108 bytes, want at most 107"}},
		"socket, NUL":          {"a.yaml", auth + "server: {grpc_address: \"unix:///tmp/a\\0b\"}\n", []string{"has a NUL character"}},
		"socket, no folder":    {"a.yaml", auth + "server: {grpc_address: 'unix:///nonexistent/a.sock'}\n", []string{"want a folder that exists: stat /nonexistent: no such file or directory"}},
		"socket, in a file":    {"a.yaml", auth + "server: {grpc_address: 'unix:///dev/null/a.sock'}\n", []string{"want a folder that exists: /dev/null is none"}},
		"socket, a file":       {"a.yaml", auth + "server: {grpc_address: 'unix:///dev/null'}\n", []string{"is there and is not a socket"}},
		"one port, by name":    {"a.yaml", auth + "server: {grpc_address: 'localhost:9191', admin_address: '127.0.0.1:9191'}\n", []string{"server.admin_address: is the gRPC address too"}},
		"one port for both":    {"a.yaml", auth + "server: {grpc_address: ':9191', admin_address: '127.0.0.1:9191'}\n", []string{"server.admin_address: is the gRPC address too"}},
		"duplicate key":        {"a.yaml", auth + "realm: a\nrealm: b\n", []string{":5:1: "}},
		"bad YAML":             {"a.yaml", "auth: [\n", []string{":1:"}},
		"alias":                {"a.yaml", "x: &a 1\nauth: *a\n", []string{"anchors and aliases are not supported"}},
		"tag":                  {"a.yaml", "realm: !!str 5\n", []string{"tags are not supported"}},
		"two documents":        {"a.yaml", auth + "---\nrealm: x\n", []string{"a second document"}},
		"list":                 {"a.yaml", "- a\n", []string{"got a list, want an object"}},
		"TOML position":        {"a.toml", "[auth]\nissuer = \"https://a\"\naudience = \"a\"\nnope = 1\n", []string{":4:1: auth.nope: unknown key"}},
		"TOML value":           {"a.toml", "[auth]\nissuer = \"https://a\"\naudience = [\"a\", 5]\n", []string{"auth.audience[1]: got a number, want a string"}},
		"TOML array of tables": {"a.toml", "[[issuers]]\nissuer = \"https://a\"\naudience = \"a\"\n[[issuers]]\nissuer = \"https://b\"\naudience = \"a\"\nclock_skew = \"x\"\n", []string{":7:1: issuers[1].clock_skew"}},
		"TOML date":            {"a.toml", "realm = 2026-01-01\n", []string{"realm: got something else, want a string"}},
		"TOML syntax":          {"a.toml", "realm = \n", []string{":1:"}},
		"TOML redefinition":    {"a.toml", "[auth]\n[auth]\n", []string{":2:"}},
		"JSON position":        {"a.json", "{\n \"auth\": {\"issuer\": \"https://a\", \"audience\": \"a\"},\n \"nope\": 1\n}", []string{":3:2: nope: unknown key"}},
		"JSON duplicate":       {"a.json", `{"realm":"a","realm":"b"}`, []string{":1:14: "}},
		"JSON cut off":         {"a.json", `{"realm":`, []string{"ends too early"}},
		"JSON and more":        {"a.json", `{} {}`, []string{":1:"}},
		"extension":            {"a.ini", "", []string{`got extension ".ini"`}},
		"long":                 {"a.yaml", strings.Repeat("#", maxBytes+1), []string{"larger than"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.file, tc.content)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error()+"\n", want) {
					t.Errorf("got %v\nwant %s", err, want)
				}
			}
		})
	}
}

// The longest path that is valid can be bound, and checking it makes nothing.
func TestLongestSocketPath(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := dir + "/" + strings.Repeat("x", 107-len(dir)-1)
	const auth = "auth: {issuer: https://a.example.com, audience: a}\n"
	if _, err := load(t, "a.yaml", auth+"server: {grpc_address: 'unix://"+path+"'}\n"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v, want an empty folder", entries, err)
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Error(err)
	}
}

func TestMistakeShowsTheLine(t *testing.T) {
	_, err := load(t, "a.yaml", "auth:\n  issuer: https://a\n  audience: a\n  jwks_url: x\n")
	var m *strictfile.Mistake
	if !errors.As(field.List(err)[0], &m) {
		t.Fatalf("got %T", err)
	}
	want := fmt.Sprintf("%s:4:3: auth.jwks_url: unknown key, did you mean jwks_uri?\n    4 |   jwks_url: …\n      |   ^", m.File)
	if m.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", m, want)
	}
}

// What a room says of a value that could not be read would lead astray.
func TestOneMistakeForWhatCannotBeRead(t *testing.T) {
	_, err := load(t, "a.yaml", "auth: {issuer: https://a, audience: a, token_validation: '${NOPE}', client_auth_method: 5}\nlog: {level: '${NOPE}'}\nrealm: ${NOPE}\n")
	var paths []string
	for _, e := range field.List(err) {
		var m *strictfile.Mistake
		if errors.As(e, &m) {
			paths = append(paths, m.Path)
		}
	}
	if diff := cmp.Diff([]string{"auth.token_validation", "auth.client_auth_method", "log.level", "realm"}, paths); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	seeds := []string{contractTOML, inYAML, inJSON, full}
	for _, contents := range hidden {
		seeds = append(seeds, contents...)
	}
	for _, s := range seeds {
		for n := range 3 {
			f.Add(n, s)
		}
	}
	f.Fuzz(func(t *testing.T, n int, content string) {
		name := [...]string{"a.yaml", "a.toml", "a.json"}[uint(n)%3] //nolint:gosec // any index will do
		c, err := Parse(name, []byte(content), env)
		if err == nil && (len(c.Issuers) == 0 || !strings.HasPrefix(c.Issuers[0].Discovery.Issuer, "http")) {
			t.Errorf("accepted %q as %+v", content, c)
		}
		if err != nil { // excerpts are made of whatever the file is
			checkPrintable(t, err)
		}
	})
}
