package guard

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const timeout = 2 * time.Second

// server answers after a while, or not at all.
type server struct {
	*Guard

	calls  atomic.Int64
	probes atomic.Int64
	most   atomic.Int64 // calls at a time
	now    atomic.Int64
	outage atomic.Bool // it fails whatever it is asked
	silent atomic.Bool // and says nothing at all
	downs  []bool
}

func newServer(t *testing.T) *server {
	s := &server{}
	s.Guard = New(Options{
		Slots: 64, Waiting: 1024, Timeout: timeout,
		Probe:   func(ctx context.Context) Verdict { s.probes.Add(1); return s.answer(ctx, good) },
		Changed: func(down bool) { s.downs = append(s.downs, down) },
	})
	t.Cleanup(s.Close)
	return s
}

// request is what one client asks.
type request int

const (
	good request = iota
	broken
	sluggish
	limited
)

func (s *server) answer(ctx context.Context, r request) Verdict {
	s.most.Store(max(s.most.Load(), s.now.Add(1)))
	defer s.now.Add(-1)
	switch {
	case s.silent.Load(), r == sluggish:
		<-ctx.Done()
		return Verdict{}
	}
	time.Sleep(4*time.Millisecond + rand.N(2*time.Millisecond))
	switch {
	case s.outage.Load(), r == broken:
		return Verdict{}
	case r == limited:
		return Verdict{RetryAfter: 15 * time.Second}
	}
	return Verdict{Answered: true}
}

// ask makes a call and says whether it was answered.
func (s *server) ask(r request) (bool, error) {
	answered := false
	err := s.Do(context.Background(), false, func(ctx context.Context) Verdict {
		s.calls.Add(1)
		v := s.answer(ctx, r)
		answered = v.Answered
		return v
	})
	return answered, err
}

// refused makes n calls at once and counts those that are refused because the
// server is down.
func (s *server) refused(n int) int64 {
	var refused atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if _, err := s.ask(good); errors.Is(err, ErrDown) {
				refused.Add(1)
			}
		})
	}
	all.Wait()
	return refused.Load()
}

// attack sends bad requests from so many workers, each as fast as it is
// answered, and returns the share of good ones, 20 a second, that are answered.
func (s *server) attack(bad request, workers int) float64 {
	const rate, seconds = 20, 5
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				_, _ = s.ask(bad)
				time.Sleep(20 * time.Millisecond) // of the way there
			}
		})
	}
	time.Sleep(3 * time.Second) // the attack comes first
	var answered atomic.Int64
	var clients sync.WaitGroup
	for range rate * seconds {
		clients.Go(func() {
			if ok, _ := s.ask(good); ok {
				answered.Add(1)
			}
		})
		time.Sleep(time.Second / rate)
	}
	clients.Wait()
	stop()
	all.Wait()
	return float64(answered.Load()) / (rate * seconds)
}

func TestOneClientClosesNothing(t *testing.T) {
	for name, bad := range map[string]request{"broken": broken, "sluggish": sluggish, "limited": limited} {
		for _, workers := range []int{1, 64, 256} {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				share := s.attack(bad, workers)
				t.Logf("%s, %d workers: %.1f %% answered, %d calls at a time, %d probes", name, workers, 100*share,
					s.most.Load(), s.probes.Load())
				if share < 0.95 {
					t.Errorf("%s, %d workers: %.1f %% of the good requests were answered, want 95 %%", name, workers, 100*share)
				}
				if s.most.Load() > 64+8 { // a call that is given up takes a moment to end
					t.Errorf("%s, %d workers: %d calls at a time, want 64, a probe, and few that are ending", name, workers,
						s.most.Load())
				}
			})
		}
	}
}

func TestServerThatIsDownIsSpared(t *testing.T) {
	for name, set := range map[string]func(*server) *atomic.Bool{
		"failing": func(s *server) *atomic.Bool { return &s.outage },
		"silent":  func(s *server) *atomic.Bool { return &s.silent },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			_, _ = s.ask(good)
			time.Sleep(2 * recent)
			set(s).Store(true)
			var all sync.WaitGroup
			for range 1000 { // 100 a second
				all.Go(func() { _, _ = s.ask(good) })
				time.Sleep(10 * time.Millisecond)
			}
			all.Wait()
			if s.calls.Load() > 300 || s.probes.Load() > 10 {
				t.Errorf("%s: %d calls and %d probes in 10 s, want it spared", name, s.calls.Load(), s.probes.Load())
			}
			refused, wait := s.refused(10), s.RetryAfter()
			if refused < 8 || wait <= 0 {
				t.Errorf("%s: got %d of 10 refused and retry after %s, want all but few and a time", name, refused, wait)
			}
			set(s).Store(false)
			began := time.Now()
			for ok := false; !ok; time.Sleep(10 * time.Millisecond) {
				ok, _ = s.ask(good)
			}
			if took := time.Since(began); took > lastPause+2*timeout {
				t.Errorf("%s: answered again after %s", name, took)
			}
			if len(s.downs) != 2 || !s.downs[0] || s.downs[1] || s.RetryAfter() != 0 {
				t.Errorf("%s: told %v, want down and up", name, s.downs)
			}
		})
	}
}

// TestServerThatCannotAnswerTheProbe: a server may fail for every token that it
// did not issue, that of the probe among them. Then one client that has closed it
// must not keep it closed.
func TestServerThatCannotAnswerTheProbe(t *testing.T) {
	for _, workers := range []int{1, 64} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			s.o.Probe = func(ctx context.Context) Verdict { return s.answer(ctx, broken) }
			share := s.attack(broken, workers)
			if len(s.downs) == 0 {
				t.Error("the attack closed nothing, so that the test shows nothing")
			}
			if share < 0.9 { // few were refused until one got through
				t.Errorf("%d workers: %.1f %% of the good requests were answered, want 90 %%", workers, 100*share)
			}
		})
	}
}

// TestBlindnessEnds: a server that once did not answer a probe while it answered
// others is spared all the same when it is down.
func TestBlindnessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.blind = true
		_, _ = s.ask(good)
		s.outage.Store(true)
		for began := time.Now(); time.Since(began) < 2*longestPause; time.Sleep(10 * time.Millisecond) {
			_, _ = s.ask(good)
		}
		if refused := s.refused(10); refused < 8 {
			t.Errorf("%d of 10 calls were refused, want all but few", refused)
		}
	})
}

func TestFirstCallAfterAnOutageIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.outage.Store(true)
		for range 20 {
			_, _ = s.ask(good)
		}
		s.outage.Store(false)
		time.Sleep(longestPause)
		if ok, err := s.ask(good); !ok {
			t.Errorf("got %v", err)
		}
	})
}

func TestRetryAfterIsHonouredByAServerThatAnswersNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.o.Probe = func(context.Context) Verdict { s.probes.Add(1); return Verdict{RetryAfter: time.Hour} }
		_, _ = s.ask(limited)
		synctest.Wait()
		for range 140 { // 14 s
			if _, err := s.ask(good); !errors.Is(err, ErrDown) {
				t.Fatalf("got %v, want ErrDown", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s.calls.Load() != 1 || s.probes.Load() != 1 {
			t.Errorf("got %d calls and %d probes, want one of each", s.calls.Load(), s.probes.Load())
		}
		time.Sleep(2 * time.Second) // 15 s are the most
		s.o.Probe = func(ctx context.Context) Verdict { return s.answer(ctx, good) }
		if ok, err := s.ask(good); !ok {
			t.Errorf("got %v", err)
		}
	})
}

// TestSlowServerIsNotCutShort: where everybody waits long, nobody is given up.
func TestSlowServerIsNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		for range 100 { // it was quick before
			_, _ = s.ask(good)
		}
		time.Sleep(2 * recent)
		slow := func(ctx context.Context) Verdict {
			select {
			case <-ctx.Done():
				return Verdict{}
			case <-time.After(1500 * time.Millisecond):
				return Verdict{Answered: true}
			}
		}
		s.o.Probe = slow
		var answered atomic.Int64
		var all sync.WaitGroup
		const calls = 500
		for range calls { // 50 a second need 75 slots
			all.Go(func() {
				ok := false
				_ = s.Do(context.Background(), false, func(ctx context.Context) Verdict { v := slow(ctx); ok = v.Answered; return v })
				if ok {
					answered.Add(1)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
		all.Wait()
		if share := float64(answered.Load()) / calls; share < 0.8 {
			t.Errorf("%.0f %% answered, want what 64 slots can do", 100*share)
		}
	})
}

func TestUrgentCallsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 1, Waiting: 10, Timeout: timeout})
		t.Cleanup(g.Close)
		var order []string
		var all sync.WaitGroup
		for _, name := range []string{"first", "second", "third", "urgent"} {
			all.Go(func() {
				_ = g.Do(context.Background(), name == "urgent", func(context.Context) Verdict {
					order = append(order, name)
					time.Sleep(10 * time.Millisecond)
					return Verdict{Answered: true}
				})
			})
			synctest.Wait()
		}
		all.Wait()
		if len(order) != 4 || order[1] != "urgent" || order[2] != "second" {
			t.Errorf("got %v", order)
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		s.silent.Store(true)
		var busy, cancelled atomic.Int64
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		for range 64 + 1024 + 10 {
			all.Go(func() {
				err := s.Do(ctx, false, func(ctx context.Context) Verdict { return s.answer(ctx, sluggish) })
				switch {
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				case errors.Is(err, context.Canceled):
					cancelled.Add(1)
				}
			})
		}
		synctest.Wait()
		if busy.Load() != 10 || s.most.Load() != 64 {
			t.Errorf("got %d refused and %d at a time, want 10 and 64", busy.Load(), s.most.Load())
		}
		cancel()
		all.Wait()
		if cancelled.Load() == 0 || len(s.queue) > 0 || len(s.running) > 0 {
			t.Errorf("%d of the waiting left, %d wait, %d run", cancelled.Load(), len(s.queue), len(s.running))
		}
	})
}
