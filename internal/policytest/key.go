package policytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// ed25519Name is EdDSA by the name of its curve (RFC 9864 §2.2), which go-jose does
// not know.
const ed25519Name = "Ed25519"

// key signs what an issuer issues.
type key struct {
	id, algorithm string
	private       crypto.Signer
}

// algorithmOf returns the one of an issuer's algorithms that costs least.
func algorithmOf(allowed []string) (string, error) {
	for _, a := range []string{
		"ES256", "EdDSA", ed25519Name, "ES384", "ES512", "PS256", "RS256", "PS384", "RS384", "PS512", "RS512",
	} {
		if slices.Contains(allowed, a) {
			return a, nil
		}
	}
	return "", fmt.Errorf("no key can be made for any of algorithms %q", allowed)
}

func newKey(id, algorithm string) (key, error) {
	k := key{id: id, algorithm: algorithm}
	var err error
	switch algorithm {
	case "ES256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		k.private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", ed25519Name:
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	return k, err
}

// public is the key as a JWKS has it.
func (k key) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Use: "sig"}
}

// sign returns the compact JWS of claims, which names the key.
func (k key) sign(typ string, claims map[string]any) (string, error) {
	return k.jws(map[string]any{"typ": typ, "kid": k.id}, claims)
}

// prove returns the compact JWS of claims, which has the key (RFC 9449 §4.2).
func (k key) prove(typ string, claims map[string]any) (string, error) {
	return k.jws(map[string]any{"typ": typ, "jwk": jose.JSONWebKey{Key: k.private.Public()}}, claims)
}

func (k key) jws(header, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	if k.algorithm == ed25519Name {
		return k.signEd25519(header, payload)
	}
	options := new(jose.SignerOptions)
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	by := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.algorithm), Key: k.private}
	signer, err := jose.NewSigner(by, options)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

func (k key) signEd25519(header map[string]any, payload []byte) (string, error) {
	header["alg"] = k.algorithm
	signed, err := unsigned(header, payload)
	if err != nil {
		return "", err
	}
	signature, err := k.private.Sign(rand.Reader, []byte(signed), crypto.Hash(0))
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// unsigned is what the signature of a compact JWS covers.
func unsigned(header map[string]any, payload []byte) (string, error) {
	raw, err := json.Marshal(header)
	return base64.RawURLEncoding.EncodeToString(raw) + "." + base64.RawURLEncoding.EncodeToString(payload), err
}
