package cli

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/envoy/lint"
	"github.com/bearergate/bearergate/internal/config"
)

func TestLint(t *testing.T) {
	good, err := chains.File("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := files(t, map[string]string{
		"good.yaml":   good,
		"bad.yaml":    strings.Replace(good, "failure_mode_allow: false", "failure_mode_allow: true", 1),
		"old.yaml":    strings.Replace(good, "x-envoy-upstream-rq-timeout-ms|", "", 1),
		"broken.yaml": "a: [",
		"stream.yaml": "auth: {issuer: https://as.example.com, audience: api}\nrules: [{name: s, stream_until_expiry: true}]\n",
		"gate.yaml": "auth: {issuer: https://as.example.com, audience: api}\nheaders: {x-user: sub}\n" +
			"rules: [{name: tenant, match: {paths: [/t]}, when: 'request.headers[\"x-tenant\"] == \"a\"'}]\n",
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, tc := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string // contained
	}{
		"clean":          {[]string{in("good.yaml")}, 0, "looked at 1 listener", ""},
		"findings":       {[]string{in("bad.yaml")}, 1, "bad.yaml:81: error BG001: failure_mode_allow is on\n    why: ", "severity error"},
		"several files":  {[]string{in("good.yaml"), in("bad.yaml")}, 1, "looked at 2 listeners", ""},
		"JSON":           {[]string{"--output=json", in("bad.yaml")}, 1, `"code": "BG001"`, ""},
		"SARIF":          {[]string{"--output=sarif", in("bad.yaml")}, 1, `"version": "2.1.0"`, ""},
		"configuration":  {[]string{"--config=" + in("gate.yaml"), in("good.yaml")}, 1, "error BG021: refused: x-user, x_user", ""},
		"stream":         {[]string{"--config=" + in("stream.yaml"), in("old.yaml")}, 1, "error BG021: refused: x-envoy-upstream-rq-timeout-ms\n", ""},
		"stream, fine":   {[]string{"--config=" + in("stream.yaml"), in("good.yaml")}, 0, "looked at 1 listener", ""},
		"condition":      {[]string{"--config=" + in("gate.yaml"), in("good.yaml")}, 1, "warning BG004: x-tenant is not sent", ""},
		"no file":        {nil, 2, "", "requires at least 1 arg"},
		"missing file":   {[]string{in("none.yaml")}, 2, "", "no such file"},
		"missing config": {[]string{"--config=" + in("none.yaml"), in("good.yaml")}, 2, "", "no such file"},
		"unreadable":     {[]string{in("broken.yaml")}, 2, "", "broken.yaml"},
		"unknown output": {[]string{"--output=xml", in("good.yaml")}, 2, "", `got "xml"`},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := Run(t.Context(), build, append([]string{"lint-envoy"}, tc.args...), &stdout, &stderr)
			if status != tc.status || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("got %d\n%s\n%s", status, stdout.String(), stderr.String())
			}
		})
	}
}

func TestLintReadsStandardInput(t *testing.T) {
	report, err := lintFiles([]string{"-"}, strings.NewReader("static_resources: {}\n"), "")
	if err != nil || len(report.Findings) != 1 || report.Findings[0].File != "-" {
		t.Errorf("got %+v, %v", report, err)
	}
}

// TestLintKnowsBoundTokens: what Envoy has to tell for them.
func TestLintKnowsBoundTokens(t *testing.T) {
	const auth = "auth: {issuer: https://a.example.com, audience: api}\n"
	for content, want := range map[string]lint.Policy{
		"dpop: {}\n": {DPoP: true},
		"mtls: {}\n": {PeerCertificate: true},
		"mtls: {client_certificate_header: Client-Cert}\n": {RequestHeaders: []string{"client-cert"}, Removed: []string{"client-cert"}},
	} {
		cfg, err := config.Parse("x.yaml", []byte(auth+content), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		got := policyOf(cfg)
		if got.DPoP != want.DPoP || got.PeerCertificate != want.PeerCertificate ||
			!slices.Equal(got.RequestHeaders, want.RequestHeaders) || !slices.Equal(got.Removed, want.Removed) {
			t.Errorf("%s: got %+v, want %+v", content, got, want)
		}
	}
}

// TestLintKnowsUpstreamTokens: where one is got, the client's must be taken away whatever
// forward_token says, and the answer waits for the authorization server.
func TestLintKnowsUpstreamTokens(t *testing.T) {
	for more, forwarded := range map[string]bool{"": true, "upstream_token: {audience: [a]}": false, "upstream_token: {header: x-up}": false} {
		cfg, err := config.Parse("x.yaml", []byte(`
auth: {issuer: "https://a.example.com", audience: api, client_id: gate, client_secret: s3cret, request_timeout: 3s}
forward_token: true
rules: [{name: one, match: {paths: [/a]}, `+more+`}]
`), func(string) (string, bool) { return "", false })
		if err != nil {
			t.Fatal(err)
		}
		if got := policyOf(cfg); got.ForwardToken != forwarded || (got.Introspection == 0) != forwarded {
			t.Errorf("%q: got %+v, want forwarded %t", more, got, forwarded)
		}
	}
}

func TestLintPolicy(t *testing.T) {
	cfg, err := config.Parse("x.yaml", []byte(`
issuers:
  - {issuer: "https://a.example.com", audience: api}
  - {issuer: "https://b.example.com", audience: api, token_validation: introspection, client_id: gate, client_secret: s3cret, request_timeout: 3s, opaque_token_prefix: b_}
headers: {x-user: sub}
forward_token: true
rules:
  - {name: one, match: {methods: [GET]}, when: "'x-a' in request.headers && request.headers['x-b'] == 'c'"}
  - {name: two, match: {methods: [PUT]}, when: 'request.path == "/x"', stream_until_expiry: true}
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	got := policyOf(cfg)
	slices.Sort(got.RequestHeaders)
	want := &lint.Policy{
		Headers: []string{"x-user"}, ForwardToken: true, Rules: []string{"one", "two"},
		Issuers: []string{"https://a.example.com", "https://b.example.com"}, MatchesPaths: true,
		RequestHeaders: []string{"x-a", "x-b"}, Introspection: 3e9, StreamUntilExpiry: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
