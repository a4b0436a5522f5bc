// Package tools proves that whatever comes from elsewhere is pinned by a hash,
// so that what was looked at is what is used.
package tools

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const repository = "../.."

func lines(t *testing.T, patterns ...string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got %q, %v; want files", pattern, files, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found[file] = strings.Split(string(content), "\n")
		}
	}
	return found
}

// A tag of an action can be moved; the hash of its commit cannot.
func TestActionsArePinned(t *testing.T) {
	uses := regexp.MustCompile(`^\s*(- )?uses: `)
	pinned := regexp.MustCompile(`uses: [a-z-]+(/[a-z-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	for file, lines := range lines(t, ".github/workflows/*.yml") {
		for i, line := range lines {
			if uses.MatchString(line) && !pinned.MatchString(line) {
				t.Errorf("%s:%d: got %q, want a commit and its version as a comment", file, i+1, strings.TrimSpace(line))
			}
		}
	}
}

func TestImagesArePinned(t *testing.T) {
	image := regexp.MustCompile(`^(?:FROM(?: --platform=\S+)?|\s+image:) (\S+)(?: AS \S+)?$`)
	pinned := regexp.MustCompile(`:[\w.-]+@sha256:[0-9a-f]{64}$`)
	ours := regexp.MustCompile(`^(scratch|\$\{GO_IMAGE\}|bearergate|bearergate-development)$`)
	seen := 0
	for file, lines := range lines(t, "Dockerfile", "test/compose/Dockerfile", "test/compose/docker-compose.yaml") {
		for i, line := range lines {
			match := image.FindStringSubmatch(line)
			if match == nil || ours.MatchString(match[1]) {
				continue
			}
			seen++
			if !pinned.MatchString(match[1]) {
				t.Errorf("%s:%d: got %s, want a tag and a digest", file, i+1, match[1])
			}
		}
	}
	if seen != 4 {
		t.Errorf("images of others: got %d, want Go twice, Envoy and Valkey", seen)
	}
}

// The image that is released and what stands around it are built alike.
func TestOneGoImage(t *testing.T) {
	image := regexp.MustCompile(`golang:\S+`)
	var got []string
	for _, lines := range lines(t, "Dockerfile", "test/compose/Dockerfile") {
		got = append(got, image.FindAllString(strings.Join(lines, "\n"), -1)...)
	}
	if len(got) != 2 || got[0] != got[1] {
		t.Errorf("got %q, want the same image twice", got)
	}
}

func TestNodePackagesArePinned(t *testing.T) {
	for _, file := range []string{"oidc-provider/package-lock.json", "mcp-clients/package-lock.json", "proofs/package-lock.json"} {
		t.Run(file, func(t *testing.T) { checkLock(t, file) })
	}
}

func checkLock(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Version, Resolved, Integrity string
			HasInstallScript             bool
		}
	}
	if err := json.Unmarshal(content, &lock); err != nil {
		t.Fatal(err)
	}
	if len(lock.Packages) < 2 {
		t.Fatalf("packages: got %d, want one and what it needs", len(lock.Packages))
	}
	for name, p := range lock.Packages {
		if name == "" { // ourselves
			continue
		}
		if p.Version == "" || !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s: got version %q and integrity %q, want both", name, p.Version, p.Integrity)
		}
		if p.Resolved != "" {
			t.Errorf("%s: got the address %s, want none: a machine has its own registry", name, p.Resolved)
		}
		if p.HasInstallScript {
			t.Errorf("%s runs a script when it is installed, which is switched off", name)
		}
	}
}

func TestWheelsArePinned(t *testing.T) {
	for _, file := range []string{"envoy/requirements.txt", "mcp-clients/requirements.txt"} {
		t.Run(file, func(t *testing.T) { checkRequirements(t, file) })
	}
}

func checkRequirements(t *testing.T, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(content), "\\\n", "")
	requirement := regexp.MustCompile(`^[a-z0-9-]+(?:\[[a-z]+\])?==[0-9.]+(\s+--hash=sha256:[0-9a-f]{64})+$`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !requirement.MatchString(line) {
			t.Errorf("got %q, want a version and its hashes", line)
		}
	}
}
