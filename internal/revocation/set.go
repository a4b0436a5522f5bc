package revocation

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// MaxEntries is how many revocations are remembered: with more, the oldest go.
const MaxEntries = 1_000_000

const (
	defaultKeep = 24 * time.Hour
	// leastMemory is how long at least an event or logout token that was accepted is
	// remembered: logout tokens are good for five minutes and for what clocks differ.
	leastMemory = 15 * time.Minute
	// maxAhead is by how much the clock of another replica may be ahead.
	maxAhead = 5 * time.Minute
	// forgetAtOnce is how many that have expired are let go under one lock: that takes
	// some tens of microseconds.
	forgetAtOnce = 16
	// alarmEvery is how often at most a full memory is logged.
	alarmEvery = time.Minute
)

// Options are what a Set works with. The zero value is a Set of this process alone.
type Options struct {
	Keep   time.Duration // how long a revocation is remembered; less than a second: 24 hours
	Shared Log           // nil: there is none
	// Waits says that what other replicas know is read first: the Set is not ready
	// before [Set.CaughtUp].
	Waits  bool
	Log    *slog.Logger
	Events Observer
	Now    func() time.Time // nil: time.Now

	maxEntries int // zero: MaxEntries
}

// Set is what is revoked. It is safe for concurrent use.
//
// A revocation needs 75 to 95 bytes, in tables without pointers. Judging takes about
// two microseconds, whether ten are remembered or a million.
type Set struct {
	o   Options
	now func() time.Time

	keep       atomic.Int64 // milliseconds
	generation atomic.Uint64
	present    atomic.Uint32 // bits of the kinds that there may be
	ready      atomic.Bool
	foreign    atomic.Uint64

	mu       sync.RWMutex
	revoked  table
	facts    table
	accepted table
	names    names
	counts   map[uint16]*[kinds]int // of the revoked, by issuer
	lost     int                    // since the last alarm
	alarmed  time.Time
}

// NewSet returns an empty Set.
func NewSet(o Options) *Set {
	s := &Set{o: o, now: o.Now, counts: map[uint16]*[kinds]int{}}
	if s.now == nil {
		s.now = time.Now
	}
	if s.o.Log == nil {
		s.o.Log = slog.New(slog.DiscardHandler)
	}
	if s.o.maxEntries == 0 {
		s.o.maxEntries = MaxEntries
	}
	s.SetKeep(o.Keep)
	s.ready.Store(!o.Waits)
	return s
}

// Add revokes, at once here, then in the log where there is one; shared says that it
// is written there. What is told twice counts once: the later time holds, and it is
// remembered from when it was told last. An error says that something is missing.
func (s *Set) Add(ctx context.Context, r Revocation) (shared bool, err error) {
	if err := r.Check(); err != nil {
		return false, err
	}
	told := s.record(r)
	s.mu.Lock()
	fresh := s.learn(told)
	s.mu.Unlock()
	s.tell(ctx, told, fresh, r.Source)
	return s.share(ctx, told), nil
}

// accept is [Set.Add] of what an event or a logout token says, once: it returns false,
// and does nothing, if a token of that jti was accepted before. Who asks at the same
// time with the same one finds it accepted, and in force.
func (s *Set) accept(ctx context.Context, kind Kind, sender, jti string, all ...Revocation) bool {
	told := make([]record, len(all), len(all)+1)
	for i, r := range all {
		told[i] = s.record(r)
	}
	id := record{issuer: sender}
	id.kind, id.key, id.told = kind, digestOf(kind, sender, jti, ""), s.now().UnixMilli()
	fresh := make([]bool, len(all))
	s.mu.Lock()
	if e := s.accepted.find(id.key); e != nil && s.alive(e, id.told) {
		s.mu.Unlock()
		return false
	}
	for i := range told {
		fresh[i] = s.learn(told[i])
	}
	s.learn(id)
	s.mu.Unlock()
	for i, r := range all {
		s.tell(ctx, told[i], fresh[i], r.Source)
	}
	// What it says comes first: no replica may know that it was accepted and not what
	// it said.
	for _, r := range append(told, id) {
		s.share(ctx, r)
	}
	return true
}

// record is what is remembered of r.
func (s *Set) record(r Revocation) record {
	now := s.now()
	before := r.Before
	if before.IsZero() {
		before = now
	}
	told := record{facts: r.Facts, issuer: r.Issuer}
	told.kind, told.key, told.before, told.told = r.Kind, r.digest(), before.UnixMilli(), now.UnixMilli()
	return told
}

// tell has what is new here counted.
func (s *Set) tell(ctx context.Context, r record, fresh bool, source string) {
	if fresh && !r.facts {
		s.o.Events.End(ctx, Event{Operation: OperationRevocation, Issuer: r.issuer, Source: source})
	}
}

// learn remembers r, and says whether that changes what is judged. The order in which
// records are learnt does not matter, so that all replicas come to the same.
func (s *Set) learn(r record) (fresh bool) {
	now := s.now().UnixMilli()
	// Who told it has a clock of its own, which may differ; but nothing is remembered
	// for longer because that one is wrong.
	if r.told > now+maxAhead.Milliseconds() {
		r.told = now
	}
	s.forget(now)
	if !s.alive(&r.entry, now) {
		return false
	}
	table := s.table(r)
	if e := table.find(r.key); e != nil {
		if s.alive(e, now) {
			return s.again(table, e, r)
		}
		s.drop(table, e)
	}
	r.entry.issuer = s.names.number(r.issuer)
	table.put(r.entry)
	s.count(table, r.entry, 1)
	if table.len() > s.o.maxEntries {
		s.drop(table, table.oldest())
		s.alarm()
	}
	s.changed(r.kind)
	return true
}

// again learns what is known already.
func (s *Set) again(table *table, e *entry, r record) (fresh bool) {
	if r.told > e.told {
		table.tell(e, r.told)
	}
	if r.before <= e.before {
		return false
	}
	e.before = r.before
	if e.kind.timeless() && !r.facts {
		return false
	}
	s.changed(r.kind)
	return true
}

// changed says to whoever keeps a judgement that it may be another one now.
func (s *Set) changed(kind Kind) {
	if kind < kinds {
		s.present.Or(1 << kind)
		s.generation.Add(1)
	}
}

func (s *Set) table(r record) *table {
	switch {
	case r.kind >= kinds:
		return &s.accepted
	case r.facts:
		return &s.facts
	}
	return &s.revoked
}

// drop forgets an entry.
func (s *Set) drop(t *table, e *entry) { s.count(t, t.remove(e), -1) }

func (s *Set) count(t *table, e entry, n int) {
	if t != &s.revoked {
		return
	}
	if s.counts[e.issuer] == nil {
		s.counts[e.issuer] = new([kinds]int)
	}
	s.counts[e.issuer][e.kind] += n
}

// alive says whether an entry is to be remembered still.
func (s *Set) alive(e *entry, now int64) bool {
	keep := s.keep.Load()
	if e.kind >= kinds {
		keep = max(keep, leastMemory.Milliseconds())
	}
	return now-e.told < keep
}

// forget lets go of some that have expired, and says whether there may be more.
func (s *Set) forget(now int64) (more bool) {
	for _, t := range [...]*table{&s.revoked, &s.facts, &s.accepted} {
		n := 0
		for e := t.oldest(); e != nil && !s.alive(e, now); e = t.oldest() {
			if n++; n > forgetAtOnce {
				more = true
				break
			}
			s.drop(t, e)
		}
	}
	if s.revoked.len()+s.facts.len() == 0 {
		s.present.Store(0)
	}
	return more
}

// forgetAll lets go of all that have expired. Whoever judges need not wait for it.
func (s *Set) forgetAll() {
	for more := true; more; {
		s.mu.Lock()
		more = s.forget(s.now().UnixMilli())
		s.mu.Unlock()
	}
}

// alarm tells that something was forgotten before its time: a token that was revoked
// may pass again.
func (s *Set) alarm() {
	s.lost++
	if now := s.now(); s.alarmed.IsZero() || now.Sub(s.alarmed) >= alarmEvery {
		s.o.Log.Error("too many revocations: the oldest are forgotten before their time",
			"most", s.o.maxEntries, "forgotten", s.lost)
		s.alarmed, s.lost = now, 0
	}
}

// SetKeep changes how long is remembered, also of what is. Less than a second is 24
// hours.
func (s *Set) SetKeep(keep time.Duration) {
	if keep < time.Second {
		keep = defaultKeep
	}
	s.keep.Store(keep.Milliseconds())
}

// Keep returns how long is remembered.
func (s *Set) Keep() time.Duration { return time.Duration(s.keep.Load()) * time.Millisecond }

// Len returns how many revocations are remembered.
func (s *Set) Len() int {
	s.forgetAll()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revoked.len()
}

// Counts returns how many revocations are remembered, by issuer and kind.
func (s *Set) Counts() map[string]map[string]int {
	s.forgetAll()
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := map[string]map[string]int{}
	for number, counts := range s.counts {
		for kind, n := range counts {
			if n == 0 {
				continue
			}
			name := s.names.name(number)
			if all[name] == nil {
				all[name] = map[string]int{}
			}
			all[name][Kind(kind).String()] += n //nolint:gosec // one of the kinds
		}
	}
	return all
}
