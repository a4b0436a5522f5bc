// Package validation decides whether an access token is genuine, alive and
// issued by a configured authorization server: as a JWT, by introspection, or
// both, with a cache of what it found out.
//
// It does not decide what a token may do. Audience, scopes, binding and rules
// belong to the room above; a [Token] holds facts, never decisions (I-21).
package validation

import (
	"strings"
	"time"
)

// MaxTokenBytes is the length of the longest token that is looked at (I-25).
const MaxTokenBytes = 16 << 10

// Token is what a genuine token says. What it refers to is shared with everybody who
// asked for the same token, or one like it, so nobody may change that.
type Token struct {
	Issuer   string   // the configured issuer that vouches for the token
	Subject  string   // sub; empty when the token names none
	ClientID string   // client_id, else azp, else cid, else appid
	Scopes   []string // scope, else scp; each one a scope token of RFC 6749 §3.3
	Audience []string // aud

	// Zero when the token does not say. Only a JWT always has an Expiry.
	Expiry, NotBefore, IssuedAt, AuthTime time.Time

	ACR string // acr; empty also when it is no text

	Claims Claims // all members

	// Confirmation is what the sender has to prove to hold; nil: the token has no
	// cnf, and whoever has it may use it.
	Confirmation *Confirmation

	JWT bool // verified locally; false: introspected

	scope string // Scopes in one text, joined once; empty: not yet, or none
	born  int64  // when it was found out, in Unix nanoseconds; 0: just now
}

// learnt is when it was found out what t says, in Unix nanoseconds.
func (t *Token) learnt(now time.Time) int64 {
	if t.born != 0 {
		return t.born
	}
	return now.UnixNano()
}

// Scope returns the scopes in one text, as RFC 6749 §3.3 writes them.
func (t *Token) Scope() string {
	if t.scope != "" {
		return t.scope
	}
	return strings.Join(t.Scopes, " ")
}
