// Package walk lets one request record what decides it, as it is decided, for
// `bearergate explain`. A step is recorded by the very call that the decision
// hangs on, so that the explanation and the decision cannot differ:
//
//	if !w.Check("authz", "aud", ok, func() (want, got string) { … }) {
//		return …
//	}
//
// It never holds a token or a secret. Without a recorder in the context a Walk is
// nil, records nothing and puts nothing into words.
package walk

import (
	"context"
	"sync"
)

// Result says how a step ended.
type Result string

// The results of a step.
const (
	Passed Result = "passed" // a check that holds
	Failed Result = "failed" // the check that decided against the request
	Noted  Result = "noted"  // a fact, not a check
)

// Step is one thing that was looked at.
type Step struct {
	Package string `json:"package"`          // that decided: authz, validation, discovery
	Name    string `json:"name"`             // what was looked at: "rule", "signature", "aud"
	Result  Result `json:"result"`           //
	Want    string `json:"want,omitempty"`   // what would have passed
	Got     string `json:"got,omitempty"`    // what was there
	Detail  string `json:"detail,omitempty"` // why, in words
}

// Walk collects steps; it is safe for concurrent use, and nil records nothing.
type Walk struct {
	mu     sync.Mutex
	steps  []Step
	header string // carries a secret to the upstream; empty: none does
}

// Check returns ok, and records it; say is called only if somebody asked why.
func (w *Walk) Check(pkg, name string, ok bool, say func() (want, got string)) bool {
	if w != nil {
		want, got := say()
		w.Add(Step{Package: pkg, Name: name, Result: result(ok), Want: want, Got: got})
	}
	return ok
}

// Err returns err, and records that what was looked at is as it should be, or why
// it is not.
func (w *Walk) Err(pkg, name string, err error) error {
	if w != nil {
		step := Step{Package: pkg, Name: name, Result: result(err == nil)}
		if err != nil {
			step.Detail = err.Error()
		}
		w.Add(step)
	}
	return err
}

// Note records a fact; say is called only if somebody asked why.
func (w *Walk) Note(pkg, name string, say func() string) {
	if w != nil {
		w.Add(Step{Package: pkg, Name: name, Result: Noted, Detail: say()})
	}
}

// Add records a step.
func (w *Walk) Add(s Step) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, s)
}

func result(ok bool) Result {
	if ok {
		return Passed
	}
	return Failed
}

// Steps returns a copy of what was recorded, in order.
func (w *Walk) Steps() []Step {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Step(nil), w.steps...)
}

// Conceal says which header of the answer holds a secret, that nobody shows it with the
// steps.
func (w *Walk) Conceal(header string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.header = header
}

// Concealed returns the header that must not be shown; empty: there is none.
func (w *Walk) Concealed() string {
	if w == nil {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.header
}

type key struct{}

// With returns a context that records into a new Walk.
func With(ctx context.Context) (context.Context, *Walk) {
	w := new(Walk)
	return context.WithValue(ctx, key{}, w), w
}

// From returns the recorder of ctx, or nil, on which every method may be called: who
// records need not know whether somebody asked.
func From(ctx context.Context) *Walk {
	w, _ := ctx.Value(key{}).(*Walk)
	return w
}
