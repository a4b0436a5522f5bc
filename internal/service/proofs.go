package service

import (
	"fmt"
	"reflect"

	"github.com/bearergate/bearergate/internal/binding"
)

// proofs judges the DPoP proofs of one configuration. A reload that leaves the section
// as it is keeps them; one that changes it keeps their nonces good.
type proofs struct {
	config binding.DPoP
	judge  *binding.Proofs
}

// proofsFor returns what judges proofs as c says; nil where DPoP is off.
func (s *Service) proofsFor(c *binding.DPoP) (*proofs, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // nobody judges proofs
	}
	if s.proofs != nil && reflect.DeepEqual(s.proofs.config, *c) {
		return s.proofs, nil
	}
	if s.accepted == nil {
		s.accepted = binding.NewMemory(c.ReplayEntries, s.now())
	}
	o := binding.Options{Replays: replays{s.fleet, s.accepted}, Log: s.log, Now: s.now(), Told: s.told.Proofs}
	if s.proofs != nil {
		o.Before = s.proofs.judge
	}
	judge, err := binding.NewProofs(*c, o)
	if err != nil {
		return nil, fmt.Errorf("dpop: %w", err)
	}
	return &proofs{*c, judge}, nil
}

// useProofs puts them in force. What was accepted before stays accepted, and is
// remembered even while DPoP is off: who switches it on again has missed nothing.
func (s *Service) useProofs(p *proofs) {
	s.proofs = p
	if p != nil {
		s.accepted.Resize(p.config.ReplayEntries)
	}
}
