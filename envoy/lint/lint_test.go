package lint_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/envoy/lint"
)

const root = "../.."

// service is a configuration for the twins that need one.
func service() *lint.Policy {
	return &lint.Policy{
		Headers: []string{"x-auth-sub", "x-auth-scope", "X_Auth_Client_ID"},
		Rules:   []string{"orders"}, Issuers: []string{"https://auth.example.com"},
	}
}

// policies are what some twins are judged by; the others are judged without.
func policies() map[string]*lint.Policy {
	paths, slow, when, proof, certificate, stream := service(), service(), service(), service(), service(), service()
	upstream, header := service(), service()
	upstream.Headers = append(upstream.Headers, "x-upstream-token")
	header.Removed = []string{"client_cert"}
	paths.MatchesPaths = true
	slow.Introspection = 500 * time.Millisecond
	when.RequestHeaders = []string{"x-tenant"}
	proof.DPoP = true
	certificate.PeerCertificate = true
	stream.StreamUntilExpiry = true
	return map[string]*lint.Policy{
		"BG004-when": when, "BG010": paths, "BG010-slashes": paths, "BG011": slow, "BG015-rule": service(), "BG015-issuer": service(),
		"BG016": proof, "BG016-certificate": certificate, "BG021": service(), "BG021-authorization": service(), "BG021-stream": stream,
		"BG016-gateway": certificate, "BG021-upstream": upstream, "BG021-certificate": header,
	}
}

func run(t *testing.T, p *lint.Policy, files ...string) *lint.Report {
	t.Helper()
	var inputs []lint.Input
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, lint.Input{Name: file, Content: content})
	}
	report, err := lint.Run(inputs, p)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestTwins finds in each bad file exactly its code, at the line that says so, and
// nothing in the good one, which differs by that only.
func TestTwins(t *testing.T) {
	seen := map[lint.Code]bool{}
	bad, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range bad {
		name := strings.TrimSuffix(filepath.Base(file), ".bad.yaml")
		code := lint.Code(name[:5])
		seen[code] = true
		t.Run(name, func(t *testing.T) {
			report := run(t, policies()[name], file)
			var told []lint.Finding
			for _, f := range report.Findings {
				if f.Code != lint.NotSeen {
					told = append(told, f)
				}
			}
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before, _, _ := strings.Cut(string(content), "# want")
			want := strings.Count(before, "\n") + 1
			if len(told) != 1 || told[0].Code != code || told[0].Line != want || told[0].File != file {
				t.Errorf("got %+v, want one %s in line %d", told, code, want)
			} else if strings.TrimSpace(told[0].What) == "" || told[0].Why == "" || told[0].Mend == "" {
				t.Errorf("got %+v, want what, why and how to mend it", told[0])
			}
			good := run(t, policies()[name], "testdata/"+name+".good.yaml")
			for _, f := range good.Findings {
				if f.Code != lint.NotSeen {
					t.Errorf("the good twin: got %+v", f)
				}
			}
			if len(good.Checked) == 0 {
				t.Error("the good twin: nothing was looked at")
			}
		})
	}
	for code := range lint.Codes() {
		if code != lint.NotSeen && !seen[code] {
			t.Errorf("%s has no bad twin", code)
		}
	}
}

// TestRemovedHeaders may be taken away, or else a certificate that nobody has looked at
// goes upstream.
func TestRemovedHeaders(t *testing.T) {
	p := service()
	p.Removed = []string{"Client-Cert"}
	var got []string
	for _, f := range run(t, p, "testdata/BG021.good.yaml").Findings {
		got = append(got, string(f.Code)+" "+f.What)
	}
	if want := "BG021 refused: client-cert, client_cert"; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// TestSeverityOfTwins holds to it that what opens a hole is an error.
func TestSeverityOfTwins(t *testing.T) {
	for _, name := range []string{
		"BG001", "BG001-header", "BG001-istio", "BG001-gateway", "BG001-envoyfilter", "BG002", "BG002-fraction", "BG002-metadata",
		"BG003", "BG003-host", "BG003-wrapper", "BG003-weighted", "BG003-default", "BG003-answer", "BG003-gateway", "BG003-istio-rules",
		"BG006-cache", "BG006-typed-struct", "BG007", "BG007-lua", "BG018", "BG020", "BG020-upgrade", "BG020-gateway", "BG021",
	} {
		if report := run(t, policies()[name], "testdata/"+name+".bad.yaml"); report.Count(lint.Error) != 1 {
			t.Errorf("%s: got %d errors, want 1", name, report.Count(lint.Error))
		}
	}
}

// TestWhatIsShipped holds our own chains to what is told to others.
func TestWhatIsShipped(t *testing.T) {
	var files []string
	for _, pattern := range []string{"envoy/config/*.yaml", "test/compose/envoy.yaml", "test/kubernetes/testdata/*/golden.yaml"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: got %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		report := run(t, nil, file)
		for _, f := range report.Findings {
			if f.Severity != lint.Info {
				t.Errorf("%+v", f)
			}
		}
	}
}

// TestModule: a chain is guarded by Bearergate as a module of Envoy, and by no other.
func TestModule(t *testing.T) {
	for _, tc := range []struct{ old, by, want string }{
		{"filter_name: bearergate\n                      filter_config:", "filter_name: other\n                      filter_config:", "error BG020"},
		{"- name: bearergate\n", "- name: bearergate\n                    disabled: true\n", "error BG020"},
		{"merge_slashes: true", "merge_slashes: false", "info BG010"},
	} {
		if got := codesOf(t, nil, chain(t, "module.yaml", tc.old, tc.by)); !slices.Contains(got, tc.want) {
			t.Errorf("%s: got %v, want %s", tc.by, got, tc.want)
		}
	}
}

// chain returns a shipped chain with changes: old, new, old, new.
func chain(t *testing.T, name string, changes ...string) string {
	t.Helper()
	content, err := chains.File(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(content, changes[i]) {
			t.Fatalf("%s has no %q", name, changes[i])
		}
		content = strings.ReplaceAll(content, changes[i], changes[i+1])
	}
	return content
}

func codesOf(t *testing.T, p *lint.Policy, contents ...string) []string {
	t.Helper()
	var inputs []lint.Input
	for _, c := range contents {
		inputs = append(inputs, lint.Input{Name: "x.yaml", Content: []byte(c)})
	}
	report, err := lint.Run(inputs, p)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, f := range report.Findings {
		all = append(all, string(f.Severity)+" "+string(f.Code))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestGuard tries whether the route before one that asks nobody refuses what is
// ambiguous.
func TestGuard(t *testing.T) {
	for name, tc := range map[string]struct {
		file    string
		changes []string
		want    []string
	}{
		"as shipped":       {"routes.yaml", nil, []string{"info BG003"}},
		"without a status": {"routes.yaml", []string{"direct_response: {status: 400}", "direct_response: {status: 200}"}, []string{"error BG003"}},
		"of another path":  {"routes.yaml", []string{"invert_match: true", "invert_match: false"}, []string{"error BG003"}},
		"of some requests": {"routes.yaml", []string{`- name: ":path"`, "- {name: x-a, present_match: true}\n                              - name: \":path\""}, []string{"error BG003"}},
		"Envoy Gateway": {"envoy-gateway.yaml", []string{
			"  extAuth:\n    failOpen: false\n    statusOnError: 503\n    timeout: 1s\n    recomputeRoute: false\n    headersToExtAuth: [authorization, dpop, x-request-id, traceparent, tracestate]\n    contextExtensions", "  x:\n    contextExtensions",
		}, []string{"info BG003"}},
		"Envoy Gateway, no answer": {"envoy-gateway.yaml", []string{
			"  extAuth:\n    failOpen: false\n    statusOnError: 503\n    timeout: 1s\n    recomputeRoute: false\n    headersToExtAuth: [authorization, dpop, x-request-id, traceparent, tracestate]\n    contextExtensions", "  x:\n    contextExtensions",
			"statusCode: 400", "statusCode: 200",
		}, []string{"error BG003"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := codesOf(t, nil, chain(t, tc.file, tc.changes...)); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestSeveral looks at filters, routes and clusters that stand apart.
func TestSeveral(t *testing.T) {
	rds := chain(t, "envoy.yaml", "route_config:\n                  virtual_hosts:\n                    - name: all\n                      domains: [\"*\"]\n                      routes:\n                        - match: {prefix: /}\n                          route: {cluster: upstream}",
		"rds: {route_config_name: table, config_source: {ads: {}}}")
	table := func(more string) string {
		return `resources: [{"@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration, name: table, virtual_hosts: [{name: a, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: x}` + more + `}]}]}]`
	}
	off := `, typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}`
	other := `
                  - name: other
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      failure_mode_allow: true
                      grpc_service: {envoy_grpc: {cluster_name: opa}}`
	ecds := chain(t, "envoy.yaml", "- name: envoy.filters.http.router\n", "- name: more\n                    config_discovery: {config_source: {ads: {}}, type_urls: [type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua]}\n                  - name: envoy.filters.http.router\n")
	for name, tc := range map[string]struct {
		contents []string
		want     []string
	}{
		"routes not seen":        {[]string{rds}, []string{"info BG000"}},
		"routes in another file": {[]string{rds, table("")}, []string{}},
		"routes that ask nobody": {[]string{rds, table(off)}, []string{"error BG003"}},
		"another ext_authz filter": {
			[]string{chain(t, "envoy.yaml", "http_filters:", "http_filters:"+other)}, []string{"info BG000"},
		},
		"extension discovery after ours": {[]string{ecds}, []string{"info BG000"}},
		"redirects only": {[]string{chain(t, "envoy.yaml", "route: {cluster: upstream}", "redirect: {https_redirect: true}",
			"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n", "example.Unknown\n")}, []string{}},
		"not ours":        {[]string{"a: b"}, []string{"info BG000"}},
		"a service's own": {[]string{chain(t, "mcp-bearergate.yaml")}, []string{"info BG000"}},
		"another machine by its address": {
			[]string{chain(t, "envoy.yaml", "127.0.0.1, port_value: 9191", "10.0.0.7, port_value: 9191")}, []string{"warning BG012"},
		},
		"a replica in the cluster": {
			[]string{chain(t, "envoy.yaml", "127.0.0.1, port_value: 9191", "gate.security.svc.cluster.local, port_value: 9191",
				"{cluster_name: bearergate}", "{cluster_name: bearergate, retry_policy: {num_retries: 2}}")}, []string{"info BG012"},
		},
		"anchors and aliases": {[]string{chain(t, "mcp.yaml")}, []string{}},
		"outbound": {[]string{chain(t, "envoy.yaml", "- name: ingress\n", "- name: out\n      traffic_direction: OUTBOUND\n",
			"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n", "example.Unknown\n")}, []string{"info BG000"}},
		"Istio's own condition": {[]string{chain(t, "envoy.yaml", "validate_mutations: true",
			"validate_mutations: true\n                      filter_enabled_metadata: {filter: envoy.filters.http.rbac, path: [{key: istio-ext-authz-x}], value: {string_match: {prefix: a}}}")}, []string{"info BG002"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := codesOf(t, nil, tc.contents...); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	for name, content := range map[string]string{
		"no YAML":   "a: [",
		"twice":     "static_resources: {}\nstatic_resources: {}\n",
		"bad value": chain(t, "envoy.yaml", "timeout: 1s", "timeout: soon"),
		"deep":      strings.Repeat("[", 300) + strings.Repeat("]", 300),
	} {
		if _, err := lint.Run([]lint.Input{{Name: "x.yaml", Content: []byte(content)}}, nil); err == nil || !strings.Contains(err.Error(), "x.yaml") {
			t.Errorf("%s: got %v, want an error that names the file", name, err)
		}
	}
}

// TestPage holds docs/lint.md to the codes, both ways.
func TestPage(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "docs/lint.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, match := range regexp.MustCompile(`(?m)^### (BG\d+)\n\n(.+)`).FindAllStringSubmatch(string(content), -1) {
		sections = append(sections, match[1])
		if title := lint.Codes()[lint.Code(match[1])].Title; !strings.HasPrefix(match[2], "**"+title+".**") {
			t.Errorf("%s: the page says %q, the code %q", match[1], match[2], title)
		}
	}
	var want []string
	for _, code := range slices.Sorted(maps.Keys(lint.Codes())) {
		want = append(want, string(code))
	}
	if !slices.Equal(sections, want) {
		t.Errorf("got sections %v, want %v", sections, want)
	}
}

// TestSARIF checks what SARIF 2.1.0 demands of the objects that are written (§3.13,
// §3.14, §3.19, §3.27, §3.49).
func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	if err := run(t, nil, "testdata/BG001.bad.yaml").SARIF(&out, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name  string
					Rules []struct{ ID string }
				}
			}
			Results []struct {
				RuleID, Level string
				RuleIndex     int
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 1 {
		t.Fatalf("got %s", out.String())
	}
	r := log.Runs[0].Results[0]
	rules := log.Runs[0].Tool.Driver.Rules
	if len(rules) != len(lint.Codes()) || rules[r.RuleIndex].ID != r.RuleID || r.RuleID != "BG001" || r.Level != "error" || r.Message.Text == "" {
		t.Errorf("got %+v", r)
	}
	at := r.Locations[0].PhysicalLocation
	if at.ArtifactLocation.URI != "testdata/BG001.bad.yaml" || at.Region.StartLine < 2 {
		t.Errorf("got %+v", at)
	}
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	if err := run(t, nil, "testdata/BG001.good.yaml").Text(&out); err != nil {
		t.Fatal(err)
	}
	want := "looked at 1 listener, 1 route, 1 ext_authz filter, 1 cluster: 0 errors, 0 warnings, 0 to know\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzRun holds to it that nothing that stands in a file breaks the program.
func FuzzRun(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", root + "/envoy/config/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("a: &a {<<: *a}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p := service()
		p.DPoP, p.MatchesPaths = true, true
		if report, err := lint.Run([]lint.Input{{Name: "x", Content: content}}, p); err == nil {
			var out bytes.Buffer
			if report.Text(&out) != nil || report.SARIF(&out, "") != nil {
				t.Error("got no output")
			}
		}
	})
}
