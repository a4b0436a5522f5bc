package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	errAudience = errors.New("aud has none of the audiences wanted")
	errACR      = errors.New("acr is none of those wanted")
	errAuthTime = errors.New("auth_time is missing, too long ago or in the future")
)

// checkDemands holds a genuine token to what this request needs; nothing of it
// is ever remembered.
func (e *evaluation) checkDemands() *refusal {
	if refused := e.checkAudience(); refused != nil {
		return refused
	}
	if refused := e.checkScopes(); refused != nil {
		return refused
	}
	if refused := e.checkACR(); refused != nil {
		return refused
	}
	return e.checkAuthTime()
}

func (e *evaluation) checkAudience() *refusal {
	wanted := e.audience()
	meant := func(audience string) bool { return slices.Contains(e.token.Audience, audience) }
	ok := len(wanted) == 0 || slices.ContainsFunc(wanted, meant)
	return e.check("aud", ok, WrongAudience, errAudience, func() (string, string) {
		return "one of " + strings.Join(wanted, ", "), strings.Join(e.token.Audience, ", ")
	})
}

// audience: the route's, else the rule's, else the resource, else the issuer's.
func (e *evaluation) audience() []string {
	switch {
	case e.request.Route.HasAudience:
		return []string{e.request.Route.Audience}
	case e.rule != nil && len(e.rule.Audience) > 0:
		return e.rule.Audience
	case e.resource != nil:
		return e.resource.audience
	}
	return e.policy.issuers[e.issuer].Audience
}

func (e *evaluation) checkScopes() *refusal {
	granted := true
	for _, wanted := range e.scopeLists() {
		granted = granted && e.policy.implied.grants(e.token.Scopes, wanted)
	}
	refused := e.check("scope", granted, InsufficientScope, nil, func() (string, string) {
		return strings.Join(e.scopes(), " "), strings.Join(e.token.Scopes, " ")
	})
	if refused != nil {
		refused.err = fmt.Errorf("want scopes %q", strings.Join(e.scopes(), " "))
	}
	return refused
}

// scopes are all that are demanded.
func (e *evaluation) scopes() []string {
	lists := e.scopeLists()
	return union(lists[:]...)
}

// scopeLists: the issuer's, the rule's and the route's.
func (e *evaluation) scopeLists() [3][]string {
	var ofIssuer, ofRule []string
	if e.issuer != "" {
		ofIssuer = e.policy.issuers[e.issuer].RequiredScopes
	} else if len(e.policy.cfg.Issuers) == 1 {
		ofIssuer = e.policy.cfg.Issuers[0].RequiredScopes
	}
	if e.rule != nil {
		ofRule = e.rule.Scopes
	}
	return [...][]string{ofIssuer, ofRule, e.request.Route.Scopes}
}

// checkACR is the first half of RFC 9470: was the user authenticated well enough?
func (e *evaluation) checkACR() *refusal {
	if e.rule == nil || len(e.rule.ACRValues) == 0 {
		return nil
	}
	ok := slices.Contains(e.rule.ACRValues, e.token.ACR)
	return e.check("acr", ok, InsufficientAuthentication, errACR, func() (string, string) {
		return "one of " + strings.Join(e.rule.ACRValues, " "), e.token.ACR
	})
}

// checkAuthTime is the second half of RFC 9470: was it recently enough? No
// auth_time fails (M-06), and so does one that no clock could have given.
func (e *evaluation) checkAuthTime() *refusal {
	if e.rule == nil || e.rule.MaxAge == 0 {
		return nil
	}
	at := e.token.AuthTime
	age := e.policy.now().Sub(at)
	ok := !at.IsZero() && age <= e.rule.MaxAge && age >= -e.policy.issuers[e.issuer].ClockSkew
	return e.check("auth_time", ok, InsufficientAuthentication, errAuthTime, func() (string, string) {
		got := "none"
		if !at.IsZero() {
			got = at.UTC().Format(time.RFC3339)
		}
		return "at most " + e.rule.MaxAge.String() + " ago", got
	})
}

func (e *evaluation) checkWhen(ctx context.Context) *refusal {
	if e.rule == nil || e.rule.when == nil {
		return nil
	}
	holds, err := e.rule.when.holds(ctx, e.request, e.host, e.path, e.token)
	reason := Forbidden
	if ctx.Err() != nil { // it was cut short, and says nothing
		reason, err = Unavailable, ctx.Err()
	}
	return e.check("when", holds && reason == Forbidden, reason, err, func() (string, string) {
		return "true", strconv.FormatBool(holds)
	})
}
