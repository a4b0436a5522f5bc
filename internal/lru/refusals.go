package lru

import "time"

const (
	refusalShare = 10  // one entry and byte in so many is for refusals
	refusalBytes = 512 // its error included
)

// Split shares bounds out: first what is for good answers, then what is for refusals.
func Split(entries int, bytes int64) ([2]int, [2]int64) {
	against := max(1, entries/refusalShare)
	bytesAgainst := bytes / refusalShare
	return [2]int{max(1, entries-against), against}, [2]int64{bytes - bytesAgainst, bytesAgainst}
}

// Refusals remember why there is no good answer, each until its time. They live apart
// from good answers, so that junk evicts none of these (I-23).
type Refusals struct{ shards Shards[refusal] }

type refusal struct {
	err   error
	until time.Time
}

// Size implements Sized.
func (refusal) Size() int64 { return refusalBytes }

// Marked implements Sized.
func (refusal) Marked() bool { return false }

// NewRefusals returns none, of so many entries and bytes at most.
func NewRefusals(entries int, bytes int64) Refusals { return Refusals{New[refusal](entries, bytes)} }

// Find returns what was said of d and still holds, or nil.
func (r Refusals) Find(d Key, now time.Time) error {
	known, ok := r.shards.Of(d).Get(d)
	if !ok || !now.Before(known.until) {
		return nil
	}
	return known.err
}

// Add remembers what is said of d.
func (r Refusals) Add(d Key, err error, until time.Time) { r.shards.Of(d).Add(d, refusal{err, until}) }

// Remove forgets what was said of d.
func (r Refusals) Remove(d Key) { r.shards.Of(d).Remove(d) }

// Sweep drops what holds no longer.
func (r Refusals) Sweep(now time.Time) {
	r.shards.Sweep(func(known refusal) bool { return !now.Before(known.until) })
}

// Resize changes the bounds, and keeps what fits.
func (r Refusals) Resize(entries int, bytes int64) { r.shards.Resize(entries, bytes) }

// Len counts them.
func (r Refusals) Len() int { return r.shards.Len() }

// Bytes returns what they take.
func (r Refusals) Bytes() int64 { return r.shards.Bytes() }
