package revocation

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"math"
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

// errNotRead is why nothing can be judged yet.
var errNotRead = errors.New("revocations of other replicas not read yet")

// Log takes entries to where every replica reads them, those that come later too.
// Append returns once the entry is written, or cannot be written now: then shared is
// false, and the log writes it as soon as it can.
type Log interface {
	Append(ctx context.Context, entry []byte) (shared bool)
}

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

func (s *Set) share(ctx context.Context, r record) bool {
	return s.o.Shared != nil && s.o.Shared.Append(ctx, r.marshal())
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

// Generation is another one after each entry that could change a verdict: whoever asks
// for it before [Set.Judge] may keep the verdict as long as it stays the same. That a
// revocation is forgotten does not change it.
func (s *Set) Generation() uint64 { return s.generation.Load() }

// Judge says what is known of a token: by one look-up for each of its claims that is
// revoked of anybody, however much is. It takes no lock while nothing is.
func (s *Set) Judge(t Subject) Verdict {
	present := s.present.Load()
	if present == 0 {
		return Good
	}
	keys, n := t.digests(present)
	issued, learnt := t.IssuedAt, t.Learnt
	if issued.IsZero() {
		issued = t.Seen
	}
	if learnt.IsZero() {
		learnt = t.Seen
	}
	now := s.now().UnixMilli()
	s.mu.RLock()
	defer s.mu.RUnlock()
	verdict := Good
	for _, key := range keys[:n] {
		if e := s.revoked.find(key); e != nil && s.alive(e, now) && e.covers(issued) {
			return Revoked
		}
		if e := s.facts.find(key); e != nil && s.alive(e, now) && learnt.UnixMilli() <= e.before {
			verdict = Outdated
		}
	}
	return verdict
}

// covers says whether a revocation is about a token that was issued then. A time that
// nobody knows is no excuse: the zero time is long ago.
func (e *entry) covers(issued time.Time) bool {
	return e.kind.timeless() || issued.UnixMilli() <= e.before
}

// digests returns those of what a token could be revoked by, of the kinds that there
// are.
func (t Subject) digests(present uint32) (keys [kinds]digest, n int) {
	add := func(kind Kind, value, and string) {
		if present&(1<<kind) != 0 && value != "" && (and != "" || !kind.two()) {
			keys[n] = digestOf(kind, t.Issuer, value, and)
			n++
		}
	}
	add(KindSub, t.Sub, "")
	add(KindSID, t.SID, "")
	add(KindJTI, t.JTI, "")
	add(KindClientID, t.ClientID, "")
	if t.Token != [32]byte{} {
		add(KindToken, string(t.Token[:]), "")
	}
	add(KindSession, t.SID, t.Sub)
	if t.Email != "" && present&(1<<KindEmail|1<<KindEmailSession) != 0 {
		address := email(t.Email)
		add(KindEmail, address, "")
		add(KindEmailSession, t.SID, address)
	}
	return keys, n
}

// Take learns an entry from the log. It may come twice and in any order, and what this
// Set itself wrote may come back. The time at which it was written is not looked at:
// the entry says when it was told.
func (s *Set) Take(content []byte, _ time.Time) {
	r, err := unmarshal(content)
	if err != nil {
		if s.foreign.Add(1) == 1 {
			s.o.Log.Warn("entries of revocations that another version wrote are ignored")
		}
		return
	}
	s.mu.Lock()
	fresh := s.learn(r)
	s.mu.Unlock()
	s.tell(context.Background(), r, fresh && r.kind < kinds, SourceShared)
}

// CaughtUp says that everything in the log was taken, or, if not complete, that the
// log could not be read, which is an alarm.
func (s *Set) CaughtUp(complete bool) {
	if !complete && !s.ready.Load() {
		s.o.Log.Error("cannot read the revocations of other replicas, starting without them")
	}
	s.ready.Store(true)
}

// Ready returns why nothing can be judged yet.
func (s *Set) Ready() error {
	if s.ready.Load() {
		return nil
	}
	return errNotRead
}

// Snapshot returns everything as entries for the log, for one that was emptied. No lock
// is held while the caller writes.
func (s *Set) Snapshot() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, t := range [...]*table{&s.revoked, &s.facts, &s.accepted} {
			for n := 0; ; n++ {
				records, ok := s.part(t, n)
				if !ok {
					break
				}
				for _, r := range records {
					if !yield(r.marshal()) {
						return
					}
				}
			}
		}
	}
}

// part returns what is in one chunk of a table; false: there is no such chunk.
func (s *Set) part(t *table, n int) ([]record, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n >= len(t.slots) {
		return nil, false
	}
	now := s.now().UnixMilli()
	var records []record
	for i := range t.slots[n] {
		if e := &t.slots[n][i]; e.kind != 0 && s.alive(e, now) {
			records = append(records, record{*e, t == &s.facts, s.names.name(e.issuer)})
		}
	}
	return records, true
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

// Foreign returns how many entries of the log this version could not read.
func (s *Set) Foreign() uint64 { return s.foreign.Load() }

// names are numbers for the names of issuers, which are few.
type names struct {
	numbers map[string]uint16
	names   []string
}

// number returns that of a name. Names that nobody has numbers for are one, which has
// none: they are for people only.
func (n *names) number(name string) uint16 {
	if n.numbers == nil {
		n.numbers, n.names = map[string]uint16{"": 0}, []string{""}
	}
	number, ok := n.numbers[name]
	if !ok && len(n.names) < math.MaxUint16 {
		number = uint16(len(n.names)) //nolint:gosec // bounded above
		n.numbers[name] = number
		n.names = append(n.names, name)
	}
	return number
}

func (n *names) name(number uint16) string { return n.names[number] }
