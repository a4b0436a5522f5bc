package authz

import (
	"errors"

	"github.com/bearergate/bearergate/internal/trace"
	"github.com/bearergate/bearergate/validation"
)

// conclude makes the decision of a reason.
func (e *evaluation) conclude(reason Reason, err error) Decision {
	d := Decision{Reason: reason, Issuer: e.issuer, Err: err, Status: reason.Status()}
	if e.rule != nil {
		d.Rule = e.rule.Name
	}
	if reason.Allows() {
		d.Token = e.token
		d.Set, d.Remove = e.policy.injector.changes(e.token)
	} else {
		d.Challenge = e.challenge().header(reason)
	}
	if reason == Unavailable {
		d.RetryAfter = retryAfter
		var unavailable *validation.UnavailableError
		if errors.As(err, &unavailable) && unavailable.RetryAfter > d.RetryAfter {
			d.RetryAfter = unavailable.RetryAfter
		}
	}
	if e.trace != nil {
		e.noteDecision(reason, err)
	}
	return d
}

func (e *evaluation) noteDecision(reason Reason, err error) {
	result, detail := trace.Passed, ""
	if !reason.Allows() {
		result = trace.Failed
	}
	if err != nil {
		detail = err.Error()
	}
	e.note("decision: "+reason.String(), result, detail)
}

func (e *evaluation) challenge() challenge {
	c := challenge{realm: e.policy.cfg.Realm, scopes: e.scopes()}
	if e.rule != nil {
		c.acrValues, c.maxAge = e.rule.ACRValues, e.rule.MaxAge
	}
	if e.resource != nil {
		c.resourceMetadata = e.resource.documentURL
		if len(c.scopes) == 0 {
			c.scopes = e.resource.scopes
		}
	}
	return c
}

// note is called only where trace is not nil: its words cost time.
func (e *evaluation) note(name string, result trace.Result, detail string) {
	e.trace.Add(trace.Step{Room: "authz", Name: name, Result: result, Detail: detail})
}
