package revocation

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"github.com/bearergate/bearergate/internal/strictjws"
)

// digest is half of one: whoever wants a value of his own to pass for another's would
// have to try 2^128 of them.
type digest [16]byte

// usualBytes are enough for what is digested, mostly.
const usualBytes = 256

// digestOf tells apart what is revoked. Every part has its length before it, so that
// no two lists of parts are one text, and the issuer is one of them: the same user
// elsewhere is another user.
func digestOf(kind Kind, issuer, value, and string) digest {
	text := make([]byte, 0, usualBytes)
	text = append(text, byte(kind))
	for _, part := range [...]string{issuer, value, and} {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part))) //nolint:gosec // texts are shorter
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return digest(sum[:len(digest{})])
}

// digest returns that of what r revokes.
func (r Revocation) digest() digest {
	switch r.Kind {
	case KindToken:
		token := TokenDigest(r.Value)
		return digestOf(KindToken, r.Issuer, string(token[:]), "")
	case KindEmail:
		return digestOf(r.Kind, r.Issuer, email(r.Value), "")
	case KindEmailSession:
		return digestOf(r.Kind, r.Issuer, r.Value, email(r.And))
	case KindSub, KindSID, KindJTI, KindClientID, KindSession:
	}
	return digestOf(r.Kind, r.Issuer, r.Value, r.And)
}

// email makes one of the spellings of an address. In theory the part before the @ may
// have two owners that differ in case only; in practice servers do not agree with
// themselves how they write it, and a user who stays in would be the worse mistake
// (RFC 9493 §3.2.2.1).
func email(address string) string { return strings.ToLower(address) }

// TokenDigest tells tokens apart: a JWT by header and payload, whatever its signature
// looks like, and any other by the whole text. A signature can be written in several
// ways that some verify; what it signs cannot.
func TokenDigest(token string) [32]byte {
	if end := strings.LastIndexByte(token, '.'); end >= 0 && strictjws.Resembles(token) {
		return sha256.Sum256([]byte("j" + token[:end]))
	}
	return sha256.Sum256([]byte("o" + token))
}
