package shared

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/bearergate/bearergate/internal/livefile"
)

const (
	// A store that is away is probed at once, then after pauses that are doubled from
	// the first to the last; one that is there, now and then, so that nobody's
	// request has to find out that it is gone.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	idlePause  = time.Second

	// maxCalls bounds the calls under way, below what one connection queues without
	// heeding anybody's deadline.
	maxCalls = 512

	// probeNames is how many keys of a cluster are tried, so that each of its nodes
	// is likely among those that have to answer.
	probeNames = 16

	probeTTL = 10 * time.Second
)

// Store is one replica's way to the memory of all. It is safe for concurrent use.
type Store struct {
	cfg    Config
	o      Options
	access *access
	keys   *livefile.File[*keyRing]
	origin [originBytes]byte // tells own entries of the log from others'

	ctx        context.Context //nolint:containedctx // ends what runs in the background
	cancel     context.CancelFunc
	background sync.WaitGroup

	link   atomic.Pointer[link] // nil: never connected
	up     atomic.Bool
	failed chan struct{} // somebody found the store away
	calls  chan struct{} // a slot for each call under way
	ahead  atomic.Int64  // the clock of the store, less ours, in ns

	flights flights
	log     outbox
}

// Open returns a Store, which connects in the background: that the store is away
// is no error. It reads the files that c names. Somebody has to [Store.Close] it.
func Open(c Config, o Options) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	keys, err := openKeys(c.KeyFile, o.Log)
	if err != nil {
		return nil, err
	}
	access, err := newAccess(c, o.Log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Store{
		cfg: c, o: o, access: access, keys: keys, ctx: ctx, cancel: cancel,
		failed: make(chan struct{}, 1), calls: make(chan struct{}, maxCalls),
	}
	_, _ = rand.Read(s.origin[:]) // it never fails
	s.log.changed = make(chan struct{}, 1)
	s.background.Go(s.supervise)
	s.background.Go(s.flush)
	return s, nil
}

// Close ends everything that the Store does, and returns when it has ended. Entries
// of the log that could not be written are lost.
func (s *Store) Close() {
	s.cancel()
	s.background.Wait()
	if l := s.link.Load(); l != nil {
		l.close()
	}
}

// Up says whether the store answers.
func (s *Store) Up() bool { return s.up.Load() }

// supervise finds out when a store that was left alone can be asked again, and when
// one that nobody asks is gone.
func (s *Store) supervise() {
	var last string // what was logged
	pause := firstPause
	for s.ctx.Err() == nil {
		err := s.probe()
		if err == nil {
			pause, last = firstPause, ""
			s.rise()
			s.wait(idlePause)
			continue
		}
		if s.ctx.Err() != nil {
			return
		}
		s.trip(err)
		if text := err.Error(); text != last {
			last = text
			s.o.Log.Error("the shared store is away, every replica is for itself", "error", err)
		}
		s.wait(pause)
		pause = min(2*pause, lastPause)
	}
}

// wait returns after d, or when somebody finds a store away that was there.
func (s *Store) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.failed:
	case <-s.ctx.Done():
	}
}

// probe wants the store to take and to give, as quickly as callers do. Where it does
// not answer, that may be a connection which died in silence: once a probe there are
// new ones, which may take their time.
func (s *Store) probe() error {
	l := s.link.Load()
	if l == nil {
		var err error
		if l, err = s.access.connect(s.ctx); err != nil {
			return err
		}
		s.link.Store(l)
	}
	err := s.try(l, s.cfg.Timeout)
	if _, answered := valkey.IsValkeyErr(err); err != nil && !answered && s.ctx.Err() == nil {
		l.cut()
		if err = s.try(l, dialTimeout); err == nil {
			err = s.try(l, s.cfg.Timeout)
		}
	}
	if err != nil {
		return err
	}
	return s.compareClocks(l)
}

// try writes a key, of a cluster several.
func (s *Store) try(l *link, timeout time.Duration) error {
	names := 1
	if l.client.Mode() == valkey.ClientModeCluster {
		names = probeNames
	}
	var commands []valkey.Completed
	for i := range names {
		name := s.cfg.Prefix + "probe:{" + strconv.Itoa(i) + "}"
		commands = append(commands, l.client.B().Set().Key(name).Value("1").Px(probeTTL).Build())
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	for _, r := range l.client.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// compareClocks asks what time it is where entries of the log are stamped.
func (s *Store) compareClocks(l *link) error {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Timeout)
	defer cancel()
	began := s.o.Now()
	parts, err := l.client.Do(ctx, l.client.B().Time().Build()).AsIntSlice()
	if err != nil || len(parts) != 2 {
		return errors.Join(err, ctx.Err())
	}
	here := began.Add(s.o.Now().Sub(began) / 2)
	there := time.Unix(parts[0], parts[1]*int64(time.Microsecond))
	s.ahead.Store(int64(there.Sub(here)))
	return nil
}

func (s *Store) rise() {
	if !s.up.CompareAndSwap(false, true) {
		return
	}
	s.o.Log.Info("the shared store is there")
	if s.o.Changed != nil {
		s.o.Changed(true)
	}
	s.log.change()
}

// trip leaves the store alone until a probe finds it well.
func (s *Store) trip(err error) {
	if !s.up.CompareAndSwap(true, false) {
		return
	}
	if s.o.Changed != nil {
		s.o.Changed(false)
	}
	s.o.Log.Warn("the shared store does not answer as it should and is left alone", "error", err)
	select {
	case s.failed <- struct{}{}:
	default:
	}
}

// builder makes commands of one link.
type builder func(valkey.Builder) []valkey.Completed

// judge tells what the answers to commands are; nil: a success.
type judge func([]valkey.ValkeyResult) (result string)

// ask sends commands that go together, has their answers judged, and returns them.
// An error is [ErrAway], or that of ctx.
func (s *Store) ask(ctx context.Context, operation string, build builder, judge judge) ([]valkey.ValkeyResult, error) {
	l := s.link.Load()
	if l == nil || !s.up.Load() {
		return nil, ErrAway
	}
	began := time.Now()
	told := s.o.Events.Start(ctx, operation)
	results, err := s.send(ctx, l, build)
	switch {
	case err == nil:
		result := Success
		if judge != nil {
			result = judge(results)
		}
		s.o.Events.End(told, Event{operation, result, time.Since(began), nil})
		return results, nil
	case errors.Is(err, context.DeadlineExceeded):
		s.o.Events.End(told, Event{operation, TimedOut, time.Since(began), err})
	default:
		s.o.Events.End(told, Event{operation, Failed, time.Since(began), err})
	}
	if left := ctx.Err(); left != nil { // who cannot wait says nothing about the store
		return nil, left
	}
	s.trip(err)
	return nil, fmt.Errorf("%w: %w", ErrAway, err)
}

// send has the commands answered in time, all of them.
func (s *Store) send(ctx context.Context, l *link, build builder) ([]valkey.ValkeyResult, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	select {
	case s.calls <- struct{}{}:
		defer func() { <-s.calls }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Whoever waited for a slot may not wait for a connection, too, which heeds the
	// deadline of the one who makes it.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !s.up.Load() {
		return nil, ErrAway
	}
	results := l.client.DoMulti(ctx, build(l.client.B())...)
	for _, r := range results {
		if err := r.Error(); err != nil && !harmless(err) {
			return nil, err
		}
	}
	return results, nil
}

// harmless errors are answers about one key, not about the store: there is nothing
// under it, or what somebody put there is no string.
func harmless(err error) bool {
	if valkey.IsValkeyNil(err) {
		return true
	}
	reply, ok := valkey.IsValkeyErr(err)
	return ok && strings.HasPrefix(reply.Error(), "WRONGTYPE")
}

// Drop forgets the value under space and key for the whole fleet. ErrAway: it may
// still be there.
func (s *Store) Drop(ctx context.Context, space string, key [32]byte) error {
	ring := s.keys.Value()
	_, err := s.ask(ctx, Set, func(b valkey.Builder) (all []valkey.Completed) {
		for _, k := range ring.all() {
			all = append(all, b.Del().Key(k.name(s.cfg.Prefix, id{kindValue, space, key})).Build())
		}
		return all
	}, nil)
	return err
}

// clockSlack is for how long a claim outlives its time, since the clocks of replicas
// differ, and one of them may take as young what another takes as old.
const clockSlack = 30 * time.Second

// Claim returns true for the first caller in the fleet with this key only, until its
// time has come. An error means that it cannot tell: [ErrAway], or that of ctx.
func (s *Store) Claim(ctx context.Context, key [32]byte, until time.Time) (first bool, err error) {
	left := until.Sub(s.o.Now())
	if left <= 0 {
		return false, nil
	}
	ring := s.keys.Value()
	// Other replicas may have the key before only, for a moment or two: the claim is
	// made under both names, and has to be the first under each.
	_, err = s.ask(ctx, Lock, func(b valkey.Builder) (all []valkey.Completed) {
		for _, k := range ring.all() {
			name := k.name(s.cfg.Prefix, id{kind: kindClaim, key: key})
			all = append(all, b.Set().Key(name).Value("1").Nx().PxMilliseconds((left + clockSlack).Milliseconds()).Build())
		}
		return all
	}, func(results []valkey.ValkeyResult) string {
		first = true
		for _, r := range results {
			first = first && r.Error() == nil
		}
		return lockResult(first)
	})
	return first && err == nil, err
}

func lockResult(got bool) string {
	if got {
		return Success
	}
	return Hit
}
