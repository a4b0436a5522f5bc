package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestReadmeConfiguration keeps the README's annotated file true: it is
// accepted, and what its comments call defaults are the defaults.
func TestReadmeConfiguration(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```yaml\nserver:")
	block, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("no configuration in the README")
	}
	got, err := load(t, "a.yaml", "server:"+block)
	if err != nil {
		t.Fatal(err)
	}
	want, err := load(t, "a.toml", strings.Replace(contractTOML, "mcp-proxy", "orders-api", 1))
	if err != nil {
		t.Fatal(err)
	}
	ignored := cmpopts.IgnoreFields(Config{}, "Rules", "Resources", "ScopeImplies")
	if diff := cmp.Diff(want, got, ignored, cmpopts.IgnoreFields(Issuer{}, "ClientID"), cmpopts.EquateEmpty(), cmp.AllowUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
	if len(got.Rules) != 3 || len(got.Resources) != 1 {
		t.Errorf("got %d rules and %d resources", len(got.Rules), len(got.Resources))
	}
}
