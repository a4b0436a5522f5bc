package envoy

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearergate/bearergate/authz"
)

// The answer leaves this long before the deadline that Envoy set, a tenth of
// the time there is but within these bounds (E-08).
const (
	leastMargin = 5 * time.Millisecond
	mostMargin  = 50 * time.Millisecond
)

// ended is the channel of what has ended.
var ended = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// early is a context that ends a little before Envoy gives up, and in any case when a
// Check has lasted longer than any may. Most decisions wait for nobody, and a timer for
// each would cost as much as they do: there is none until somebody asks for the channel.
type early struct {
	context.Context

	request  atomic.Pointer[authz.Request] // for [RequestOf]; nil once the Check has ended
	deadline time.Time
	once     sync.Once
	stopped  atomic.Bool
	note     atomic.Uint32 // for [NoteOf]
	timed    context.Context
	cancel   context.CancelFunc
}

// newEarly makes one of ctx, for a Check of that request that began then.
func newEarly(ctx context.Context, began time.Time, request *authz.Request) *early {
	e := &early{Context: ctx, deadline: began.Add(longestCheck)}
	e.request.Store(request)
	if deadline, ok := ctx.Deadline(); ok {
		margin := min(max(deadline.Sub(began)/10, leastMargin), mostMargin)
		e.deadline = earlier(e.deadline, deadline.Add(-margin))
	}
	return e
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// requestKey is what [RequestOf] asks a context for.
type requestKey struct{}

// RequestOf returns the request that is decided in ctx, so that an Observer that is
// told of the start of a Check can read its headers; nil where none is decided. The
// texts of the request are good for as long as the Check lasts.
func RequestOf(ctx context.Context) *authz.Request {
	r, _ := ctx.Value(requestKey{}).(*authz.Request)
	return r
}

// noteKey is what [NoteOf] asks a context for.
type noteKey struct{}

// NoteOf returns a number of the Check that is decided in ctx, zero when it begins, in
// which one Observer may note what it is told on the way; nil where none is decided.
func NoteOf(ctx context.Context) *atomic.Uint32 {
	n, _ := ctx.Value(noteKey{}).(*atomic.Uint32)
	return n
}

// Value implements context.Context. The request is here already: a context of its own
// for it would cost an allocation at every Check.
func (e *early) Value(key any) any {
	if key == (requestKey{}) {
		return e.request.Load()
	}
	if key == (noteKey{}) {
		return &e.note
	}
	return e.Context.Value(key)
}

// Deadline implements context.Context.
func (e *early) Deadline() (time.Time, bool) { return e.deadline, true }

// Done implements context.Context.
func (e *early) Done() <-chan struct{} {
	e.once.Do(func() { e.timed, e.cancel = context.WithDeadline(e.Context, e.deadline) })
	if e.timed == nil { // it was stopped first
		return ended
	}
	return e.timed.Done()
}

// Err implements context.Context.
func (e *early) Err() error {
	if err := e.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(e.deadline) {
		return context.DeadlineExceeded
	}
	if e.stopped.Load() { // a context that is done and does not say why is a panic of its children
		return context.Canceled
	}
	return nil
}

// stop ends the timer, if there is one, and there will be none any more.
func (e *early) stop() {
	e.stopped.Store(true)
	e.request.Store(nil)
	e.once.Do(func() {})
	if e.cancel != nil {
		e.cancel()
	}
}
