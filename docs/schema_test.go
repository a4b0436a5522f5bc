package docs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/bearergate/bearergate/internal/config"
)

// modeline has an editor check the file. It is an address and no path: examples
// are there to be copied.
const modeline = "# yaml-language-server: $schema=" +
	"https://raw.githubusercontent.com/bearergate/bearergate/main/docs/schema.json\n"

// TestPublishedSchema compares schema.json with what `bearergate schema` prints,
// or, with UPDATE=1, writes it.
func TestPublishedSchema(t *testing.T) {
	var want bytes.Buffer
	if err := config.WriteSchema(&want); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("schema.json", want.Bytes(), 0o644); err != nil { //nolint:gosec // not secret
			t.Fatal(err)
		}
	}
	if read(t, "schema.json") != want.String() {
		t.Error("schema.json is not what `bearergate schema` prints: UPDATE=1 go test ./docs -run TestPublishedSchema")
	}
}

// TestExamplesNameTheSchema finds each file that is a configuration of ours, and
// wants the editor's line at its head.
func TestExamplesNameTheSchema(t *testing.T) {
	seen := 0
	for _, file := range files(t, func(name string) bool { return filepath.Ext(name) == ".yaml" }) {
		content := read(t, filepath.Join(root, file))
		if !isConfiguration(content) || strings.Contains(file, "testdata") {
			continue
		}
		seen++
		if !strings.HasPrefix(content, modeline) {
			t.Errorf("%s does not begin with %s", file, modeline)
		}
	}
	if seen < 8 {
		t.Errorf("got %d configurations, want at least 8", seen)
	}
	if page := read(t, "configuration.md"); !strings.Contains(page, modeline) {
		t.Errorf("configuration.md does not show %s", modeline)
	}
}

func isConfiguration(content string) bool {
	var file struct {
		Auth    struct{ Issuer string }
		Issuers []any
	}
	return yaml.Unmarshal([]byte(content), &file) == nil && (file.Auth.Issuer != "" || len(file.Issuers) > 0)
}
