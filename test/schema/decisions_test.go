package schema_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/telemetry"
	"github.com/bearergate/bearergate/validation"
)

func decisionSchema(t *testing.T) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", "decisions.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // the document must say itself what it is
	compiler.AssertFormat()
	if err := compiler.AddResource("decisions.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("decisions.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled, document.(map[string]any)
}

type decision authz.Decision

func (d decision) Decide(context.Context, *authz.Request) authz.Decision { return authz.Decision(d) }

// decisionLines has every reason decided, with all that a line can tell and with
// nothing of it.
func decisionLines(t *testing.T) []string {
	t.Helper()
	var written bytes.Buffer
	l := telemetry.NewDecisionLog(telemetry.DecisionLogOptions{
		Stderr: &written, Log: slog.New(slog.DiscardHandler), Unwritten: func(int) {},
	})
	cfg := config.DecisionLog{Output: "/dev/full", Allows: 1, DeniesPerSecond: 1}
	if err := l.Use(cfg, "0123456789ab"); err != nil {
		t.Fatal(err)
	}
	checks := envoy.NewServer(l.Checks(), slog.New(slog.DiscardHandler))
	checks.Identify(true)
	ask := func(d authz.Decision, request *authv3.CheckRequest) {
		checks.Use(decision(d))
		if _, err := checks.Check(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // beyond what is written in a second
		ask(authz.Decision{Reason: authz.NoToken}, &authv3.CheckRequest{})
	}
	cfg.Output, cfg.DeniesPerSecond = "stderr", 1000
	if err := l.Use(cfg, "0123456789ab"); err != nil {
		t.Fatal(err)
	}
	for _, reason := range authz.Reasons() {
		ask(authz.Decision{Reason: reason}, &authv3.CheckRequest{})
		ask(authz.Decision{
			Reason: reason, Rule: "orders", Issuer: "https://auth.example.com",
			Token: &validation.Token{Subject: "alice", ClientID: "app", Scopes: []string{"read"}},
		}, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{
				Method: "GET", Host: "api.example.com", Path: "/orders", Headers: map[string]string{
					"x-request-id": "17", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
				},
			},
		}}})
	}
	ask(authz.Decision{Reason: authz.NoToken, Shadow: true}, &authv3.CheckRequest{})
	l.Close()
	return strings.Split(strings.TrimSpace(written.String()), "\n")
}

// TestDecisionSchema holds the schema to lines that were really written: each is
// valid, each member is met, and what no line may have is refused.
func TestDecisionSchema(t *testing.T) {
	compiled, document := decisionSchema(t)
	met := map[string]bool{}
	var last map[string]any
	for _, line := range decisionLines(t) {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if err := compiled.Validate(v); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		last = v.(map[string]any)
		for name := range last {
			met[name] = true
		}
	}
	properties := document["properties"].(map[string]any)
	for name := range properties {
		if !met[name] {
			t.Errorf("%s: no line has it", name)
		}
	}
	if got, want := len(properties["reason"].(map[string]any)["enum"].([]any)), len(authz.Reasons()); got != want {
		t.Errorf("got %d reasons in the schema, want %d", got, want)
	}
	for name, value := range map[string]any{
		"sub": "alice", "reason": "other", "decision": "maybe", "scopes": "read", "time": "2026-11-24 12:00:00",
		"subject_hash": "alice", "dropped": json.Number("0"), "cache": "", "shadow": false,
	} {
		changed := map[string]any{}
		for member, v := range last {
			changed[member] = v
		}
		changed[name] = value
		if compiled.Validate(changed) == nil {
			t.Errorf("%s: %v is valid, want it refused", name, value)
		}
	}
	for _, required := range document["required"].([]any) {
		changed := map[string]any{}
		for member, v := range last {
			if member != required {
				changed[member] = v
			}
		}
		if compiled.Validate(changed) == nil {
			t.Errorf("a line without %s is valid", required)
		}
	}
}

var (
	jsonBlock = regexp.MustCompile("(?ms)^```json\n(.*?)^```")
	tableRow  = regexp.MustCompile("(?m)^\\| (\\**`.*?) \\| ")
	quoted    = regexp.MustCompile("`([a-z_]+)`")
)

// TestDecisionsPage: the page has each member of the schema, marks those that every line
// has, and its example is a line.
func TestDecisionsPage(t *testing.T) {
	compiled, document := decisionSchema(t)
	content, err := os.ReadFile(filepath.Join(root, "docs", "decisions.md"))
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, name := range document["required"].([]any) {
		required[name.(string)] = true
	}
	missing := map[string]bool{}
	for name := range document["properties"].(map[string]any) {
		missing[name] = true
	}
	for _, row := range tableRow.FindAllStringSubmatch(string(content), -1) {
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			if !missing[name[1]] {
				t.Errorf("%s: is no member, or there twice", name[1])
			}
			delete(missing, name[1])
			if bold := strings.HasPrefix(row[1], "**"); bold != required[name[1]] {
				t.Errorf("%s: got bold %t, want %t", name[1], bold, required[name[1]])
			}
		}
	}
	for name := range missing {
		t.Errorf("%s: the page does not say what it is", name)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(jsonBlock.FindStringSubmatch(string(content))[1]))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(v); err != nil {
		t.Error(err)
	}
}
