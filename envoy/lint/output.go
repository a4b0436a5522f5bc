package lint

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// Text writes the report for people.
func (r *Report) Text(w io.Writer) error {
	var out strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&out, "%s:%d: %s %s: %s\n    why: %s\n    mend: %s\n",
			f.File, f.Line, f.Severity, f.Code, f.What, f.Why, f.Mend)
	}
	looked := "nothing"
	if len(r.Checked) > 0 {
		looked = strings.Join(r.Checked, ", ")
	}
	fmt.Fprintf(&out, "looked at %s: %s, %s, %d to know\n", looked,
		number(r.Count(Error), "error"), number(r.Count(Warning), "warning"), r.Count(Info))
	_, err := io.WriteString(w, out.String())
	return err
}

func number(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// The parts of SARIF 2.1.0 that code scanning reads.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		Results    []sarifResult `json:"results"`
		ColumnKind string        `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string    `json:"id"`
		Short   sarifText `json:"shortDescription"`
		Full    sarifText `json:"fullDescription"`
		Help    sarifText `json:"help"`
		HelpURI string    `json:"helpUri"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
)

// page is where each code has its section.
const page = "https://github.com/bearergate/bearergate/blob/main/docs/lint.md"

// SARIF writes the report for code scanning (SARIF 2.1.0).
func (r *Report) SARIF(w io.Writer, version string) error {
	driver := sarifDriver{Name: "bearergate lint-envoy", Version: version, InformationURI: page}
	order := slices.Sorted(maps.Keys(codes))
	for _, code := range order {
		about := codes[code]
		driver.Rules = append(driver.Rules, sarifRule{
			ID: string(code), Short: sarifText{about.Title}, Full: sarifText{about.Why}, Help: sarifText{about.Mend},
			HelpURI: page + "#" + strings.ToLower(string(code)),
		})
	}
	results := []sarifResult{}
	for _, f := range r.Findings {
		results = append(results, sarifResult{
			RuleID: string(f.Code), RuleIndex: slices.Index(order, f.Code), Level: f.Severity.sarif(),
			Message:   sarifText{fmt.Sprintf("%s. %s %s", f.What, f.Why, f.Mend)},
			Locations: []sarifLocation{{sarifPhysical{sarifArtifact{uri(f.File)}, sarifRegion{f.Line}}}},
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{
		Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0",
		Runs: []sarifRun{{Tool: sarifTool{driver}, Results: results, ColumnKind: "unicodeCodePoints"}},
	})
}

func (s Severity) sarif() string {
	if s == Info {
		return "note"
	}
	return string(s)
}

// uri makes a reference of a file's name, which code scanning takes from the root of
// the repository.
func uri(name string) string {
	return (&url.URL{Path: filepath.ToSlash(name)}).String()
}
