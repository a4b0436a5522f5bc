// Package docs holds the pages of this folder to the code.
package docs

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = ".."

var (
	ruleNumber = regexp.MustCompile(`\b([ABDEIJLMP])-([0-9]{2})\b`)
	ruleRange  = regexp.MustCompile(`\b([ABDEIJLMP])-([0-9]{2})…([ABDEIJLMP])-([0-9]{2})\b`)
	ruleEntry  = regexp.MustCompile(`(?m)^- \*\*([ABDEIJLMP]-[0-9]{2})\*\* `)
)

// TestRules finds every number that is cited in rules.md, and every number of
// rules.md cited in code or tests.
func TestRules(t *testing.T) {
	rules := map[string]bool{}
	for _, match := range ruleEntry.FindAllStringSubmatch(read(t, "rules.md"), -1) {
		if rules[match[1]] {
			t.Errorf("rules.md has %s twice", match[1])
		}
		rules[match[1]] = true
	}
	if len(rules) < 100 {
		t.Fatalf("got %d rules, want at least 100", len(rules))
	}
	cited := map[string]bool{}
	for _, file := range files(t, isSource, isPage) {
		for number := range citations(read(t, filepath.Join(root, file))) {
			if !rules[number] {
				t.Errorf("%s cites %s, which rules.md does not have", file, number)
			}
			cited[number] = cited[number] || isSource(file)
		}
	}
	for _, number := range slices.Sorted(maps.Keys(rules)) {
		if !cited[number] {
			t.Errorf("rules.md has %s, which nothing in code or tests cites", number)
		}
	}
}

func TestCitations(t *testing.T) {
	rule := func(letter string, n int) string { return fmt.Sprintf("%s-%02d", letter, n) } // none is cited here
	for text, want := range map[string][]string{
		"keeps " + rule("B", 1) + ", " + rule("J", 22): {rule("B", 1), rule("J", 22)},
		rule("M", 3) + "…" + rule("M", 6):              {rule("M", 3), rule("M", 4), rule("M", 5), rule("M", 6)},
		"P-256, RSA-20, xA-10, RFC 7515":               nil,
	} {
		if got := slices.Sorted(maps.Keys(citations(text))); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// citations returns the numbers that a text names, with those between the ends
// of a range.
func citations(text string) map[string]bool {
	all := map[string]bool{}
	for _, match := range ruleNumber.FindAllString(text, -1) {
		all[match] = true
	}
	for _, match := range ruleRange.FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(match[2])
		last, _ := strconv.Atoi(match[4])
		for n := first; n <= last; n++ {
			all[fmt.Sprintf("%s-%02d", match[1], n)] = true
		}
	}
	return all
}

func isSource(name string) bool {
	switch filepath.Ext(name) {
	case ".go", ".yaml", ".yml", ".tpl", ".sh", ".mjs", ".py", ".txtar":
		return true
	}
	base := filepath.Base(name)
	return base == "Makefile" || base == "Dockerfile" || name == ".ci/run"
}

// isPage leaves rules.md out, which is what the others are held to.
func isPage(name string) bool {
	return filepath.Ext(name) == ".md" && name != filepath.Join("docs", "rules.md")
}

// files returns what a reader of the repository sees of these kinds, in every
// module: no build output, and nothing that was fetched.
func files(t *testing.T, kinds ...func(string) bool) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, root+string(filepath.Separator))
		if entry.IsDir() {
			if slices.Contains([]string{".git", ".cache", "bin", "dist", "node_modules"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if slices.ContainsFunc(kinds, func(is func(string) bool) bool { return is(name) }) {
			all = append(all, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no files")
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
