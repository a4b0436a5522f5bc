package validation

import "time"

// State is how a Validator gets on with the introspection endpoint, for whoever looks
// after the service.
type State struct {
	Introspects bool          // else the rest is zero
	Down        bool          // the circuit breaker is open: calls are refused, but for probes
	RetryAfter  time.Duration // until the next probe, while it is down
	Failure     *Failure      // the last call that brought no answer; nil: none
}

// Failure is a call that brought no answer. Its error holds nothing of the token.
type Failure struct {
	Err error
	At  time.Time
}

// State returns how things are now.
func (v *Validator) State() State {
	if v.introspector == nil {
		return State{}
	}
	retry := v.introspector.guard.RetryAfter()
	return State{Introspects: true, Down: retry > 0, RetryAfter: retry, Failure: v.introspector.failure.Load()}
}
