package service

import (
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/validation"
)

// IssuerState is how one issuer of the configuration in use is.
type IssuerState struct {
	Issuer   string
	Strategy validation.Strategy
	Problem  error // nil: its tokens can be decided

	Discovery  discovery.State
	Validation validation.State
	Exchange   *exchange.State // nil: no rule wants a token for its upstream
}

// States returns how each issuer is, in the order of the configuration.
func (s *Service) States() []IssuerState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []IssuerState
	for _, u := range s.units {
		state := IssuerState{
			Issuer: u.discovery.Issuer, Strategy: u.validation.Strategy, Problem: u.server.Ready(),
			Discovery: u.server.State(), Validation: u.issuer.State(),
		}
		if u.exchanger != nil {
			exchanger := u.exchanger.State()
			state.Exchange = &exchanger
		}
		all = append(all, state)
	}
	return all
}

// Proofs returns how many DPoP proofs are remembered.
func (s *Service) Proofs() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accepted == nil {
		return 0
	}
	return s.accepted.Len()
}

// InUse returns the configuration in use, which is not to be changed, and since when it
// is; nil: there is none yet.
func (s *Service) InUse() (*config.Config, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse, s.since
}

// Revocations returns a number that changes when something is revoked.
func (s *Service) Revocations() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fleet == nil {
		return 0
	}
	return s.fleet.set.Generation()
}

// Revoked says whether a token of an issuer, of which t was learnt, is revoked by now.
func (s *Service) Revoked(issuer, token string, t *validation.Token) bool {
	s.mu.Lock()
	u := s.unitOf(issuer)
	s.mu.Unlock()
	return u != nil && u.issuer.Revoked(token, t)
}
