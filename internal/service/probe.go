package service

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

// Settle waits until every issuer is ready, or has failed once, and what is revoked is
// known, or the time is over.
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
	if s.fleet != nil && s.fleet.set.Ready() != nil {
		return false
	}
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
// introspection call with a token that nobody issued. It says what happened and
// no more.
func (s *Service) Probe(ctx context.Context) []Probe {
	s.mu.Lock()
	units := s.units
	s.mu.Unlock()
	var all []Probe
	for _, u := range units {
		all = append(all, u.probe(ctx)...)
	}
	return all
}

func (u *unit) probe(ctx context.Context) []Probe {
	name := u.discovery.Issuer
	if err := u.server.Ready(); err != nil {
		return []Probe{{name, "metadata and keys", err}}
	}
	m, err := u.server.Metadata()
	if err != nil {
		return []Probe{{name, "metadata", err}}
	}
	what := "metadata: fetched"
	if m.Fetched.IsZero() {
		what = "metadata: configured, not fetched"
	}
	all := []Probe{{name, what, nil}}
	switch {
	case u.discovery.NeedKeys && u.discovery.JWKSFile != "":
		all = append(all, Probe{name, "keys: read from " + u.discovery.JWKSFile, nil})
	case u.discovery.NeedKeys && m.JWKSURI != "":
		all = append(all, Probe{name, "keys: fetched from " + m.JWKSURI, nil})
	}
	if u.discovery.NeedIntrospection {
		where := m.IntrospectionEndpoint
		if u.discovery.NeedToken {
			where += ", with a token from " + m.TokenEndpoint
		}
		what, err := u.probeIntrospection(ctx)
		all = append(all, Probe{name, "introspection: " + where + ": " + what, err})
	}
	if u.exchanger != nil {
		what, err := u.probeExchange(ctx)
		all = append(all, Probe{name, "tokens for upstreams: " + m.TokenEndpoint + ": " + what, err})
	}
	return all
}

// probeExchange asks for a token in place of one that nobody was given: nothing can be
// issued for it, and whoever cannot authenticate is told so first.
func (u *unit) probeExchange(ctx context.Context) (string, error) {
	err := u.exchanger.Probe(ctx)
	switch {
	case err == nil:
		return "the endpoint takes our credentials, or has none to ask for; no token was asked for in earnest", nil
	case errors.Is(err, exchange.ErrMisconfigured):
		return "refused", err
	}
	return "no answer that could be used", err
}

// probeIntrospection says that our credentials are accepted only where some were
// given, and where the endpoint went as far as to look at the token.
func (u *unit) probeIntrospection(ctx context.Context) (string, error) {
	ctx, recorder := walk.With(ctx)
	_, err := u.issuer.Validate(ctx, u.validation.OpaqueTokenPrefix+"probe"+rand.Text())
	judged := slices.ContainsFunc(recorder.Steps(), func(s walk.Step) bool {
		return s.Name == "introspection" && (s.Detail == "active" || s.Detail == "inactive")
	})
	switch {
	case errors.Is(err, validation.ErrUnavailable):
		return "no answer that could be used", err
	case judged && u.validation.ClientAuthMethod != validation.AuthNone:
		return "our credentials are accepted", nil
	}
	return "the endpoint answers", nil
}
