// Package policytest runs the cases of test files against the rules of a
// configuration (docs/contract.md §14), by the service that `serve` runs. Every
// configured issuer is replaced by one inside the process, which issues what the
// files describe: nothing listens, and nothing is connected to. It decides nothing
// about requests; it compares what was decided with what a case wants.
package policytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/bearergate/bearergate/internal/config"
)

// Options say what is tested, and by what.
type Options struct {
	Config string         // file with the rules
	Files  []string       // with cases
	Match  *regexp.Regexp // only cases whose name it fits; nil: all

	Lookup func(string) (string, bool) // environment variables
}

// Run runs the cases in the order of files and of what is in them. The error is
// that of files that cannot be used, every mistake in all of them; a case that
// fails is none.
func Run(ctx context.Context, o Options) (*Report, error) {
	content, err := config.Read(o.Config)
	if err != nil {
		return nil, err
	}
	cfg, err := config.ParsePolicy(o.Config, content, o.Lookup)
	if err != nil {
		return nil, err
	}
	suites, err := o.suites(cfg)
	if err != nil {
		return nil, err
	}
	report := &Report{Config: o.Config}
	reached := map[string]bool{}
	for _, s := range suites {
		file, err := s.run(ctx, cfg, o.Match, reached)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
		report.add(file)
	}
	if o.Match == nil {
		report.Unreached = unreached(cfg, reached)
	}
	return report, nil
}

func (o Options) suites(cfg *config.Config) ([]*suite, error) {
	var all []*suite
	var errs []error
	for n, path := range o.Files {
		if slices.Contains(o.Files[:n], path) {
			errs = append(errs, fmt.Errorf("%s: named twice", path))
			continue
		}
		content, err := config.Read(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s, err := parse(path, content, o.Lookup, cfg)
		errs = append(errs, err)
		all = append(all, s)
	}
	return all, errors.Join(errs...)
}

// unreached are the rules that decided no request, in their order.
func unreached(cfg *config.Config, reached map[string]bool) []string {
	names := []string{}
	for _, r := range cfg.Authz.Rules {
		if !reached[r.Name] {
			names = append(names, r.Name)
		}
	}
	return names
}

// run runs the cases of one file in a world of its own.
func (s *suite) run(
	ctx context.Context, cfg *config.Config, match *regexp.Regexp, reached map[string]bool,
) (FileResult, error) {
	file := FileResult{File: s.path, Cases: []CaseResult{}}
	w, err := newWorld(cfg, s)
	if err != nil {
		return file, err
	}
	defer w.close()
	for n, c := range s.Cases {
		if match != nil && !match.MatchString(c.Name) {
			continue
		}
		if err := ctx.Err(); err != nil { // or all that is left would be told as an outage
			return file, err
		}
		began := time.Now()
		got, err := w.decide(ctx, c.Request)
		if err != nil {
			return file, fmt.Errorf("case %q: %w", c.Name, err)
		}
		reached[got.rule] = true
		result := CaseResult{
			Name: c.Name, Line: s.lines[n], Reason: got.reason, Rule: got.rule, Status: got.status,
			Differences: c.Want.compare(got), Took: time.Since(began),
		}
		if result.Passed = len(result.Differences) == 0; !result.Passed {
			result.Steps, result.Hint = got.walk.Steps, got.walk.Hint
		}
		file.Cases = append(file.Cases, result)
	}
	return file, nil
}

// Write writes a report in one of the formats.
func (r *Report) Write(out io.Writer, f Format) error {
	switch f {
	case JSON:
		return r.writeJSON(out)
	case JUnit:
		return r.writeJUnit(out)
	case Color:
		return r.writeText(out, colored)
	}
	return r.writeText(out, plain)
}

// Format is how a report is written.
type Format int

// The formats.
const (
	Text  Format = iota
	Color        // text for a terminal
	JSON
	JUnit
)
