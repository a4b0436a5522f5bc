package guard

import (
	"context"
	"slices"
	"time"
)

// learn follows the time below which a quarter of the answers stay. Slow ones,
// however many, move it little.
func (g *Guard) learn(took time.Duration) {
	if took < g.typical {
		g.typical -= g.typical / 16
		return
	}
	g.typical += max(g.typical/48, time.Microsecond)
}

// answer takes note that the server is up.
func (g *Guard) answer(took time.Duration) {
	g.answered = time.Now()
	if took < g.slow() {
		g.quick = g.answered
	}
	g.failures = 0
	g.pause = 0
	if g.down {
		g.down = false
		g.changed()
	}
}

// fail has the server probed, if this was one failure too many, or if it asks for
// a pause.
func (g *Guard) fail(v Verdict) {
	g.failures++
	enough := g.failures >= suspicious || v.RetryAfter > 0
	if g.down || g.verdict || !enough || time.Since(g.probed) < leastPause {
		return
	}
	if g.blind && time.Since(g.probed) < lastPause {
		return
	}
	g.verdict = !g.blind
	g.probe()
}

// probe asks whether the server is up.
func (g *Guard) probe() {
	if g.probing {
		return
	}
	g.probing = true
	g.probed = time.Now()
	g.probes.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, g.o.Timeout)
		defer cancel()
		v := g.o.Probe(ctx)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.probing, g.verdict = false, false
		switch {
		case v.Answered:
			g.blind = false
			g.answer(time.Since(g.probed))
		case !g.answered.Before(g.probed): // it has answered somebody else meanwhile
			g.blind = true
		case !g.blind || time.Since(g.answered) >= longestPause: // or else nobody would spare it
			g.close(v.RetryAfter)
		}
		g.dispatch()
	})
}

// close refuses all calls but few, the waiting ones too, until one or a probe is
// answered. A server may fail for every token that it did not issue, that of the
// probe among them: then a call shows that it is up.
func (g *Guard) close(retryAfter time.Duration) {
	g.pause = min(max(2*g.pause, firstPause), lastPause)
	retryAfter = min(retryAfter, longestPause)
	g.retry = time.Now().Add(max(g.pause, retryAfter))
	g.asked = time.Now().Add(retryAfter)
	if g.down {
		return // those that wait are few
	}
	for _, c := range g.queue {
		c.refused = ErrDown
		close(c.ready)
	}
	g.queue = nil
	g.down = true
	g.changed()
}

// try says whether a call may be made although the server is down: few at a time,
// since each may wait for a server that says nothing.
func (g *Guard) try(c *call) bool {
	now := time.Now()
	if now.Before(g.asked) || now.Sub(g.tried) < trialPause || g.trials() >= maxTrials {
		return false
	}
	g.tried = now
	c.trial = true
	return true
}

// trials counts the calls of [Guard.try] that have not ended.
func (g *Guard) trials() int {
	n := 0
	for _, c := range slices.Concat(g.queue, g.running) {
		if c.trial {
			n++
		}
	}
	return n
}

// due says whether a server that is down may be probed again.
func (g *Guard) due() bool { return !g.probing && !time.Now().Before(g.retry) }

func (g *Guard) changed() {
	if g.o.Changed != nil {
		g.o.Changed(g.down)
	}
}
