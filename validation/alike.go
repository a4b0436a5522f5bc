package validation

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
)

const (
	// maxAlike bounds how many are kept at a time. There are as many as clients with
	// scopes of their own, mostly.
	maxAlike = 1024
	// maxAlikeBytes bounds what they say: what is longer is seldom said twice.
	maxAlikeBytes = 512
)

// likenesses keeps what tokens have in common once.
type likenesses struct {
	mu    sync.Mutex
	known map[string]*alike
}

// of returns what t has in common with others, and how many bytes of that it brought.
// Texts are copied: each would keep the whole token that it came in.
func (l *likenesses) of(t *Token, thumbprint string) (a *alike, brought int64) {
	var buffer [maxAlikeBytes]byte
	key := appendParts(buffer[:0], thumbprint, t.Issuer, t.ClientID, t.ACR)
	key = appendParts(append(key, '-'), t.Scopes...)
	key = appendParts(append(key, '-'), t.Audience...)
	if t.JWT {
		key = append(key, 'j')
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.known[string(key)]; ok {
		if a.template.Load() != nil {
			return a, 0
		}
		made := newTemplate(t.Claims)
		a.template.Store(made)
		return a, made.size()
	}
	a = newAlike(t, thumbprint)
	if len(l.known) >= maxAlike { // what is in use stays with those who use it
		l.known = nil
	}
	if l.known == nil {
		l.known = map[string]*alike{}
	}
	if len(key) <= maxAlikeBytes {
		l.known[string(key)] = a
	}
	return a, sizeOfAlike(a)
}

func newAlike(t *Token, thumbprint string) *alike {
	return &alike{
		jwt: t.JWT, thumbprint: thumbprint, issuer: strings.Clone(t.Issuer), clientID: strings.Clone(t.ClientID),
		acr: strings.Clone(t.ACR), scope: t.Scope(), scopes: cloneAll(t.Scopes), audience: cloneAll(t.Audience),
	}
}

// appendParts appends each text with its length before it, so that no two lists of
// texts look alike.
func appendParts(key []byte, all ...string) []byte {
	for _, text := range all {
		n := len(text)
		key = append(binary.BigEndian.AppendUint32(append(key, '+'), uint32(n)), text...) //nolint:gosec // a token is short
	}
	return key
}

func cloneAll(list []string) []string {
	all := slices.Clone(list)
	for i, text := range all {
		all[i] = strings.Clone(text)
	}
	return all
}
