// Package strictjws reads a JWS in compact serialization (RFC 7515 §3.1) in one
// way only, and verifies its signature by a key that the caller chose: for access
// tokens, signed introspection answers, proofs and security events alike.
//
// It is strict where the libraries are lenient, since what two readers of one
// token understand differently is a hole. It does not decide whose key counts,
// what a claim means, or whether a type of token is wanted.
package strictjws

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// What can be wrong with a JWS: the Kind of an [Error], found by [errors.Is].
var (
	ErrMalformed = errors.New("malformed JWS")
	ErrAlgorithm = errors.New("unsupported algorithm")
	ErrSignature = errors.New("bad signature")
)

// Error is the mistake that was found first.
type Error struct {
	Kind   error  // ErrMalformed, ErrAlgorithm or ErrSignature
	Detail string // in words, without anything of the JWS; empty: there is no more to say
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.Kind }

func malformed(detail string) error { return &Error{ErrMalformed, detail} }

// Options are what a caller accepts. The zero value accepts nothing.
type Options struct {
	// Algorithms are the values that alg may have, compared exactly; empty: none.
	// Names that [JWS.Verify] does not know, such as none and HS256, never verify.
	Algorithms []string
	// EmbeddedKey wants the public key of the signer in the header, as proofs of
	// possession have it (RFC 9449 §4.2). Without it the member jwk is not looked
	// at, since whoever signs could bring a key of his own (J-06).
	EmbeddedKey bool
}

// JWS is a compact JWS that was read once, and whole: each part was decoded, and
// none will be again. Nothing in it counts before [JWS.Verify] returned nil.
type JWS struct {
	Header Header
	Claims Object // the payload

	raw       string
	signed    string // what the signature covers
	signature []byte
}

// Raw returns the JWS as it came.
func (j *JWS) Raw() string { return j.raw }

// Detached returns the JWS with its content detached (RFC 7515 appendix F): header and
// signature as they came, and nothing between them. It is for a library that judges
// these two, and would decode a content that was read already.
func (j *JWS) Detached() string {
	header := strings.IndexByte(j.raw, '.') + 1
	return j.raw[:header] + j.raw[len(j.signed):]
}

// strict has no padding and no unused bits (J-02): these would be second
// spellings of one token, which could be revoked or remembered under one of them
// only.
var strict = base64.RawURLEncoding.Strict() //nolint:gochecknoglobals // never changed

// Parse reads raw without a key. All three parts must be strict base64url before
// any of them counts; the header must name one of the algorithms, and the payload
// must be one strict JSON object. Its errors are of kind [ErrMalformed] and
// [ErrAlgorithm]. The caller bounds the length of raw.
func Parse(raw string, o Options) (*JWS, error) {
	p, err := cut(raw)
	if err != nil {
		return nil, err
	}
	j := &JWS{raw: raw, signed: raw[:len(raw)-len(p.signature)-1]}
	if j.signature, err = strict.DecodeString(p.signature); err != nil {
		return nil, malformed("signature is not base64url")
	}
	content, err := decode(p.header)
	if err != nil {
		return nil, err
	}
	if j.Header, err = readHeader(content, o); err != nil {
		return nil, err
	}
	if content, err = decode(p.payload); err != nil {
		return nil, err
	}
	if j.Claims, err = ParseObject(content); err != nil {
		return nil, err
	}
	return j, nil
}

// UnverifiedClaims returns the strict JSON object in the payload, and looks at
// nothing else: good for choosing a key, and for nothing that counts.
func UnverifiedClaims(raw string) (Object, error) {
	p, err := cut(raw)
	if err != nil {
		return Object{}, err
	}
	content, err := decode(p.payload)
	if err != nil {
		return Object{}, err
	}
	return ParseObject(content)
}

// Resembles says whether raw could pass for a JWS: three parts, the first a JSON
// object with alg. A five-part JWE could not. It is generous on purpose: what
// might pass for a JWS somewhere is to be judged as one, strictly, and must not
// get a second chance as something else (I-27).
func Resembles(raw string) bool {
	p, err := cut(raw)
	if err != nil {
		return false
	}
	content, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(p.header, "="))
	if err != nil {
		return false
	}
	var object map[string]jsontext.Value
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err := json.Unmarshal(content, &object, lenient); err != nil {
		return false
	}
	_, ok := object["alg"]
	return ok
}

// parts are the three of a compact JWS, not decoded.
type parts struct{ header, payload, signature string }

// cut wants exactly three parts (J-01). Line breaks, which the decoders of base64
// skip, are in no JWS.
func cut(raw string) (parts, error) {
	if strings.Count(raw, ".") != 2 || strings.ContainsAny(raw, "\r\n") {
		return parts{}, malformed("not a JWT of three parts")
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	return parts{header, payload, signature}, nil
}

func decode(part string) ([]byte, error) {
	content, err := strict.DecodeString(part)
	if err != nil {
		return nil, malformed("not base64url")
	}
	return content, nil
}
