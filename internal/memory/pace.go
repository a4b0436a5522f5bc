package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// The heap may grow by this much before it is collected: by Headroom at least, and by a
// share of what is alive where that is more. With the runtime's own rule, a heap of
// 5 MiB is collected whenever as much was allocated, many times a second, and one of
// 200 MiB of remembered tokens has another 200 MiB of garbage beside it.
const (
	Headroom  = 32 << 20
	liveShare = 2 // one part in so many

	leastLive = 8 << 20 // a smaller heap may be a larger one before the next collection

	enoughOff = 8 // of a percentage: less is not worth stopping the world for a moment
)

// Pace sets, after each collection, how far the heap may grow until the next, in
// place of GOGC. The memory limit goes before it. It lasts until stop, which puts
// back what was in force.
func Pace() (stop func()) {
	p := new(pacer)
	before := debug.SetGCPercent(100 * Headroom / leastLive)
	p.adjust()
	p.arm()
	return func() {
		p.stopped.Store(true)
		debug.SetGCPercent(before)
	}
}

type pacer struct{ stopped atomic.Bool }

// collected is what the collector finds dead, by which we know that it ran. It is
// too large to share its place with anything that lives longer.
type collected struct{ _ [64]byte }

func (p *pacer) arm() {
	runtime.AddCleanup(new(collected), func(p *pacer) {
		if p.stopped.Load() {
			return
		}
		p.adjust()
		p.arm()
	}, p)
}

func (p *pacer) adjust() {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
	metrics.Read(samples)
	now := samples[1].Value.Uint64()
	if wanted := percent(samples[0].Value.Uint64()); differs(now, wanted) {
		debug.SetGCPercent(int(wanted)) //nolint:gosec // at most a few thousand
	}
}

// percent is by how many hundredths of what is alive the heap may grow.
func percent(live uint64) uint64 {
	live = max(live, leastLive)
	return 100 * max(Headroom, live/liveShare) / live
}

func differs(a, b uint64) bool { return max(a, b)-min(a, b) > min(a, b)/enoughOff }
