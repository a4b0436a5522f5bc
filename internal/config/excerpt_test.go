package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/strictfile"
)

// hidden are configurations with a secret, hunter2, and a mistake at it, before
// it or after it. What goes to terminals and logs must not have it.
var hidden = map[string][]string{
	"a.yaml": {
		// The known key.
		"auth:\n  issuer: https://a\n  audience: a\n  client_secret: hunter2\n  client_secret_file: /nonexistent\n  token_validation: both\n  client_id: x\n",
		"auth: {issuer: https://a, audience: a, client_secret: hunter2, nope: 1}\n",
		"auth: {issuer: https://a, audience: a, client_secret_file: '', client_secret: hunter2, nope: 1}\n",
		"auth: {issuer: https://a, audience: a, 'client_secret': 'hunter2', nope: 1}\n",
		"auth: {issuer: https://a, audience: a, \"client_secret\": \"hunter2\", nope: 1}\n",
		"auth: {nope: 1, client_secret: hunter2}\n",
		"auth: {client_secret: \"x\n  hunter2\", nope: 1}\n",
		"auth: {client_secret: [hunter2], nope: 1}\n",
		"auth: {client_secret: {hunter2: 1, x: hunter2}}\n",
		"auth: {client_secret: {hunter2: 1, hunter2: 1}}\n",
		"auth: {client_secret: 'hunter2${NOPE}'}\n",
		"auth: {client_secret: 'a${hunter2!}'}\n",
		"auth: {client_secret: 'a${hunter2'}\n",
		"auth: {client_secret: hunter2, client_secret: hunter2}\n",
		"auth: {client_secret: hunter2, client_secret_file: hunter, issuer: x}\n",
		"issuers: [{client_secret: hunter2}, {client_secret: hunter2, nope: 1}]\n",
		"auth:\n  client_secret:\n    hunter2\n   bad: [\n",
		"auth:\n  client_secret: |\n    x\n    hunter2\n\t[\n",
		"auth:\n  client_secret: |\n    a\n    b\n    c\n    d\n    e\n    f\n    hunter2\n    g\n  nope: 1\n",
		"auth:\n  client_secret: >-\n    a\n\n\n\n\n\n    hunter2\n  nope: 1\n",
		"auth:\n  client_secret: *hunter2\n",
		"auth:\n  client_secret: &hunter2 x\n",
		"auth:\n  client_secret: !hunter2 x\n",
		"auth:\n  client_secret: %hunter2\n",
		"auth:\n  client_secret: hunter2: x\n",
		"auth:\n  client_secret hunter2\n  issuer: a\n",
		"auth:\n  client_secret: \"hunter2\n",
		"auth:\n  client_secret: \"hunter2\\q\"\n",
		"auth:\n  client_secret: hunter2\n  client_id: [\n",
		"auth:\r  client_secret: hunter2\r  nope: 1\r",
		"auth:\n  client_secret: hun\u2028  x: hunter2\n  nope: 1\n",
		// Keys that nobody knows.
		"client_secrt: hunter2\n",
		"auth:\n  issuer: https://a\n  client_secrt: hunter2\n",
		"auth: {client-secret: hunter2, clientSecret: hunter2, CLIENT_SECRET: hunter2, password: hunter2}\n",
		"auth: {issuer: https://a, secret: [x, {y: hunter2}], nope: 1}\n",
		"auth:\n  secret:\n    - hunter2\n  nope: 1\n",
		"auth:\n  secret: |\n    hunter2\n  nope: 1\n",
		"nope: hunter2 # hunter2\n",
		"nope: # hunter2\n  hunter2\n",
		"? nope\n: hunter2\n",
		"\"no\\x70e\": hunter2\nrealm: 1\n",
		"'nope': hunter2\n",
		// Values of a known key that is no scalar.
		"auth: hunter2\n",
		"rules: hunter2\n",
		"headers: {x: [hunter2]}\n",
		"headers: {authorization: hunter2, x-a: hunter2}\n",
		"auth: {audience: [[hunter2]]}\n",
		// Comments.
		"realm: 1 # client_secret: hunter2\n",
		"# client_secret: hunter2\n- a\n",
		// Secrets in the wrong place: out of the environment, or in a URL.
		"log: {level: '${HUNTER}'}\n",
		"auth: {issuer: '${HUNTER}', audience: a}\n",
		"auth: {issuer: https://a, audience: a, request_timeout: '${HUNTER}', token_validation: '${HUNTER}'}\n",
		"auth: {issuer: https://a, audience: a, jwks_uri: 'https://user:hunter2@a/jwks'}\n",
		"auth: {issuer: 'http://hunter2@a/jwks', audience: a}\n",
		"auth: {issuer: 'https://a/?key=hunter2', audience: a}\n",
		"auth: {issuer: https://a, audience: a, introspection_endpoint: 'http://u:hunter2@a', clock_skew: 1}\n",
	},
	"a.toml": {
		"[auth]\nclient_secrt = \"hunter2\"\n",
		"auth = {client_secret = \"hunter2\", nope = 1}\n",
		"auth.client_secret = \"hunter2\"\nauth.nope = 1\n",
		"[auth]\nclient_secret = \"\"\"\nx\nhunter2\"\"\"\nnope = 1\n",
		"[auth]\nclient_secret = '''hunter2''' # hunter2\nnope = 1 # hunter2\n",
		"[auth]\nclient_secret = [\n \"hunter2\",\n]\nnope = 1\n",
		"[auth]\nclient_secret = hunter2\n",
		"[auth]\nclient_secret = \"hunter2\n",
		"[auth]\nclient_secret \"hunter2\"\n",
		"[auth]\nclient_secret = \"hunter2\\q\"\n",
		"[auth.client_secret.hunter2]\n[auth.client_secret.hunter2]\n",
		"[auth]\nclient_secret = {hunter2 = 1, hunter2 = 2}\n",
		"[auth.secret]\nvalue = \"hunter2\"\nnope = 1\n[nope]\nx = \"hunter2\"\n",
		"[[secret]]\nvalue = \"hunter2\"\n[[secret]]\nvalue = \"hunter2\"\n",
	},
	"a.json": {
		`{"auth":{"client_secret":"hunter2","nope":1}}`,
		`{"auth":{"client_secrt":"hunter2"}}`,
		`{"auth":{"nope":1,"client_secret":"hunter2"}}`,
		`{"nope":{"client_secret":"hunter2"},"auth":{"issuer":1}}`,
		`{"auth":{"client\u005fsecret":"hunter2","nope":1}}`,
		`{"auth":{"secret":"hunter2","issuer":"x"}}`,
		`{"auth":{"client_secret":"hunter2" "nope":1}}`,
		`{"auth":{"client_secret":hunter2}}`,
		`{"auth":{"client_secret":"hunter2\q"}}`,
		`{"auth":{"client_secret":"\uhunter2"}}`,
		`{"auth":{"client_secret":{"hunter2":1,"hunter2":1}}}`,
		`{"auth":{"client_secret":["hunter2"],"nope":1}}`,
		`{"auth":{"client_secret":"hunter2`,
		"{\"auth\":{\"client_secret\":\n\"hunter2\",\"nope\":1}}",
		`{"auth":{"client_secret":"` + strings.Repeat("x", 150) + `hunter2","nope":1}}`,
		`{"auth":{"client_secret":"` + strings.Repeat("hunter2", 100) + `","nope":1}}`,
	},
}

func TestSecretsAreNotShown(t *testing.T) {
	lookup := func(name string) (string, bool) {
		if name == "HUNTER" {
			return "\"hunter2\"\n", true
		}
		return env(name)
	}
	for name, contents := range hidden {
		for _, content := range contents {
			for _, content := range []string{content, "\uFEFF" + content} {
				_, err := Parse(name, []byte(content), lookup)
				if err == nil {
					t.Errorf("accepted:\n%s", content)
				} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "unter2") {
					t.Errorf("%s\ngot %v", content, err)
				}
			}
		}
	}
}

// A secret of digits is a number where somebody forgot the quotes.
func TestNumbersAreNotShown(t *testing.T) {
	const digits = "31415926535897932384626433"
	for name, content := range map[string]string{
		"a.yaml": "auth: {client_secret: " + digits + ", nope: 1}\n",
		"a.toml": "[auth]\nclient_secret = " + digits + "\n",
		"b.toml": "[auth]\nclient_secret = " + digits + "e999\n",
		"a.json": `{"auth":{"client_secret":` + digits + `,"nope":1}}`,
	} {
		if _, err := Parse(name, []byte(content), env); err == nil || strings.Contains(err.Error(), "31415") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestExcerpts(t *testing.T) {
	const wide = "x-auth-with-a-long-name-"
	long := func(opening, closing string) string {
		var b strings.Builder
		for i := range 40 {
			fmt.Fprintf(&b, `%s%s%d%s: "claim-%d", `, opening, wide, i, closing, i)
		}
		return b.String()
	}
	for name, tc := range map[string]struct {
		file, content string
		excerpt       string // with the caret's line; empty: none
	}{
		"key and value":      {"a.yaml", "log: {level: loud, format: json}\n", "log: {level: loud, format: json}\n      ^"},
		"unknown key":        {"a.yaml", "log:\n  levl: loud\n", "  levl: …\n  ^"},
		"after a secret":     {"a.yaml", "auth: {client_secret: hunter2, nope: 1}\n", "auth: {client_secret: … nope: …\n                        ^"},
		"JSON":               {"a.json", `{"log": {"level": "loud"}, "zzz": "x"}`, `{"log": {"level": "loud"}, "zzz": …` + "\n         ^"},
		"TOML":               {"a.toml", "[log]\nlevel = \"loud\" # why\n", "level = \"loud\" …\n^"},
		"TOML, table":        {"a.toml", "[[rules]]\n", "[[rules]]\n  ^"},
		"nothing to show":    {"a.yaml", "nonsense # hunter2\n", "\n^"},
		"comment":            {"a.yaml", "log: {level: loud} # why\n", "log: {level: loud} …\n      ^"},
		"tabs":               {"a.json", "{\"log\":\t{\t\"level\":\t\"loud\"}}", "{\"log\": { \"level\": \"loud\"}}\n          ^"},
		"wide characters":    {"a.json", `{"realm": "ä€ö", "log": {"level": "loud"}}`, `{"realm": "ä€ö", "log": {"level": "loud"}}` + "\n                         ^"},
		"wide, YAML":         {"a.yaml", "{realm: ä€ö, log: {level: loud}}\n", "{realm: ä€ö, log: {level: loud}}\n                   ^"},
		"wide, TOML":         {"a.toml", "log = {format = \"ä€ö\", level = \"loud\"}\n", "log = {format = \"ä€ö\", level = \"loud\"}\n                       ^"},
		"control characters": {"a.toml", "log = {format = \"json\", \"le\u202e\u0085\" = 1}\n", "log = {format = \"json\", \"le\uFFFD\uFFFD\" = …\n                        ^"},
		"escapes":            {"a.yaml", "log: {level: \"lo\\x1b[31mud\"}\n", "log: {level: …\n      ^"},
		"block scalar":       {"a.yaml", "log:\n  level: |\n    loud\n", "  level: …\n  ^"},
		"long line":          {"a.json", `{"headers": {` + strings.TrimSuffix(long(`"`, `"`), ", ") + `, "host": "sub"}, "forward_token": false}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(tc.file, []byte(tc.content), env)
			shown := ""
			for _, e := range field.List(err) {
				var m *strictfile.Mistake
				if !errors.As(e, &m) {
					t.Fatalf("got %T", e)
				}
				if utf8.RuneCountInString(m.Excerpt) > 200 {
					t.Errorf("%d characters are more than 200", utf8.RuneCountInString(m.Excerpt))
				}
				got := m.Excerpt + "\n" + strings.Repeat(" ", m.Caret) + "^"
				shown += got + "\n"
				key := m.Path[strings.LastIndexByte(m.Path, '.')+1:]
				if at := []rune(m.Excerpt); name == "long line" && m.Path != "auth" &&
					!strings.HasPrefix(strings.Trim(string(at[m.Caret:]), `"`), key) {
					t.Errorf("%s: the caret stands before %q", m.Path, string(at[m.Caret:]))
				}
			}
			if !strings.Contains(shown, tc.excerpt) {
				t.Errorf("got\n%s\nwant\n%s", shown, tc.excerpt)
			}
		})
	}
}

// What errors say is one line each, bounded, and does nothing to a terminal.
func TestErrorsArePrintable(t *testing.T) {
	for name, content := range map[string]string{
		"a.yaml": "\"a\\x1b]0;x\\x07\\nb\\0\": 1\nlog: {level: \"\\x1b[31m\\r\\n\\0\"}\nrealm: \"" + strings.Repeat("ä", 1<<20) + "\"\n",
		"b.yaml": strings.Repeat("k", 1<<20) + ": 1\n",
		"c.yaml": "realm: \x00\n",
		"a.json": `{"a\u001b[31m\u0000\u202e": 1, "realm": "\u0000"}`,
		"a.toml": "\"\\u001B[31m\\u0000\" = 1\nrealm = \"\\u0000\"\n",
		"b.toml": "realm = \"\x1b[31m\"\n",
		"b.json": "{\"realm\": \"\x1b[31m\"}",
	} {
		_, err := Parse(name, []byte(content), env)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		checkPrintable(t, err)
	}
}

func checkPrintable(t *testing.T, err error) {
	t.Helper()
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if n := utf8.RuneCountInString(line); n > 200+1000+100 {
			t.Errorf("a line of %d characters", n)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("got %q", line)
		}
	}
}
