package binding

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Replays remembers which proofs were accepted.
type Replays interface {
	// Claim returns true for the first caller with this proof only, however many call
	// at once, until its time has come. An error means that it cannot tell.
	Claim(ctx context.Context, r Replay) (first bool, err error)
}

// Replay is one proof that is good but for the question whether it was used before.
type Replay struct {
	Key    [32]byte  // digest of the thumbprint of the key
	Proof  [32]byte  // digest of that thumbprint and jti
	Issued time.Time // iat
	Until  time.Time // the proof is too old from then on, and need not be remembered
}

// shareOfKey is the part of a memory that the proofs of one key may fill: whoever has
// a token must not be able to keep everybody else from using theirs (P-10).
const shareOfKey = 10

// Proofs that expire within a quarter of the time in which one could pass are forgotten
// together, when the last of them has expired: there are few places to look at then, and
// a proof is kept for an eighth longer than needed, on average. Where that time is short
// and clocks may differ by more, generationTime keeps the places few.
const (
	generationShare = 4
	generationTime  = 15 * time.Second
)

var (
	errFull      = errors.New("the memory of proofs is full")
	errFullOfKey = errors.New("the memory of proofs is full of this key's")
)

// Memory is the Replays of one process. It is safe for concurrent use.
//
// It needs 25 to 110 bytes a proof, the more the more keys there are, in maps
// without pointers, which the garbage collector does not walk. Nothing is ever searched
// for what has expired: all that expires within some seconds is let go at once. The lock
// is held for less than a microsecond mostly, a hundredth of what verifying a proof costs.
type Memory struct {
	now func() time.Time

	mu          sync.Mutex
	entries     int           // bound
	remembered  int           //
	generations []*generation // in order of their ends
	window      time.Duration // how long the proof that came last could pass
	notBefore   time.Time     // proofs that were issued earlier may be forgotten already
}

// digest is half of one: for a second proof with the digest of another, somebody
// would have to try 2^128 of them.
type digest [16]byte

// generation holds the proofs that expire within one time.
type generation struct {
	end    time.Time
	proofs map[digest]struct{}
	keys   map[digest]uint32 // how many of the proofs each key has made
}

// NewMemory returns a memory of at most so many proofs, of which those of one key
// are a tenth at most. A nil now is time.Now.
func NewMemory(entries int, now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{now: now, entries: entries}
}

// Claim implements [Replays]. A memory that is full, for this key or for all, is an
// error until something in it has expired.
func (m *Memory) Claim(_ context.Context, r Replay) (first bool, err error) {
	key, proof := digest(r.Key[:len(digest{})]), digest(r.Proof[:len(digest{})])
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.forget(now)
	m.heed(now, r)
	if !r.Until.After(now) || r.Issued.Before(m.notBefore) || m.has(proof) {
		return false, nil
	}
	if m.remembered >= m.entries {
		return false, fmt.Errorf("%w: %d", errFull, m.remembered)
	}
	if n := m.ofKey(key); n >= m.entries/shareOfKey {
		return false, fmt.Errorf("%w: %d", errFullOfKey, n)
	}
	g := m.generation(r.Until)
	g.proofs[proof] = struct{}{}
	g.keys[key]++
	m.remembered++
	return true, nil
}

// heed notices that proofs may pass for longer than those that came before, which
// happens when a reload raises max_age: then some that could not pass any more, and
// were forgotten, would pass again. Whatever was too old a moment ago stays too old.
func (m *Memory) heed(now time.Time, r Replay) {
	window := r.Until.Sub(r.Issued)
	if since := now.Add(-m.window); m.window > 0 && window > m.window && since.After(m.notBefore) {
		m.notBefore = since
	}
	m.window = window
}

// forget lets go of the generations that have ended.
func (m *Memory) forget(now time.Time) {
	ended := 0
	for _, g := range m.generations {
		if g.end.After(now) {
			break
		}
		m.remembered -= len(g.proofs)
		ended++
	}
	m.generations = slices.Delete(m.generations, 0, ended)
}

func (m *Memory) has(proof digest) bool {
	for _, g := range m.generations {
		if _, ok := g.proofs[proof]; ok {
			return true
		}
	}
	return false
}

func (m *Memory) ofKey(key digest) int {
	n := 0
	for _, g := range m.generations {
		n += int(g.keys[key])
	}
	return n
}

// generation returns the one in which a proof expires.
func (m *Memory) generation(until time.Time) *generation {
	long := max(generationTime, m.window/generationShare)
	end := until.Truncate(long).Add(long)
	at, found := slices.BinarySearchFunc(m.generations, end, func(g *generation, end time.Time) int {
		return g.end.Compare(end)
	})
	if !found {
		g := &generation{end, make(map[digest]struct{}), make(map[digest]uint32)}
		m.generations = slices.Insert(m.generations, at, g)
	}
	return m.generations[at]
}

// Resize changes the bound, and forgets nothing: what is too much goes when it
// expires.
func (m *Memory) Resize(entries int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = entries
}

// Len returns how many proofs are remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(m.now())
	return m.remembered
}
