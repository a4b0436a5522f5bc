package shared_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/shared"
)

// replica is one that follows the log, and keeps what it was told.
type replica struct {
	*shared.Store

	mu    sync.Mutex
	known []string // each once, in order
	set   map[string]bool
	took  int
	told  []bool
	done  chan struct{}
}

func (r *replica) add(entry string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took++
	if !r.set[entry] {
		r.set[entry] = true
		r.known = append(r.known, entry)
	}
}

func (r *replica) has(entries ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		if !r.set[e] {
			return false
		}
	}
	return true
}

func (r *replica) caughtUp() []bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

func (r *replica) snapshot() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		r.mu.Lock()
		known := slices.Clone(r.known)
		r.mu.Unlock()
		for _, e := range known {
			if !yield([]byte(e)) {
				return
			}
		}
	}
}

// revoke is what the set of revocations does: here at once, then for all.
func (r *replica) revoke(entry string) bool {
	r.add(entry)
	return r.Append(context.Background(), []byte(entry))
}

func (f *fleet) follow(s *shared.Store) *replica {
	r := &replica{Store: s, set: make(map[string]bool), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		s.Follow(ctx, shared.Follower{
			Took: func(entry []byte, at time.Time) {
				if since := time.Since(at); since > time.Hour || since < -time.Minute {
					f.t.Errorf("entry of %s", at)
				}
				r.add(string(entry))
			},
			CaughtUp: func(complete bool) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.told = append(r.told, complete)
			},
			Snapshot: r.snapshot(),
			Keep:     time.Hour,
		})
	}()
	f.t.Cleanup(func() { cancel(); <-r.done })
	return r
}

func (f *fleet) following(change ...func(*shared.Config, *shared.Options)) *replica {
	f.t.Helper()
	r := f.follow(f.up(change...))
	within(f.t, 20*time.Second, "caught up", func() bool { return len(r.caughtUp()) > 0 })
	return r
}

func TestLog(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	var told events
	a, b := f.following(), f.following(watched(&told))
	for i := range 100 {
		if !a.revoke(fmt.Sprint("a", i)) || !b.revoke(fmt.Sprint("b", i)) {
			t.Fatal("not shared")
		}
	}
	within(t, time.Second, "known by each", func() bool { return a.has("b99", "a99") && b.has("a99", "b99") })
	told.mu.Lock()
	if len(told.lags) != 100 || slices.Max(told.lags) > time.Second {
		t.Errorf("got %d lags up to %v, want those of the other replica's entries", len(told.lags), told.lags)
	}
	told.mu.Unlock()
	c := f.following() // later
	if !slices.Equal(c.caughtUp(), []bool{true}) || !c.has("a0", "b0", "a99", "b99") {
		t.Errorf("got %v and %d entries", c.caughtUp(), len(c.known))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	order := slices.DeleteFunc(slices.Clone(c.known), func(e string) bool { return e[0] != 'a' })
	for i, e := range order {
		if e != fmt.Sprint("a", i) {
			t.Fatalf("got %v, want them in order", order)
		}
	}
}

func TestManyPages(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	a := f.following()
	var all sync.WaitGroup
	for w := range 25 {
		all.Go(func() {
			for i := range 100 {
				if !a.Append(t.Context(), fmt.Append(nil, w, " ", i)) {
					t.Error("not shared")
				}
			}
		})
	}
	all.Wait()
	b := f.following()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) != 2500 || b.took != 2500 {
		t.Errorf("got %d entries in %d, want 2500", len(b.known), b.took)
	}
}

func TestStartWithoutAStore(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	f.following().revoke("before")
	redis.stop()
	began := time.Now()
	r := f.follow(f.open())
	within(t, 7*time.Second, "told", func() bool { return len(r.caughtUp()) == 1 })
	if took := time.Since(began); r.caughtUp()[0] || took < 4500*time.Millisecond || took > 6*time.Second {
		t.Errorf("got %v after %s, want false after 5 s", r.caughtUp(), took)
	}
	if r.revoke("while it was away") {
		t.Error("shared without a store")
	}
	redis.start()
	within(t, 5*time.Second, "told again", func() bool { return slices.Equal(r.caughtUp(), []bool{false, true}) })
	within(t, 5*time.Second, "written", func() bool { return f.following().has("while it was away") })
	// What the replica before it knew was lost with it only if it, too, is gone.
	within(t, 5*time.Second, "written back", func() bool { return r.has("before") })
}

// TestOldEntriesHaveNoLag: what was written before a replica began was not under way to
// it, however late it is read.
func TestOldEntriesHaveNoLag(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	f.following().revoke("old")
	_ = redis.command.Process.Signal(syscall.SIGSTOP)
	time.Sleep(time.Second)
	var told events
	r := f.follow(f.open(watched(&told)))
	within(t, 7*time.Second, "told", func() bool { return len(r.caughtUp()) == 1 })
	_ = redis.command.Process.Signal(syscall.SIGCONT)
	within(t, 10*time.Second, "told again", func() bool { return slices.Equal(r.caughtUp(), []bool{false, true}) && r.has("old") })
	told.mu.Lock()
	defer told.mu.Unlock()
	if len(told.lags) > 0 {
		t.Errorf("got lags %v of an entry from before", told.lags)
	}
}

func TestRestartAndFlush(t *testing.T) {
	for name, lose := range map[string]func(*server){
		"restart":  func(s *server) { s.stop(); s.start() },
		"flush":    func(s *server) { s.cli("flushall") },
		"deletion": func(s *server) { s.cli("del", "bearergate:revocations") },
		"trimmed":  func(s *server) { s.cli("xtrim", "bearergate:revocations", "maxlen", "0") },
		"the last ones gone": func(s *server) { // as after a failover
			last := s.cli("xrevrange", "bearergate:revocations", "+", "-", "count", "1")
			s.cli("xdel", "bearergate:revocations", firstLine(last))
		},
		"emptied, then another's": func(s *server) {
			s.cli("eval", `redis.call('flushall'); redis.call('xadd', 'bearergate:revocations', '*', 'e', 'x')`, "0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t)
			f := newFleet(t, redis.address)
			a, b := f.following(), f.following()
			var entries []string
			for i := range 50 {
				entries = append(entries, fmt.Sprint(i))
				a.revoke(entries[i])
			}
			within(t, time.Second, "known", func() bool { return b.has(entries...) })
			lose(redis)
			within(t, 20*time.Second, "there for one who comes later", func() bool {
				c := f.follow(f.up())
				within(t, 20*time.Second, "caught up", func() bool { return len(c.caughtUp()) > 0 })
				return c.has(entries...)
			})
			time.Sleep(1200 * time.Millisecond)
			if n := redis.cli("xlen", "bearergate:revocations"); len(n) > 2 {
				t.Errorf("got %s entries, want about 50: it is written back once", n)
			}
		})
	}
}

// What is revoked while the store is away, on either side, is known by all when it is
// back, in a second or two.
func TestPartition(t *testing.T) {
	redis := startRedis(t)
	way := startProxy(t, redis.address)
	f := newFleet(t, redis.address)
	apart := newFleet(t, way.address)
	apart.cfg.KeyFile = f.cfg.KeyFile
	apart.log = f.log
	var told events
	a, b := f.following(), apart.following(watched(&told))
	for name, m := range map[string]manner{"silent": dead, "reset": {reset: true}} {
		way.set(m)
		if !a.revoke("here "+name) || b.revoke("there "+name) {
			t.Errorf("%s: shared by the wrong one", name)
		}
		time.Sleep(2 * time.Second)
		if a.has("there "+name) || b.has("here "+name) {
			t.Fatalf("%s: no partition", name)
		}
		way.set(well)
		began := time.Now()
		within(t, 6*time.Second, name+" known by both", func() bool {
			return a.has("there "+name) && b.has("here "+name)
		})
		t.Logf("%s: caught up after %s", name, time.Since(began))
	}
	told.mu.Lock()
	defer told.mu.Unlock()
	if longest := slices.Max(told.lags); longest < 2*time.Second {
		t.Errorf("got a lag of %s, want the partition in it", longest)
	}
}

// A master that fails may have taken an entry that its successor never heard of, before
// anybody has read it.
func TestEntryThatNobodyRead(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	a := f.following()
	a.revoke("read")
	within(t, time.Second, "read back", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.took == 2 // told here, and read
	})
	redis.cli("acl", "setuser", "default", "-xread")
	within(t, 5*time.Second, "not following", func() bool { return strings.Contains(f.log.String(), "cannot follow") })
	if !a.revoke("lost") {
		t.Error("not shared")
	}
	redis.cli("xdel", "bearergate:revocations", firstLine(redis.cli("xrevrange", "bearergate:revocations", "+", "-", "count", "1")))
	redis.cli("acl", "setuser", "default", "+xread")
	within(t, 6*time.Second, "written again", func() bool { return f.following().has("read", "lost") })
}

func TestMoreThanMayWait(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	a := f.following()
	redis.stop()
	within(t, 5*time.Second, "away", func() bool { a.Append(t.Context(), []byte("x")); return !a.Up() })
	var entries []string
	for i := range 12_000 {
		entries = append(entries, fmt.Sprint(i))
	}
	for _, e := range entries {
		a.revoke(e)
	}
	redis.start()
	within(t, 60*time.Second, "all written", func() bool {
		c := f.follow(f.up())
		within(t, 20*time.Second, "caught up", func() bool { return len(c.caughtUp()) > 0 })
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.known) > 12_000
	})
}

func firstLine(s string) string {
	for i := range s {
		if s[i] == '\n' {
			return s[:i]
		}
	}
	return s
}

// TestClockOfTheStoreAtTheStart: what others have revoked is read whole before a replica
// decides, whatever the clock of the store is.
func TestClockOfTheStoreAtTheStart(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	f.following().revoke("known")
	for range 5 {
		s := f.open(func(_ *shared.Config, o *shared.Options) {
			o.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		})
		knew := make(chan bool, 1)
		var entries []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Follow(ctx, shared.Follower{
				Took:     func(entry []byte, _ time.Time) { entries = append(entries, string(entry)) },
				CaughtUp: func(bool) { knew <- slices.Contains(entries, "known") },
				Keep:     time.Hour,
			})
		}()
		if !<-knew {
			t.Error("caught up without an entry that is to be kept")
		}
		cancel()
		<-done
	}
}
