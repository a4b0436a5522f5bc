package validation

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

// maxNumericDate bounds dates to the numbers that a double holds exactly
// (J-22): 1e30 and MaxInt64 are not dates but attempts to live for ever.
const maxNumericDate = 1 << 53

// members are the claims of a token while it is looked at.
type members struct{ strictjws.Object }

// parseObject reads exactly one JSON object, as strictly as that of a JWT: the
// usual decoder makes {"active":false,"Active":true} true (I-03).
func parseObject(raw []byte) (members, error) {
	object, err := strictjws.ParseObject(raw)
	if err != nil {
		return members{}, jwsError(err)
	}
	return members{object}, nil
}

// get returns the member of that name, or "" where there is none, or one that says
// nothing: some servers write null, or an empty aud, where a token has no such thing
// (docs/contract.md §4).
func (m members) get(name string) strictjws.Value {
	if value := m.Get(name); says(name, value) {
		return value
	}
	return ""
}

func (m members) has(name string) bool { return m.get(name) != "" }

// says is false of the members that count as absent.
func says(name string, value strictjws.Value) bool {
	return value != "" && !value.IsNull() && (name != "aud" || !isEmpty(value))
}

// isEmpty says whether value is a text or a list with nothing in it.
func isEmpty(value strictjws.Value) bool {
	text := string(value)
	return text == `""` || strings.HasPrefix(text, "[") && strings.Trim(text[1:], " \t\r\n") == "]"
}

// unreadable says whose fault it is that body is no strict JSON object. Where
// it says once, and as a boolean, whether the token is active, the rest is that
// token's: a name that comes twice, or text that is no UTF-8. With active twice
// nobody can tell which one counts, and it is no answer at all (I-03).
func unreadable(body []byte, err error) error {
	active, ok := onlyActive(body)
	switch {
	case !ok:
		return malformed(err)
	case !active:
		return ErrInactive // whatever else the answer holds, and in whatever shape (I-04)
	}
	return err
}

// onlyActive returns the one member active of a JSON object that may have other
// faults than those of syntax.
func onlyActive(body []byte) (active, ok bool) {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if start, err := dec.ReadToken(); err != nil || start.Kind() != '{' {
		return false, false
	}
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return false, false
		}
		if token.Kind() == '}' {
			break
		}
		named := token.String() == "active"
		value, err := dec.ReadValue()
		switch kind := value.Kind(); {
		case err != nil, named && (ok || kind != 't' && kind != 'f'):
			return false, false
		case named:
			active, ok = kind == 't', true
		}
	}
	_, err := dec.ReadToken()
	return active, ok && err == io.EOF //nolint:errorlint // io.EOF as it is: nothing follows
}

// tokenFromClaims reads the registered claims of a JWT or an introspection
// answer, and checks their types (I-06, J-21, J-22). A member that is absent
// is no mistake here.
func tokenFromClaims(claims members) (*Token, error) {
	r := reader{claims: claims}
	t := &Token{
		Issuer:    r.text("iss"),
		Subject:   r.text("sub"),
		ClientID:  r.text(r.first("client_id", "azp", "cid", "appid")),
		Scopes:    r.scopes(r.first("scope", "scp")),
		Audience:  r.audience("aud"),
		Expiry:    r.date("exp"),
		NotBefore: r.date("nbf"),
		IssuedAt:  r.date("iat"),
		Claims:    Claims{own: claims.Text, read: claims.Members},

		Confirmation: confirmationFromClaims(claims),
	}
	r.text("jti")
	if r.err != nil {
		return nil, r.err
	}
	// Only step-up asks for these, and without them it fails: what cannot be
	// read, such as AD FS's auth_time in words, is no reason to refuse the rest.
	lenient := reader{claims: claims}
	t.AuthTime = lenient.date("auth_time")
	t.ACR = lenient.text("acr")
	t.scope = t.Scope() // it is asked for twice: for the upstream, and for the metadata
	return t, nil
}

// checkTimes says whether t is alive at now, give or take the clock skew: no two
// machines have the same time, and a token is often used in the second in which it
// was issued (J-22). Dates that the token does not have are not missed here.
func (c Config) checkTimes(w *walk.Walk, t *Token, now time.Time) error {
	check := func(name string, date time.Time, ok bool, want string) bool {
		return date.IsZero() || w.Check(room, name, ok, func() (string, string) {
			return want + " " + stamp(now) + " (clock skew " + c.ClockSkew.String() + ")", stamp(date)
		})
	}
	latest := now.Add(c.ClockSkew)
	switch {
	case !check("exp", t.Expiry, now.Before(t.Expiry.Add(c.ClockSkew)), "after"):
		return fmt.Errorf("%w: exp is %s, now is %s", ErrExpired, stamp(t.Expiry), stamp(now))
	case !check("nbf", t.NotBefore, !t.NotBefore.After(latest), "not after"):
		return fmt.Errorf("%w: nbf is %s, now is %s", ErrNotYetValid, stamp(t.NotBefore), stamp(now))
	case !check("iat", t.IssuedAt, !t.IssuedAt.After(latest), "not after"):
		return fmt.Errorf("%w: iat is %s, now is %s", ErrNotYetValid, stamp(t.IssuedAt), stamp(now))
	}
	return nil
}

// checkIssuer compares iss byte for byte: an issuer is a name and no URL to be
// normalized, and of two that differ in a slash either may be somebody else's (J-21).
func (c Config) checkIssuer(w *walk.Walk, got string) error {
	ok := w.Check(room, "iss", got == c.Issuer, func() (string, string) { return c.Issuer, got })
	if !ok {
		return fmt.Errorf("%w: iss is not the configured issuer", ErrIssuer)
	}
	return nil
}

// room is the package that steps of an explanation are recorded under.
const room = "validation"

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// reader takes typed members out of an object and keeps the first mistake.
type reader struct {
	claims members
	err    error
}

func (r *reader) fail(name, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: claim %s is not %s", ErrMalformed, name, want)
	}
}

// first returns the first name that is a member, else the last one.
func (r *reader) first(names ...string) string {
	for _, name := range names {
		if r.claims.has(name) {
			return name
		}
	}
	return names[len(names)-1]
}

func (r *reader) text(name string) string {
	value := r.claims.get(name)
	if value == "" {
		return ""
	}
	s, ok := value.Text()
	if !ok {
		r.fail(name, "a string")
	}
	return s
}

func (r *reader) date(name string) time.Time {
	value := r.claims.get(name)
	if value == "" {
		return time.Time{}
	}
	number, ok := value.Number()
	if !ok {
		r.fail(name, "a number")
		return time.Time{}
	}
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil || !(seconds >= 0 && seconds <= maxNumericDate) {
		r.fail(name, "a number of seconds from 0 to 2^53")
		return time.Time{}
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9))
}

// list accepts a string or a list of strings.
func (r *reader) list(name string, split func(string) []string) []string {
	value := r.claims.get(name)
	if value == "" {
		return nil
	}
	if text, ok := value.Text(); ok {
		return split(text)
	}
	list, ok := value.Any().([]any)
	if !ok {
		r.fail(name, "a string or a list of strings")
		return nil
	}
	all := make([]string, 0, len(list))
	for _, member := range list {
		s, ok := member.(string)
		if !ok {
			r.fail(name, "a list of strings")
			return nil
		}
		all = append(all, s)
	}
	return all
}

func (r *reader) audience(name string) []string {
	return r.list(name, func(s string) []string { return []string{s} })
}

func (r *reader) scopes(name string) []string {
	all := r.list(name, splitScopes)
	for _, scope := range all {
		if !IsScopeToken(scope) {
			r.fail(name, "made of scope tokens (RFC 6749 §3.3)")
			return nil
		}
	}
	return all
}

// splitScopes cuts at every single space: two in a row make an empty member,
// which is no scope token (I-07).
func splitScopes(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, " ")
}

// IsScopeToken says whether s is one scope token of RFC 6749 §3.3: visible ASCII
// without quotation mark and backslash, so that it stands in a challenge as it is.
func IsScopeToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
