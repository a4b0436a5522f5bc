package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// TestSameAsTheLibrary: what is read is the key and the thumbprint that go-jose reads.
func TestSameAsTheLibrary(t *testing.T) {
	var keys []crypto.PublicKey
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		for range 20 { // some coordinates begin with zeros
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, key.Public())
		}
	}
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, public := range append(keys, ed, private.Public()) {
		theirs := jose.JSONWebKey{Key: public, KeyID: "k"}
		raw, err := theirs.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		want, err := theirs.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if !got.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) || got.ID != "k" ||
			got.Thumbprint != base64.RawURLEncoding.EncodeToString(want) {
			t.Errorf("%s: got %+v, want thumbprint %x", raw, got, want)
		}
	}
}

// TestThumbprintHasNoSpellings: RFC 7638 §3.1 has the example.
func TestThumbprintHasNoSpellings(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3ok" +
		"njhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ" +
		"vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqD" +
		"Kgw"
	const want = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	content, _ := base64.RawURLEncoding.DecodeString(n)
	padded := base64.RawURLEncoding.EncodeToString(append([]byte{0}, content...))
	for _, raw := range []string{
		`{"kty":"RSA","n":"` + n + `","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		`{ "e": "AAEAAQ", "kid": "other", "n": "` + padded + `", "kty": "RSA" }`,
	} {
		if got, err := Parse([]byte(raw)); err != nil || got.Thumbprint != want {
			t.Errorf("got %q, %v; want %s", got.Thumbprint, err, want)
		}
	}
}

func TestKeysThatAreRefused(t *testing.T) { // J-10
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := (jose.JSONWebKey{Key: key.Public()}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]map[string]any{
		"another point":    {"y": strings.Repeat("A", 43)},
		"short coordinate": {"x": "AA"},
		"padding":          {"x": strings.Repeat("A", 43) + "="},
		"no curve":         {"crv": nil},
		"P-256K":           {"crv": "secp256k1"},
		"another's curve":  {"crv": "P-384"},
		"Ed448":            {"kty": "OKP", "crv": "Ed448", "x": strings.Repeat("A", 76)},
		"X25519":           {"kty": "OKP", "crv": "X25519", "x": strings.Repeat("A", 43)},
		"short Ed25519":    {"kty": "OKP", "crv": "Ed25519", "x": strings.Repeat("A", 42)},
		"RSA without n":    {"kty": "RSA", "e": "AQAB"},
		"RSA without e":    {"kty": "RSA", "n": strings.Repeat("_", 342)},
		"RSA exponent":     {"kty": "RSA", "n": strings.Repeat("_", 342), "e": "AQAAAAE"},
		"type of a number": {"kty": 5},
		"no type":          {"kty": nil},
		"type in lower":    {"kty": "ec"},
	} {
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		for name, value := range change {
			members[name] = value
			if value == nil {
				delete(members, name)
			}
		}
		body, _ := json.Marshal(members)
		if got, err := Parse(body); err == nil || errors.Is(err, ErrSecret) {
			t.Errorf("%s: got %+v, %v; want an error, not of a secret", name, got, err)
		}
	}
	for _, raw := range []string{``, `null`, `[]`, `5`, `{"kty":"EC","kty":"EC"}`} {
		if got, err := Parse([]byte(raw)); err == nil {
			t.Errorf("%s: got %+v", raw, got)
		}
	}
}
