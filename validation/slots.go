package validation

import (
	"context"
	"fmt"
	"runtime"
)

// Slots are how many signatures are verified at a time, by all issuers that share
// them: a flood of tokens that nobody has seen before waits for itself, and not in the
// way of those that are known (J-27). The zero Slots let any number pass.
type Slots struct{ taken chan struct{} }

// NewSlots returns as many slots as there are processors: with more, whoever is known
// would stand in the queue behind all that are new; with fewer, processors would lie
// idle between two verifications, and be woken for each.
func NewSlots() Slots {
	return Slots{make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// acquire waits for a slot, in the order of those who came, for as long as ctx lasts.
func (s Slots) acquire(ctx context.Context) error {
	if s.taken == nil {
		return nil
	}
	select {
	case s.taken <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.taken <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("too many signatures to verify: %w", ctx.Err())
	}
}

func (s Slots) release() {
	if s.taken != nil {
		<-s.taken
	}
}
