package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// checkToken holds a genuine token to what this request needs; nothing of it
// is ever remembered.
func (e *evaluation) checkToken(context.Context) (Reason, error) {
	if e.token == nil {
		return undecided, nil
	}
	t := e.trace
	if e.token.Bound { // P-02: no binding can be proven here
		if t != nil {
			t.Check("authz", "cnf", false, "none", "present")
		}
		return WrongBinding, errors.New("the token has cnf, and no binding is supported")
	}
	audience := e.audience()
	ok := len(audience) == 0 || slices.ContainsFunc(audience, func(a string) bool { return slices.Contains(e.token.Audience, a) })
	if t != nil {
		t.Check("authz", "aud", ok, "one of "+strings.Join(audience, ", "), strings.Join(e.token.Audience, ", "))
	}
	if !ok {
		return WrongAudience, errors.New("aud has none of the audiences wanted")
	}
	scopes := e.scopes()
	ok = e.policy.implied.grants(e.token.Scopes, scopes)
	if t != nil {
		t.Check("authz", "scope", ok, strings.Join(scopes, " "), strings.Join(e.token.Scopes, " "))
	}
	if !ok {
		return InsufficientScope, fmt.Errorf("want scopes %q", strings.Join(scopes, " "))
	}
	return e.checkStepUp()
}

// audience: the route's, else the rule's, else the resource, else the issuer's.
func (e *evaluation) audience() []string {
	switch {
	case e.request.Route.HasAudience:
		return []string{e.request.Route.Audience}
	case e.rule != nil && len(e.rule.Audience) > 0:
		return e.rule.Audience
	case e.resource != nil:
		return []string{e.resource.identifier}
	}
	return e.policy.issuers[e.issuer].Audience
}

// scopes: the issuer's, the rule's and the route's together.
func (e *evaluation) scopes() []string {
	var ofIssuer, ofRule []string
	if e.issuer != "" {
		ofIssuer = e.policy.issuers[e.issuer].RequiredScopes
	} else if len(e.policy.cfg.Issuers) == 1 {
		ofIssuer = e.policy.cfg.Issuers[0].RequiredScopes
	}
	if e.rule != nil {
		ofRule = e.rule.Scopes
	}
	return union(ofIssuer, ofRule, e.request.Route.Scopes)
}

// checkStepUp is RFC 9470: was the user authenticated well and recently enough?
func (e *evaluation) checkStepUp() (Reason, error) {
	t := e.trace
	if e.rule == nil || len(e.rule.ACRValues) == 0 && e.rule.MaxAge == 0 {
		return undecided, nil
	}
	ok := len(e.rule.ACRValues) == 0 || slices.Contains(e.rule.ACRValues, e.token.ACR)
	if t != nil && len(e.rule.ACRValues) > 0 {
		t.Check("authz", "acr", ok, "one of "+strings.Join(e.rule.ACRValues, " "), e.token.ACR)
	}
	if !ok {
		return InsufficientAuthentication, errors.New("acr is none of those wanted")
	}
	if e.rule.MaxAge == 0 {
		return undecided, nil
	}
	age := time.Since(e.token.AuthTime)
	// No auth_time fails (M-06), and so does one that no clock could have given.
	ok = !e.token.AuthTime.IsZero() && age <= e.rule.MaxAge && age >= -e.policy.issuers[e.issuer].ClockSkew
	if t != nil {
		t.Check("authz", "auth_time", ok, "at most "+e.rule.MaxAge.String()+" ago", e.token.AuthTime.UTC().Format(time.RFC3339))
	}
	if !ok {
		return InsufficientAuthentication, errors.New("auth_time is missing, too long ago or in the future")
	}
	return undecided, nil
}

func (e *evaluation) checkWhen(ctx context.Context) (Reason, error) {
	if e.rule == nil || e.rule.when == nil {
		return undecided, nil
	}
	holds, err := e.rule.when.holds(ctx, e.request, e.host, e.path, e.token)
	if e.trace != nil {
		e.trace.Check("authz", "when", holds, "true", fmt.Sprint(holds))
	}
	switch {
	case ctx.Err() != nil:
		return Unavailable, ctx.Err()
	case !holds:
		return Forbidden, err
	}
	return undecided, nil
}
