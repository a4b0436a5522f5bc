package shared_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/shared"
)

// A store that is sick costs at most the timeout once, then nothing, and nobody gets
// a wrong answer; when it is well, it is used again within seconds.
func TestSickStore(t *testing.T) {
	const timeout = 50 * time.Millisecond
	type world struct {
		*testing.T
		redis *server
		way   *proxy
	}
	for name, tc := range map[string]struct {
		hurt, heal func(world)
	}{
		"gone":      {func(w world) { w.redis.stop() }, func(w world) { w.redis.start() }},
		"100 ms":    {func(w world) { w.way.set(manner{delay: 100 * time.Millisecond}) }, func(w world) { w.way.set(well) }},
		"5 s":       {func(w world) { w.way.set(manner{delay: 5 * time.Second}) }, func(w world) { w.way.set(well) }},
		"resetting": {func(w world) { w.way.set(manner{reset: true}) }, func(w world) { w.way.set(well) }},
		"half-open": {func(w world) { w.way.set(dead) }, func(w world) { w.way.set(well) }},
		"cut once":  {func(w world) { w.way.cut() }, func(world) {}},
		"paused":    {func(w world) { w.redis.cli("client", "pause", "3000", "all") }, func(world) {}},
		"read-only": {func(w world) { w.redis.cli("replicaof", "127.0.0.1", "1") }, func(w world) { w.redis.cli("replicaof", "no", "one") }},
		"no memory": {func(w world) { w.redis.cli("config", "set", "maxmemory", "1") }, func(w world) { w.redis.cli("config", "set", "maxmemory", "0") }},
		"no rights": {func(w world) { w.redis.cli("acl", "setuser", "default", "-set", "-get", "-xadd") }, func(w world) { w.redis.cli("acl", "setuser", "default", "+@all") }},
		"few replicas": { // NOREPLICAS
			func(w world) { w.redis.cli("config", "set", "min-replicas-to-write", "1") },
			func(w world) { w.redis.cli("config", "set", "min-replicas-to-write", "0") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			redis := startRedis(t)
			w := world{t, redis, startProxy(t, redis.address)}
			f := newFleet(t, w.way.address)
			f.cfg.Timeout = timeout
			var changes atomic.Int64
			s := f.up(func(_ *shared.Config, o *shared.Options) { o.Changed = func(bool) { changes.Add(1) } })
			one := func(n int) time.Duration {
				began := time.Now()
				value, _, err := s.Once(t.Context(), "s", keyOf(n), nil,
					func(context.Context) ([]byte, time.Duration, error) { return fmt.Append(nil, n), time.Minute, nil })
				if err != nil || string(value) != fmt.Sprint(n) {
					t.Errorf("got %q, %v", value, err)
				}
				return time.Since(began)
			}
			one(0)
			tc.hurt(w)
			var took []time.Duration
			for n := range 20 {
				took = append(took, one(n))
			}
			var claims []time.Duration
			for n := range 20 {
				began := time.Now()
				if _, err := s.Claim(t.Context(), keyOf(n), time.Now().Add(time.Minute)); err != nil && !errors.Is(err, shared.ErrAway) {
					t.Errorf("got %v", err)
				}
				claims = append(claims, time.Since(began))
			}
			sum := time.Duration(0)
			for _, d := range slices.Concat(took, claims) {
				sum += d
			}
			if most := slices.Max(took); most > timeout+150*time.Millisecond || sum > 4*timeout+300*time.Millisecond {
				t.Errorf("one took %s, all took %s, want at most the timeout once", most, sum)
			}
			tc.heal(w)
			began := time.Now()
			within(t, 10*time.Second, "up again", s.Up)
			t.Logf("slowest %s, all %s, up again after %s", slices.Max(took), sum, time.Since(began))
			within(t, 10*time.Second, "claims again", func() bool {
				_, err := s.Claim(t.Context(), keyOf(1000), time.Now().Add(time.Minute))
				return err == nil
			})
			if changes.Load() < 1 {
				t.Error("nobody was told")
			}
		})
	}
}

func TestStoreThatNobodyAsksIsMissed(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	s := f.up()
	redis.stop()
	within(t, 3*time.Second, "away", func() bool { return !s.Up() })
}

func TestOpenWithoutAStore(t *testing.T) {
	redis := startRedis(t)
	redis.stop()
	f := newFleet(t, redis.address)
	s := f.open()
	value, own, err := s.Once(t.Context(), "s", keyOf(1), nil,
		func(context.Context) ([]byte, time.Duration, error) { return []byte("v"), time.Minute, nil })
	if string(value) != "v" || !own || err != nil || s.Up() {
		t.Errorf("got %q, %t, %v, up %t", value, own, err, s.Up())
	}
	redis.start()
	within(t, 5*time.Second, "up", s.Up)
}

// A connection that died in silence is given up after two commands that were not
// answered, not when the system finds out.
func TestFrozenConnection(t *testing.T) {
	redis := startRedis(t)
	way := startProxy(t, redis.address)
	f := newFleet(t, way.address)
	f.cfg.Timeout = 50 * time.Millisecond
	s := f.up()
	way.freeze()
	_, _ = s.Claim(t.Context(), keyOf(1), time.Now().Add(time.Minute))
	began := time.Now()
	within(t, 5*time.Second, "up", s.Up)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("up again after %s, want about twice the timeout", took)
	}
}

// Each caller that comes in while nobody knows yet that the store is slow may pay for
// itself, and no more than the timeout.
func TestManyAtATimeOnASilentStore(t *testing.T) {
	redis := startRedis(t)
	way := startProxy(t, redis.address)
	f := newFleet(t, way.address)
	f.cfg.Timeout = 100 * time.Millisecond
	s := f.up()
	way.set(dead)
	var all sync.WaitGroup
	var longest atomic.Int64
	for n := range 3000 {
		all.Go(func() {
			began := time.Now()
			_, _, err := s.Once(t.Context(), "s", keyOf(n), nil,
				func(context.Context) ([]byte, time.Duration, error) { return nil, time.Minute, nil })
			if err != nil {
				t.Error(err)
			}
			for took := int64(time.Since(began)); took > longest.Load(); {
				longest.Store(took)
			}
		})
	}
	all.Wait()
	if d := time.Duration(longest.Load()); d > time.Second {
		t.Errorf("one waited %s", d)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	redis := startRedis(t)
	way := startProxy(t, redis.address)
	for name, m := range map[string]manner{"well": well, "silent": dead, "slow": {delay: time.Second}} {
		way.set(well)
		before := runtime.NumGoroutine()
		f := newFleet(t, way.address)
		s := f.up()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		caught := make(chan struct{}, 2)
		go func() {
			defer close(ended)
			s.Follow(ctx, shared.Follower{Took: func([]byte, time.Time) {}, CaughtUp: func(bool) { caught <- struct{}{} }})
		}()
		<-caught
		way.set(m)
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		s.Close()
		<-ended
		cancel()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: closed after %s", name, took)
		}
		way.set(well)
		way.cut()
		within(t, 8*time.Second, name+": no goroutine is left\n"+stacks(), func() bool { return runtime.NumGoroutine() <= before })
	}
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

func TestPasswordRotation(t *testing.T) {
	redis := startRedis(t)
	redis.cli("acl", "setuser", "gate", "on", ">one", "~bearergate:*", "+@all")
	f := newFleet(t, redis.address)
	f.cfg.Username, f.cfg.PasswordFile = "gate", filepath.Join(t.TempDir(), "password")
	write(t, f.cfg.PasswordFile, "one\n")
	r := f.following()
	redis.cli("acl", "setuser", "gate", ">two", "<one")
	if !r.revoke("on the connection that stands") {
		t.Error("not shared: " + f.log.String())
	}
	time.Sleep(1100 * time.Millisecond)
	write(t, f.cfg.PasswordFile, "two\n")
	time.Sleep(1100 * time.Millisecond)
	redis.cli("client", "kill", "user", "gate")
	within(t, 6*time.Second, "up with the new password", func() bool { return r.revoke("new") })

	f.cfg.PasswordFile = filepath.Join(t.TempDir(), "wrong")
	write(t, f.cfg.PasswordFile, "one")
	s := f.open()
	time.Sleep(300 * time.Millisecond)
	if s.Up() || !strings.Contains(f.log.String(), "WRONGPASS") {
		t.Errorf("up %t with the wrong password\n%s", s.Up(), f.log)
	}
	write(t, f.cfg.PasswordFile, "two")
	within(t, 8*time.Second, "up", s.Up)
	if text := f.log.String(); strings.Contains(text, "two") || strings.Contains(text, "one ") {
		t.Error("a password in the log: " + text)
	}
}

// The rights that the package comment names are enough.
func TestRights(t *testing.T) {
	redis := startRedis(t)
	args := append([]string{"acl", "setuser", "gate", "on", ">secret", "resetchannels", "~bearergate:*"}, rights(t)...)
	redis.cli(args...)
	f := newFleet(t, redis.address)
	f.cfg.Username, f.cfg.PasswordFile = "gate", filepath.Join(t.TempDir(), "password")
	write(t, f.cfg.PasswordFile, "secret")
	a := f.following()
	var count int64
	var mu sync.Mutex
	if _, _, err := a.Once(t.Context(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
		time.Sleep(200 * time.Millisecond) // the lock is renewed
		return []byte("v"), time.Minute, nil
	}); err != nil {
		t.Error(err)
	}
	if _, own, _ := f.up().Once(t.Context(), "s", keyOf(1), nil, making(&count, &mu, "w")); own {
		t.Error("not shared")
	}
	if _, err := a.Claim(t.Context(), keyOf(1), time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if err := a.Drop(t.Context(), "s", keyOf(1)); err != nil {
		t.Error(err)
	}
	if !a.revoke("x") {
		t.Error("not shared")
	}
	f.rotate(t)
	within(t, 8*time.Second, "written again", func() bool { a.Append(t.Context(), []byte("y")); return f.following().has("x") })
	time.Sleep(1500 * time.Millisecond)
	if log := redis.cli("acl", "log"); log != "" {
		t.Errorf("refused: %s\n%s", log, f.log)
	}
}

// rotate gives all replicas another key.
func (f *fleet) rotate(t *testing.T) {
	t.Helper()
	write(t, f.cfg.KeyFile, strings.Repeat("another key ", 5)+fmt.Sprint(time.Now()))
}

func rights(t *testing.T) (all []string) {
	source := read(t, "shared.go")
	for line := range strings.Lines(source) {
		if words, ok := strings.CutPrefix(line, "//\t+"); ok {
			all = append(all, strings.Fields("+"+words)...)
		}
	}
	if len(all) < 10 {
		t.Fatalf("got %v in the package comment", all)
	}
	return all
}

// Failing over: the master is gone, and its replica takes over behind one name, without
// what it had not been sent.
func TestFailover(t *testing.T) {
	master, replica := startRedis(t), startRedis(t)
	host, port, _ := net.SplitHostPort(master.address)
	replica.cli("replicaof", host, port)
	within(t, 10*time.Second, "replicated", func() bool {
		return strings.Contains(replica.cli("info", "replication"), "master_link_status:up")
	})
	way := startProxy(t, master.address)
	f := newFleet(t, way.address)
	a, b := f.following(), f.following()
	a.revoke("replicated")
	within(t, 2*time.Second, "replicated", func() bool { return replica.cli("xlen", "bearergate:revocations") == "1" })
	replica.cli("replicaof", "127.0.0.1", "1") // the link breaks
	for i := range 20 {
		a.revoke(fmt.Sprint("lost ", i))
	}
	within(t, time.Second, "known", func() bool { return b.has("lost 19") })
	replica.cli("replicaof", "no", "one")
	way.redirect(replica.address)
	c := newFleet(t, replica.address)
	c.cfg.KeyFile = f.cfg.KeyFile
	d := c.following()
	if d.has("lost 0") {
		t.Fatal("nothing was lost")
	}
	within(t, 8*time.Second, "written back", func() bool { return d.has("lost 0", "lost 19", "replicated") })
}
