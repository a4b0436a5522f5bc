// Package guard keeps the calls to one server within bounds, spares the server
// while it is down, and keeps what one request causes from all others: a
// request that the server answers with an error, or slowly, or with "come back
// later", must not close the server to requests that it would answer.
//
// It tells an outage from a bad request by a probe of its own, which no client
// has a hand in. It knows nothing of what is asked or answered: introspection and
// the exchange of tokens need one each, since a server may do the one while the
// other is down.
package guard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// suspicious is after how many failures in a row, no answer among them, the
	// server is probed.
	suspicious = 10
	// leastPause is between two probes of a server that answers them.
	leastPause = 100 * time.Millisecond
	// recent is how long a quick answer shows that slow calls are slow by their
	// own fault.
	recent = time.Second
	// Between two probes of a server that is down: doubled from the first to the
	// last.
	firstPause = 500 * time.Millisecond
	lastPause  = 4 * time.Second
	// trialPause is between two calls that are let through while the server is
	// down: a probe that fails need not mean that all calls would.
	trialPause = 50 * time.Millisecond
	maxTrials  = 2 // of these at a time
	// longestPause bounds what the server may ask for by Retry-After.
	longestPause = 15 * time.Second
	// A call is slow when it takes several times as long as others, but no
	// sooner than after leastSlow.
	slowFactor = 4
	leastSlow  = 100 * time.Millisecond
)

// Options are the bounds of a Guard. All but Changed are needed.
type Options struct {
	Slots   int           // calls at a time; at least 1
	Waiting int           // calls that may wait for a slot; at least 1, since each waits, if only for a moment
	Timeout time.Duration // of one call or probe, and again of the wait for its slot; more than 0

	// Probe makes a call of our own, to see whether the server is up. Its ctx ends
	// after Timeout, and with the Guard. It runs in a goroutine of its own, never
	// two at a time, and must not panic.
	Probe func(context.Context) Verdict
	// Changed is told when calls are refused because the server is down, and
	// when they are let through again; nil: nobody is. It is called in the midst of
	// a call: it must not block, nor call the Guard.
	Changed func(down bool)
}

// Verdict is what a call tells of the server, which is all that the Guard goes by: it
// never sees what was asked, nor the answer. The zero value is a failure.
type Verdict struct {
	// Answered: the server did its work, whatever it said; an answer against what
	// was asked is one, too, or clients could make an outage of it. False: it failed,
	// or nothing came.
	Answered bool
	// RetryAfter is the pause that a server asked for which did not answer, as a
	// length of time (RFC 9110 §10.2.3); zero: none. At most 15 s of it are kept.
	RetryAfter time.Duration
}

// Why [Guard.Do] has no answer; found by [errors.Is]. Nothing of these is the
// fault of what would have been asked, but for ErrSlow, which may be.
var (
	// ErrDown: the call was not made. [Guard.RetryAfter] says when one will be.
	ErrDown = errors.New("the server keeps failing, the circuit breaker is open")
	// ErrBusy: the call was not made, since too many waited already, or since its
	// turn did not come within the timeout.
	ErrBusy = errors.New("too many calls at a time")
	// ErrSlow: the call was made, and given up for the sake of those that waited.
	ErrSlow = errors.New("given up: it took several times as long as others, which were waiting")
)

// Guard guards the calls to one endpoint. It is safe for concurrent use.
type Guard struct {
	o      Options
	ctx    context.Context //nolint:containedctx // ends the probes, which are nobody's call
	cancel context.CancelFunc
	probes sync.WaitGroup

	mu      sync.Mutex
	running []*call // the oldest first
	queue   []*call // the next one first
	wake    *time.Timer

	typical  time.Duration // of a call that was answered: a low quantile
	answered time.Time     // the last time that the server answered anybody
	quick    time.Time     // the last time that it did so at its usual speed
	failures int           // in a row

	probing bool // a probe is under way
	verdict bool // calls wait for it
	probed  time.Time
	down    bool
	pause   time.Duration
	retry   time.Time // when a server that is down is probed again
	asked   time.Time // until when the server wants to be left alone
	tried   time.Time // the last call that was let through while it is down
	blind   bool      // it answered others while the last probe failed: probes show nothing
}

// call is one call, waiting or under way.
type call struct {
	urgent  bool
	trial   bool          // let through although the server is down
	ready   chan struct{} // closed when its turn has come
	began   time.Time     // zero: waiting
	cancel  context.CancelCauseFunc
	dropped bool // its slot was given to another
	refused error
}

// New returns a Guard that lets calls through. Somebody has to [Guard.Close] it.
func New(o Options) *Guard {
	ctx, cancel := context.WithCancel(context.Background())
	return &Guard{o: o, ctx: ctx, cancel: cancel, typical: o.Timeout / (slowFactor * slowFactor)}
}

// Close ends the probes, and returns when none is under way. Calls are their
// callers' business: none may begin after Close.
func (g *Guard) Close() {
	g.cancel()
	g.probes.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.wake != nil {
		g.wake.Stop()
	}
}

// Do makes the call when its turn comes, with a ctx that ends after the timeout;
// urgent calls go first. It blocks for two timeouts at most, if do returns when its
// ctx ends; do must not panic, or its slot is lost.
//
// The error is nil if the call was made, however it ended: what it brought is
// between do and its caller. Else it is [ErrDown], [ErrBusy] or [ErrSlow], or that
// of ctx, which ended before the turn came.
func (g *Guard) Do(ctx context.Context, urgent bool, do func(context.Context) Verdict) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &call{urgent: urgent, ready: make(chan struct{}), cancel: cancel}
	if err := g.enter(ctx, c); err != nil {
		return err
	}
	limited, stop := context.WithTimeout(ctx, g.o.Timeout)
	defer stop()
	return g.leave(c, do(limited))
}

// RetryAfter says how long it is until a server that is down is probed again: more
// than zero and at most 15 s; zero: it is up.
func (g *Guard) RetryAfter() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.down {
		return 0
	}
	return max(time.Until(g.retry), time.Millisecond)
}

// enter waits until the call may be made.
func (g *Guard) enter(ctx context.Context, c *call) error {
	g.mu.Lock()
	if err := g.admit(c); err != nil {
		g.mu.Unlock()
		return err
	}
	g.dispatch()
	g.mu.Unlock()
	timer := time.NewTimer(g.o.Timeout)
	defer timer.Stop()
	err := ErrBusy
	select {
	case <-c.ready:
		return c.refused
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.queue, c); i >= 0 {
		g.queue = slices.Delete(g.queue, i, i+1)
		return err
	}
	return c.refused // its turn came at the same moment
}

// admit puts the call into the queue, behind those as urgent as itself.
func (g *Guard) admit(c *call) error {
	switch {
	case g.down && g.due(): // this one call waits for the verdict of the probe
		g.verdict = true
		g.probe()
	case g.down && !g.try(c):
		return ErrDown
	case len(g.queue) >= g.o.Waiting:
		return ErrBusy
	}
	i := len(g.queue)
	if c.urgent {
		if i = slices.IndexFunc(g.queue, func(other *call) bool { return !other.urgent }); i < 0 {
			i = len(g.queue)
		}
	}
	g.queue = slices.Insert(g.queue, i, c)
	return nil
}

// dispatch starts as many calls as may be under way.
func (g *Guard) dispatch() {
	for len(g.queue) > 0 && !g.verdict && (len(g.running) < g.o.Slots || g.makeRoom()) {
		c := g.queue[0]
		g.queue = slices.Delete(g.queue, 0, 1)
		c.began = time.Now()
		g.running = append(g.running, c)
		close(c.ready)
	}
}

// makeRoom gives up the slow call that began last, if the server answers others
// at its usual speed: those that began before it are nearer to their end.
func (g *Guard) makeRoom() bool {
	now := time.Now()
	last := -1
	for i, c := range g.running {
		if now.Sub(c.began) >= g.slow() {
			last = i
		}
	}
	switch {
	case last < 0:
		g.wakeIn(g.running[0].began.Add(g.slow()).Sub(now))
		return false
	case now.Sub(g.quick) >= recent:
		if now.Sub(g.probed) >= recent {
			g.probe()
		}
		g.wakeIn(recent)
		return false
	}
	c := g.running[last]
	g.running = slices.Delete(g.running, last, last+1)
	c.dropped = true
	c.cancel(ErrSlow)
	return true
}

func (g *Guard) slow() time.Duration { return max(leastSlow, slowFactor*g.typical) }

// wakeIn looks at the queue again after d.
func (g *Guard) wakeIn(d time.Duration) {
	if g.wake != nil {
		g.wake.Stop()
	}
	g.wake = time.AfterFunc(d, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dispatch()
	})
}

// leave frees the slot of a call and learns from how it ended.
func (g *Guard) leave(c *call, v Verdict) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	took := time.Since(c.began)
	if !c.dropped {
		g.running = slices.DeleteFunc(g.running, func(other *call) bool { return other == c })
	}
	switch {
	case v.Answered:
		if g.down {
			g.probe() // was it down, or does it just not answer probes?
		}
		g.learn(took)
		g.answer(took)
	case c.dropped:
		return ErrSlow
	default:
		g.fail(v)
	}
	g.dispatch()
	return nil
}
