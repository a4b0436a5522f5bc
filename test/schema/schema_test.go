// Package schema_test holds the JSON Schema of the configuration file to a
// validator that is not ours, and to what is really loaded.
package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/bearergate/bearergate/internal/config"
)

const root = "../.."

func schema(t *testing.T) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	var written bytes.Buffer
	if err := config.WriteSchema(&written); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(&written)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // the document must say itself what it is
	if err := compiler.AddResource("bearergate.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("bearergate.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled, document.(map[string]any)
}

// value is what a file holds, as the validator wants it: of JSON's types.
func value(t *testing.T, name, content string) any {
	t.Helper()
	var v any
	var err error
	switch filepath.Ext(name) {
	case ".toml":
		err = toml.Unmarshal([]byte(content), &v)
	default: // JSON is YAML
		err = yaml.Unmarshal([]byte(content), &v)
	}
	if err != nil {
		return nil
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	v, err = jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var fence = regexp.MustCompile("(?ms)^```(yaml|toml|json)\n(.*?)^```")

// examples are all configurations of the repository, by where they stand: files,
// and blocks of its pages. What names an issuer is one.
func examples(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{}
	add := func(at, name, content string) {
		v, ok := value(t, name, content).(map[string]any)
		if !ok {
			return
		}
		auth, _ := v["auth"].(map[string]any)
		_, several := v["issuers"].([]any)
		if auth["issuer"] != nil || several {
			all[at] = v
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".yaml", ".yml", ".toml", ".json", ".md"}, filepath.Ext(path)) {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(path) != ".md" {
			add(path, path, string(content))
			return nil
		}
		for n, block := range fence.FindAllStringSubmatch(string(content), -1) {
			add(fmt.Sprintf("%s, block %d", path, n), "a."+block[1], block[2])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAcceptsEveryExample(t *testing.T) {
	compiled, _ := schema(t)
	all := examples(t)
	for _, known := range []string{
		"README.md", "mcp-bearergate.yaml", "keycloak.yaml", "authorization-servers.md", "compose/bearergate.yaml",
	} {
		found := false
		for at := range all {
			found = found || strings.Contains(at, known)
		}
		if !found {
			t.Errorf("no example in %s", known)
		}
	}
	for at, example := range all {
		if err := compiled.Validate(example); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestAgreesWithTheLoader: what is of the wrong form is refused by both, and
// what is loaded is accepted.
func TestAgreesWithTheLoader(t *testing.T) {
	compiled, _ := schema(t)
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"DURATION": "7s", "SIZE": "7MiB", "TEXT": "info", "SECONDS": "7"}[name]
		return v, ok
	}
	const auth = "auth: {issuer: 'https://a.example.com', audience: a"
	for content, loads := range map[string]bool{
		auth + "}": true,
		"issuers: [{issuer: 'https://a.example.com', audience: []}]": true,
		"":                      false,
		auth + "}\nissuers: []": false,
		"auth: {issuer: 'https://a.example.com'}": false,
		"auth: {audience: a}":                     false,
		// Keys.
		auth + ", jwks_url: 'https://a.example.com/jwks'}": false,
		auth + "}\nnope: 1":                                 false,
		auth + "}\nserver: {nope: 1}":                       false,
		auth + "}\nrules: [{name: a, nope: 1}]":             false,
		auth + "}\nrules: [{name: a, match: {path: [/a]}}]": false,
		auth + "}\ncache: {entries: 1}":                     false,
		// Allowed values.
		auth + ", token_validation: jwt}":            true,
		auth + ", token_validation: JWT}":            false,
		auth + ", token_validation: 5}":              false,
		auth + ", type: openid}":                     false,
		auth + ", client_auth_method: basic}":        false,
		auth + ", algorithms: [RS256, ES256]}":       true,
		auth + ", algorithms: []}":                   false,
		auth + ", algorithms: [HS256]}":              false,
		auth + ", algorithms: RS256}":                false,
		auth + "}\nlog: {level: '${TEXT}'}":          true,
		auth + "}\nlog: {level: loud}":               false,
		auth + "}\ndefault_access: public":           false,
		auth + "}\nrules: [{name: a, access: none}]": false,
		auth + "}\nrules: [{name: a, access: ''}]":   true,
		// Durations.
		auth + ", clock_skew: 30s}":             true,
		auth + ", clock_skew: 1m30s}":           true,
		auth + ", clock_skew: 1.5m}":            true,
		auth + ", clock_skew: .5s}":             true,
		auth + ", clock_skew: +1s}":             true,
		auth + ", clock_skew: '0'}":             true,
		auth + ", clock_skew: 5}":               false,
		auth + ", clock_skew: '5'}":             false,
		auth + ", clock_skew: -1s}":             false,
		auth + ", clock_skew: ''}":              false,
		auth + ", clock_skew: 1s5}":             false,
		auth + ", clock_skew: '${DURATION}'}":   true,
		auth + ", clock_skew: '${SECONDS}s'}":   true,
		auth + ", clock_skew: '1m${DURATION}'}": true,
		auth + ", clock_skew: 1d}":              false,
		// Sizes, numbers, switches, lists, maps.
		auth + "}\ncache: {max_bytes: 64MiB}":         true,
		auth + "}\ncache: {max_bytes: 67108864}":      true,
		auth + "}\ncache: {max_bytes: '67108864'}":    true,
		auth + "}\ncache: {max_bytes: '${SIZE}'}":     true,
		auth + "}\ncache: {max_bytes: 64MB}":          false,
		auth + "}\ncache: {max_bytes: -1}":            false,
		auth + "}\ncache: {max_bytes: 1.5}":           false,
		auth + "}\ncache: {max_entries: '5'}":         false,
		auth + "}\ncache: {max_entries: 5}":           true,
		auth + "}\nforward_token: true":               true,
		auth + "}\nforward_token: 'true'":             false,
		auth + "}\nforward_token:":                    false,
		auth + ", required_scopes: a}":                false,
		auth + ", required_scopes: [a, 5]}":           false,
		auth + "}\nrules: [{name: a, audience: a}]":   true,
		auth + "}\nrules: [{name: a, audience: [a]}]": true,
		auth + "}\nrules: [{}]":                       false,
		auth + "}\nrules: {}":                         false,
		auth + "}\nheaders: {x-a: sub}":               true,
		auth + "}\nheaders: {x-a: [sub]}":             false,
		auth + "}\nscope_implies: {a: [b]}":           true,
		auth + "}\nscope_implies: {a: b}":             false,
		auth + "}\nserver: {tls: {cert_file: a}}":     false,
	} {
		_, err := config.Parse("a.yaml", []byte(content), lookup)
		if loads != (err == nil) {
			t.Errorf("%s\nloader: got %v, want it to load: %v", content, err, loads)
		}
		v := value(t, "a.yaml", content)
		if err := compiled.Validate(v); loads != (err == nil) {
			t.Errorf("%s\nschema: got %v, want it to accept: %v", content, err, loads)
		}
	}
}

// TestEveryKeyIsDescribed: editors show what it is, what it takes, and what
// holds without it. What must be written, and what is absent by default, has no
// default.
func TestEveryKeyIsDescribed(t *testing.T) {
	_, document := schema(t)
	absent := []string{"auth", "tls", "match", "upstream_token", "dpop", "mtls", "shared", "revocation"}
	keys := 0
	var walk func(at string, object map[string]any)
	walk = func(at string, object map[string]any) {
		if object["additionalProperties"] != false {
			t.Errorf("%s: takes unknown keys", at)
		}
		required, _ := object["required"].([]any)
		for name, p := range object["properties"].(map[string]any) {
			keys++
			key, at := p.(map[string]any), at+"."+name
			if description, _ := key["description"].(string); !strings.HasSuffix(description, ".") {
				t.Errorf("%s: got description %q", at, description)
			}
			if key["type"] == nil {
				t.Errorf("%s: no type", at)
			}
			if key["default"] == nil && !slices.Contains(required, any(name)) && !slices.Contains(absent, name) {
				t.Errorf("%s: no default", at)
			}
			if secret := strings.HasSuffix(at, ".client_secret"); secret != (key["writeOnly"] == true) {
				t.Errorf("%s: got writeOnly %v", at, key["writeOnly"])
			}
			if items, ok := key["items"].(map[string]any); ok {
				key = items
			}
			if key["properties"] != nil {
				walk(at, key)
			}
		}
	}
	walk("", document)
	if keys < 60 {
		t.Errorf("got %d keys", keys)
	}
}

// TestDefaultsAreAccepted: each default of the schema is what the schema takes.
func TestDefaultsAreAccepted(t *testing.T) {
	compiled, _ := schema(t)
	var walk func(at string, s *jsonschema.Schema)
	walk = func(at string, s *jsonschema.Schema) {
		if s.Default != nil && at != "" {
			if err := s.Validate(*s.Default); err != nil {
				t.Errorf("%s: %v", at, err)
			}
		}
		for name, p := range s.Properties {
			walk(at+"."+name, p)
		}
		if s.Items2020 != nil {
			walk(at+"[]", s.Items2020)
		}
	}
	walk("", compiled)
}
