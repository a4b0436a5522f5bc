package validation

import (
	"strings"
	"sync/atomic"
	"time"
)

// positive is a token that was good, as it is remembered: few pointers, since the
// collector follows each of them again and again for as long as the entry lives, and
// nothing twice.
type positive struct {
	alike        *alike
	own          string // the claims that are not among alike's
	subject      string // mostly a part of the claims
	confirmation *Confirmation

	expiry, notBefore, issuedAt, authTime instant

	born   int64  // when it was found out, in Unix nanoseconds
	shared uint32 // the claims that are among alike's
	bytes  int32  // by estimate
}

// alike is what the tokens of one client mostly have in common.
type alike struct {
	jwt                               bool
	thumbprint, issuer, clientID, acr string
	scopes, audience                  []string

	// template is made of the second token's claims, since many a client that came once
	// never comes again. It is set once, if at all.
	template atomic.Pointer[template]
}

// newPositive is what is remembered of t beside what it has in common with others, of
// which it brought so many bytes.
func newPositive(t *Token, a *alike, brought int64, now time.Time) *positive {
	own, shared := a.template.Load().keep(t.Claims)
	p := &positive{
		alike: a, own: own, shared: shared, subject: a.keep(own, t.Subject), confirmation: t.Confirmation,
		expiry: instantOf(t.Expiry), notBefore: instantOf(t.NotBefore), issuedAt: instantOf(t.IssuedAt),
		authTime: instantOf(t.AuthTime), born: now.UnixNano(),
	}
	p.bytes = int32(min(sizeOf(p)+brought, maxEntryBytes)) //nolint:gosec // bounded
	return p
}

func (p *positive) Size() int64 { return int64(p.bytes) }

// token is what was remembered.
func (p *positive) token() *Token {
	a := p.alike
	return &Token{
		Issuer: a.issuer, Subject: p.subject, ClientID: a.clientID, Scopes: a.scopes, Audience: a.audience,
		Expiry: p.expiry.time(), NotBefore: p.notBefore.time(), IssuedAt: p.issuedAt.time(), AuthTime: p.authTime.time(),
		ACR: a.acr, Claims: Claims{own: p.own, common: a.template.Load(), shared: p.shared},
		Confirmation: p.confirmation, JWT: a.jwt,
	}
}

// keep returns text as a part of what is kept anyway, if it is one.
func (a *alike) keep(own, text string) string {
	if i := strings.Index(own, text); i >= 0 {
		return own[i : i+len(text)]
	}
	if text == a.clientID { // of a client that acts for itself
		return a.clientID
	}
	return strings.Clone(text)
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
