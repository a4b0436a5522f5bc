package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/nowait"
	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

// evaluation is the way of one request through the policy.
type evaluation struct {
	policy  *Policy
	request *Request
	walk    *walk.Walk // nil: nobody asked why

	host     string // without port, in lower case
	hostErr  error
	path     string // normal, or "" where it is ambiguous and that is allowed
	rule     *rule  // nil: none matched
	access   string
	resource *resource // nil: none

	bearer string // the access token, however it was presented
	scheme scheme // how it was
	issuer string
	token  *validation.Token
	nonce  string // for the client's next proof; empty: it has one

	upstream exchange.Value // the zero Value: none
}

// refusal is why a request does not pass; nil lets it go on.
type refusal struct {
	reason Reason
	err    error // for logs only
}

// decide serves a protected-resource document, or says whether the request may
// pass.
func (e *evaluation) decide(ctx context.Context) Decision {
	e.host, e.hostErr = hostOnly(e.request.Host)
	if d, ok := e.policy.document(e.host, e.request); ok { // no resource is on a host that was refused
		return d
	}
	refused := e.run(ctx)
	if refused == nil && ctx.Err() != nil { // nobody waits for the answer any longer
		refused = &refusal{Unavailable, ctx.Err()}
	}
	d := e.shadow(e.conclude(refused))
	e.endWithToken(&d)
	return d
}

// run takes the steps in order; the first refusal ends the walk.
func (e *evaluation) run(ctx context.Context) *refusal {
	if refused := e.checkRoute(); refused != nil {
		return refused
	}
	if refused := e.readTarget(); refused != nil {
		return refused
	}
	e.findRule()
	e.findResource()
	if refused := e.findCredential(); refused != nil {
		return refused
	}
	if e.bearer != "" {
		if refused := e.validate(ctx); refused != nil {
			return refused
		}
		if refused := e.checkBinding(ctx); refused != nil {
			return refused
		}
		if refused := e.checkDemands(); refused != nil {
			return refused
		}
	}
	if refused := e.checkWhen(ctx); refused != nil {
		return refused
	}
	return e.getUpstreamToken(ctx)
}

// check records what was looked at and, if it is not ok, refuses the request:
// what decides and what `explain` shows are one and the same. Nothing is put into
// words unless somebody asked.
func (e *evaluation) check(name string, ok bool, reason Reason, err error, say func() (want, got string)) *refusal {
	if e.walk.Check("authz", name, ok, say) {
		return nil
	}
	return &refusal{reason, err}
}

func (e *evaluation) note(name string, say func() string) { e.walk.Note("authz", name, say) }

// checkRoute holds what the gateway's route says to what is configured: a typo
// never opens a route (contract §3).
func (e *evaluation) checkRoute() *refusal {
	err := e.routeMistake()
	if err == nil {
		return nil
	}
	return e.check("context_extensions", false, Misconfigured, err, func() (string, string) {
		return "what is configured", err.Error()
	})
}

func (e *evaluation) routeMistake() error {
	route := &e.request.Route
	switch {
	case route.Unknown != "":
		return fmt.Errorf("context_extensions: unknown key %q", route.Unknown)
	case route.HasAudience && route.Audience == "":
		return errors.New("context_extensions: bearergate.audience is empty")
	case route.HasScopes && len(route.Scopes) == 0:
		return errors.New("context_extensions: bearergate.scopes is empty")
	case !allScopeTokens(route.Scopes):
		return errors.New("context_extensions: bearergate.scopes holds what is no scope token")
	}
	if _, ok := e.policy.issuers[route.Issuer]; route.HasIssuer && !ok {
		return fmt.Errorf("context_extensions: bearergate.issuer %q is not a configured issuer", route.Issuer)
	}
	if _, ok := e.policy.byName[route.Rule]; route.HasRule && !ok {
		return fmt.Errorf("context_extensions: bearergate.rule %q is not a configured rule", route.Rule)
	}
	return nil
}

func allScopeTokens(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(s string) bool { return !validation.IsScopeToken(s) })
}

// readTarget refuses a path that could be read in two ways, whether or not a
// rule looks at it: Envoy may have chosen the route by it (E-10). A host that
// could be is refused where somebody looks at hosts.
func (e *evaluation) readTarget() *refusal {
	if e.policy.matchesHosts && e.hostErr != nil {
		return e.check("host", false, BadRequest, e.hostErr, func() (string, string) {
			return "a host that all read alike", e.request.Host
		})
	}
	var err error
	e.path, err = normalPath(e.request.Path, e.policy.slashes)
	// A CONNECT has no path at all, and ambiguous_paths is about paths that are there:
	// it lets nothing pass that no rule could ever look at (E-11).
	if err != nil && (e.request.Path == "" || e.policy.cfg.AmbiguousPaths != pathsAllowed) {
		return e.check("path", false, BadRequest, err, func() (string, string) {
			return "a path that all read alike", e.request.Path
		})
	}
	return nil
}

// findRule takes the route's rule or the first that matches.
func (e *evaluation) findRule() {
	if e.request.Route.HasRule {
		e.rule = e.policy.byName[e.request.Route.Rule]
		e.note(e.rule.noted, func() string { return "named by the route" })
	} else {
		e.matchRule()
	}
	e.access = e.policy.cfg.DefaultAccess
	if e.rule != nil {
		e.access = e.rule.Access
	}
}

func (e *evaluation) matchRule() {
	n := e.policy.index.find(e.request.Method, e.host, e.path)
	if n < len(e.policy.rules) {
		e.rule = e.policy.rules[n]
	}
	if e.walk != nil {
		e.noteRules(n)
	}
}

// noteRules shows what the n-th rule wins over, and why those before it do not match.
func (e *evaluation) noteRules(n int) {
	for i, r := range e.policy.rules {
		e.note(r.noted, func() string {
			switch {
			case i < n:
				return "does not match: " + r.mismatch(e.request.Method, e.host, e.path)
			case i == n:
				return "matches"
			}
			return "not looked at: the first match wins"
		})
	}
	if e.rule == nil {
		e.note("rule", func() string { return "none matches: default_access " + e.policy.cfg.DefaultAccess })
	}
}

// findResource takes the rule's resource or the one that the request is on.
func (e *evaluation) findResource() {
	if e.rule != nil {
		e.resource = e.rule.resource
	}
	if e.resource == nil {
		e.resource = e.policy.resourceOf(e.host, e.path)
	}
	if e.resource != nil {
		e.note("resource", func() string { return e.resource.identifier })
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

var errDenied = errors.New("access is deny")

// findCredential settles what needs no token, and finds the token: afterwards
// there is one, or none is needed.
func (e *evaluation) findCredential() *refusal {
	if e.access == accessDeny {
		return e.check("access", false, Forbidden, errDenied, func() (string, string) { return "another access", e.access })
	}
	if route := &e.request.Route; route.HasScopes || route.HasAudience || route.HasIssuer {
		e.access = accessToken
	}
	if e.access == accessPublic {
		e.note("access", func() string { return "public: no token is looked at" })
		return nil
	}
	token, presented, err := e.policy.credentials.find(e.request.Authorization, e.request.Path)
	if errors.Is(err, errNoToken) && e.access == accessOptional {
		e.note("credential", func() string { return "none, which is fine: access is optional" })
		return nil
	}
	reason := BadRequest
	if errors.Is(err, errNoToken) {
		reason = NoToken
	}
	e.bearer, e.scheme = token, presented
	return e.check("credential", err == nil, reason, err, func() (string, string) {
		return e.policy.credentials.wanted(), describeCredential(token, presented, err)
	})
}

// describeCredential never shows the token.
func describeCredential(token string, presented scheme, err error) string {
	if err != nil {
		return err.Error()
	}
	if presented == dpopScheme {
		return fmt.Sprintf("one of %d bytes, with the scheme DPoP", len(token))
	}
	return fmt.Sprintf("one of %d bytes", len(token))
}

var (
	errRuleIssuer  = errors.New("the rule does not take tokens of this issuer")
	errRouteIssuer = errors.New("the route does not take tokens of this issuer")
	errNoAnswer    = errors.New("no token and no error")
)

// validate has the one issuer judge the token that may: rule and route narrow
// the choice and never widen it.
func (e *evaluation) validate(ctx context.Context) *refusal {
	candidate, err := e.policy.tokens.Choose(e.bearer)
	if err != nil {
		return e.check("issuer", false, reasonOf(err), err, func() (string, string) {
			return "a token of a configured issuer", err.Error()
		})
	}
	e.issuer = candidate.Issuer.Name()
	e.note("issuer", func() string { return e.issuer })
	if e.rule != nil && len(e.rule.Issuers) > 0 && !slices.Contains(e.rule.Issuers, e.issuer) {
		return e.check("issuer", false, WrongIssuer, errRuleIssuer, func() (string, string) {
			return "an issuer of rule " + e.rule.Name, e.issuer
		})
	}
	if e.request.Route.HasIssuer && e.request.Route.Issuer != e.issuer {
		return e.check("issuer", false, WrongIssuer, errRouteIssuer, func() (string, string) {
			return e.request.Route.Issuer, e.issuer
		})
	}
	if e.wouldWait(ctx) {
		return &refusal{Internal, nowait.Err}
	}
	token, err := candidate.Validate(ctx) // it records its own steps
	if err != nil {
		return &refusal{reasonOf(err), err}
	}
	if token == nil {
		return &refusal{Internal, errNoAnswer}
	}
	e.token = token
	return nil
}

// wouldWait says that what comes after the token's own validity has to wait, where
// nobody may: a proof is verified at every request, and an upstream's token asked for.
// Whether the token is known is not looked at then, and not counted.
func (e *evaluation) wouldWait(ctx context.Context) bool {
	if e.scheme != dpopScheme && (e.rule == nil || e.rule.upstream == nil) || !nowait.Of(ctx) {
		return false
	}
	if e.scheme == dpopScheme {
		return true
	}
	exchanger := e.policy.exchangers[e.issuer]
	return exchanger != nil && !exchanger.Knows(e.rule.upstream, e.bearer)
}

// reasonOf maps the sentinels of packages validation and binding; anything else is ours.
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
		{validation.ErrExpired, Expired},
		{validation.ErrNotYetValid, NotYetValid},
		{validation.ErrInactive, Inactive},
		{validation.ErrRevoked, Revoked},
		{validation.ErrBinding, WrongBinding},
		{binding.ErrUnavailable, Unavailable},
		{binding.ErrNonce, UseNonce},
		{binding.ErrKey, WrongBinding},
		{binding.ErrProof, InvalidProof},
	} {
		if errors.Is(err, m.err) {
			return m.reason
		}
	}
	return Internal
}
