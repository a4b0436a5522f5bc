package validation

import (
	"strings"
	"time"
)

// positive is a token that was good, as it is remembered: few pointers, since the
// collector follows each of them again and again for as long as the entry lives. The
// claims are one piece, of which the subject is mostly a part.
type positive struct {
	claims       Claims
	subject      string
	thumbprint   string // of the key that signed a JWT; empty: introspected
	alike        *alike
	confirmation *Confirmation

	expiry, notBefore, issuedAt, authTime instant

	born  int64 // when it was found out, in Unix nanoseconds
	bytes int32 // by estimate
	jwt   bool
}

// alike is what the tokens of one client mostly have in common. It is kept once.
type alike struct {
	issuer, clientID, acr string
	scopes, audience      []string
}

// newPositive is what is remembered of t.
func newPositive(t *Token, a *alike, thumbprint string, now time.Time) *positive {
	p := &positive{
		claims: t.Claims, subject: t.Subject, thumbprint: thumbprint, alike: a, confirmation: t.Confirmation,
		expiry: instantOf(t.Expiry), notBefore: instantOf(t.NotBefore), issuedAt: instantOf(t.IssuedAt),
		authTime: instantOf(t.AuthTime), born: now.UnixNano(), jwt: t.JWT,
	}
	p.bytes = int32(min(sizeOf(p), maxEntryBytes)) //nolint:gosec // bounded
	return p
}

func (p *positive) size() int64 { return int64(p.bytes) }

// token is what was remembered.
func (p *positive) token() *Token {
	return &Token{
		Issuer: p.alike.issuer, Subject: p.subject, ClientID: p.alike.clientID, Scopes: p.alike.scopes,
		Audience: p.alike.audience, Expiry: p.expiry.time(), NotBefore: p.notBefore.time(), IssuedAt: p.issuedAt.time(),
		AuthTime: p.authTime.time(), ACR: p.alike.acr, Claims: p.claims, Confirmation: p.confirmation, JWT: p.jwt,
	}
}

// instant is a date of a token in milliseconds, as long as a [time.Time] is not: up
// to 2^53 seconds, which [maxNumericDate] allows, it fits. One more than they are, so
// that 0 is none.
type instant int64

func instantOf(t time.Time) instant {
	if t.IsZero() {
		return 0
	}
	return instant(t.UnixMilli() + 1)
}

func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(i) - 1)
}

const (
	// maxAlike bounds how many are kept at a time. There are as many as clients with
	// scopes of their own, mostly.
	maxAlike = 1024
	// maxAlikeBytes bounds what they say: what is longer is seldom said twice.
	maxAlikeBytes = 512
)

// likenesses keeps what tokens have in common once. It is not safe for concurrent use.
type likenesses map[string]*alike

// of returns what t has in common with those before it. The texts are copied: each
// would keep all claims of the token that it came in alive.
func (l likenesses) of(t *Token) *alike {
	var buffer [maxAlikeBytes]byte
	key := appendPart(appendPart(appendPart(buffer[:0], t.Issuer), t.ClientID), t.ACR)
	for _, list := range [][]string{t.Scopes, t.Audience} {
		for _, text := range list {
			key = appendPart(key, text)
		}
		key = append(key, '-')
	}
	if a, ok := l[string(key)]; ok {
		return a
	}
	a := &alike{
		issuer: strings.Clone(t.Issuer), clientID: strings.Clone(t.ClientID), acr: strings.Clone(t.ACR),
		scopes: cloneAll(t.Scopes), audience: cloneAll(t.Audience),
	}
	if len(l) >= maxAlike { // what is in use stays with those who use it
		clear(l)
	}
	if len(key) <= maxAlikeBytes {
		l[string(key)] = a
	}
	return a
}

// appendPart appends text with its length before it, so that no two lists of texts
// look alike.
func appendPart(key []byte, text string) []byte {
	n := len(text)
	return append(append(key, '+', byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), text...)
}

func cloneAll(list []string) []string {
	if list == nil {
		return nil
	}
	all := make([]string, len(list))
	for i, text := range list {
		all[i] = strings.Clone(text)
	}
	return all
}
