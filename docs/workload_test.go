package docs

import (
	"path/filepath"
	"strings"
	"testing"
)

// The configurations that are tested are those that readers see.
func TestWorkloadIdentityShowsItsFiles(t *testing.T) {
	page := read(t, "workload-identity.md")
	paths, err := filepath.Glob("workload-identity/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.yaml") {
			continue
		}
		shown++
		_, file, _ := strings.Cut(read(t, path), "\n") // the head is for editors
		if !strings.Contains(page, "```yaml\n"+file+"```\n") {
			t.Errorf("%s is not on the page as it is", path)
		}
	}
	if shown != 3 {
		t.Errorf("got %d configurations, want 3", shown)
	}
}
