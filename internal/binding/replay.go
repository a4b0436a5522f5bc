package binding

import (
	"context"
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

// Memory is the Replays of one process. It is safe for concurrent use.
type Memory struct{}

// NewMemory returns a memory of at most so many proofs, of which those of one key
// are a tenth at most. A nil now is time.Now.
func NewMemory(entries int, now func() time.Time) *Memory { return &Memory{} }

// Claim implements [Replays]. A memory that is full, for this key or for all, is an
// error until something in it has expired.
func (m *Memory) Claim(ctx context.Context, r Replay) (first bool, err error) {
	return false, ErrUnavailable
}

// Resize changes the bound, and forgets nothing: what is too much goes when it
// expires.
func (m *Memory) Resize(entries int) {}

// Len returns how many proofs are remembered.
func (m *Memory) Len() int { return 0 }
