package authz

import (
	"errors"
	"net/url"
	"strings"

	"github.com/bearergate/bearergate/validation"
)

var (
	errNoToken    = errors.New("no bearer token")
	errBadRequest = errors.New("bad request")
)

// scheme is how a token is presented: what goes before it in Authorization.
type scheme uint8

// The schemes.
const (
	noScheme     scheme = iota // none that we know
	bearerScheme               // RFC 6750
	dpopScheme                 // RFC 9449 §7.1
)

// String returns the scheme as it stands in a challenge.
func (s scheme) String() string { return [...]string{"", "Bearer", "DPoP"}[s] }

// schemeOf reads a scheme in any case (RFC 9110 §11.1). Where DPoP is off, its scheme
// is one that we do not know.
func schemeOf(word string, dpop bool) scheme {
	switch {
	case strings.EqualFold(word, "bearer"):
		return bearerScheme
	case dpop && strings.EqualFold(word, "dpop"):
		return dpopScheme
	}
	return noScheme
}

// credentials is what the schemes and issuers of a configuration let a request have.
type credentials struct {
	opaque bool // opaque tokens of real servers have bytes that RFC 6750 does not
	dpop   bool // the scheme DPoP counts
}

// find returns the access token of a request and how it is presented (RFC 6750 §2.1,
// RFC 9449 §7.1). It finds exactly one (B-01), or errNoToken, which is answered without an error code since
// the client did nothing wrong (B-03), or errBadRequest: of two credentials nobody
// can say which one the upstream would go by (B-02). Tokens in the query never
// authenticate; next to one in the header they are one method too many.
func (c credentials) find(authorization []string, target string) (string, scheme, error) {
	switch len(authorization) {
	case 0:
		return "", noScheme, errNoToken
	case 1:
	default:
		return "", noScheme, errBadRequest
	}
	token, s, err := c.parse(strings.Trim(authorization[0], " \t"))
	if err != nil {
		return "", noScheme, err
	}
	if hasQueryToken(target) {
		return "", noScheme, errBadRequest
	}
	return token, s, nil
}

// parse reads one Authorization value: a scheme 1*SP b64token.
func (c credentials) parse(value string) (string, scheme, error) {
	if value == "" {
		return "", noScheme, errNoToken
	}
	word, rest, _ := strings.Cut(value, " ")
	if !isToken(word) {
		return "", noScheme, errBadRequest
	}
	s := schemeOf(word, c.dpop)
	if s == noScheme {
		if holdsSecondCredential(value) {
			return "", noScheme, errBadRequest
		}
		return "", noScheme, errNoToken
	}
	token := strings.TrimLeft(rest, " ")
	if len(token) > validation.MaxTokenBytes || !isB64Token(token) && (!c.opaque || !isOpaqueToken(token)) {
		return "", noScheme, errBadRequest
	}
	return token, s, nil
}

// wanted says in words what find looks for.
func (c credentials) wanted() string {
	if c.dpop {
		return "one bearer or DPoP token"
	}
	return "one bearer token"
}

// used returns the scheme that a request was made with, whatever else is wrong with
// it: a client reads the challenge of that one first.
func (c credentials) used(authorization []string) scheme {
	for _, value := range authorization {
		word, _, _ := strings.Cut(strings.Trim(value, " \t"), " ")
		if s := schemeOf(word, c.dpop); s != noScheme {
			return s
		}
	}
	return noScheme
}

// holdsSecondCredential finds what a gateway that joins fields with commas
// makes of two Authorization fields, and lets the parameters of another
// scheme be.
func holdsSecondCredential(value string) bool {
	_, rest, joined := strings.Cut(value, ",")
	for joined {
		var part string
		part, rest, joined = strings.Cut(rest, ",")
		part = strings.Trim(part, " \t")
		scheme, after, spaced := strings.Cut(part, " ")
		if strings.EqualFold(scheme, "bearer") {
			return true
		}
		if spaced && isToken(scheme) && !strings.HasPrefix(strings.TrimLeft(after, " "), "=") {
			return true
		}
	}
	return false
}

func hasQueryToken(target string) bool {
	_, query, ok := strings.Cut(target, "?")
	for ok && query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, _, _ := strings.Cut(pair, "=")
		if name == "access_token" {
			return true
		}
		if strings.Contains(name, "%") {
			if plain, err := url.QueryUnescape(name); err == nil && plain == "access_token" {
				return true
			}
		}
	}
	return false
}

// isB64Token: 1*( ALPHA / DIGIT / "-._~+/" ) *"=" (RFC 6750 §2.1).
func isB64Token(s string) bool {
	body := strings.TrimRight(s, "=")
	return body != "" && all(body, inB64Token)
}

// isOpaqueToken: visible ASCII that can be told from a list and needs no quotes
// (Salesforce's tokens have `!`).
func isOpaqueToken(s string) bool { return s != "" && all(s, inOpaqueToken) }

// isToken: RFC 9110 §5.6.2.
func isToken(s string) bool { return s != "" && all(s, inToken) }

// The characters that each of them is made of, a bit for each: every byte of every
// token is looked at.
const (
	inB64Token = 1 << iota
	inOpaqueToken
	inToken
)

var characters = func() (in [256]uint8) {
	for c := range in {
		b := byte(c)
		if isAlphanumeric(b) || strings.IndexByte("-._~+/", b) >= 0 {
			in[c] |= inB64Token
		}
		if b > ' ' && b < 0x7f && b != '"' && b != ',' && b != '\\' {
			in[c] |= inOpaqueToken
		}
		if isAlphanumeric(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0 {
			in[c] |= inToken
		}
	}
	return in
}()

func all(s string, kind uint8) bool {
	for i := range len(s) {
		if characters[s[i]]&kind == 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
}
