// Package authz decides whether a request may pass: which credential it
// carries, which rule holds for it, and whether the token is enough. It knows
// nothing of Envoy or gRPC, and leaves the genuineness of tokens to package
// validation. Nothing that fails becomes an allow: the zero [Decision] denies.
package authz

import (
	"context"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

// Policy is a configuration in use. It never changes and is safe for
// concurrent use.
type Policy struct {
	cfg       Config
	tokens    *validation.Set
	issuers   map[string]IssuerConfig
	rules     []*rule
	byName    map[string]*rule
	index     *index
	resources []*resource // the longest path first
	implied   implied
	injector  *injector
	// withholding is for rules whose upstream gets a token of its own.
	withholding *injector
	exchangers  map[string]Exchanger // by issuer

	conditions conditions

	slashes      bool // an encoded slash stands for itself
	matchesHosts bool
	credentials  credentials

	proofs Proofs // nil: nobody judges proofs, and none is accepted
	algs   string // of DPoP, for challenges

	now func() time.Time // that max_age goes by
}

// New returns the policy that c describes, for tokens of the issuers in the set. A
// mistake in c is an error: there is no policy that holds to half of what is
// written.
func New(c Config, tokens *validation.Set) (*Policy, error) {
	p, err := newPolicy(c)
	if err != nil {
		return nil, err
	}
	p.tokens, p.now = tokens, time.Now
	return p, nil
}

// SetClock has the policy go by another clock than [time.Now]. It is called before
// the first Decide.
func (p *Policy) SetClock(now func() time.Time) { p.now = now }

// SetProofs has p judge the DPoP proofs. It is called before the first Decide; without
// it no token that is bound to a key passes.
func (p *Policy) SetProofs(proofs Proofs) { p.proofs = proofs }

// Decide says whether r may pass, with the headers to change if it may and the
// challenge if not. It may ask the authorization server about the token, and waits
// for that no longer than ctx lasts; what could not be decided by then is
// [Unavailable], never allowed.
func (p *Policy) Decide(ctx context.Context, r *Request) Decision {
	e := &evaluation{policy: p, request: r, walk: walk.From(ctx)}
	d := e.decide(ctx)
	e.end(d)
	return d
}

// document answers requests for a protected-resource document.
func (p *Policy) document(host string, r *Request) (Decision, bool) {
	if len(p.resources) == 0 || !strings.HasPrefix(r.Path, wellKnown) {
		return Decision{}, false
	}
	path, _, _ := strings.Cut(r.Path, "?")
	path = strings.TrimSuffix(path, "/")
	for _, res := range p.resources {
		if res.host == host && res.documentPath == path {
			return res.respond(r.Method)
		}
	}
	return Decision{}, false
}
