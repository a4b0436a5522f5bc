package policytest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is absolute: a test changes the folder.
var root, _ = filepath.Abs("../..")

// environment is what the examples leave to the environment.
func environment(name string) (string, bool) {
	value, ok := map[string]string{
		"ISSUER": "https://auth.example.com", "HYDRA_ADMIN": "https://admin.example.com",
	}[name]
	return value, ok
}

// passes wants every case of a file to pass, and every rule to be reached.
func passes(t *testing.T, config, cases string) {
	t.Helper()
	report, err := Run(t.Context(), Options{Config: config, Files: []string{cases}, Lookup: environment})
	if err != nil {
		t.Fatal(err)
	}
	report.RequireCoverage()
	if !report.Passed {
		var out strings.Builder
		if err := report.Write(&out, Text); err != nil {
			t.Fatal(err)
		}
		t.Error(out.String())
	}
}

// Each policy that stands in a file of its own has its test beside it.
func TestExamples(t *testing.T) {
	seen := map[string]bool{}
	for _, folder := range []string{
		"docs/authorization-servers", "docs/workload-identity", "envoy/config", "test/compose",
	} {
		err := fs.WalkDir(os.DirFS(filepath.Join(root, folder)), ".", func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if policy, ok := strings.CutSuffix(path, "_test.yaml"); ok {
				at := filepath.Join(root, folder, policy)
				seen[filepath.Join(folder, policy+".yaml")] = true
				t.Run(policy, func(t *testing.T) { passes(t, at+".yaml", at+"_test.yaml") })
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	policies, err := filepath.Glob(filepath.Join(root, "docs/*/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for n, path := range policies {
		policies[n], _ = filepath.Rel(root, path)
	}
	for _, policy := range append(policies, "envoy/config/mcp-bearergate.yaml", "envoy/config/mcp-upstream-token.yaml", "test/compose/bearergate.yaml") {
		if !strings.HasSuffix(policy, "_test.yaml") && !seen[policy] {
			t.Errorf("%s has no test", policy)
		}
	}
}

// Those that stand on a page have theirs, too.
func TestExamplesOnPages(t *testing.T) {
	for page, example := range map[string]struct{ begin, cases string }{
		"docs/configuration.md":     {"server:\n", "docs/configuration_test.yaml"},
		"README.md":                 {"# bearergate.yaml\n", "internal/policytest/testdata/readme_test.yaml"},
		"helm/bearergate/README.md": {"# bearergate.yaml\n", "internal/policytest/testdata/readme_test.yaml"},
	} {
		t.Run(page, func(t *testing.T) {
			config := write(t, "bearergate.yaml", blockAt(t, page, "yaml", example.begin))
			passes(t, config, filepath.Join(root, example.cases))
		})
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	writeAt(t, path, content)
	return path
}

func writeAt(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// blockAt returns the block of a page that is in this format and begins so.
func blockAt(t *testing.T, page, format, begin string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(content), "```"+format+"\n"+begin)
	block, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatalf("%s has no block of %s that begins with %q", page, format, begin)
	}
	return begin + block
}
