// Package authz decides whether a request may pass: which credential it
// carries, which rule holds for it, and whether the token is enough. It knows
// nothing of Envoy or gRPC, and leaves the genuineness of tokens to package
// validation. Nothing that fails becomes an allow: the zero [Decision] denies.
package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/trace"
	"github.com/bearergate/bearergate/validation"
)

// retryAfter is what an unavailable answer names where nothing better is known.
const retryAfter = time.Second

// Policy is a configuration in use. It never changes and is safe for
// concurrent use.
type Policy struct {
	cfg        Config
	tokens     *validation.Set
	issuers    map[string]IssuerConfig
	rules      []*rule
	byName     map[string]*rule
	resources  []*resource // the longest path first
	implied    implied
	injector   *injector
	conditions conditions

	slashes      bool // an encoded slash stands for itself
	matchesHosts bool
	introspects  bool // some issuer's tokens may be opaque
}

// New returns the policy of a valid configuration over tokens.
func New(c Config, tokens *validation.Set) (*Policy, error) {
	p, err := newPolicy(c)
	if err != nil {
		return nil, err
	}
	p.tokens = tokens
	return p, nil
}

// Decide returns what becomes of r.
func (p *Policy) Decide(ctx context.Context, r Request) Decision {
	e := &evaluation{policy: p, request: &r, trace: trace.From(ctx)}
	e.host, e.hostErr = hostOnly(r.Host)
	if d, ok := p.document(e.host, &r); ok { // no resource is on a host that was refused
		return d
	}
	reason, err := e.run(ctx)
	if reason.Allows() && ctx.Err() != nil {
		reason, err = Unavailable, ctx.Err()
	}
	return e.conclude(reason, err)
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

// evaluation is the way of one request through the policy.
type evaluation struct {
	policy  *Policy
	request *Request
	trace   *trace.Trace // nil: nobody asked why

	host     string // without port, in lower case
	hostErr  error
	path     string // normal, or "" where it is ambiguous and that is allowed
	rule     *rule  // nil: none matched
	access   string
	resource *resource // nil: none

	bearer string
	issuer string
	token  *validation.Token
}

// run takes the steps in order; the first that decides ends the walk.
func (e *evaluation) run(ctx context.Context) (Reason, error) {
	for _, step := range [...]func(*evaluation, context.Context) (Reason, error){
		(*evaluation).checkRoute, (*evaluation).readTarget, (*evaluation).findRule, (*evaluation).checkAccess,
		(*evaluation).validate, (*evaluation).checkToken, (*evaluation).checkWhen,
	} {
		if reason, err := step(e, ctx); reason != undecided {
			return reason, err
		}
	}
	if e.token == nil {
		return Public, nil
	}
	return Allowed, nil
}

// undecided lets the walk go on; it is no reason.
const undecided = reasons

// checkRoute holds what the gateway's route says to what is configured: a typo
// never opens a route (CONTRACT.md §3).
func (e *evaluation) checkRoute(context.Context) (Reason, error) {
	route := &e.request.Route
	switch {
	case route.Unknown != "":
		return Misconfigured, fmt.Errorf("context_extensions: unknown key %q", route.Unknown)
	case route.HasAudience && route.Audience == "":
		return Misconfigured, errors.New("context_extensions: bearergate.audience is empty")
	case route.HasScopes && len(route.Scopes) == 0:
		return Misconfigured, errors.New("context_extensions: bearergate.scopes is empty")
	case !allScopeTokens(route.Scopes):
		return Misconfigured, errors.New("context_extensions: bearergate.scopes holds what is no scope token")
	}
	if _, ok := e.policy.issuers[route.Issuer]; route.HasIssuer && !ok {
		return Misconfigured, fmt.Errorf("context_extensions: bearergate.issuer %q is not a configured issuer", route.Issuer)
	}
	if _, ok := e.policy.byName[route.Rule]; route.HasRule && !ok {
		return Misconfigured, fmt.Errorf("context_extensions: bearergate.rule %q is not a configured rule", route.Rule)
	}
	return undecided, nil
}

func allScopeTokens(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(s string) bool { return !isScopeToken(s) })
}

// readTarget refuses a path that could be read in two ways, whether or not a
// rule looks at it: Envoy may have chosen the route by it (E-10). A host that
// could be is refused where somebody looks at hosts.
func (e *evaluation) readTarget(context.Context) (Reason, error) {
	if e.policy.matchesHosts && e.hostErr != nil {
		return BadRequest, e.hostErr
	}
	var err error
	e.path, err = normalPath(e.request.Path, e.policy.slashes)
	if err != nil && (e.request.Path == "" || e.policy.cfg.AmbiguousPaths != pathsAllowed) { // E-11
		return BadRequest, err
	}
	return undecided, nil
}

// findRule takes the route's rule or the first that matches.
func (e *evaluation) findRule(context.Context) (Reason, error) {
	if e.request.Route.HasRule {
		e.rule = e.policy.byName[e.request.Route.Rule]
		if e.trace != nil {
			e.note("rule "+e.rule.Name, trace.Passed, "named by the route")
		}
	} else {
		e.matchRule()
	}
	e.access = e.policy.cfg.DefaultAccess
	if e.rule != nil {
		e.access = e.rule.Access
		e.resource = e.rule.resource
	}
	if e.resource == nil {
		e.resource = e.policy.resourceOf(e.host, e.path)
	}
	if e.resource != nil && e.trace != nil {
		e.note("resource", trace.Noted, e.resource.identifier)
	}
	return undecided, nil
}

func (e *evaluation) matchRule() {
	for n, r := range e.policy.rules {
		why := r.mismatch(e.request.Method, e.host, e.path)
		if why == "" {
			e.rule = r
		}
		if e.trace != nil {
			e.noteRule(n, why)
		}
		if why == "" {
			return
		}
	}
	if e.trace != nil {
		e.note("rule", trace.Noted, "none matches: default_access "+e.policy.cfg.DefaultAccess)
	}
}

func (e *evaluation) noteRule(n int, why string) {
	name := "rule " + e.policy.rules[n].Name
	if why != "" {
		e.note(name, trace.Noted, "does not match: "+why)
		return
	}
	e.note(name, trace.Passed, "matches")
	for _, later := range e.policy.rules[n+1:] {
		e.note("rule "+later.Name, trace.Noted, "not looked at: the first match wins")
	}
}

func (p *Policy) resourceOf(host, path string) *resource {
	for _, r := range p.resources {
		if r.holds(host, path) {
			return r
		}
	}
	return nil
}

// checkAccess settles what needs no token, and finds the credential.
func (e *evaluation) checkAccess(context.Context) (Reason, error) {
	if e.access == accessDeny {
		return Forbidden, errors.New("access is deny")
	}
	route := &e.request.Route
	if route.HasScopes || route.HasAudience || route.HasIssuer {
		e.access = accessToken
	}
	if e.access == accessPublic {
		return undecided, nil
	}
	token, err := credential(e.request.Authorization, e.request.Path, e.policy.introspects)
	switch {
	case errors.Is(err, errNoToken) && e.access == accessOptional:
		return undecided, nil
	case errors.Is(err, errNoToken):
		return NoToken, err
	case err != nil:
		return BadRequest, errors.New("not exactly one well-formed credential")
	}
	if e.trace != nil {
		e.note("credential", trace.Passed, fmt.Sprintf("one bearer token of %d bytes", len(token)))
	}
	e.bearer = token
	return undecided, nil
}

// validate has the one issuer judge the token that may: rule and route narrow
// the choice and never widen it.
func (e *evaluation) validate(ctx context.Context) (Reason, error) {
	if e.bearer == "" {
		return undecided, nil
	}
	issuer, err := e.policy.tokens.Choose(e.bearer)
	if err != nil {
		return reasonOf(err), err
	}
	e.issuer = issuer.Name()
	if e.trace != nil {
		e.note("issuer", trace.Noted, e.issuer)
	}
	if e.rule != nil && len(e.rule.Issuers) > 0 && !slices.Contains(e.rule.Issuers, e.issuer) {
		return WrongIssuer, fmt.Errorf("rule %s does not take tokens of this issuer", e.rule.Name)
	}
	if e.request.Route.HasIssuer && e.request.Route.Issuer != e.issuer {
		return WrongIssuer, errors.New("the route does not take tokens of this issuer")
	}
	token, err := issuer.Validate(ctx, e.bearer)
	if err != nil {
		return reasonOf(err), err
	}
	if token == nil {
		return Internal, errors.New("no token and no error")
	}
	e.token = token
	return undecided, nil
}

// reasonOf maps the sentinels of package validation; anything else is ours.
func reasonOf(err error) Reason {
	for _, m := range []struct {
		err    error
		reason Reason
	}{
		{validation.ErrUnavailable, Unavailable},
		{validation.ErrMalformed, MalformedToken},
		{validation.ErrUnsupportedAlgorithm, UnsupportedAlgorithm},
		{validation.ErrWrongType, WrongType},
		{validation.ErrUnknownKey, UnknownKey},
		{validation.ErrSignature, BadSignature},
		{validation.ErrIssuer, WrongIssuer},
		{validation.ErrAudience, WrongAudience},
		{validation.ErrExpired, Expired},
		{validation.ErrNotYetValid, NotYetValid},
		{validation.ErrInactive, Inactive},
		{validation.ErrBinding, WrongBinding},
	} {
		if errors.Is(err, m.err) {
			return m.reason
		}
	}
	return Internal
}
