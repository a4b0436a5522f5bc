package policytest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/walk"
)

// Report is what came out. As JSON it is documented in docs/testing-policies.md.
type Report struct {
	Config   string       `json:"config"`
	Passed   bool         `json:"passed"`
	Total    int          `json:"total"`
	Failed   int          `json:"failed"`
	Files    []FileResult `json:"files"`
	Required bool         `json:"require_coverage"`

	// Unreached are the rules that no case reaches; nil where not all cases ran, so
	// that nobody knows.
	Unreached []string `json:"unreached_rules"`
}

// FileResult is what came out of the cases of one file.
type FileResult struct {
	File  string       `json:"file"`
	Cases []CaseResult `json:"cases"`
}

// CaseResult is what came out of one case.
type CaseResult struct {
	Name   string `json:"name"`
	Line   int    `json:"line"`
	Passed bool   `json:"passed"`

	// What was decided.
	Reason string `json:"reason"`
	Rule   string `json:"rule"` // empty: none
	Status int    `json:"status"`

	Differences []Difference  `json:"differences"`
	Steps       []walk.Step   `json:"steps,omitempty"` // of a failure
	Hint        string        `json:"hint,omitempty"`
	Took        time.Duration `json:"-"`
}

func (r *Report) add(f FileResult) {
	r.Files = append(r.Files, f)
	for _, c := range f.Cases {
		r.Total++
		if !c.Passed {
			r.Failed++
		}
	}
	r.Passed = r.Failed == 0
}

// RequireCoverage makes it a failure that a rule is reached by no case.
func (r *Report) RequireCoverage() {
	r.Required = true
	r.Passed = r.Passed && len(r.Unreached) == 0
}

func (r *Report) writeJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// palette is how a terminal is told colours.
type palette struct{ good, bad, end string }

var (
	plain   = palette{}
	colored = palette{good: "\x1b[32m", bad: "\x1b[1;31m", end: "\x1b[0m"}
)

func (p palette) ok(s string) string   { return p.good + s + p.end }
func (p palette) fail(s string) string { return p.bad + s + p.end }

// writeText writes a line for each case, and for a failure why.
func (r *Report) writeText(out io.Writer, p palette) error {
	var b strings.Builder
	for _, f := range r.Files {
		fmt.Fprintf(&b, "%s\n", f.File)
		for _, c := range f.Cases {
			if c.Passed {
				fmt.Fprintf(&b, "  %s    %s\n", p.ok("ok"), c.Name)
				continue
			}
			fmt.Fprintf(&b, "  %s  %s (%s:%d)\n", p.fail("FAIL"), c.Name, f.File, c.Line)
			c.explain(&b, p, "        ")
		}
	}
	r.summarize(&b, p)
	_, err := io.WriteString(out, b.String())
	return err
}

// explain says what is not as wanted, and how it came to that.
func (c CaseResult) explain(b *strings.Builder, p palette, indent string) {
	for _, d := range c.Differences {
		fmt.Fprintf(b, "%s%s\n", indent, explain.Printable(d.String()))
	}
	var steps strings.Builder
	_ = explain.WriteSteps(&steps, "", c.Steps) // a Builder never fails
	for line := range strings.Lines(steps.String()) {
		line = strings.TrimRight(line, " \n")
		if strings.HasPrefix(line, string(walk.Failed)) {
			line = p.fail(line)
		}
		fmt.Fprintf(b, "%s  %s\n", indent, line)
	}
	if c.Hint != "" {
		fmt.Fprintf(b, "%shint: %s\n", indent, explain.Printable(c.Hint))
	}
}

func (r *Report) summarize(b *strings.Builder, p palette) {
	b.WriteString("\n")
	switch {
	case r.Total == 0:
		b.WriteString("no case has such a name\n")
	case r.Failed > 0:
		fmt.Fprintf(b, "%s: %d of %s failed\n", p.fail("FAIL"), r.Failed, cases(r.Total))
	default:
		fmt.Fprintf(b, "%s: %s passed\n", p.ok("ok"), cases(r.Total))
	}
	if len(r.Unreached) == 0 {
		return
	}
	if r.Required {
		b.WriteString(p.fail("FAIL") + ": ")
	}
	b.WriteString("no case reaches: " + explain.Printable(strings.Join(r.Unreached, ", ")) + "\n")
}

func cases(n int) string {
	if n == 1 {
		return "1 case"
	}
	return fmt.Sprintf("%d cases", n)
}
