package e2e

import (
	"io"
	"net/http"
	"testing"

	"github.com/bearergate/bearergate/envoy/lint"
	"github.com/bearergate/bearergate/test/harness"
)

// TestLintReadsARunningEnvoy has the linter judge what Envoy itself says that it
// runs with: the chain as shipped, and with the gate left open.
func TestLintReadsARunningEnvoy(t *testing.T) {
	for name, tc := range map[string]struct {
		changes []string
		want    []lint.Code
	}{
		"chain as shipped": {nil, nil},
		"an outage opens the gate": {
			[]string{"failure_mode_allow: false", "failure_mode_allow: true"}, []lint.Code{"BG001"},
		},
		"a route asks nobody": {
			[]string{"route: {cluster: upstream}", "route: {cluster: upstream}\n" +
				`                          typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": type.googleapis.com/` +
				`envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}`}, []lint.Code{"BG003"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			envoy := harness.Gateway(t, harness.Free(t), harness.Free(t), tc.changes...)
			resp, err := http.Get(envoy.Admin + "/config_dump")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			dump, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			report, err := lint.Run([]lint.Input{{Name: "config_dump", Content: dump}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(report.Checked) < 4 {
				t.Errorf("got %v, want listener, route, filter and cluster", report.Checked)
			}
			var got []lint.Code
			for _, f := range report.Findings {
				got = append(got, f.Code)
			}
			if len(got) != len(tc.want) || len(got) > 0 && got[0] != tc.want[0] {
				t.Errorf("got %+v, want %v", report.Findings, tc.want)
			}
		})
	}
}
