// Package lint says what in the configuration of an Envoy, an Istio or an Envoy
// Gateway would open a hole past Bearergate, or hurt. It reads Envoy's own
// configuration with Envoy's own types, and manifests by the few keys that matter.
// It decides nothing about requests, talks to nobody, and knows no commands: it is
// told files and what the service's configuration needs, and returns findings.
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Input is one file.
type Input struct {
	Name    string // as it is told in findings
	Content []byte
}

// Policy is what the service's configuration needs of Envoy.
type Policy struct {
	Headers        []string // the managed ones: identity headers of the upstream
	ForwardToken   bool     // Authorization is left on every request
	Rules, Issuers []string // their names
	MatchesPaths   bool     // some rule, condition or resource looks at paths
	RequestHeaders []string // that are read, besides those of credentials
	Removed        []string // that never go upstream, besides those of credentials

	Introspection     time.Duration // the longest that one call to an authorization server may take; 0: none is needed
	DPoP              bool          // proofs come in the header DPoP
	PeerCertificate   bool          // client certificates come from Envoy
	StreamUntilExpiry bool          // Envoy is told when to end a response
}

// Report is what was found, and what was looked at.
type Report struct {
	Findings []Finding `json:"findings"`
	Checked  []string  `json:"checked"`
}

// Finding is one thing to mend, or to know.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"` // from 1
	What     string   `json:"what"`
	Why      string   `json:"why"`
	Mend     string   `json:"mend"`
}

// Severity says how much a finding matters.
type Severity string

// The severities: only an error fails the command.
const (
	Error   Severity = "error"   // a request may pass unasked, or none passes
	Warning Severity = "warning" // it hurts, or opens a hole together with something else
	Info    Severity = "info"    // to know: what was not looked at, what is left to another
)

func (s Severity) rank() int { return slices.Index([]Severity{Error, Warning, Info}, s) }

// Count returns how many findings have that severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Run looks at all inputs together: a route in one may belong to a listener in
// another. p may be nil: then what depends on the service's configuration is not
// judged, and the default identity headers are taken for ours. An error says which
// input cannot be read, and where.
func Run(inputs []Input, p *Policy) (*Report, error) {
	l := newLinter(p)
	for _, in := range inputs {
		documents, err := parse(in.Name, in.Content, 0)
		if err != nil {
			return nil, err
		}
		for _, d := range documents {
			l.collect(d)
		}
		if len(documents) == 0 {
			l.note(&node{file: in.Name, line: 1}, "the file is empty")
		}
	}
	for _, check := range []func() error{
		l.checkListeners, l.checkIstio, l.checkGateways, l.checkServices,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	l.report.Checked = l.checked.told()
	if len(inputs) > 0 && len(l.report.Checked) == 0 && len(l.report.Findings) == 0 {
		l.note(&node{file: inputs[0].Name}, "nothing among the files concerns Bearergate")
	}
	l.settle()
	return &l.report, nil
}

// linter is one run.
type linter struct {
	policy *Policy
	names  identity
	report Report

	listeners []*node
	routes    map[string]*node // RouteConfigurations by name
	clusters  map[string]*node
	filters   map[string]*node // of extension discovery, by name
	objects   []object
	meshes    []*node
	services  []service // whom filters ask

	named   bool    // some filter is ours by its name or its cluster's
	foreign []*node // chains whose ext_authz filters all ask others, if names tell

	discovers struct{ listeners, clusters bool } // something comes from a control plane
	checked   tally
}

func newLinter(p *Policy) *linter {
	return &linter{
		policy: p, names: newIdentity(p),
		routes: map[string]*node{}, clusters: map[string]*node{}, filters: map[string]*node{},
		report: Report{Findings: []Finding{}},
	}
}

// add tells of one finding at n. Why and how to mend it are the code's, unless
// words says otherwise.
func (l *linter) add(code Code, s Severity, at *node, what string, words ...string) {
	about := codes[code]
	f := Finding{Code: code, Severity: s, File: at.name(), Line: at.at(), What: what, Why: about.Why, Mend: about.Mend}
	if len(words) > 0 && words[0] != "" {
		f.Mend = words[0]
	}
	if len(words) > 1 {
		f.Why = words[1]
	}
	l.report.Findings = append(l.report.Findings, f)
}

// note tells what could not be looked at.
func (l *linter) note(at *node, what string) { l.add(NotSeen, Info, at, what) }

// settle orders the findings by file and line, and tells each once: a route that
// two listeners share is looked at for both.
func (l *linter) settle() {
	slices.SortStableFunc(l.report.Findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Severity.rank(), b.Severity.rank()), strings.Compare(string(a.Code), string(b.Code)),
			strings.Compare(a.What, b.What))
	})
	l.report.Findings = slices.CompactFunc(l.report.Findings, func(a, b Finding) bool { return a == b })
}

// tally counts what was looked at, in the order in which it was met first.
type tally struct {
	kinds  []string
	counts map[string]int
}

func (t *tally) add(kind string) {
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	if t.counts[kind] == 0 {
		t.kinds = append(t.kinds, kind)
	}
	t.counts[kind]++
}

func (t *tally) told() []string {
	all := []string{}
	for _, kind := range t.kinds {
		word := kind
		if n := t.counts[kind]; n > 1 {
			word = plural(kind)
		}
		all = append(all, fmt.Sprintf("%d %s", t.counts[kind], word))
	}
	return all
}

func plural(word string) string {
	if strings.HasSuffix(word, "y") {
		return strings.TrimSuffix(word, "y") + "ies"
	}
	return word + "s"
}
