package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

var build = Build{Version: "1.2.3", Commit: "abc"}

// files writes each content under its name into a new folder.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func issuer(t *testing.T) *devissuer.Issuer {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return as
}

func TestRun(t *testing.T) {
	as := issuer(t)
	auth := "auth: {issuer: '" + as.URL() + "', audience: api, token_validation: both, " +
		"client_id: gate, client_secret: s3cret, insecure_http: true}\n"
	taken := strings.TrimPrefix(as.URL(), "http://")
	dir := files(t, map[string]string{
		"good.yaml": auth + "rules:\n- {name: admin, match: {paths: [/admin]}, scopes: [admin]}\n" +
			"- {name: open, match: {paths: [/open]}, access: public}\n" +
			"- {name: tenant, match: {paths: [/tenant]}, when: 'request.headers[\"x-tenant\"] == \"acme\"'}\n",
		"bad.yaml":    "auth: {issuer: 'http://as.example.com', audience: api}\nnope: 1\n",
		"secret.yaml": strings.Replace(auth, "s3cret", "wrong", 1),
		"grpc.yaml":   auth + "server: {grpc_address: '" + taken + "', admin_address: '127.0.0.1:0'}\n",
		"admin.yaml":  auth + "server: {grpc_address: '127.0.0.1:0', admin_address: '" + taken + "'}\n",
		"down.yaml":   strings.Replace(auth, as.URL(), "http://127.0.0.1:1", 1),
		"alice":       as.JWT(devissuer.Claims{"sub": "alice", "aud": "api", "scope": "read"}) + "\n",
		"opaque":      as.Opaque("", devissuer.Claims{"sub": "bob", "aud": "api"}),
		"expired":     as.JWT(devissuer.Claims{"aud": "api", "exp": 1}),
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	config := func(name string) string { return "--config=" + in(name) }
	token := func(name string) string { return "--token-file=" + in(name) }
	good, bad, alice := config("good.yaml"), config("bad.yaml"), token("alice")
	t.Setenv("ENVOY", "")
	t.Setenv("REDIS", "")
	t.Setenv("PATH", "")
	for name, tc := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string // contained
	}{
		"schema":          {[]string{"schema"}, 0, "https://json-schema.org/draft/2020-12/schema", ""},
		"version":         {[]string{"version"}, 0, "bearergate 1.2.3 (commit abc, go1.", ""},
		"no command":      {nil, 0, "Usage:", ""},
		"help":            {[]string{"serve", "--help"}, 0, "--config", ""},
		"unknown command": {[]string{"nope"}, 2, "", "unknown command"},
		"unknown flag":    {[]string{"serve", "--nope"}, 2, "", "unknown flag"},
		"too many words":  {[]string{"validate", "x"}, 2, "", "unknown command"},

		"valid":   {[]string{"validate", good}, 0, "good.yaml: valid", "insecure_http"},
		"invalid": {[]string{"validate", bad}, 1, "", "bad.yaml:2:1: nope: unknown key"},
		"invalid, all at once": {
			[]string{"validate", bad}, 1, "", `bad.yaml:1:8: auth.issuer: "http" is not allowed`,
		},
		"no file": {[]string{"validate", config("none.yaml")}, 1, "", "no such file"},
		"online": {
			[]string{"validate", "--online", good}, 0,
			"introspection: " + as.URL() + "/introspect: our credentials are accepted", "",
		},
		"online, wrong secret": {
			[]string{"validate", "--online", config("secret.yaml")}, 1, "", "credentials are refused",
		},
		"online, down": {[]string{"validate", "--online", config("down.yaml")}, 1, "", "http://127.0.0.1:1"},

		"serve, invalid": {[]string{"serve", bad}, 1, "", "nope: unknown key"},
		"serve, no file": {
			[]string{"serve", config("none.yaml")}, 1, "", "none.yaml: no such file or directory\nThere is no configuration. " +
				"Name one with --config or BEARERGATE_CONFIG; in a container, mount it",
		},
		"serve, gRPC taken": {[]string{"serve", config("grpc.yaml")}, 1, "", "address already in use"},
		"serve, admin taken": {
			[]string{"serve", config("admin.yaml")}, 1, "", "address already in use",
		},
		"demo, no store": {[]string{"demo", "--shared"}, 1, "", "missing: no Redis or Valkey"},
		"demo, no Envoy": {[]string{"demo", "--check"}, 1, "missing: no Envoy binary", "nothing to check"},

		"health, nobody":     {[]string{"health", "--address=127.0.0.1:1"}, 1, "", "connection refused"},
		"health, no anchors": {[]string{"health", "--tls-ca=" + in("alice")}, 1, "", "alice: no PEM certificate in it"},

		"explain, allowed":     {[]string{"explain", good, alice, "--path=/x"}, 0, "reason: allowed", ""},
		"explain, opaque":      {[]string{"explain", good, token("opaque")}, 0, "introspection", ""},
		"explain, header":      {[]string{"explain", good, alice, "--path=/tenant", "--header=X-Tenant: acme"}, 0, "reason: allowed", ""},
		"explain, no header":   {[]string{"explain", good, alice, "--path=/tenant"}, 3, "reason: forbidden", ""},
		"explain, bad header":  {[]string{"explain", good, "--header=nonsense"}, 2, "", "want 'Name: value'"},
		"explain, expired":     {[]string{"explain", good, token("expired")}, 3, "reason: expired", ""},
		"explain, no token":    {[]string{"explain", good}, 3, "reason: no_token", ""},
		"explain, scope":       {[]string{"explain", good, alice, "--path=/admin"}, 3, "reason: insufficient_scope", ""},
		"explain, why not":     {[]string{"explain", good, "--path=/open"}, 0, "does not match: no path pattern fits", ""},
		"explain, metadata":    {[]string{"explain", good, alice}, 0, "discovery metadata  ", ""},
		"explain, key":         {[]string{"explain", good, alice}, 0, "keys fetched 0s ago", ""},
		"explain, claims":      {[]string{"explain", good, alice}, 0, "got api, want one of api", ""},
		"explain, not reached": {[]string{"explain", good, "--path=/admin"}, 3, "not looked at: the first match wins", ""},
		"explain, rule":        {[]string{"explain", good, "--rule=open"}, 0, "reason: public", ""},
		"explain, down":        {[]string{"explain", config("down.yaml"), token("opaque")}, 3, "reason: unavailable", ""},
		"explain, JSON":        {[]string{"explain", good, "--output=json"}, 3, `"reason": "no_token"`, ""},
		"explain, bad output":  {[]string{"explain", good, "--output=xml"}, 2, "", `got "xml", want text or json`},
		"explain, no file":     {[]string{"explain", good, token("none")}, 1, "", "no such file"},
		"explain, invalid":     {[]string{"explain", bad}, 1, "", "nope: unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := Run(t.Context(), build, tc.args, &stdout, &stderr); status != tc.status {
				t.Errorf("got status %d, want %d\n%s%s", status, tc.status, &stdout, &stderr)
			}
			if !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("got stdout %q\nstderr %q\nwant %q and %q", &stdout, &stderr, tc.stdout, tc.stderr)
			}
			for _, name := range []string{"alice", "opaque", "expired"} {
				token, err := os.ReadFile(in(name))
				if err != nil {
					t.Fatal(err)
				}
				all := stdout.String() + stderr.String()
				if strings.Contains(all, strings.TrimSpace(string(token))) || strings.Contains(all, "s3cret") {
					t.Error("the token or a secret was printed")
				}
			}
		})
	}
}

// BEARERGATE_CONFIG is the default of --config, in every command that has it.
func TestConfigurationFromTheEnvironment(t *testing.T) {
	t.Setenv("BEARERGATE_CONFIG", filepath.Join(t.TempDir(), "elsewhere.yaml"))
	for _, command := range []string{"serve", "validate", "explain"} {
		var stdout, stderr bytes.Buffer
		status := Run(t.Context(), build, []string{command}, &stdout, &stderr)
		if status != 1 || !strings.Contains(stderr.String(), "elsewhere.yaml: no such file") {
			t.Errorf("%s: got status %d and %q, want 1 and the name of the file", command, status, &stderr)
		}
	}
}

func TestTokenFromStandardInput(t *testing.T) {
	got, err := readToken("-", strings.NewReader(" abc\n"))
	if err != nil || got != "abc" {
		t.Errorf("got %q and %v, want abc", got, err)
	}
	if got, err = readToken("-", strings.NewReader(strings.Repeat("a", 1<<20))); err != nil || len(got) != 32<<10 {
		t.Errorf("got %d bytes and %v, want no more than 32 KiB", len(got), err)
	}
}

// free returns an address where nobody listens.
func free(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

func TestServeUntilStopped(t *testing.T) {
	as := issuer(t)
	grpcAddress, admin := free(t), free(t)
	dir := files(t, map[string]string{"a.toml": `
server = {grpc_address = "` + grpcAddress + `", admin_address = "` + admin + `"}
[auth]
issuer = "` + as.URL() + `"
audience = "api"
insecure_http = true
`})
	ctx, cancel := context.WithCancel(t.Context())
	status := make(chan int, 1)
	var out bytes.Buffer
	go func() {
		status <- Run(ctx, build, []string{"serve", "--config=" + filepath.Join(dir, "a.toml")}, &out, &out)
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("not ready")
		}
	}
	var ignored bytes.Buffer
	if got := Run(ctx, build, []string{"health", "--address=" + grpcAddress}, &ignored, &ignored); got != 0 {
		t.Errorf("health: got %d, want 0: %s", got, &ignored)
	}
	cancel()
	if got := <-status; got != 0 {
		t.Errorf("serve: got %d, want 0 after a clean drain: %s", got, &out)
	}
}

func TestDecisionLogThatCannotBeOpened(t *testing.T) {
	dir := files(t, map[string]string{"a.yaml": "auth: {issuer: https://as.example.com, audience: api}\n" +
		"telemetry: {decision_log: {output: /nonexistent/decisions.log}}\n"})
	var stderr bytes.Buffer
	status := Run(t.Context(), build, []string{"serve", "--config=" + filepath.Join(dir, "a.yaml")}, io.Discard, &stderr)
	if want := "telemetry.decision_log.output: open /nonexistent"; status != 1 || !strings.Contains(stderr.String(), want) {
		t.Errorf("got status %d and %s, want 1 and %s", status, &stderr, want)
	}
}

func TestHintIsForTheConfigurationItself(t *testing.T) {
	dir := files(t, map[string]string{"a.yaml": "auth: {issuer: https://as.example.com, audience: api, ca_file: /none.pem}"})
	for name, want := range map[string]bool{"none.yaml": true, "a.yaml": false} {
		var stderr bytes.Buffer
		status := Run(t.Context(), build, []string{"serve", "--config=" + filepath.Join(dir, name)}, io.Discard, &stderr)
		if got := strings.Contains(stderr.String(), "There is no configuration."); status != 1 || got != want {
			t.Errorf("%s: got status %d and %s, want 1 and the hint: %t", name, status, &stderr, want)
		}
	}
}
