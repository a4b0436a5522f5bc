package service

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/metrics"
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

// lag is how long the last entry of another replica was under way.
type lag struct{ took, at atomic.Int64 }

// lagCounts is for how long that says something about now.
const lagCounts = 10 * time.Minute

func (l *lag) put(d time.Duration) {
	l.took.Store(int64(d))
	l.at.Store(time.Now().UnixNano())
}

// get returns 0 where nothing has come of late.
func (l *lag) get() time.Duration {
	if time.Since(time.Unix(0, l.at.Load())) > lagCounts {
		return 0
	}
	return time.Duration(l.took.Load())
}

// receiving is a receiver that runs.
type receiving struct {
	*revocation.Receiver

	config  *revocation.Config
	issuers []revocation.Issuer
	cancel  context.CancelFunc
	ended   chan struct{}
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
			Took: f.set.Take, CaughtUp: f.set.CaughtUp, Keep: f.set.Keep(),
			Snapshot: func(yield func([]byte) bool) { each(f.set.Snapshot(), yield) }, // of when it is asked for
		})
	}()
}

func each(all iter.Seq[[]byte], yield func([]byte) bool) {
	for entry := range all {
		if !yield(entry) {
			return
		}
	}
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

// newReceiver returns what takes events and logout tokens as cfg says: the one that
// runs, if that is the same; nil: none are taken.
func (f *fleet) newReceiver(cfg *config.Config) (*receiving, error) {
	c, issuers := cfg.Revocation, cfg.RevocationIssuers()
	if c == nil || len(c.Events) == 0 && len(c.BackchannelLogout) == 0 {
		return nil, nil //nolint:nilnil // nobody sends anything
	}
	if r := f.receiver.Load(); r != nil && reflect.DeepEqual(r.config, c) && reflect.DeepEqual(r.issuers, issuers) {
		return r, nil
	}
	r, err := revocation.NewReceiver(*c, revocation.ReceiverOptions{
		Set: f.set, Issuers: issuers, Keys: f.keysOf, Log: f.log, Events: f.told.Revocations, Fetches: f.told.Discovery,
		Now: f.now, Transport: f.told.Transport,
	})
	if err != nil {
		return nil, err
	}
	if before := f.receiver.Load(); before != nil {
		r.Inherit(before.Receiver)
	}
	return &receiving{Receiver: r, config: c, issuers: issuers}, nil
}

// useReceiver has r take events, and poll for them, in place of another one.
func (f *fleet) useReceiver(r *receiving) {
	before := f.receiver.Load()
	if r == before {
		return
	}
	if r != nil {
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel, r.ended = cancel, make(chan struct{})
		go func() {
			defer close(r.ended)
			r.Run(ctx)
		}()
	}
	f.receiver.Store(r)
	before.close()
}

func (r *receiving) close() {
	if r == nil {
		return
	}
	r.cancel()
	<-r.ended
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

// Errors of [Service.Revoke].
var (
	ErrRevocationOff = errors.New("revocation is switched off: the configuration has no section revocation")
	ErrUnknownIssuer = errors.New("is not a configured issuer")
)

// Revoke has tokens refused from now on, by every replica that shares the store. The
// error is [ErrRevocationOff], [ErrUnknownIssuer], or says what is missing.
func (s *Service) Revoke(ctx context.Context, r revocation.Revocation) (shared bool, err error) {
	s.mu.Lock()
	f, known := s.fleet, s.unitOf(r.Issuer) != nil
	on := s.inUse != nil && s.inUse.Revocation != nil
	s.mu.Unlock()
	switch {
	case !on:
		return false, ErrRevocationOff
	case !known:
		return false, ErrUnknownIssuer
	}
	return f.set.Add(ctx, r)
}

// unitOf returns the unit of an issuer, for those who hold the lock, or nil.
func (s *Service) unitOf(issuer string) *unit {
	for _, u := range s.units {
		if u.discovery.Issuer == issuer {
			return u
		}
	}
	return nil
}

// keysOf returns the keys of an issuer; nil: there are none yet. It takes no lock, since
// who holds one may wait for the caller.
func (f *fleet) keysOf(issuer string) revocation.Keys {
	if all := f.units.Load(); all != nil {
		for _, u := range *all {
			if u.discovery.Issuer == issuer {
				return u.server
			}
		}
	}
	return nil
}

// FleetState is how what replicas have in common is.
type FleetState struct {
	On      bool  // revocations can be told
	Problem error // why no token can be judged yet
	Entries int
	Counts  map[string]map[string]int // of revocations, by issuer and kind
	Streams []revocation.Stream

	Store *StoreState // nil: there is none
}

// StoreState is how the shared store is.
type StoreState struct {
	Addresses []string
	Up        bool
	Lag       time.Duration // how long the last entry of another replica was under way; 0: none came of late
}

// Fleet returns how things are now.
func (s *Service) Fleet() FleetState {
	s.mu.Lock()
	f, cfg := s.fleet, s.inUse
	s.mu.Unlock()
	if f == nil {
		return FleetState{}
	}
	state := FleetState{
		On: cfg != nil && cfg.Revocation != nil, Problem: f.set.Ready(),
		Entries: f.set.Len(), Counts: f.set.Counts(),
	}
	if r := f.receiver.Load(); r != nil {
		state.Streams = r.Streams()
	}
	if o := f.store.Load(); o != nil {
		state.Store = &StoreState{Addresses: o.config.Address, Up: o.Up(), Lag: o.lag.get()}
	}
	return state
}

// Shares returns what of that is measured.
func (s *Service) Shares() metrics.Fleet {
	state := s.Fleet()
	told := metrics.Fleet{Revokes: state.On, Revocations: state.Entries, Streams: map[string]time.Duration{}}
	for _, stream := range state.Streams {
		told.Streams[stream.Transmitter] = time.Since(stream.Alive)
	}
	if state.Store != nil {
		told.Store, told.Up, told.Lag = true, state.Store.Up, state.Store.Lag
	}
	return told
}

// Receiver takes the events and logout tokens that are sent.
func (s *Service) Receiver() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		f := s.fleet
		s.mu.Unlock()
		if f != nil {
			if taker := f.receiver.Load(); taker != nil {
				taker.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, "nothing is taken here", http.StatusNotFound)
	})
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
