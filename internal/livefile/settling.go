package livefile

import (
	"crypto/sha256"
	"time"
)

// Settling finds out when a changed file has stood still for [Settle], by the
// bytes that were read and nothing else. The zero value is ready; it is not
// safe for concurrent use.
type Settling struct {
	digest [sha256.Size]byte
	since  time.Time // when these bytes were seen first; zero: nothing is waited for
}

// Settled says whether content has been the same at every look for at least
// [Settle]. The caller takes the very bytes that it passed.
func (s *Settling) Settled(content []byte, now time.Time) bool {
	if digest := sha256.Sum256(content); s.since.IsZero() || digest != s.digest {
		s.digest, s.since = digest, now
	}
	return now.Sub(s.since) >= Settle
}

// Waiting says whether a change was seen that has not settled yet.
func (s *Settling) Waiting() bool { return !s.since.IsZero() }

// Reset forgets the change: it was taken, or taken back.
func (s *Settling) Reset() { *s = Settling{} }
