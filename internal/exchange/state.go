package exchange

import (
	"errors"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// State is how an Exchanger gets on with the token endpoint, for whoever looks after
// the service.
type State struct {
	Entries    int                 // remembered, refusals included
	Down       bool                // the circuit breaker is open: calls are refused, but for probes
	RetryAfter time.Duration       // until the next probe, while it is down
	Failure    *validation.Failure // the last call that brought no answer, or one against our client; nil: none
}

// State returns how things are now.
func (e *Exchanger) State() State {
	retry := e.guard.RetryAfter()
	return State{Entries: e.Entries(), Down: retry > 0, RetryAfter: retry, Failure: e.failure.Load()}
}

// failed remembers what somebody may have to mend.
func (e *Exchanger) failed(err error) {
	if errors.Is(err, ErrMisconfigured) || errors.Is(err, validation.ErrUnavailable) {
		e.failure.Store(&validation.Failure{Err: err, At: e.now()})
	}
}
