// Package trace lets one request record its walk through the rooms, for
// `bearergate explain`. It never holds a token or a secret. Without a recorder
// in the context everything here is a no-op: callers write
//
//	if t := trace.From(ctx); t != nil {
//		t.Add(trace.Step{…})
//	}
//
// so that nothing is formatted on the path of a Check.
package trace

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
	Room   string `json:"room"`             // authz, validation, discovery, envoy
	Name   string `json:"name"`             // what was looked at: "rule", "signature", "aud"
	Result Result `json:"result"`           //
	Want   string `json:"want,omitempty"`   // what would have passed
	Got    string `json:"got,omitempty"`    // what was there
	Detail string `json:"detail,omitempty"` // why, in words
}

// Trace collects steps; it is safe for concurrent use.
type Trace struct {
	mu    sync.Mutex
	steps []Step
}

// Add appends a step.
func (t *Trace) Add(s Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, s)
}

// Judge returns ok, and records it as a step; say is called only if somebody asked
// why. A nil Trace records nothing.
func (t *Trace) Judge(room, name string, ok bool, say func() (want, got string)) bool {
	if t != nil {
		want, got := say()
		t.Check(room, name, ok, want, got)
	}
	return ok
}

// Note records a fact; say is called only if somebody asked why. A nil Trace
// records nothing.
func (t *Trace) Note(room, name string, say func() string) {
	if t != nil {
		t.Add(Step{Room: room, Name: name, Result: Noted, Detail: say()})
	}
}

// Check adds a step that passed or failed.
func (t *Trace) Check(room, name string, ok bool, want, got string) {
	result := Passed
	if !ok {
		result = Failed
	}
	t.Add(Step{Room: room, Name: name, Result: result, Want: want, Got: got})
}

// Steps returns a copy of what was recorded, in order.
func (t *Trace) Steps() []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Step(nil), t.steps...)
}

type key struct{}

// With returns a context that records into a new Trace.
func With(ctx context.Context) (context.Context, *Trace) {
	t := new(Trace)
	return context.WithValue(ctx, key{}, t), t
}

// From returns the recorder of ctx, or nil.
func From(ctx context.Context) *Trace {
	t, _ := ctx.Value(key{}).(*Trace)
	return t
}
