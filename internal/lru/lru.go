// Package lru is the caches of what is known of tokens: bounded by entries and by bytes,
// and spread over several locks. Of good answers it knows neither what they are, nor for
// how long they are kept; what speaks against tokens has its own part (Refusals).
package lru

import (
	"crypto/sha256"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Key is a full hash: nothing that is kept is found by a token itself (A-02, I-22).
type Key [sha256.Size]byte

const (
	maxShards       = 32
	minShardEntries = 64      // fewer, and an uneven spread would evict too early
	minShardBytes   = 1 << 20 // likewise
)

// Sized is what a Shard can hold.
type Sized interface {
	Size() int64  // in bytes, by estimate
	Marked() bool // whether [Shard.Count] counts it apart
}

// Shards spread entries by the first byte of their key, so that requests
// seldom wait for each other's lock.
type Shards[V Sized] []*Shard[V]

// New returns empty caches of so many entries and bytes together.
func New[V Sized](entries int, bytes int64) Shards[V] {
	count := min(maxShards, max(1, entries/minShardEntries))
	count = min(count, max(1, int(bytes/minShardBytes)))
	all := make(Shards[V], count)
	for i := range all {
		s := &Shard[V]{maxBytes: bytes / int64(count)}
		// It fails for sizes below 1 only.
		s.lru, _ = simplelru.NewLRU(entries/count, func(_ Key, v V) { s.account(v, -1) })
		all[i] = s
	}
	return all
}

// Of returns the one that has the entry of d, if any has.
func (all Shards[V]) Of(d Key) *Shard[V] { return all[int(d[0])%len(all)] }

// Sweep drops what is gone.
func (all Shards[V]) Sweep(gone func(V) bool) {
	for _, s := range all {
		s.Sweep(gone)
	}
}

// Resize changes the bounds, and keeps what fits.
func (all Shards[V]) Resize(entries int, bytes int64) {
	for _, s := range all {
		s.Resize(max(1, entries/len(all)), bytes/int64(len(all)))
	}
}

// Len counts the entries.
func (all Shards[V]) Len() (n int) {
	for _, s := range all {
		all, _ := s.Count()
		n += all
	}
	return n
}

// Bytes returns what the entries take.
func (all Shards[V]) Bytes() (n int64) {
	for _, s := range all {
		s.mu.Lock()
		n += s.bytes
		s.mu.Unlock()
	}
	return n
}

// Shard is an LRU bounded by entries and by bytes.
type Shard[V Sized] struct {
	mu       sync.Mutex
	lru      *simplelru.LRU[Key, V]
	bytes    int64
	maxBytes int64
	marked   int // entries
}

// account counts an entry that comes, or with -1 one that goes.
func (s *Shard[V]) account(v V, sign int) {
	s.bytes += int64(sign) * v.Size()
	if v.Marked() {
		s.marked += sign
	}
}

// Get returns the entry of d, the latest used from now on; false: there is none.
func (s *Shard[V]) Get(d Key) (V, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Get(d)
}

// Add remembers v, unless it alone is more than the shard may hold.
func (s *Shard[V]) Add(d Key, v V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(d) // Add would replace the value without a word
	if v.Size() > s.maxBytes {
		return
	}
	s.account(v, 1)
	s.lru.Add(d, v)
	s.shrink()
}

func (s *Shard[V]) shrink() {
	for s.bytes > s.maxBytes {
		s.lru.RemoveOldest()
	}
}

// Change has change look at the entry of d, which is zero where there is none, and
// remembers what it returns if it returns true. The size of an entry that is there
// must stay as it is. Nobody else gets at the shard meanwhile.
func (s *Shard[V]) Change(d Key, change func(v V, there bool) (V, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, there := s.lru.Peek(d)
	v, changed := change(v, there)
	switch {
	case !changed:
	case there:
		s.lru.Add(d, v)
	case v.Size() <= s.maxBytes:
		s.account(v, 1)
		s.lru.Add(d, v)
		s.shrink()
	}
}

// Remove forgets the entry of d.
func (s *Shard[V]) Remove(d Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(d)
}

// Resize changes the bounds, and keeps what fits.
func (s *Shard[V]) Resize(entries int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxBytes = bytes
	s.lru.Resize(entries)
	s.shrink()
}

// Sweep takes the lock for each entry anew: requests go between.
func (s *Shard[V]) Sweep(gone func(V) bool) {
	s.mu.Lock()
	keys := s.lru.Keys()
	s.mu.Unlock()
	for _, d := range keys {
		s.mu.Lock()
		if v, ok := s.lru.Peek(d); ok && gone(v) {
			s.lru.Remove(d)
		}
		s.mu.Unlock()
	}
}

// Count counts the entries, and those of them that are marked.
func (s *Shard[V]) Count() (all, marked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Len(), s.marked
}
