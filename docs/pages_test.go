package docs

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/bearergate/bearergate/authz"
	chains "github.com/bearergate/bearergate/envoy/config"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
)

// TestLinks follows each link to a file of the repository, and to a heading in it.
func TestLinks(t *testing.T) {
	for _, page := range files(t, func(name string) bool { return filepath.Ext(name) == ".md" }) {
		text := fence.ReplaceAllString(read(t, filepath.Join(root, page)), "")
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := filepath.Join(root, page)
			if target != "" {
				path = filepath.Join(root, filepath.Dir(page), target)
			}
			if found, _ := filepath.Glob(path); len(found) != 1 {
				t.Errorf("%s: %s leads nowhere", page, match[1])
			} else if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
				t.Errorf("%s: %s has no heading for %s", page, target, anchor)
			}
		}
	}
}

// anchors are made of a page's headings as GitHub makes them.
func anchors(text string) []string {
	var all []string
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z':
				return r
			}
			return -1
		}, strings.ToLower(match[1])))
	}
	return all
}

// TestFilter compares the filter that README shows with that of the chain which
// the demo and the tests run.
func TestFilter(t *testing.T) {
	_, rest, _ := strings.Cut(read(t, filepath.Join(root, "README.md")), "```yaml\nhttp_filters:\n")
	shown, _, _ := strings.Cut(rest, "```")
	var got []map[string]any
	if err := yaml.Unmarshal([]byte(shown), &got); err != nil || len(got) != 1 {
		t.Fatalf("got %d filters, want 1: %v", len(got), err)
	}
	chain, err := chains.File("envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var bootstrap any
	if err := yaml.Unmarshal([]byte(chain), &bootstrap); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(filter(bootstrap), got[0]); diff != "" {
		t.Errorf("envoy.yaml has another filter (-), README shows (+):\n%s", diff)
	}
}

// filter finds the ext_authz filter, however deep it is.
func filter(node any) map[string]any {
	switch node := node.(type) {
	case map[string]any:
		if node["name"] == "envoy.filters.http.ext_authz" {
			return node
		}
		for _, child := range node {
			if found := filter(child); found != nil {
				return found
			}
		}
	case []any:
		for _, child := range node {
			if found := filter(child); found != nil {
				return found
			}
		}
	}
	return nil
}

// TestSections finds each section of the contract that code or tests cite.
func TestSections(t *testing.T) {
	contract := read(t, "contract.md")
	section := regexp.MustCompile(`(?i)\bcontract(?:\.md)? §([0-9]+)`)
	for _, file := range files(t, isSource, isPage) {
		for _, match := range section.FindAllStringSubmatch(read(t, filepath.Join(root, file)), -1) {
			if !strings.Contains(contract, "\n## "+match[1]+". ") {
				t.Errorf("%s cites %q, which contract.md does not have", file, match[0])
			}
		}
	}
}

// TestCommands finds each target of make, each test and each step of the demo
// that a page names.
func TestCommands(t *testing.T) {
	var tests strings.Builder
	for _, file := range files(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		tests.WriteString(read(t, filepath.Join(root, file)))
	}
	for _, c := range []struct{ named, in, before, after string }{
		{"(?m)(?:^\\$ |`)make ([a-z-]+)", read(t, filepath.Join(root, "Makefile")), "\n", ":"},
		{`-run (Test[A-Za-z]+)`, tests.String(), "func ", "("},
		{`(?m)^# ([a-z].*): \d{3}$`, read(t, filepath.Join(root, "internal", "demo", "steps.go")), `{"`, `",`},
	} {
		seen := 0
		for _, page := range files(t, isPage) {
			for _, match := range regexp.MustCompile(c.named).FindAllStringSubmatch(read(t, filepath.Join(root, page)), -1) {
				seen++
				if !strings.Contains(c.in, c.before+match[1]+c.after) {
					t.Errorf("%s: %q names what does not exist", page, match[0])
				}
			}
		}
		if seen == 0 {
			t.Errorf("no page has %s", c.named)
		}
	}
}

// TestMetrics finds each metric that is registered in the contract, and each one
// that a page names registered.
func TestMetrics(t *testing.T) {
	registered := map[string]bool{}
	source := read(t, filepath.Join(root, "internal", "metrics", "metrics.go")) +
		read(t, filepath.Join(root, "internal", "metrics", "fleet.go"))
	contract := read(t, "contract.md")
	registration := regexp.MustCompile(`(?:(?:counter|gauge|histogram)\(|Name: )"([a-z_]+)"`)
	for _, match := range registration.FindAllStringSubmatch(source, -1) {
		name := "bearergate_" + match[1]
		registered[name] = true
		if !strings.Contains(contract, "| `"+name+"` |") {
			t.Errorf("contract.md has no %s", name)
		}
	}
	for _, page := range []string{"contract.md", "operations.md"} {
		for _, name := range regexp.MustCompile(`\bbearergate_[a-z][a-z_]*`).FindAllString(read(t, page), -1) {
			if !registered[name] {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
}

// TestReasons finds each reason once in the tables of decisions, and no others.
func TestReasons(t *testing.T) {
	want := map[string]bool{}
	for _, r := range authz.Reasons() {
		want[r.String()] = true
	}
	name := regexp.MustCompile("`([a-z_]+)`")
	for _, page := range []string{"README.md", "docs/contract.md"} {
		_, table, _ := strings.Cut(read(t, filepath.Join(root, page)), "| reason | HTTP |")
		table, _, _ = strings.Cut(table, "\n\n")
		got := map[string]bool{}
		for line := range strings.Lines(table) {
			row := strings.Split(line, "|")
			for _, match := range name.FindAllStringSubmatch(row[1], -1) {
				if got[match[1]] {
					t.Errorf("%s has %s twice", page, match[1])
				}
				got[match[1]] = true
			}
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
			t.Errorf("%s: missing (-), unknown (+):\n%s", page, diff)
		}
	}
}
