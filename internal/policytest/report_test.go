package policytest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// failing is a report of one case that passes, one that fails, and a rule that is
// not reached. Names are as awkward as they may be.
func failing(t *testing.T) *Report {
	t.Helper()
	report := run(t, auth+"rules: [{name: \"a]]><&\", match: {paths: [/a]}}]", `
cases:
- {name: "good ]]> <b>&\"", want: {reason: no_token}}
- {name: bad, want: {reason: allowed, metadata: {"x\a]]>": "<"}}}
`)
	for n := range report.Files {
		report.Files[n].File = "a_test.yaml"
	}
	report.Config = "bearergate.yaml"
	report.RequireCoverage()
	return report
}

func written(t *testing.T, r *Report, f Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Write(&out, f); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestText(t *testing.T) {
	got := written(t, failing(t), Text)
	const want = `a_test.yaml
  ok    good ]]> <b>&"
  FAIL  bad (a_test.yaml:4)
        reason: got no_token, want allowed
        "metadata x\a]]>: got none, want \"<\""
          noted   authz rule a]]><&         does not match: no path pattern fits
          noted   authz rule                none matches: default_access token
          failed  authz credential          got no bearer token, want one bearer token
          failed  authz decision: no_token  no bearer token

FAIL: 1 of 2 cases failed
FAIL: no case reaches: a]]><&
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s", diff)
	}
	if strings.ContainsAny(got, "\x1b\a") {
		t.Error("it does something to a terminal")
	}
	if got := written(t, failing(t), Color); !strings.Contains(got, "\x1b[1;31mFAIL\x1b[0m  bad") {
		t.Errorf("got no colours in %q", got)
	}
}

// What programs read keeps its names.
func TestJSON(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal([]byte(written(t, failing(t), JSON)), &got); err != nil {
		t.Fatal(err)
	}
	cases := got["files"].([]any)[0].(map[string]any)["cases"].([]any)
	bad := cases[1].(map[string]any)
	if steps, ok := bad["steps"].([]any); !ok || len(steps) == 0 {
		t.Error("a failure has no steps")
	}
	delete(bad, "steps")
	want := map[string]any{
		"config": "bearergate.yaml", "passed": false, "total": 2.0, "failed": 1.0,
		"require_coverage": true, "unreached_rules": []any{"a]]><&"},
		"files": []any{map[string]any{"file": "a_test.yaml", "cases": []any{
			map[string]any{
				"name": `good ]]> <b>&"`, "line": 3.0, "passed": true, "reason": "no_token", "rule": "", "status": 401.0,
				"differences": []any{},
			},
			map[string]any{
				"name": "bad", "line": 4.0, "passed": false, "reason": "no_token", "rule": "", "status": 401.0,
				"differences": []any{
					map[string]any{"what": "reason", "got": "no_token", "want": "allowed"},
					map[string]any{"what": "metadata x\a]]>", "got": "none", "want": `"<"`},
				},
			},
		}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestJUnit holds the report to the elements and attributes that Jenkins's schema
// has, and file and line, which GitLab and the reporters of GitHub look for. Each
// counter is what it counts.
func TestJUnit(t *testing.T) {
	report := written(t, failing(t), JUnit)
	attributes := map[string][]string{
		"testsuites": {"name", "tests", "failures", "errors", "time"},
		"testsuite":  {"name", "tests", "failures", "errors", "skipped", "time"},
		"testcase":   {"name", "classname", "file", "line", "time"},
		"failure":    {"message", "type"},
	}
	inside := map[string]string{"testsuite": "testsuites", "testcase": "testsuite", "failure": "testcase"}
	counted := map[string]int{}
	var open []string
	for decoder := xml.NewDecoder(strings.NewReader(report)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, report)
		}
		switch e := token.(type) {
		case xml.StartElement:
			name := e.Name.Local
			counted[name]++
			parent := ""
			if len(open) > 0 {
				parent = open[len(open)-1]
			}
			if parent != inside[name] {
				t.Errorf("%s stands in %q", name, parent)
			}
			open = append(open, name)
			for _, a := range e.Attr {
				if !slices.Contains(attributes[name], a.Name.Local) {
					t.Errorf("%s has %s, which no reader knows", name, a.Name.Local)
				}
			}
		case xml.EndElement:
			open = open[:len(open)-1]
		}
	}
	if diff := cmp.Diff(map[string]int{"testsuites": 1, "testsuite": 2, "testcase": 3, "failure": 2}, counted); diff != "" {
		t.Error(diff)
	}
	var all junitSuites
	if err := xml.Unmarshal([]byte(report), &all); err != nil {
		t.Fatal(err)
	}
	if all.Tests != 3 || all.Failures != 2 || all.Suites[0].Tests != 2 || all.Suites[0].Failures != 1 || all.Suites[1].Failures != 1 {
		t.Errorf("got %+v", all)
	}
	bad := all.Suites[0].Cases[1]
	if bad.File != "a_test.yaml" || bad.Line != 4 || bad.Failure == nil || bad.Failure.Message != "reason: got no_token, want allowed" ||
		!strings.Contains(bad.Failure.Text, "none matches: default_access token") {
		t.Errorf("got %+v", bad)
	}
	if all.Suites[0].Cases[0].Failure != nil || all.Suites[0].Cases[0].Name != `good ]]> <b>&"` {
		t.Errorf("got %+v", all.Suites[0].Cases[0])
	}
}

// The page shows what the program prints, for the files that it shows.
func TestPage(t *testing.T) {
	const page = "docs/testing-policies.md"
	folder := t.TempDir()
	t.Chdir(folder)
	// Both files name themselves in their first line.
	read := func(name string) string {
		content := blockAt(t, page, "yaml", "# "+name+"\n")
		writeAt(t, filepath.Join(folder, name), content)
		return name
	}
	report, err := Run(t.Context(), Options{
		Config: read("bearergate.yaml"), Files: []string{read("orders_test.yaml")}, Lookup: none,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, want, _ := strings.Cut(blockAt(t, page, "console", "$ bearergate test orders_test.yaml\n"), "\n")
	if diff := cmp.Diff(want, written(t, report, Text)); diff != "" {
		t.Error(diff)
	}
	var shown, got any
	if err := json.Unmarshal([]byte(blockAt(t, page, "json", "{\n")), &shown); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(written(t, report, JSON)), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names(shown), names(got)); diff != "" {
		t.Errorf("the JSON document has other members (-shown, +got): %s", diff)
	}
}

// names are those of all members below v, each once.
func names(v any) []string {
	var all []string
	var visit func(any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, child := range v {
				all = append(all, name)
				visit(child)
			}
		case []any:
			for _, child := range v {
				visit(child)
			}
		}
	}
	visit(v)
	slices.Sort(all)
	return slices.Compact(all)
}
