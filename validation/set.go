package validation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/strictjws"
)

// Set is the configured issuers; it chooses the one that a token belongs to.
type Set struct {
	issuers    []*Validator
	byName     map[string]*Validator
	algorithms []string
}

// Distinct refuses issuers that could not be told apart: two of one name, or
// two that introspect opaque tokens of the same prefix. Each mistake is a
// [*field.Error] below issuers[n].
func Distinct(all ...Config) error {
	var errs []error
	names, prefixes := map[string]bool{}, map[string]string{}
	for n, c := range all {
		if names[c.Issuer] {
			errs = append(errs, field.Errorf(fmt.Sprintf("issuers[%d].issuer", n), "%q is configured twice", c.Issuer))
		}
		names[c.Issuer] = true
		if !c.Strategy.introspects() {
			continue
		}
		if other, ok := prefixes[c.OpaqueTokenPrefix]; ok {
			errs = append(errs, field.Errorf(fmt.Sprintf("issuers[%d].opaque_token_prefix", n),
				"got %q, the same as that of %s: nobody could tell their opaque tokens apart", c.OpaqueTokenPrefix, other))
		}
		prefixes[c.OpaqueTokenPrefix] = c.Issuer
	}
	return errors.Join(errs...)
}

// NewSet returns the set of issuers, which must be [Distinct].
func NewSet(issuers ...*Validator) (*Set, error) {
	s := &Set{issuers: issuers, byName: map[string]*Validator{}, algorithms: Algorithms()}
	var configs []Config
	for _, i := range issuers {
		s.byName[i.Name()] = i
		configs = append(configs, i.cfg)
	}
	return s, Distinct(configs...)
}

// Candidate is a token that nobody has judged, and the one issuer that may.
type Candidate struct {
	Issuer *Validator

	token string
	jws   *strictjws.JWS // what was read of it; nil: nothing so far
}

// Validate has the issuer judge the token: see [Validator.Validate].
func (c Candidate) Validate(ctx context.Context) (*Token, error) { return c.Issuer.validate(ctx, c) }

// Choose finds the one issuer that may judge token, before any key or
// endpoint is touched (J-13, A-04): for a JWT the one that its unverified iss
// names, for an opaque token the one with the longest prefix that fits. The
// token only selects among what is configured. The errors are
// [ErrIssuer] and [ErrMalformed].
func (s *Set) Choose(token string) (Candidate, error) {
	c := Candidate{token: token}
	if c.Issuer = s.only(); c.Issuer != nil {
		return c, nil
	}
	var err error
	if c.jws, err = strictjws.Parse(token, strictjws.Options{Algorithms: s.algorithms}); err == nil {
		c.Issuer, err = s.chooseJWT(c.jws.Claims)
		return c, err
	}
	c.Issuer, err = s.chooseBroken(token)
	return c, err
}

// chooseBroken chooses for what is no JWT that could ever be good, an opaque token
// among others. What might pass for a JWT somewhere goes to the issuer that it names,
// whose own checks say what is wrong with it.
func (s *Set) chooseBroken(token string) (*Validator, error) {
	if !strictjws.Resembles(token) {
		return s.chooseOpaque(token)
	}
	if len(s.issuers) == 1 {
		return s.issuers[0], nil
	}
	claims, err := strictjws.UnverifiedClaims(token)
	if err != nil {
		return nil, jwsError(err)
	}
	return s.chooseJWT(claims)
}

func (s *Set) chooseJWT(claims strictjws.Object) (*Validator, error) {
	if len(s.issuers) == 1 { // its own checks say what is wrong with the token
		return s.issuers[0], nil
	}
	name, _ := claims.Get("iss").Text()
	if i, ok := s.byName[name]; ok {
		return i, nil
	}
	return nil, fmt.Errorf("%w: iss is none of the configured issuers", ErrIssuer)
}

// only returns the single issuer that need not be chosen: nothing about a
// token could lead anywhere else.
func (s *Set) only() *Validator {
	if len(s.issuers) == 1 && s.issuers[0].cfg.OpaqueTokenPrefix == "" {
		return s.issuers[0]
	}
	return nil
}

func (s *Set) chooseOpaque(token string) (*Validator, error) {
	var chosen *Validator
	introspecting := false
	for _, i := range s.issuers {
		if !i.cfg.Strategy.introspects() {
			continue
		}
		introspecting = true
		prefix := i.cfg.OpaqueTokenPrefix
		if strings.HasPrefix(token, prefix) && (chosen == nil || len(prefix) > len(chosen.cfg.OpaqueTokenPrefix)) {
			chosen = i
		}
	}
	switch {
	case chosen != nil:
		return chosen, nil
	case introspecting:
		return nil, fmt.Errorf("%w: no opaque_token_prefix fits", ErrIssuer)
	}
	return nil, fmt.Errorf("%w: not a JWT, and no issuer introspects", ErrMalformed)
}
