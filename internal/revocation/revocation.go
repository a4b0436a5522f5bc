// Package revocation remembers which tokens must not pass any more although they are
// genuine and alive, and of which what is cached must be asked for again. It learns of
// them from callers ([Set.Add]), from other replicas ([Set.Take]), and from
// authorization servers, by security events (RFC 8417) that are pushed (RFC 8935) or
// polled for (RFC 8936), and by OpenID Connect logout tokens ([Receiver]).
//
// It does not decide whether a token is genuine, who may call, or which configured
// issuer a token belongs to; and it keeps digests only: what was revoked cannot be
// read out of it.
package revocation

import (
	"errors"
	"time"
)

// Kind says what of a token a revocation names.
type Kind uint8

// The kinds. The zero value is none of them.
const (
	KindSub          Kind = 1 + iota // everything of a user
	KindSID                          // a session
	KindJTI                          // one token, by its claim
	KindClientID                     // everything of a client
	KindToken                        // one token, by its text
	KindEmail                        // everything of a user, by the claim email; upper and lower case are one
	KindSession                      // the session Value of the user whose sub is And
	KindEmailSession                 // the session Value of the user whose email is And

	kinds = iota + 1
)

func (k Kind) String() string {
	switch k {
	case KindSub:
		return "sub"
	case KindSID:
		return "sid"
	case KindJTI:
		return "jti"
	case KindClientID:
		return "client_id"
	case KindToken:
		return "token"
	case KindEmail:
		return "email"
	case KindSession, KindEmailSession:
		return "session"
	}
	return "unknown"
}

// two says whether a revocation of this kind has two values.
func (k Kind) two() bool { return k == KindSession || k == KindEmailSession }

// timeless says whether a revocation of this kind covers a token whenever it was
// issued: what names one token needs no time to tell it from others.
func (k Kind) timeless() bool { return k == KindJTI || k == KindToken }

// The sources of revocations, as the metric has them.
const (
	SourceAdmin   = "admin"   // POST /revocations
	SourceSSF     = "ssf"     // a security event, pushed or polled
	SourceLogout  = "logout"  // a logout token
	SourceRecheck = "recheck" // the authorization server said that a verified JWT is not active
	SourceShared  = "shared"  // another replica, or this one before it was restarted
)

// Revocation is what one call or event revokes.
type Revocation struct {
	Issuer string // of the tokens, compared byte for byte
	Kind   Kind
	// Value is what the claim must equal; of [KindToken] the token itself, which is
	// not kept. And is the second value of those kinds that have one.
	Value, And string

	// Before is the time from whose end on tokens are good again: those issued at it
	// are covered. Zero: now. [KindJTI] and [KindToken] cover whatever was issued when.
	Before time.Time

	// Facts says that the tokens stay good, and only what is cached about them, learnt
	// at Before or earlier, is to be asked for again.
	Facts bool

	Source string // who said so: one of the constants
}

// errIncomplete is a mistake of whoever calls: what came from outside was looked at
// before.
var errIncomplete = errors.New("a revocation needs an issuer, a kind and its values")

// Check says whether something is missing. What it names may be revoked before it
// exists, so nothing else can be wrong with it.
func (r Revocation) Check() error {
	if r.Issuer == "" || r.Kind == 0 || r.Kind >= kinds || r.Value == "" || r.Kind.two() != (r.And != "") {
		return errIncomplete
	}
	return nil
}

// Subject is what of a genuine token revocations look at. What a token does not have
// is empty.
type Subject struct {
	Issuer, Sub, SID, JTI, ClientID, Email string

	Token    [32]byte  // its TokenDigest
	IssuedAt time.Time // iat; zero: it says none
	Seen     time.Time // when it was seen first, which stands for a missing iat
	Learnt   time.Time // when what is cached about it was learnt; zero: Seen
}

// Verdict is what revocations say of a token.
type Verdict uint8

// The verdicts.
const (
	Good     Verdict = iota // nothing against it
	Revoked                 // it must not pass
	Outdated                // what is cached about it must be asked for again; it is not revoked
)

func (v Verdict) String() string {
	switch v {
	case Good:
		return "good"
	case Revoked:
		return "revoked"
	case Outdated:
		return "outdated"
	}
	return "unknown"
}
