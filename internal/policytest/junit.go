package policytest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements that Jenkins, GitLab and the reporters of GitHub agree on.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr,omitempty"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit has a suite for each file, and one for the coverage where it is
// required.
func (r *Report) writeJUnit(out io.Writer) error {
	all := junitSuites{Name: "bearergate test"}
	var took time.Duration
	for _, f := range r.Files {
		suite, time := f.junit()
		took += time
		all.Suites = append(all.Suites, suite)
	}
	if r.Required {
		all.Suites = append(all.Suites, r.junitCoverage())
	}
	for _, s := range all.Suites {
		all.Tests += s.Tests
		all.Failures += s.Failures
	}
	all.Time = inSeconds(took)
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}

func (f FileResult) junit() (junitSuite, time.Duration) {
	s := junitSuite{Name: f.File, Tests: len(f.Cases)}
	var took time.Duration
	for _, c := range f.Cases {
		took += c.Took
		j := junitCase{Name: c.Name, Class: f.File, File: f.File, Line: c.Line, Time: inSeconds(c.Took)}
		if !c.Passed {
			s.Failures++
			first := c.Differences[0]
			var text strings.Builder
			c.explain(&text, plain, "")
			j.Failure = &junitFailure{Message: first.String(), Type: first.What, Text: text.String()}
		}
		s.Cases = append(s.Cases, j)
	}
	s.Time = inSeconds(took)
	return s, took
}

// junitCoverage has a case for each rule that is not reached, which nobody would
// see otherwise where only this report is looked at.
func (r *Report) junitCoverage() junitSuite {
	s := junitSuite{Name: "coverage", Time: inSeconds(0), Tests: len(r.Unreached), Failures: len(r.Unreached)}
	for _, rule := range r.Unreached {
		s.Cases = append(s.Cases, junitCase{
			Name: "rule " + rule, Class: "coverage", File: r.Config, Time: inSeconds(0),
			Failure: &junitFailure{Message: "no case reaches rule " + rule, Type: "coverage"},
		})
	}
	return s
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
