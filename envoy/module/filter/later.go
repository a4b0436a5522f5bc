package filter

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/envoyproxy/envoy/source/extensions/dynamic_modules/sdk/go/shared"
)

// later holds a stream for those who come back to it from elsewhere. Envoy's own side of
// the scheduler lives no longer than the thread of the stream: the lock keeps whoever
// comes back from using it while, or after, the stream ends.
type later struct {
	scheduler shared.Scheduler
	cancel    context.CancelFunc // of a decision under way; nil: there is none
	timer     *time.Timer        // nil: nothing ends the stream

	mu    sync.Mutex
	ended bool
}

// schedule has do called on the thread of the stream, unless that has ended.
func (l *later) schedule(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.scheduler.Schedule(do)
	// The SDK frees its side of the scheduler when nothing here refers to it any longer,
	// which could else be during the call.
	runtime.KeepAlive(l.scheduler)
}

// end has nobody come back, and nothing go on.
func (l *later) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	if l.cancel != nil {
		l.cancel()
	}
	if l.timer != nil {
		l.timer.Stop()
	}
}
