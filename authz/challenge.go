package authz

import (
	"errors"
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
}

// header returns the value for reason, or "" where there is none.
func (c challenge) header(reason Reason) string {
	a := reason.answer()
	if !a.challenge {
		return ""
	}
	var b strings.Builder
	b.Grow(256) // most need no more
	write := func(parts ...string) {
		for _, part := range parts {
			b.WriteString(part)
		}
	}
	write(`Bearer realm="`, c.realm, `"`)
	add := func(name, value string) {
		if value != "" {
			write(", ", name, `="`, value, `"`)
		}
	}
	add("error", a.code)
	if a.code != "" {
		add("error_description", a.description)
	}
	if reason == InsufficientAuthentication {
		add("acr_values", strings.Join(c.acrValues, " "))
		if c.maxAge > 0 {
			add("max_age", strconv.FormatInt(int64(c.maxAge/time.Second), 10))
		}
	}
	if reason == BadRequest {
		return b.String()
	}
	if reason == InsufficientScope || c.resourceMetadata != "" {
		add("scope", strings.Join(c.scopes, " "))
	}
	add("resource_metadata", c.resourceMetadata)
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
