package authz

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// challenge is the WWW-Authenticate of a deny. Each parameter stands once, since
// clients differ in which of two they take, and nothing in it is from the request,
// which could otherwise write parameters of its own (RFC 6750 §3, B-05).
type challenge struct {
	realm            string
	scopes           []string // needed for the operation
	acrValues        []string
	maxAge           time.Duration
	resourceMetadata string // RFC 9728 §5.1
	algs             string // that a DPoP proof may be signed with (RFC 9449 §7.1)
}

// challenges are those of a refusal (docs/contract.md §9): at 401 one of each scheme
// that could succeed, at 400 and 403 only that of the scheme which was used. The one
// that was used is the first, since there are clients that read no other.
func (e *evaluation) challenges(reason Reason) []string {
	a := reason.answer()
	if !a.challenge {
		return nil
	}
	c := e.challenge()
	if !e.policy.dpop() { // the usual case
		return []string{c.header(bearerScheme, reason, a.code)}
	}
	used, offered := e.usedScheme(), e.offeredSchemes()
	if a.status != http.StatusUnauthorized {
		if used == noScheme {
			used = offered[0]
		}
		return []string{c.header(used, reason, a.code)}
	}
	slices.SortStableFunc(offered, func(a, b scheme) int { return compareFirst(a == used, b == used) })
	all := make([]string, 0, len(offered))
	for n, s := range offered {
		code := ""
		switch {
		case s == used:
			code = a.code
		case n == 0 && used != noScheme && a.code != "": // what was used is not offered
			code = errInvalidToken
		}
		all = append(all, c.header(s, reason, code))
	}
	return all
}

func compareFirst(a, b bool) int {
	switch {
	case a && !b:
		return -1
	case b && !a:
		return 1
	}
	return 0
}

func (e *evaluation) challenge() challenge {
	c := challenge{realm: e.policy.cfg.Realm, scopes: e.scopes(), algs: e.policy.algs}
	if e.rule != nil {
		c.acrValues, c.maxAge = e.rule.ACRValues, e.rule.MaxAge
	}
	if e.resource != nil {
		c.resourceMetadata = e.resource.documentURL
		if len(c.scopes) == 0 {
			c.scopes = e.resource.scopes
		}
	}
	return c
}

// header returns the value of that scheme for reason, with an error code or, where
// code is empty, none.
func (c challenge) header(s scheme, reason Reason, code string) string {
	var b strings.Builder
	b.Grow(256) // most need no more
	write := func(parts ...string) {
		for _, part := range parts {
			b.WriteString(part)
		}
	}
	write(s.String(), ` realm="`, c.realm, `"`)
	add := func(name, value string) {
		if value != "" {
			write(", ", name, `="`, value, `"`)
		}
	}
	add("error", code)
	if code != "" {
		add("error_description", reason.answer().description)
	}
	if code == errInsufficientAuthentication {
		add("acr_values", strings.Join(c.acrValues, " "))
		if c.maxAge > 0 {
			add("max_age", strconv.FormatInt(int64(c.maxAge/time.Second), 10))
		}
	}
	if reason != BadRequest {
		if reason == InsufficientScope || c.resourceMetadata != "" {
			add("scope", strings.Join(c.scopes, " "))
		}
		add("resource_metadata", c.resourceMetadata)
	}
	if s == dpopScheme {
		add("algs", c.algs)
	}
	return b.String()
}

// checkQuotable accepts what can stand between quotes without escapes.
func checkQuotable(s string) error {
	if s == "" {
		return errors.New("is empty, and RFC 6750 §3 wants at least one parameter")
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > 0x7e || c == '"' || c == '\\' {
			return errors.New(`want visible ASCII and spaces, without " and \`)
		}
	}
	return nil
}
