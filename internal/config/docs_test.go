package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/validation"
)

// TestDocumentedConfiguration keeps the annotated file true: it is accepted, and
// what its comments call defaults are the defaults.
func TestDocumentedConfiguration(t *testing.T) {
	key := filepath.Join(t.TempDir(), "shared")
	if err := os.WriteFile(key, make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	documented := block(t, "docs/configuration.md", "yaml", "server:")
	got, err := load(t, "a.yaml", strings.Replace(documented, "/keys/shared", key, 1))
	if err != nil {
		t.Fatal(err)
	}
	want, err := load(t, "a.toml", strings.Replace(contractTOML, "mcp-proxy", "orders-api", 1)+"[dpop]\n[mtls]\n"+
		"[shared]\naddress = \"valkeys://cache.example.com:6380\"\nkey_file = \""+key+"\"\n"+fleetTOML)
	if err != nil {
		t.Fatal(err)
	}
	ignored := cmpopts.IgnoreFields(authz.Config{}, "Rules", "Resources", "ScopeImplies")
	options := cmp.Options{
		ignored, cmpopts.IgnoreFields(validation.Config{}, "ClientID"), cmpopts.EquateEmpty(), cmp.AllowUnexported(Config{}),
	}
	got.Digest = want.Digest // they are different files
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Error(diff)
	}
	if len(got.Authz.Rules) != 3 || len(got.Authz.Resources) != 1 {
		t.Errorf("got %d rules and %d resources", len(got.Authz.Rules), len(got.Authz.Resources))
	}
}

// fleetTOML is what of the section revocation the annotated file has besides defaults.
const fleetTOML = `[revocation]
receiver_address = ":9194"
backchannel_logout = ["https://auth.example.com"]
[[revocation.events]]
transmitter = "https://auth.example.com"
issuer = "https://auth.example.com"
audience = "https://gate.example.com"
`

// TestReadmeConfiguration: three lines are enough, and need nothing else.
func TestReadmeConfiguration(t *testing.T) {
	got, err := load(t, "a.yaml", block(t, "README.md", "yaml", "# bearergate.yaml\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Issuers) != 1 || len(got.Issuers[0].Authz.Audience) != 1 || got.Authz.DefaultAccess != "token" {
		t.Errorf("got %+v", got)
	}
}

// TestDocumentedMistake makes the mistake whose report is shown.
func TestDocumentedMistake(t *testing.T) {
	_, want, _ := strings.Cut(block(t, "docs/configuration.md", "console", "$ bearergate validate\n"), "\n")
	path := filepath.Join(t.TempDir(), "bearergate.yaml")
	file := "auth:\n  issuer: https://auth.example.com\n  jwks_url: https://auth.example.com/keys\n  audience: orders\n"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, env)
	if err == nil {
		t.Fatal("got no mistake")
	}
	got := strings.ReplaceAll(err.Error(), filepath.Dir(path)+string(filepath.Separator), "")
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Error(diff)
	}
}

func TestContractConfiguration(t *testing.T) {
	if got := block(t, "docs/contract.md", "toml", "[auth]\n"); got != contractTOML {
		t.Errorf("got %s, want what other tests load: %s", got, contractTOML)
	}
}

// block returns the block of a page that is in this format and begins so.
func block(t *testing.T, page, format, begin string) string {
	t.Helper()
	content, err := os.ReadFile("../../" + page)
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
