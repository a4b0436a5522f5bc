package shared_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/shared"
)

func TestOneMakesTheValueForTheFleet(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	stores := []*shared.Store{f.up(), f.up(), f.up()}
	var made, own atomic.Int64
	var all sync.WaitGroup
	for i := range 1500 {
		all.Go(func() {
			value, mine, err := stores[i%3].Once(t.Context(), "introspection", keyOf(1), []byte("issuer"),
				func(context.Context) ([]byte, time.Duration, error) {
					made.Add(1)
					time.Sleep(100 * time.Millisecond)
					return []byte("facts"), time.Minute, nil
				})
			if err != nil || string(value) != "facts" {
				t.Errorf("got %q, %v", value, err)
			}
			if mine {
				own.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times, want 1\n%s", made.Load(), f.log)
	}
	if own.Load() < 1 || own.Load() > 500 {
		t.Errorf("%d were told that it was made here, want those of one replica", own.Load())
	}
}

func TestValueIsReadByOthers(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	var told events
	a, b := f.up(), f.up(watched(&told))
	never := func(context.Context) ([]byte, time.Duration, error) {
		t.Error("made again")
		return nil, 0, errors.New("made again")
	}
	var count int64
	var mu sync.Mutex
	if _, own, err := a.Once(t.Context(), "s", keyOf(1), nil, making(&count, &mu, "one")); err != nil || !own {
		t.Fatalf("got own %t, %v", own, err)
	}
	value, own, err := b.Once(t.Context(), "s", keyOf(1), nil, never)
	if string(value) != "one" || own || err != nil {
		t.Errorf("got %q, %t, %v", value, own, err)
	}
	for name, other := range map[string]func() ([]byte, bool, error){
		"space": func() ([]byte, bool, error) {
			return b.Once(t.Context(), "t", keyOf(1), nil, making(&count, &mu, "two"))
		},
		"key": func() ([]byte, bool, error) {
			return b.Once(t.Context(), "s", keyOf(2), nil, making(&count, &mu, "two"))
		},
		"bound": func() ([]byte, bool, error) {
			return b.Once(t.Context(), "s", keyOf(1), []byte("x"), making(&count, &mu, "two"))
		},
	} {
		if value, own, err := other(); string(value) != "two" || !own || err != nil {
			t.Errorf("another %s: got %q, %t, %v", name, value, own, err)
		}
	}
	if told.of(shared.Get, shared.Hit) != 1 || told.of(shared.Get, shared.Unreadable) != 1 ||
		told.of(shared.Get, shared.Miss) != 2 || told.of(shared.Set, shared.Success) != 3 {
		t.Errorf("told %v", told.count)
	}
}

func TestDrop(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	a, b := f.up(), f.up()
	var count int64
	var mu sync.Mutex
	for range 2 {
		if _, _, err := a.Once(t.Context(), "s", keyOf(1), nil, making(&count, &mu, "v")); err != nil {
			t.Fatal(err)
		}
		if err := b.Drop(t.Context(), "s", keyOf(1)); err != nil {
			t.Fatal(err)
		}
	}
	if count != 2 {
		t.Errorf("made %d times, want 2", count)
	}
}

func TestWhatIsNotToBeStored(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	s := f.up()
	failure := errors.New("the server is down")
	for _, tc := range []struct {
		ttl time.Duration
		err error
	}{{0, nil}, {-1, nil}, {time.Minute, failure}} {
		_, own, err := s.Once(t.Context(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
			return []byte("v"), tc.ttl, tc.err
		})
		if !own || !errors.Is(err, tc.err) {
			t.Errorf("got own %t, %v", own, err)
		}
		if names := redis.cli("keys", "*{*}"); names != "bearergate:probe:{0}" {
			t.Errorf("got keys %q, want none, nor a lock", names)
		}
	}
}

func TestValueEnds(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	s := f.up()
	var made int
	for range 2 {
		_, _, err := s.Once(t.Context(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
			made++
			return []byte("v"), 50 * time.Millisecond, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(80 * time.Millisecond)
	}
	if made != 2 {
		t.Errorf("made %d times, want 2", made)
	}
}

// Each replica asks once, one after another, and nobody waits for ever.
func TestErrorsPassFromReplicaToReplica(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	stores := []*shared.Store{f.up(), f.up(), f.up()}
	failure := errors.New("the server is down")
	var made, at atomic.Int64
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			_, _, err := stores[i%3].Once(t.Context(), "s", keyOf(1), nil,
				func(context.Context) ([]byte, time.Duration, error) {
					made.Add(1)
					if at.Add(1) > 1 {
						t.Error("two replicas asked at a time")
					}
					time.Sleep(150 * time.Millisecond)
					at.Add(-1)
					return nil, time.Minute, failure
				})
			if !errors.Is(err, failure) {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if made.Load() != 3 {
		t.Errorf("made %d times, want once on each replica\n%s", made.Load(), f.log)
	}
}

// The holder of the lock is gone without a word, as after kill -9: its connection
// to the store is cut, which is all that anybody can see of it.
func TestDeadHolderIsReplaced(t *testing.T) {
	redis := startRedis(t)
	way := startProxy(t, redis.address)
	f := newFleet(t, redis.address)
	dying := newFleet(t, way.address)
	dying.cfg.KeyFile = f.cfg.KeyFile
	a, b := dying.up(), f.up()
	began := make(chan struct{})
	end := make(chan struct{})
	defer close(end)
	go func() {
		_, _, _ = a.Once(context.Background(), "s", keyOf(1), nil,
			func(context.Context) ([]byte, time.Duration, error) {
				close(began)
				<-end
				return nil, 0, errors.New("dead")
			})
	}()
	<-began
	waited := make(chan time.Duration)
	go func() {
		start := time.Now()
		_, own, err := b.Once(t.Context(), "s", keyOf(1), nil,
			func(context.Context) ([]byte, time.Duration, error) { return []byte("v"), time.Minute, nil })
		if !own || err != nil {
			t.Errorf("got own %t, %v", own, err)
		}
		waited <- time.Since(start)
	}()
	select {
	case took := <-waited:
		t.Fatalf("did not wait for a holder that lives: %s", took)
	case <-time.After(700 * time.Millisecond):
	}
	way.set(dead)
	cut := time.Now()
	<-waited
	if took := time.Since(cut); took > time.Second {
		t.Errorf("replaced after %s, want about 300 ms", took)
	}
}

// As above, with a process and kill -9.
func TestKilledHolderIsReplaced(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "SHARED_TEST_HOLDER="+redis.address, "SHARED_TEST_KEY="+f.cfg.KeyFile)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	stores := []*shared.Store{f.up(), f.up()}
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			value, _, err := stores[i%2].Once(t.Context(), "s", keyOf(1), nil,
				func(context.Context) ([]byte, time.Duration, error) {
					made.Add(1)
					return []byte("v"), time.Minute, nil
				})
			if string(value) != "v" || err != nil {
				t.Errorf("got %q, %v", value, err)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	if made.Load() != 0 {
		t.Error("did not wait for a holder that lives")
	}
	_ = holder.Process.Kill()
	killed := time.Now()
	all.Wait()
	if took := time.Since(killed); made.Load() != 1 || took > time.Second {
		t.Errorf("made %d times, %s after the holder was killed; want once, after about 300 ms", made.Load(), took)
	}
}

func TestDeadlineOfTheCaller(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	a, b := f.up(), f.up()
	began, end := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, _, _ = a.Once(t.Context(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
			close(began)
			<-end
			return []byte("v"), time.Minute, nil
		})
	})
	<-began
	for name, s := range map[string]*shared.Store{"of the same process": a, "of another": b} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		start := time.Now()
		_, _, err := s.Once(ctx, "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
			t.Error("made by one who should wait")
			return nil, 0, nil
		})
		cancel()
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 300*time.Millisecond {
			t.Errorf("%s: got %v after %s", name, err, took)
		}
	}
	if !b.Up() {
		t.Error("who cannot wait says nothing about the store")
	}
	close(end)
	all.Wait()
}

// Whoever asked first and left takes nobody with it.
func TestCallerThatLeavesIsReplaced(t *testing.T) {
	for name, leave := range map[string]func(context.Context){
		"canceled": func(ctx context.Context) { <-ctx.Done() },
		"panicked": func(ctx context.Context) { <-ctx.Done(); panic("in make") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, startRedis(t).address)
			s := f.up()
			ctx, cancel := context.WithCancel(t.Context())
			began := make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				defer func() { _ = recover() }()
				_, _, err := s.Once(ctx, "s", keyOf(1), nil, func(ctx context.Context) ([]byte, time.Duration, error) {
					close(began)
					leave(ctx)
					return nil, 0, ctx.Err()
				})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
			<-began
			for range 20 {
				all.Go(func() {
					value, _, err := s.Once(t.Context(), "s", keyOf(1), nil,
						func(context.Context) ([]byte, time.Duration, error) { return []byte("v"), time.Minute, nil })
					if string(value) != "v" || err != nil {
						t.Errorf("got %q, %v", value, err)
					}
				})
			}
			time.Sleep(20 * time.Millisecond)
			cancel()
			all.Wait()
		})
	}
}

func TestStoreThatFailsBetween(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	s := f.up()
	value, own, err := s.Once(t.Context(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
		redis.stop()
		return []byte("v"), time.Minute, nil
	})
	if string(value) != "v" || !own || err != nil {
		t.Errorf("got %q, %t, %v", value, own, err)
	}
}

func TestClaim(t *testing.T) {
	f := newFleet(t, startRedis(t).address)
	stores := []*shared.Store{f.up(), f.up(), f.up()}
	until := time.Now().Add(time.Minute)
	for round := range 20 {
		var first atomic.Int64
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				ok, err := stores[i%3].Claim(t.Context(), keyOf(round), until)
				if err != nil {
					t.Error(err)
				}
				if ok {
					first.Add(1)
				}
			})
		}
		all.Wait()
		if first.Load() != 1 {
			t.Fatalf("%d were the first, want 1", first.Load())
		}
	}
	if ok, err := stores[0].Claim(t.Context(), keyOf(100), time.Now()); ok || err != nil {
		t.Errorf("a time that has come: got %t, %v", ok, err)
	}
}

func TestClaimWhileTheStoreIsAway(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	s := f.up()
	redis.stop()
	for range 3 {
		if first, err := s.Claim(t.Context(), keyOf(1), time.Now().Add(time.Minute)); first || !errors.Is(err, shared.ErrAway) {
			t.Errorf("got %t, %v, want ErrAway", first, err)
		}
	}
}
