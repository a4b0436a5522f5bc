package revocation

import (
	"context"
	"iter"
	"log/slog"
	"time"
)

// MaxEntries is how many revocations are remembered: with more, the oldest go.
const MaxEntries = 1_000_000

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
}

// Set is what is revoked. It is safe for concurrent use.
type Set struct{}

// NewSet returns an empty Set.
func NewSet(o Options) *Set { return &Set{} }

// Add revokes, at once here, then in the log where there is one; shared says that it
// is written there. What is told twice counts once: the later time holds, and it is
// remembered from when it was told last. An error says that something is missing.
func (s *Set) Add(ctx context.Context, r Revocation) (shared bool, err error) { return false, nil }

// Generation is another one after each entry that could change a verdict: whoever
// keeps what [Set.Judge] said may keep it as long as the generation, asked before.
func (s *Set) Generation() uint64 { return 0 }

// Judge says what is known of a token: by one look-up for each claim, however much is
// revoked. It takes no lock while nothing is.
func (s *Set) Judge(t Subject) Verdict { return Good }

// Take learns an entry from the log, at the time when it was written. It may come
// twice and in any order, and what this Set itself wrote may come back.
func (s *Set) Take(entry []byte, at time.Time) {}

// CaughtUp says that everything in the log was taken, or, if not complete, that the
// log could not be read, which is an alarm.
func (s *Set) CaughtUp(complete bool) {}

// Snapshot returns everything as entries for the log, for one that was emptied. It
// takes no lock while the caller writes.
func (s *Set) Snapshot() iter.Seq[[]byte] { return func(func([]byte) bool) {} }

// Ready returns why nothing can be judged yet.
func (s *Set) Ready() error { return nil }

// SetKeep changes how long is remembered, also of what is.
func (s *Set) SetKeep(keep time.Duration) {}

// Keep returns how long is remembered.
func (s *Set) Keep() time.Duration { return 0 }

// Len returns how many revocations are remembered.
func (s *Set) Len() int { return 0 }

// Counts returns how many revocations are remembered, by issuer and kind.
func (s *Set) Counts() map[string]map[string]int { return nil }

// Foreign returns how many entries of the log this version could not read.
func (s *Set) Foreign() uint64 { return 0 }

// TokenDigest tells tokens apart: a JWT by header and payload, whatever its signature
// looks like, and any other by the whole text.
func TokenDigest(token string) [32]byte { return [32]byte{} }
