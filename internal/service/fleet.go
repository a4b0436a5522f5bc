package service

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
	"github.com/bearergate/bearergate/validation"
)

// fleet is what this replica has in common with others: what is revoked, and the store
// by which they tell each other. Both outlive every configuration.
type fleet struct {
	log   *slog.Logger
	told  Observers
	now   func() time.Time
	set   *revocation.Set
	store atomic.Pointer[opened] // nil: this replica is alone

	closing chan struct{}
	retired sync.WaitGroup // stores that were replaced

	units atomic.Pointer[[]*unit] // in use
	// counted are the issuers whose revocations are told of: other replicas may have
	// others, which are no labels of ours.
	counted atomic.Pointer[[]string]
	// receiver takes events and logout tokens; nil: none are taken.
	receiver atomic.Pointer[receiving]
}

// opened is a store that is in use.
type opened struct {
	*shared.Store

	config *shared.Config
	keep   time.Duration
	lag    *lag
	cancel context.CancelFunc
	ended  chan struct{} // nobody follows it any longer
}

// newFleet returns what a service has that begins with cfg: where there is a store, no
// token is judged before what others have revoked was read.
func newFleet(cfg *config.Config, log *slog.Logger, told Observers, now func() time.Time) *fleet {
	f := &fleet{log: log, told: told, now: now, closing: make(chan struct{})}
	f.count(cfg)
	f.set = revocation.NewSet(revocation.Options{
		Keep: keepOf(cfg), Shared: f, Waits: cfg.Shared != nil, Log: log, Events: f.ofOurs(told.Revocations), Now: now,
	})
	return f
}

// count has the revocations of the issuers of cfg be told of.
func (f *fleet) count(cfg *config.Config) {
	names := make([]string, len(cfg.Issuers))
	for n, i := range cfg.Issuers {
		names[n] = i.Discovery.Issuer
	}
	f.counted.Store(&names)
}

// ofOurs is told of what concerns configured issuers.
func (f *fleet) ofOurs(told revocation.Observer) revocation.Observer {
	return revocation.Observer{Started: told.Started, Ended: func(ctx context.Context, e revocation.Event) {
		if e.Issuer == "" || slices.Contains(*f.counted.Load(), e.Issuer) {
			told.End(ctx, e)
		}
	}}
}

func keepOf(cfg *config.Config) time.Duration {
	if cfg.Revocation == nil {
		return 0
	}
	return cfg.Revocation.Keep
}

// Append implements revocation.Log by the store that is in use.
func (f *fleet) Append(ctx context.Context, entry []byte) (shared bool) {
	if s := f.store.Load(); s != nil {
		return s.Append(ctx, entry)
	}
	return false
}

// shared returns the store as package validation knows it, or nil.
func (f *fleet) shared() validation.Shared {
	if s := f.store.Load(); s != nil {
		return s.Store
	}
	return nil
}

// useStore opens the store that cfg names, in place of another one. After an error
// everything is as it was.
func (f *fleet) useStore(cfg *config.Config) error {
	before, keep := f.store.Load(), keepOf(cfg)
	if before == nil && cfg.Shared == nil || before != nil && reflect.DeepEqual(before.config, cfg.Shared) {
		f.count(cfg)
		f.set.SetKeep(keep)
		if before != nil && before.keep != keep {
			before.unfollow()
			f.follow(before, keep)
		}
		return nil
	}
	var next *opened
	if cfg.Shared != nil {
		var err error
		if next, err = f.open(*cfg.Shared); err != nil {
			return err
		}
	}
	if before != nil && next != nil {
		next.await(before)
	}
	f.count(cfg)
	f.set.SetKeep(keep)
	f.store.Store(next)
	f.retire(before)
	if next == nil {
		f.set.CaughtUp(false) // nobody is left to say so, had the store not been read yet
		return nil
	}
	f.follow(next, keep)
	return nil
}

func (f *fleet) open(c shared.Config) (*opened, error) {
	l := new(lag)
	store, err := shared.Open(c, shared.Options{
		Log: f.log, Now: f.now, Events: f.told.Shared, Changed: f.changed,
		Lag: l.put,
	})
	if err != nil {
		return nil, err
	}
	return &opened{Store: store, config: &c, lag: l}, nil
}

// changed is the alarm; that the store is there again it says itself.
func (f *fleet) changed(up bool) {
	if !up {
		f.log.Error("the shared store is away: this replica decides by what it knows itself")
	}
}

// follow has the set learn what other replicas revoke, until unfollow.
func (f *fleet) follow(s *opened, keep time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended, s.keep = cancel, make(chan struct{}), keep
	go func() {
		defer close(s.ended)
		s.Follow(ctx, shared.Follower{
			Took: f.set.Take, CaughtUp: f.set.CaughtUp, Keep: f.set.Keep(), Snapshot: f.set.Snapshot(),
		})
	}()
}

const (
	// storeWait is how long a store that takes the place of another may take to answer:
	// without it requests that need one would be refused meanwhile.
	storeWait = time.Second
	// storeGrace is for how long the one before still answers those who asked it.
	storeGrace = time.Second
)

// await returns when the store answers, if the one before does.
func (s *opened) await(before *opened) {
	for end := time.Now().Add(storeWait); before.Up() && !s.Up() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// retire closes a store that no new request asks, once those under way are through.
func (f *fleet) retire(s *opened) {
	if s == nil {
		return
	}
	s.unfollow()
	f.retired.Go(func() {
		select {
		case <-time.After(storeGrace):
		case <-f.closing:
		}
		s.Close()
	})
}

func (s *opened) unfollow() {
	s.cancel()
	<-s.ended
}

func (s *opened) close() {
	if s == nil {
		return
	}
	s.unfollow()
	s.Close()
}

func (f *fleet) close() {
	f.useReceiver(nil)
	close(f.closing)
	f.retired.Wait()
	f.store.Swap(nil).close()
}

// replays remembers proofs for the fleet where there is a store, else for this process.
type replays struct {
	fleet  *fleet
	memory *binding.Memory
}

// Claim implements binding.Replays. What this process remembers counts, too: it has
// what was accepted before there was a store, or before proofs could pass for longer.
func (r replays) Claim(ctx context.Context, proof binding.Replay) (first bool, err error) {
	s := r.fleet.store.Load()
	if s == nil {
		return r.memory.Claim(ctx, proof)
	}
	if first, err := s.Claim(ctx, proof.Proof, proof.Until); !first || err != nil {
		return false, err
	}
	first, err = r.memory.Claim(ctx, proof)
	return first || err != nil, nil // the store has room for more
}

// PingStore waits until the store answers, or ctx ends.
func (s *Service) PingStore(ctx context.Context) error {
	s.mu.Lock()
	f := s.fleet
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	for o := f.store.Load(); o != nil && !o.Up(); {
		select {
		case <-ctx.Done():
			return shared.ErrAway
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
