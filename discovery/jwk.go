package discovery

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// minModulusBits is that of RFC 7518 §3.3. More than 4096 bits, which would cost
// much to verify with, go-jose does not decode.
const minModulusBits = 2048

// errSecret is why a key that should never have been published is ignored.
var errSecret = errors.New("secret key material in the JWKS")

// jwk holds the members of RFC 7517 and RFC 7518 that are looked at. x5c, x5u
// and the like are not: nothing is ever trusted or fetched because of them.
type jwk struct {
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

// sortedKeys are the members of a JWKS, told apart by what becomes of them.
type sortedKeys struct {
	usable  []Key
	skipped error // why each of the others is left out
	alarm   error // the same of secret keys, which should never have been published
}

// parseKeySet sorts the keys of a JWKS one by one: a bad one costs no other.
func parseKeySet(body []byte) (sortedKeys, error) {
	all, err := splitKeySet(body)
	if err != nil {
		return sortedKeys{}, err
	}
	var keys sortedKeys
	for i, raw := range all {
		key, err := parseKey(raw)
		switch {
		case err == nil:
			keys.usable = append(keys.usable, key)
		case errors.Is(err, errSecret):
			keys.alarm = errors.Join(keys.alarm, fmt.Errorf("keys[%d]: %w", i, err))
		default:
			keys.skipped = errors.Join(keys.skipped, fmt.Errorf("keys[%d]: %w", i, err))
		}
	}
	return keys, nil
}

// splitKeySet returns the members of the array keys as they came: a mistake
// inside one of them is for [parseKey] to find, so that it costs that key only
// . The object around them may name no member twice: of two lists of keys
// nobody could say which one counts (D-10).
func splitKeySet(body []byte) ([]jsontext.Value, error) {
	var set map[string]jsontext.Value
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	names := 0
	count := json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, _ *jsontext.Value) error {
		if dec.StackDepth() == 1 {
			names++
		}
		return errors.ErrUnsupported
	}))
	if err := json.Unmarshal(body, &set, lenient, count); err != nil || names != len(set) {
		return nil, errors.New("not a JSON object with distinct members")
	}
	var keys []jsontext.Value
	if err := json.Unmarshal(set["keys"], &keys, lenient); err != nil {
		return nil, errors.New("no array of keys in it")
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("got %d keys, want at most %d", len(keys), maxKeys)
	}
	return keys, nil
}

// parseKey accepts a key that was made to verify signatures. One for encryption, one
// that is too short, or one whose secret half everybody can read, would verify them
// just as well, and go-oidc lets all of these (J-10).
func parseKey(raw []byte) (Key, error) {
	var k jwk
	if err := json.Unmarshal(raw, &k); err != nil {
		return Key{}, errors.New("not a JWK")
	}
	switch {
	case k.Type == "oct" || k.K != nil:
		return Key{}, fmt.Errorf("symmetric key: %w", errSecret)
	case k.private != private{}:
		return Key{}, fmt.Errorf("private key: %w", errSecret)
	case k.Use != nil && *k.Use != "sig":
		return Key{}, errors.New("use is not sig")
	case k.Operations != nil && !slices.Contains(k.Operations, "verify"):
		return Key{}, errors.New("key_ops has no verify")
	}
	public, err := k.public()
	if err != nil {
		return Key{}, err
	}
	key := Key{ID: k.ID, Algorithm: k.Algorithm, Public: public}
	if k.Algorithm != "" && !key.fits(k.Algorithm) {
		return Key{}, errors.New("alg does not fit the key, or is not a supported signature algorithm")
	}
	thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return Key{}, errors.New("no thumbprint")
	}
	key.Thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint)
	return key, nil
}

// public has go-jose decode the key from the members that matter, and none else.
func (k jwk) public() (crypto.PublicKey, error) {
	members := map[string]string{"kty": k.Type}
	for name, value := range map[string]string{"crv": k.Curve, "x": k.X, "y": k.Y, "n": k.N, "e": k.E} {
		if value != "" {
			members[name] = value
		}
	}
	raw, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(raw); err != nil || !parsed.Valid() {
		return nil, errors.New("malformed key, or a type that is not supported")
	}
	if rsaKey, ok := parsed.Key.(*rsa.PublicKey); ok {
		if bits := rsaKey.N.BitLen(); bits < minModulusBits {
			return nil, fmt.Errorf("RSA modulus of %d bits, want at least %d", bits, minModulusBits)
		}
		if rsaKey.E < 3 || rsaKey.E%2 == 0 {
			return nil, errors.New("RSA exponent is not an odd number from 3 up")
		}
	}
	return parsed.Key, nil
}

// fits says whether the key can verify signatures of alg: a key that names an
// algorithm is used with that one only (RFC 8725 §3.1).
func (k Key) fits(alg string) bool {
	if k.Algorithm != "" && polymorphic(k.Algorithm) != polymorphic(alg) {
		return false
	}
	switch public := k.Public.(type) {
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
