package discovery

import (
	"cmp"
	"slices"
	"time"
)

// State is what an Issuer knows at one moment, for whoever looks after the service:
// it decides nothing, and may be too old to decide by.
type State struct {
	Metadata *Metadata // nil: none yet
	Keys     []Key     // by ID
	Failure  *Failure  // the last fetch that failed; nil: none has
}

// Failure is a fetch that failed.
type Failure struct {
	What string // metadata, keys or introspection endpoint
	Err  error
	At   time.Time
	Over bool // the same was fetched since
}

// State returns what is known now.
func (i *Issuer) State() State {
	s := State{Metadata: i.metadata.Load(), Failure: i.lastFailure()}
	if set := i.keys.Load(); set != nil {
		for _, keys := range set.byID {
			s.Keys = append(s.Keys, keys...)
		}
	}
	slices.SortFunc(s.Keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Thumbprint, b.Thumbprint))
	})
	return s
}

func (i *Issuer) lastFailure() *Failure {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failure == nil {
		return nil
	}
	last := *i.failure
	last.Over = i.problems[last.What] == nil
	return &last
}
