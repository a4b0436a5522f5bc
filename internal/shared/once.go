package shared

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/valkey-io/valkey-go"
)

const (
	// lease is how long a replica that makes a value keeps others from it without a
	// sign of life, and renewal how often it gives one.
	lease   = 300 * time.Millisecond
	renewal = 80 * time.Millisecond

	// Those that wait look after the first pause, which grows to the last: calls of
	// authorization servers take some milliseconds at least.
	firstLook = 4 * time.Millisecond
	lastLook  = 25 * time.Millisecond
)

// producer is the last argument of [Store.Once].
type producer = func(ctx context.Context) (value []byte, ttl time.Duration, err error)

// flights are the values that this process waits for, each once.
type flights struct {
	mu  sync.Mutex
	all map[string]*flight
}

// flight is one value that is waited for. What follows done is written before it is
// closed.
type flight struct {
	done chan struct{}

	value     []byte
	own       bool
	err       error
	abandoned bool // its caller left, or panicked: this says nothing to the others
}

// Once returns the value that the fleet knows under space and key, or has it produced
// by one replica only, which stores it for ttl; unless that is more than zero it is
// returned, and not stored. own says that it was produced here and not read.
//
// bound is what the value must have been produced for, besides space and key, such as
// the configuration of the issuer. A value that was produced for something else, or
// that anybody else has written, is not there. The value is shared by all who wait:
// nobody may change it.
//
// While the store is away produce is called here, once at a time for all who ask in
// this process. An error of it is returned to all who wait in this process, and not
// stored: another replica that waits calls its own then, each once. A replica that dies
// meanwhile is replaced by another within about 300 ms. produce gets the ctx of its
// caller; others who wait in this process outlive it, and the next of them goes on.
func (s *Store) Once(ctx context.Context, space string, key [32]byte, bound []byte,
	produce func(ctx context.Context) (value []byte, ttl time.Duration, err error),
) (value []byte, own bool, err error) {
	what := id{kindValue, space, key}
	waiting := string(what.associated(bound))
	for {
		f, first := s.flights.join(waiting)
		if first {
			return s.fly(ctx, f, waiting, what, bound, produce)
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-f.done:
		}
		if !f.abandoned {
			return f.value, f.own, f.err
		}
	}
}

func (f *flights) join(waiting string) (joined *flight, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if joined, ok := f.all[waiting]; ok {
		return joined, false
	}
	if f.all == nil {
		f.all = make(map[string]*flight)
	}
	joined = &flight{done: make(chan struct{}), abandoned: true}
	f.all[waiting] = joined
	return joined, true
}

func (f *flights) land(waiting string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.all[waiting].done)
	delete(f.all, waiting)
}

// fly gets the value for all who joined the flight, also if produce panics.
func (s *Store) fly(ctx context.Context, f *flight, waiting string, what id, bound []byte, produce producer,
) ([]byte, bool, error) {
	defer s.flights.land(waiting)
	f.value, f.own, f.err = s.once(ctx, what, bound, produce)
	f.abandoned = f.err != nil && ctx.Err() != nil
	return f.value, f.own, f.err
}

// once reads the value, or makes it, or waits for whoever does.
func (s *Store) once(ctx context.Context, what id, bound []byte, produce producer) ([]byte, bool, error) {
	ring := s.keys.Value()
	value, found, err := s.read(ctx, ring, what, bound)
	for look := firstLook; err == nil && !found; look = min(look*3/2, lastLook) {
		var locked bool
		if value, found, locked, err = s.lock(ctx, ring, what, bound); locked && !found {
			return s.produceLocked(ctx, ring.current, what, bound, produce)
		}
		if err == nil && !found {
			err = sleep(ctx, look/2+rand.N(look)) //nolint:gosec // it only spreads the looks
		}
	}
	switch {
	case err == nil:
		return value, false, nil
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	}
	value, _, err = produce(ctx)
	return value, true, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read looks the value up.
func (s *Store) read(ctx context.Context, ring *keyRing, what id, bound []byte) (value []byte, found bool, err error) {
	_, err = s.ask(ctx, Get, func(b valkey.Builder) []valkey.Completed {
		return s.gets(b, ring, what)
	}, func(results []valkey.ValkeyResult) (result string) {
		value, result = s.opened(ring, what, bound, results)
		found = result == Hit
		return result
	})
	return value, found, err
}

// gets asks for the value by the names that it has under every key.
func (s *Store) gets(b valkey.Builder, ring *keyRing, what id) (all []valkey.Completed) {
	for _, k := range ring.all() {
		all = append(all, b.Get().Key(k.name(s.cfg.Prefix, what)).Build())
	}
	return all
}

// opened returns the value in what gets brought.
func (s *Store) opened(ring *keyRing, what id, bound []byte, results []valkey.ValkeyResult) ([]byte, string) {
	result := Miss
	for i, k := range ring.all() {
		entry, err := results[i].AsBytes()
		if valkey.IsValkeyNil(err) {
			continue
		}
		if err == nil {
			var value []byte
			if value, err = k.openValue(what, bound, entry, s.o.Now()); err == nil {
				return value, Hit
			}
		}
		result = Unreadable
	}
	return nil, result
}

// lock tries to be the one who makes the value, and looks whether somebody has made
// it since: whoever did stored it before the lock went.
func (s *Store) lock(ctx context.Context, ring *keyRing, what id, bound []byte,
) (value []byte, found, locked bool, err error) {
	name := lockName(ring.current.name(s.cfg.Prefix, what))
	_, err = s.ask(ctx, Lock, func(b valkey.Builder) []valkey.Completed {
		lock := b.Set().Key(name).Value("1").Nx().PxMilliseconds(lease.Milliseconds()).Build()
		return append([]valkey.Completed{lock}, s.gets(b, ring, what)...)
	}, func(results []valkey.ValkeyResult) (result string) {
		locked = results[0].Error() == nil
		value, result = s.opened(ring, what, bound, results[1:])
		found = result == Hit
		return lockResult(locked)
	})
	if found && locked {
		s.unlock(ctx, name)
	}
	return value, found, locked, err
}

func lockName(name string) string { return name + ":lock" }

// produceLocked makes the value under the lock, stores it, and lets the lock go.
func (s *Store) produceLocked(ctx context.Context, k *key, what id, bound []byte, produce producer,
) ([]byte, bool, error) {
	name := k.name(s.cfg.Prefix, what)
	renewed := s.hold(ctx, lockName(name))
	var value []byte
	var ttl time.Duration
	stored := false
	// What was made is worth storing when its caller cannot wait any longer, too.
	lasting := context.WithoutCancel(ctx)
	defer func() {
		// A lock that may be another's by now ends by itself.
		if held := renewed(); !stored && held {
			s.unlock(lasting, lockName(name))
		}
	}()
	value, ttl, err := produce(ctx)
	if err == nil && ttl > 0 {
		stored = true
		held := renewed()
		s.store(lasting, k, what, bound, value, ttl, held)
	}
	return value, true, err
}

// store writes the value, and only then ends the wait of others.
func (s *Store) store(ctx context.Context, k *key, what id, bound, value []byte, ttl time.Duration, unlock bool) {
	name := k.name(s.cfg.Prefix, what)
	ttl = max(ttl, time.Millisecond)
	entry := k.sealValue(what, bound, value, s.o.Now().Add(ttl))
	// Where it cannot be stored, nobody but others loses anything.
	_, _ = s.ask(ctx, Set, func(b valkey.Builder) []valkey.Completed {
		set := b.Set().Key(name).Value(valkey.BinaryString(entry)).PxMilliseconds(ttl.Milliseconds()).Build()
		if !unlock {
			return []valkey.Completed{set}
		}
		return []valkey.Completed{set, b.Del().Key(lockName(name)).Build()}
	}, nil)
}

// hold renews the lock until what it returns is called, which says whether the lock
// is certainly still ours; it may be called again.
func (s *Store) hold(ctx context.Context, lock string) (release func() bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	last := time.Now()
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for sleep(ctx, renewal) == nil {
			began := time.Now()
			results, err := s.ask(ctx, Lock, func(b valkey.Builder) []valkey.Completed {
				return []valkey.Completed{b.Pexpire().Key(lock).Milliseconds(lease.Milliseconds()).Build()}
			}, nil)
			if err != nil {
				continue
			}
			if there, err := results[0].AsBool(); err != nil || !there {
				return // it ended, and may be another's: that one renews it
			}
			last = began
		}
	})
	return func() bool {
		cancel()
		renewing.Wait()
		return time.Since(last) < lease*3/4
	}
}

func (s *Store) unlock(ctx context.Context, lock string) {
	_, _ = s.ask(context.WithoutCancel(ctx), Lock, func(b valkey.Builder) []valkey.Completed {
		return []valkey.Completed{b.Del().Key(lock).Build()}
	}, nil)
}
