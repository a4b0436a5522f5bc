package kubernetes

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	sets := map[string][]string{"defaults": nil, "ci": {"--values", chart + "/ci/minimal-values.yaml"}}
	for _, name := range cases(t) {
		sets[name] = arguments(name)
	}
	for name, args := range sets {
		t.Run(name, func(t *testing.T) {
			out, errs, err := helm(append([]string{"lint", "--strict", chart}, args...)...)
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, errs)
			}
		})
	}
}

func TestGolden(t *testing.T) {
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			golden(t, filepath.Join("testdata", name, "golden.yaml"), rendered(t, name))
		})
	}
}

// TestNeverFailsOpen is A-12, for all that is rendered or shown.
func TestNeverFailsOpen(t *testing.T) {
	texts := map[string]string{}
	for _, name := range cases(t) {
		texts[name] = rendered(t, name) + notes(t, name)
	}
	for _, file := range chains {
		texts[file] = read(t, file)
	}
	for name, text := range texts {
		folded := strings.NewReplacer("_", "", " ", "", `"`, "").Replace(strings.ToLower(text))
		for _, open := range []string{"failuremodeallow:true", "failopen:true", "shadowmode:true", "disabled:true"} {
			if strings.Contains(folded, open) {
				t.Errorf("%s: got %s: nothing may pass undecided", name, open)
			}
		}
	}
}

// notes returns what a user reads after the installation.
func notes(t *testing.T, name string) string {
	t.Helper()
	args := append([]string{"install", "gate", chart, "--namespace", "security", "--dry-run=client", "--output", "json"}, arguments(name)[:2]...)
	out, errs, err := helm(args...)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	var release struct {
		Info struct {
			Notes string `json:"notes"`
		} `json:"info"`
	}
	if err := json.Unmarshal([]byte(out), &release); err != nil {
		t.Fatal(err)
	}
	if release.Info.Notes == "" {
		t.Fatal("no notes")
	}
	return release.Info.Notes
}

// TestMistakes is what the chart refuses, and says why.
func TestMistakes(t *testing.T) {
	const listening = "server: {admin_address: \":9192\"}\n"
	tests := []struct {
		name   string
		config string
		set    string
		want   string
	}{
		{"no configuration", "", "", "config: missing"},
		{"not YAML", "a: [", "", "config: not YAML"},
		{"socket", "server: {grpc_address: unix:///a}", "", `server.grpc_address: got "unix:///a", want ":PORT"`},
		{"loopback", `server: {grpc_address: "127.0.0.1:9191"}`, "", "server.grpc_address"},
		{"port from the environment", `server: {grpc_address: ":${PORT}"}`, "", "server.grpc_address"},
		{"admin port from the environment", `server: {admin_address: ":${PORT}"}`, "", "server.admin_address"},
		{"no duration", "server: {drain_delay: soon}", "", `server.drain_delay: got "soon"`},
		{"certificate not used", listening, "tls.secretName=x", "config: server.tls: missing"},
		{"certificate not mounted", "server: {tls: {cert_file: a}}", "", "tls: missing"},
		{"metrics out of reach", "realm: a", "metrics.podMonitor.enabled=true", "server.admin_address"},
		{"scraped out of reach", "realm: a", "networkPolicy.enabled=true,networkPolicy.scrapers[0].podLabels.a=b", "server.admin_address"},
		{"probes with TLS out of reach", "server: {tls: {cert_file: a}}", "tls.secretName=x", "server.admin_address"},
		{"two monitors", listening, "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true", "both enabled"},
		{"certificate of nobody", listening + "  ", "tls.certManager.enabled=true", "server.tls: missing"},
		{"no metric to scale by", listening, "autoscaling.enabled=true,autoscaling.targetCPUUtilizationPercentage=null", "autoscaling: no metric"},
		{"policy of nothing", listening, "envoyGateway.securityPolicy.enabled=true", "targetRefs: missing"},
		{"filter of everything", listening, "istio.envoyFilter.enabled=true", "selector: missing"},
		{"asked twice", listening, "istio.authorizationPolicy.enabled=true,istio.envoyFilter.enabled=true,istio.envoyFilter.selector.a=b", "asked about twice"},
		{"TLS to plain text", listening, "istio.destinationRule.enabled=true", "needs tls"},
		{"selector and target", listening, "istio.authorizationPolicy.enabled=true,istio.authorizationPolicy.selector.a=b,istio.authorizationPolicy.targetRefs[0].kind=Gateway,istio.authorizationPolicy.targetRefs[0].name=a", "want one of them"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"--set-literal", "config=" + test.config}
			if test.set != "" {
				args = append(args, "--set", test.set)
			}
			_, errs, err := template(args...)
			if err == nil {
				t.Fatal("got no error")
			}
			if !strings.Contains(errs, test.want) {
				t.Errorf("got %q, want %q in it", errs, test.want)
			}
		})
	}
}
