package explain_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
)

const rules = `
rules:
- {name: open, match: {paths: [/open]}, access: public}
- {name: admin, match: {paths: [/admin]}, scopes: [admin]}
- {name: closed, access: deny}
- {name: own, match: {paths: [/own]}, upstream_token: {audience: [orders]}}
- {name: other, match: {paths: [/other]}, upstream_token: {audience: [orders], header: x-orders-token}}
resources: [{resource: 'https://mcp.example.com/mcp', scopes_supported: [mcp]}]
`

// walker returns a walk through the service that a real authorization server
// stands behind.
func walker(t *testing.T) (*devissuer.Issuer, func(explain.Request) *explain.Walk) {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	path := filepath.Join(t.TempDir(), "a.yaml")
	content := "auth: {issuer: '" + as.URL() + "', audience: api, insecure_http: true, client_id: gate, client_secret: s3cret}\n" + rules
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"))
	t.Cleanup(svc.Close)
	if err := svc.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	return as, func(r explain.Request) *explain.Walk {
		t.Helper()
		walk, err := explain.Run(t.Context(), svc.Checks(), r)
		if err != nil {
			t.Fatal(err)
		}
		return walk
	}
}

// printed returns what a terminal and what a program get.
func printed(t *testing.T, walk *explain.Walk) (text, raw string) {
	t.Helper()
	var people, programs bytes.Buffer
	if err := walk.Text(&people); err != nil {
		t.Fatal(err)
	}
	if err := walk.JSON(&programs); err != nil {
		t.Fatal(err)
	}
	return people.String(), programs.String()
}

// TestUpstreamTokenIsNeverShown: whoever may explain a request must not get a token
// for it (docs/contract.md §10).
func TestUpstreamTokenIsNeverShown(t *testing.T) {
	as, walk := walker(t)
	const given = "the-upstreams-own"
	as.AnswerTokens(devissuer.Claims{"access_token": given})
	token := as.JWT(claims{"sub": "alice", "aud": "api", "scope": "read"})
	for path, want := range map[string]string{
		"/own":   `"key":"authorization","value":"Bearer [redacted]"`,
		"/other": `"key":"x-orders-token","value":"[redacted]"`,
	} {
		for range 2 { // asked for, and remembered
			got := walk(explain.Request{Method: "GET", Host: "h", Path: path, Token: token})
			text, raw := printed(t, got)
			if got.Reason != "allowed" || !strings.Contains(string(got.Response), want) {
				t.Errorf("%s: got %s and %s, want %s", path, got.Reason, got.Response, want)
			}
			if strings.Contains(text+raw, given) {
				t.Errorf("%s: the upstream's token is in %s", path, text)
			}
		}
	}
}

// The exact response is shown, and whether it lets the request pass.
func TestDecisions(t *testing.T) {
	as, walk := walker(t)
	good := as.JWT(claims{"sub": "alice", "aud": "api", "scope": "read"})
	const document = "/.well-known/oauth-protected-resource/mcp"
	for name, tc := range map[string]struct {
		request explain.Request
		reason  string
		allowed bool
		want    []string // in the response
	}{
		"allowed": {
			explain.Request{Method: "GET", Host: "h", Path: "/x", Token: good}, "allowed", true,
			[]string{`"okResponse"`, `{"key":"x-auth-sub","value":"alice"}`, `"headersToRemove"`},
		},
		"public": {
			explain.Request{Method: "GET", Host: "h", Path: "/open"}, "public", true, []string{`"okResponse"`},
		},
		"denied for want of a token": {
			explain.Request{Method: "GET", Host: "h", Path: "/x"}, "no_token", false,
			[]string{`"deniedResponse"`, `"Unauthorized"`, `Bearer realm=\"bearergate\"`},
		},
		"denied for want of a scope": {
			explain.Request{Method: "GET", Host: "h", Path: "/admin", Token: good}, "insufficient_scope", false,
			[]string{`"Forbidden"`, `scope=\"admin\"`},
		},
		"denied by a rule that is named": {
			explain.Request{Method: "GET", Host: "h", Path: "/x", Token: good, Rule: "closed"}, "forbidden", false,
			[]string{`"Forbidden"`, `"rule":"closed"`},
		},
		"a rule that is none": {
			explain.Request{Method: "GET", Host: "h", Path: "/x", Rule: "none"}, "misconfigured", false,
			[]string{`"InternalServerError"`},
		},
		// Envoy hears a denial, since only that can carry a body; the client got what
		// it asked for.
		"a document": {
			explain.Request{Method: "GET", Host: "mcp.example.com", Path: document}, "metadata", true,
			[]string{`"deniedResponse"`, `"OK"`, `https://mcp.example.com/mcp`, as.URL()},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := walk(tc.request)
			if got.Reason != tc.reason || got.Allowed != tc.allowed {
				t.Errorf("got %s, allowed %t; want %s, %t", got.Reason, got.Allowed, tc.reason, tc.allowed)
			}
			for _, want := range tc.want {
				if !strings.Contains(string(got.Response), want) {
					t.Errorf("got response %s, want %s in it", got.Response, want)
				}
			}
			if len(got.Steps) == 0 && tc.reason != "metadata" { // which is no decision about anybody
				t.Error("got no steps, want how it came to that")
			}
			text, raw := printed(t, got)
			if !strings.Contains(text, "\nreason: "+tc.reason+"\n") ||
				!strings.HasSuffix(text, "\nresponse: "+string(got.Response)+"\n") {
				t.Errorf("got %s, want reason and response at the end", text)
			}
			if all := text + raw; tc.request.Token != "" && strings.Contains(all, tc.request.Token) {
				t.Errorf("the token was printed: %s", all)
			}
		})
	}
}

// Scripts read this: members come and go by a new major version only.
func TestJSON(t *testing.T) {
	as, walk := walker(t)
	for _, tc := range []struct {
		path    string
		members []string
	}{
		{"/open", []string{"allowed", "reason", "response", "steps"}},
		{"/x", []string{"allowed", "hint", "reason", "response", "steps"}},
	} {
		_, raw := printed(t, walk(explain.Request{
			Method: "GET", Host: "h", Path: tc.path, Token: as.JWT(claims{"aud": "x"}),
		}))
		var got struct {
			Allowed  *bool
			Reason   string
			Response map[string]any
			Steps    []map[string]string // every member is a string
		}
		var members map[string]any
		for _, into := range []any{&got, &members} {
			if err := json.Unmarshal([]byte(raw), into); err != nil {
				t.Fatalf("%v: %s", err, raw)
			}
		}
		if names := keys(members); !slices.Equal(names, tc.members) {
			t.Errorf("%s: got members %q, want %q", tc.path, names, tc.members)
		}
		if got.Allowed == nil || *got.Allowed != (tc.path == "/open") || got.Response["status"] == nil {
			t.Errorf("%s: got %s", tc.path, raw)
		}
		for _, step := range got.Steps {
			if step["name"] == "" || !slices.Contains([]string{"passed", "failed", "noted"}, step["result"]) {
				t.Errorf("got step %q, want name and result", step)
			}
		}
		if !strings.HasPrefix(raw, "{\n  \"") {
			t.Errorf("got %s, want it indented", raw)
		}
	}
}

func keys(members map[string]any) []string {
	var names []string
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// What stands in a token that somebody was sent must not reach a terminal as
// orders: it could clear the screen and draw another verdict.
func TestNothingOfATokenOrdersTheTerminalAbout(t *testing.T) {
	as, walk := walker(t)
	const wipe, reverse = "\x1b[2J", "\u202e"
	for name, hostile := range map[string]claims{
		"aud":               {"aud": "x" + wipe},
		"aud, a line more":  {"aud": "x\nreason: allowed"},
		"iss":               {"iss": "https://x" + wipe + reverse, "aud": "api"},
		"direction of text": {"aud": reverse + "x"},
	} {
		t.Run(name, func(t *testing.T) {
			got := walk(explain.Request{Method: "GET", Host: "h", Path: "/x", Token: as.JWT(hostile)})
			if got.Allowed {
				t.Fatalf("got %s, want a denial", got.Reason)
			}
			text, raw := printed(t, got)
			for _, shown := range []string{text, raw} {
				if strings.ContainsFunc(shown, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }) {
					t.Errorf("got %q, want nothing that a terminal obeys", shown)
				}
			}
			if strings.Contains(text, reverse) || strings.Count(text, "\nreason: ") != 1 {
				t.Errorf("got %q, want words of a token in quotes, and one verdict", text)
			}
		})
	}
}
