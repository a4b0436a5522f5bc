package demo

import (
	"os"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/policytest"
)

// The policy of the demo has its test, too.
func TestPolicy(t *testing.T) {
	p, err := prepare(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	defer p.grpc.Close()
	defer p.admin.Close()
	report, err := policytest.Run(t.Context(), policytest.Options{
		Config: p.configFile, Files: []string{"testdata/demo_test.yaml"}, Lookup: os.LookupEnv,
	})
	if err != nil {
		t.Fatal(err)
	}
	report.RequireCoverage()
	var out strings.Builder
	if err := report.Write(&out, policytest.Text); err != nil {
		t.Fatal(err)
	}
	if !report.Passed || report.Total != len(p.steps()) {
		t.Errorf("got %d cases, want the %d requests of the demo\n%s", report.Total, len(p.steps()), &out)
	}
}
