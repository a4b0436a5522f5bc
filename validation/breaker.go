package validation

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// How one introspection endpoint is spared. CONTRACT.md §4 has an open breaker
// try again within 15 seconds.
const (
	maxCalls         = 64 // at a time; more wait, up to the request timeout
	maxPending       = maxCalls + 1024
	openFailureRate  = 0.5 // of
	openMinimum      = 10  // calls or more, within
	openPeriod       = 10 * time.Second
	openFor          = 3 * time.Second
	longestRetryWait = 15 * time.Second // that a Retry-After is honoured
)

// guard keeps calls within bounds: so many at a time, none while the endpoint
// keeps failing, none before the time that it asked for.
type guard struct {
	breaker circuitbreaker.CircuitBreaker[any]
	slots   bulkhead.Bulkhead[any]
	wait    time.Duration
	now     func() time.Time

	mu    sync.Mutex
	until time.Time // of Retry-After
}

func newGuard(wait time.Duration, now func() time.Time, changed func(open bool)) *guard {
	return &guard{
		breaker: circuitbreaker.NewBuilder[any]().
			WithFailureRateThreshold(openFailureRate, openMinimum, openPeriod).
			WithDelay(openFor).
			OnStateChanged(func(e circuitbreaker.StateChangedEvent) { changed(e.NewState != circuitbreaker.ClosedState) }).
			Build(),
		slots: bulkhead.New[any](maxCalls),
		wait:  wait,
		now:   now,
	}
}

// call runs f if it may. A failure of the endpoint is what is
// [ErrUnavailable]; an answer against a token is none, or else junk tokens
// could open the breaker (I-10).
func (g *guard) call(ctx context.Context, f func() (*Token, error)) (*Token, error) {
	if pause := g.pause(); pause > 0 {
		return nil, &UnavailableError{Err: errors.New("the introspection endpoint asked for a pause"), RetryAfter: pause}
	}
	if g.breaker.IsOpen() && g.breaker.RemainingDelay() > 0 {
		return nil, g.open()
	}
	if err := g.slots.AcquirePermitWithMaxWait(ctx, g.wait); err != nil {
		return nil, &UnavailableError{Err: errors.New("too many introspection calls at a time")}
	}
	defer g.slots.ReleasePermit()
	if !g.breaker.TryAcquirePermit() {
		return nil, g.open()
	}
	t, err := withoutPanic(f)
	if errors.Is(err, ErrUnavailable) {
		g.breaker.RecordFailure()
	} else {
		g.breaker.RecordSuccess()
	}
	return t, err
}

// withoutPanic makes an outage of a panic, which would end the process: the call
// runs in a goroutine of its own.
func withoutPanic(f func() (*Token, error)) (t *Token, err error) {
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, &UnavailableError{Err: fmt.Errorf("panic: %T\n%s", p, debug.Stack())}
		}
	}()
	return f()
}

func (g *guard) open() error {
	return &UnavailableError{Err: errors.New("the introspection endpoint keeps failing, the circuit breaker is open"), RetryAfter: g.breaker.RemainingDelay()}
}

// postpone honours a Retry-After.
func (g *guard) postpone(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = g.now().Add(d)
}

func (g *guard) pause() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until.Sub(g.now())
}
