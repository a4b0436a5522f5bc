// Package jwk reads the public key of a signer from a JSON Web Key (RFC 7517), and
// says whether it is strong enough and what it may verify: for the keys that an
// authorization server publishes and for those in proofs of possession alike.
//
// It does not decide whose key it is, or whether it counts.
package jwk

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of an RSA modulus: RFC 7518 §3.3 wants the first, and with more than the
// second it costs much to verify.
const (
	minModulusBits = 2048
	maxModulusBits = 4096
)

// useSVID is the use of keys that sign JWT-SVIDs in a SPIFFE bundle, beside keys of
// certificates, whose use is x509-svid (SPIFFE Trust Domain and Bundle §4.2.2). A
// JWT-SVID is signed with RSA or ECDSA and nothing else (JWT-SVID §2.1, J-14).
const useSVID = "jwt-svid"

// ErrSecret says that the half of a key that should never leave its owner, or a
// symmetric key, is in it.
var ErrSecret = errors.New("secret key material")

var (
	errMalformed = errors.New("malformed key, or a type that is not supported")
	errNoJWK     = errors.New("not a JWK")
)

// Key is a public key that was found fit to verify signatures.
type Key struct {
	ID         string // kid; may be empty
	Algorithm  string // alg; empty: any that fits the key's type
	Public     crypto.PublicKey
	Thumbprint string // RFC 7638, SHA-256, base64url
}

// members are those of RFC 7517 and RFC 7518 that are looked at. x5c, x5u and the
// like are not: nothing is ever trusted or fetched because of them.
type members struct {
	Type       string   `json:"kty"`
	Use        *string  `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
	N          string   `json:"n"`
	E          string   `json:"e"`

	K *jsontext.Value `json:"k"`

	private
}

// private are the members that only private keys have (RFC 7518 §6.2.2, §6.3.2).
type private struct {
	D     *jsontext.Value `json:"d"`
	P     *jsontext.Value `json:"p"`
	Q     *jsontext.Value `json:"q"`
	DP    *jsontext.Value `json:"dp"`
	DQ    *jsontext.Value `json:"dq"`
	QI    *jsontext.Value `json:"qi"`
	Other *jsontext.Value `json:"oth"`
}

// Parse accepts a key that was made to verify signatures. One for encryption, one
// that is too short, or one whose secret half everybody can read, would verify them
// just as well, and go-oidc lets all of these (J-10). Its error is [ErrSecret] of the
// last, and holds nothing of the key.
func Parse(raw []byte) (Key, error) {
	var m members
	if err := json.Unmarshal(raw, &m); err != nil {
		return Key{}, errNoJWK
	}
	switch {
	case m.Type == "oct" || m.K != nil:
		return Key{}, fmt.Errorf("symmetric key: %w", ErrSecret)
	case m.private != private{}:
		return Key{}, fmt.Errorf("private key: %w", ErrSecret)
	case m.Use != nil && *m.Use != "sig" && *m.Use != useSVID:
		return Key{}, errors.New("use is neither sig nor jwt-svid")
	case m.Operations != nil && !slices.Contains(m.Operations, "verify"):
		return Key{}, errors.New("key_ops has no verify")
	}
	public, canonical, err := m.public()
	if err != nil {
		return Key{}, err
	}
	if _, edwards := public.(ed25519.PublicKey); edwards && m.Use != nil && *m.Use == useSVID {
		return Key{}, errors.New("use is jwt-svid, which no algorithm of this key goes with")
	}
	key := Key{ID: m.ID, Algorithm: m.Algorithm, Public: public}
	if m.Algorithm != "" && !key.Fits(m.Algorithm) {
		return Key{}, errors.New("alg does not fit the key, or is not a supported signature algorithm")
	}
	sum := sha256.Sum256(canonical)
	key.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	return key, nil
}

// public returns the key, and the members that its thumbprint is made of, as RFC
// 7638 §3 wants them written: whatever the JWK looks like, one key has one thumbprint.
func (m members) public() (key crypto.PublicKey, canonical []byte, err error) {
	switch m.Type {
	case "EC":
		return m.ec()
	case "OKP":
		return m.okp()
	case "RSA":
		return m.rsa()
	}
	return nil, nil, errMalformed
}

// ec reads a point, which must be on the curve, in coordinates of full length (RFC
// 7518 §6.2.1).
func (m members) ec() (crypto.PublicKey, []byte, error) {
	var curve elliptic.Curve
	switch m.Curve {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, nil, errMalformed
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y := decode(m.X), decode(m.Y)
	if len(x) != size || len(y) != size {
		return nil, nil, errMalformed
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, nil, errMalformed
	}
	return key, []byte(`{"crv":"` + m.Curve + `","kty":"EC","x":"` + encode(x) + `","y":"` + encode(y) + `"}`), nil
}

// okp knows Ed25519 (RFC 8037 §2), and no other curve.
func (m members) okp() (crypto.PublicKey, []byte, error) {
	x := decode(m.X)
	if m.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
		return nil, nil, errMalformed
	}
	return ed25519.PublicKey(x), []byte(`{"crv":"Ed25519","kty":"OKP","x":"` + encode(x) + `"}`), nil
}

// rsa reads two numbers, of which some write leading zeros.
func (m members) rsa() (crypto.PublicKey, []byte, error) {
	n, e := bytes.TrimLeft(decode(m.N), "\x00"), bytes.TrimLeft(decode(m.E), "\x00")
	if len(n) == 0 || len(e) == 0 {
		return nil, nil, errMalformed
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch bits := modulus.BitLen(); {
	case bits < minModulusBits:
		return nil, nil, fmt.Errorf("RSA modulus of %d bits, want at least %d", bits, minModulusBits)
	case bits > maxModulusBits:
		return nil, nil, fmt.Errorf("RSA modulus of %d bits, want at most %d", bits, maxModulusBits)
	case exponent.BitLen() > 31 || exponent.Int64() < 3 || exponent.Bit(0) == 0:
		return nil, nil, errors.New("RSA exponent is not an odd number from 3 up, of at most 31 bits")
	}
	key := &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
	return key, []byte(`{"e":"` + encode(e) + `","kty":"RSA","n":"` + encode(n) + `"}`), nil
}

// decode returns nil for what is not base64url without padding.
func decode(text string) []byte {
	content, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return content
}

func encode(content []byte) string { return base64.RawURLEncoding.EncodeToString(content) }

// Fits says whether the key can verify signatures of alg: a key that names an
// algorithm is used with that one only (RFC 8725 §3.1).
func (k Key) Fits(alg string) bool { return Fits(k.Public, k.Algorithm, alg) }

// Fits says whether a public key whose JWK named an algorithm, or none, can verify
// signatures of alg.
func Fits(public crypto.PublicKey, named, alg string) bool {
	if named != "" && polymorphic(named) != polymorphic(alg) {
		return false
	}
	switch public := public.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, alg)
	case *ecdsa.PublicKey:
		return alg == "ES256" && public.Curve == elliptic.P256() ||
			alg == "ES384" && public.Curve == elliptic.P384() ||
			alg == "ES512" && public.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return polymorphic(alg) == edDSA
	}
	return false
}

const edDSA = "EdDSA"

// polymorphic returns the older name of an algorithm that has two: RFC 9864
// §2.2 calls EdDSA with a key on the curve Ed25519 by the name of the curve, and
// the signatures are the same.
func polymorphic(alg string) string {
	if alg == "Ed25519" {
		return edDSA
	}
	return alg
}
