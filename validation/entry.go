package validation

import (
	"sync/atomic"
	"time"
)

// positive is a token that was good, as it is remembered, by value and within the cache's
// own list element: few objects and few pointers, since the collector follows each of
// them again and again for as long as the entry lives, and nothing twice.
type positive struct {
	alike        *alike
	text         string // the claims that are not among alike's, and the subject if it is none of them
	confirmation *Confirmation

	expiry, notBefore, issuedAt, authTime instant

	born    int64  // when it was found out, in Unix nanoseconds
	judged  uint64 // the generation of revocations at which nothing was said against it, or [condemned]
	shared  uint32 // the claims that are among alike's
	bytes   int32  // by estimate
	subject part   // of text; if it ends the text, it stands behind the claims
}

// part is where a text stands in another one.
type part struct{ start, end uint32 }

// alike is what the tokens of one client mostly have in common.
type alike struct {
	jwt                               bool
	thumbprint, issuer, clientID, acr string
	scope                             string // scopes in one text
	scopes, audience                  []string

	// template is made of the second token's claims, since many a client that came once
	// never comes again. It is set once, if at all.
	template atomic.Pointer[template]
}

// newPositive is what is remembered of t beside what it has in common with others, of
// which it brought so many bytes.
func newPositive(t *Token, a *alike, brought int64, now time.Time) positive {
	text, subject, shared := a.template.Load().keep(t.Claims, t.Subject)
	p := positive{
		alike: a, text: text, subject: subject, shared: shared, confirmation: t.Confirmation,
		expiry: instantOf(t.Expiry), notBefore: instantOf(t.NotBefore), issuedAt: instantOf(t.IssuedAt),
		authTime: instantOf(t.AuthTime), born: t.learnt(now),
	}
	p.bytes = int32(min(sizeOf(&p)+brought, maxEntryBytes)) //nolint:gosec // bounded
	return p
}

func (p positive) Size() int64 { return int64(p.bytes) }

// claims are those that are not among alike's: they end with a brace, and no subject does
// that stands among them.
func (p *positive) claims() string {
	if int(p.subject.end) < len(p.text) {
		return p.text
	}
	return p.text[:p.subject.start]
}

// Marked: a verified JWT is counted apart from an introspection answer.
func (p positive) Marked() bool { return p.alike.jwt }

// token is what was remembered.
func (p *positive) token() *Token {
	a := p.alike
	return &Token{
		Issuer: a.issuer, Subject: p.text[p.subject.start:p.subject.end], ClientID: a.clientID,
		Scopes: a.scopes, Audience: a.audience,
		Expiry: p.expiry.time(), NotBefore: p.notBefore.time(), IssuedAt: p.issuedAt.time(), AuthTime: p.authTime.time(),
		ACR: a.acr, Claims: Claims{own: p.claims(), common: a.template.Load(), shared: p.shared},
		Confirmation: p.confirmation, JWT: a.jwt, scope: a.scope, born: p.born,
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
