package authz

import (
	"errors"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

// Decision is what becomes of a request. Its zero value denies.
type Decision struct {
	ID     string // tells it from others, where somebody keeps decisions; empty: nobody does
	Reason Reason
	Rule   string // the name of the rule that decided; empty: none matched
	Issuer string // the configured issuer that was chosen; empty: none
	Shadow bool   // the rule is not enforced: Reason is what would be, and the request passes
	Token  *validation.Token

	Set    []HeaderValue // upstream headers to overwrite, by name
	Remove []string      // upstream headers to remove

	Challenges []string      // of WWW-Authenticate, a field each
	Nonce      string        // for the client's next DPoP proof, in a DPoP-Nonce response header; empty: none
	RetryAfter time.Duration // of unavailable
	Lasts      time.Duration // how long the stream may last; 0: as long as it likes
	Document   []byte        // body of a metadata document
	Header     http.Header   // further response headers of a document

	Err error // why, for logs only
}

// Outcome is what becomes of the request.
func (d *Decision) Outcome() Outcome {
	if d.Shadow {
		return Allow
	}
	return d.Reason.Outcome()
}

// HeaderValue is a header to the upstream; the value is encoded, and not empty.
type HeaderValue struct{ Name, Value string }

// retryAfter is what an unavailable answer names where nothing better is known.
const retryAfter = time.Second

// conclude makes the decision of a refusal, or of none.
func (e *evaluation) conclude(refused *refusal) Decision {
	d := Decision{Reason: Allowed, Issuer: e.issuer, Nonce: e.nonce}
	if e.rule != nil {
		d.Rule = e.rule.Name
	}
	if refused != nil {
		d.Reason, d.Err = refused.reason, refused.err
		d.Challenges = e.challenges(d.Reason)
		d.RetryAfter = retryAfterOf(refused)
		if d.Reason != UseNonce { // a renewed one goes with what passes
			d.Nonce = ""
		}
		return d
	}
	if e.token == nil {
		d.Reason = Public
	}
	d.Token = e.token
	d.Set, d.Remove = e.injector().changes(e.token, e.upstreamHeader())
	return d
}

// shadow makes of the decision one that stops nothing, where the rule that took it
// is not enforced. No identity goes upstream: nobody is sure of it yet. A nonce still
// goes to the client, who else would never have one before the rule is enforced.
func (e *evaluation) shadow(d Decision) Decision {
	if e.rule == nil || !e.rule.shadowed() {
		return d
	}
	e.note("enforce", func() string { return "false: the request passes, whatever the rule says" })
	d.Shadow = true
	d.Set, d.Remove = e.injector().changes(nil, HeaderValue{})
	d.Challenges, d.RetryAfter = nil, 0
	return d
}

func retryAfterOf(refused *refusal) time.Duration {
	if refused.reason != Unavailable {
		return 0
	}
	var unavailable *validation.UnavailableError
	if errors.As(refused.err, &unavailable) {
		return max(unavailable.RetryAfter, retryAfter)
	}
	return retryAfter
}

// end records the decision, which is the last step of every walk.
func (e *evaluation) end(d Decision) {
	if e.walk == nil {
		return
	}
	step := walk.Step{Package: "authz", Name: "decision: " + d.Reason.String(), Result: walk.Passed}
	if d.Outcome() == Deny {
		step.Result = walk.Failed
	}
	if d.Err != nil {
		step.Detail = d.Err.Error()
	}
	e.walk.Add(step)
}
