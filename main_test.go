package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
)

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
	auth := "auth: {issuer: '" + as.URL() + "', audience: api, token_validation: both, client_id: gate, client_secret: s3cret, insecure_http: true}\n"
	dir := files(t, map[string]string{
		"good.yaml":   auth + "rules: [{name: admin, match: {paths: [/admin]}, scopes: [admin]}, {name: open, match: {paths: [/open]}, access: public}]\n",
		"bad.yaml":    "auth: {issuer: 'http://as.example.com', audience: api}\nnope: 1\n",
		"secret.yaml": strings.Replace(auth, "s3cret", "wrong", 1),
		"down.yaml":   strings.Replace(auth, as.URL(), "http://127.0.0.1:1", 1),
		"alice":       as.JWT(devissuer.Claims{"sub": "alice", "aud": "api", "scope": "read"}) + "\n",
		"opaque":      as.Opaque("", devissuer.Claims{"sub": "bob", "aud": "api"}),
		"expired":     as.JWT(devissuer.Claims{"aud": "api", "exp": 1}),
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	good := "--config=" + in("good.yaml")
	for name, tc := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string // contained
	}{
		"version":              {[]string{"version"}, 0, "bearergate dev (commit unknown, go1.", ""},
		"no command":           {nil, 0, "Usage:", ""},
		"unknown command":      {[]string{"nope"}, 2, "", "unknown command"},
		"unknown flag":         {[]string{"serve", "--nope"}, 2, "", "unknown flag"},
		"too many words":       {[]string{"validate", "x"}, 2, "", "unknown command"},
		"valid":                {[]string{"validate", good}, 0, "good.yaml: valid", "insecure_http"},
		"invalid":              {[]string{"validate", "--config=" + in("bad.yaml")}, 1, "", "bad.yaml:2:1: nope: unknown key"},
		"invalid, all at once": {[]string{"validate", "--config=" + in("bad.yaml")}, 1, "", `bad.yaml:1:8: auth.issuer: "http" is not allowed`},
		"no file":              {[]string{"validate", "--config=" + in("none.yaml")}, 1, "", "no such file"},
		"serve, invalid":       {[]string{"serve", "--config=" + in("bad.yaml")}, 1, "", "nope: unknown key"},
		"online":               {[]string{"validate", "--online", good}, 0, "introspection: " + as.URL() + "/introspect: our credentials are accepted", ""},
		"online, wrong secret": {[]string{"validate", "--online", "--config=" + in("secret.yaml")}, 1, "", "credentials are refused"},
		"online, down":         {[]string{"validate", "--online", "--config=" + in("down.yaml")}, 1, "", "http://127.0.0.1:1"},
		"health, nobody":       {[]string{"health", "--address=127.0.0.1:1"}, 1, "", "connection refused"},
		"explain, allowed":     {[]string{"explain", good, "--token-file=" + in("alice"), "--path=/x"}, 0, "reason: allowed", ""},
		"explain, opaque":      {[]string{"explain", good, "--token-file=" + in("opaque")}, 0, "introspection", ""},
		"explain, expired":     {[]string{"explain", good, "--token-file=" + in("expired")}, 3, "reason: expired", ""},
		"explain, no token":    {[]string{"explain", good}, 3, "reason: no_token", ""},
		"explain, scope":       {[]string{"explain", good, "--token-file=" + in("alice"), "--path=/admin"}, 3, "reason: insufficient_scope", ""},
		"explain, why not":     {[]string{"explain", good, "--path=/open"}, 0, "does not match: no path pattern fits", ""},
		"explain, metadata":    {[]string{"explain", good, "--token-file=" + in("alice")}, 0, "discovery metadata  ", ""},
		"explain, key":         {[]string{"explain", good, "--token-file=" + in("alice")}, 0, "keys fetched 0s ago", ""},
		"explain, claims":      {[]string{"explain", good, "--token-file=" + in("alice")}, 0, "got api, want one of api", ""},
		"explain, not reached": {[]string{"explain", good, "--path=/admin"}, 3, "not looked at: the first match wins", ""},
		"explain, rule":        {[]string{"explain", good, "--rule=open"}, 0, "reason: public", ""},
		"explain, down":        {[]string{"explain", "--config=" + in("down.yaml"), "--token-file=" + in("opaque")}, 3, "reason: unavailable", ""},
		"explain, JSON":        {[]string{"explain", good, "--output=json"}, 3, `"reason": "no_token"`, ""},
		"explain, bad output":  {[]string{"explain", good, "--output=xml"}, 2, "", "xml"},
		"explain, no file":     {[]string{"explain", good, "--token-file=" + in("none")}, 1, "", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(t.Context(), tc.args, &stdout, &stderr); status != tc.status {
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
				if all := stdout.String() + stderr.String(); strings.Contains(all, strings.TrimSpace(string(token))) || strings.Contains(all, "s3cret") {
					t.Error("the token or a secret was printed")
				}
			}
		})
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
		status <- run(ctx, []string{"serve", "--config=" + filepath.Join(dir, "a.toml")}, &out, &out)
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
	if got := run(ctx, []string{"health", "--address=" + grpcAddress}, &ignored, &ignored); got != 0 {
		t.Errorf("health: got %d, want 0: %s", got, &ignored)
	}
	cancel()
	if got := <-status; got != 0 {
		t.Errorf("serve: got %d, want 0 after a clean drain: %s", got, &out)
	}
}
