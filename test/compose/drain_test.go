package compose

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	workers   = 8
	pause     = 10 * time.Millisecond // of a worker between two requests
	leastSent = 1000
)

// One of two replicas is stopped, and a new one comes, under load: no request
// fails, and the stopped one ends in order.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	p := up(t, "--scale", "bearergate=2")
	p.waitHealthy(t, "bearergate", 2)
	l := startLoad(p, p.mustToken(t), p.mustToken(t, "format", "opaque"))

	time.Sleep(3 * time.Second)
	leaving := p.containers(t, "bearergate")[0]
	began := time.Now()
	docker(t, "stop", "--time", "30", leaving)
	t.Logf("drained in %.1f s", time.Since(began).Seconds())
	if got := docker(t, "inspect", "--format", "{{.State.ExitCode}}", leaving); got != "0" {
		t.Errorf("exit status of the drained replica: got %s, want 0", got)
	}
	time.Sleep(3 * time.Second)
	docker(t, "rm", leaving)
	p.must(t, "up", "--detach", "--no-build", "--scale", "bearergate=2")
	p.waitHealthy(t, "bearergate", 2)
	time.Sleep(3 * time.Second)

	sent, failures := l.stop()
	t.Logf("%d requests", sent)
	if sent < leastSent {
		t.Errorf("requests: got %d, want %d or more", sent, leastSent)
	}
	for _, f := range failures {
		t.Errorf("failed: %s", f)
	}
}

// load sends requests until it is stopped.
type load struct {
	stopped chan struct{}
	done    sync.WaitGroup
	sent    atomic.Int64

	mu       sync.Mutex
	failures []string
}

func startLoad(p *project, tokens ...string) *load {
	l := &load{stopped: make(chan struct{})}
	began := time.Now()
	for n := range workers {
		l.done.Go(func() {
			for {
				select {
				case <-l.stopped:
					return
				case <-time.After(pause):
				}
				got, err := p.get("/orders/1", tokens[n%len(tokens)])
				l.sent.Add(1)
				if err != nil || got.status != http.StatusOK {
					l.fail(fmt.Sprintf("after %.2f s: status %d, %v, %s", time.Since(began).Seconds(), got.status, err, got.body))
				}
			}
		})
	}
	return l
}

func (l *load) fail(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, text)
}

func (l *load) stop() (sent int64, failures []string) {
	close(l.stopped)
	l.done.Wait()
	return l.sent.Load(), l.failures
}
