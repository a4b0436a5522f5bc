package service

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// Settle waits until every issuer is ready, has failed once, or the time is
// over.
func (s *Service) Settle(ctx context.Context, longest time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for !s.settled() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Service) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.units {
		if u.server.Ready() != nil && !u.server.Failing() {
			return false
		}
	}
	return true
}

// Probe is one thing that was tried against a real authorization server.
type Probe struct {
	Issuer, What string
	Err          error
}

// Probe tries what every issuer is needed for: metadata and keys, and one
// introspection call with a token that nobody issued, which shows whether our
// credentials are accepted.
func (s *Service) Probe(ctx context.Context) []Probe {
	s.mu.Lock()
	units := s.units
	s.mu.Unlock()
	var all []Probe
	for _, u := range units {
		name := u.discovery.Issuer
		if err := u.server.Ready(); err != nil {
			all = append(all, Probe{name, "metadata and keys", err})
			continue
		}
		all = append(all, Probe{name, "metadata and keys: fetched", nil})
		if !u.discovery.NeedIntrospection {
			continue
		}
		p := Probe{name, "introspection: our credentials are accepted", nil}
		if _, err := u.issuer.Validate(ctx, u.validation.OpaqueTokenPrefix+"probe"+rand.Text()); errors.Is(err, validation.ErrUnavailable) {
			p.What, p.Err = "introspection", err
		}
		all = append(all, p)
	}
	return all
}
