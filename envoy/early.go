package envoy

import (
	"context"
	"sync"
	"time"
)

// The answer leaves this long before the deadline that Envoy set, a tenth of
// the time there is but within these bounds (E-08).
const (
	leastMargin = 5 * time.Millisecond
	mostMargin  = 50 * time.Millisecond
)

// early is a context that ends a little before Envoy gives up. Most decisions wait
// for nobody, and a timer for each would cost as much as they do: there is none until
// somebody asks for the channel.
type early struct {
	context.Context

	deadline time.Time // zero: none
	once     sync.Once
	timed    context.Context
	cancel   context.CancelFunc
}

// begin makes e one of ctx.
func (e *early) begin(ctx context.Context) {
	e.Context = ctx
	if deadline, ok := ctx.Deadline(); ok {
		e.deadline = deadline.Add(-min(max(time.Until(deadline)/10, leastMargin), mostMargin))
	}
}

// Deadline implements context.Context.
func (e *early) Deadline() (time.Time, bool) { return e.deadline, !e.deadline.IsZero() }

// Done implements context.Context.
func (e *early) Done() <-chan struct{} {
	if e.deadline.IsZero() {
		return e.Context.Done()
	}
	e.once.Do(func() { e.timed, e.cancel = context.WithDeadline(e.Context, e.deadline) })
	if e.timed == nil { // it was stopped first
		return e.Context.Done()
	}
	return e.timed.Done()
}

// Err implements context.Context.
func (e *early) Err() error {
	if err := e.Context.Err(); err != nil {
		return err
	}
	if !e.deadline.IsZero() && !time.Now().Before(e.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// stop ends the timer, if there is one, and there will be none any more.
func (e *early) stop() {
	e.once.Do(func() {})
	if e.cancel != nil {
		e.cancel()
	}
}
