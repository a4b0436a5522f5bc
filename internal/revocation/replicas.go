package revocation

import (
	"context"
	"errors"
	"iter"
	"time"
)

// errNotRead is why nothing can be judged yet.
var errNotRead = errors.New("revocations of other replicas not read yet")

// Log takes entries to where every replica reads them, those that come later too.
// Append returns once the entry is written, or cannot be written now: then shared is
// false, and the log writes it as soon as it can.
type Log interface {
	Append(ctx context.Context, entry []byte) (shared bool)
}

func (s *Set) share(ctx context.Context, r record) bool {
	return s.o.Shared != nil && s.o.Shared.Append(ctx, r.marshal())
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

// Snapshot returns everything, as it is when it is ranged over, as entries for the log,
// for one that was emptied. No lock is held while the caller writes.
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

// Foreign returns how many entries of the log this version could not read.
func (s *Set) Foreign() uint64 { return s.foreign.Load() }
