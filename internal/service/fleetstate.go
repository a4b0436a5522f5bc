package service

import (
	"sync/atomic"
	"time"

	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/revocation"
)

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
