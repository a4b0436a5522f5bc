package devissuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Prover is a client that proves with each request that it holds a key (DPoP,
// RFC 9449 §4). It signs by hand: the JOSE library knows no Ed25519 (RFC 9864),
// and would refuse the broken proofs that tests need.
type Prover struct {
	key       crypto.Signer
	algorithm string
	public    jose.JSONWebKey
	head      string // encoded
}

// NewProver returns a client with a new key for ES256.
func NewProver() *Prover { return NewProverOf("ES256") }

// NewProverOf returns a client with a new key for ES256, ES384, ES512, RS256,
// PS256, EdDSA or Ed25519.
func NewProverOf(algorithm string) *Prover {
	key, err := generate(algorithm)
	if err != nil {
		panic(err) // the system has no randomness, or the caller is mistaken
	}
	p := &Prover{key: key, algorithm: algorithm, public: jose.JSONWebKey{Key: key.Public()}}
	p.head = encode(p.header(nil))
	return p
}

func generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "RS256", "PS256":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "EdDSA", "Ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("got algorithm %q, want one of DPoP", algorithm)
}

// Thumbprint is the key's (RFC 7638), as cnf.jkt has it.
func (p *Prover) Thumbprint() string {
	sum, err := p.public.Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err) // of the kinds of keys that generate makes none has no thumbprint
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Proof returns a new proof for one request; without a token it is one for the token
// endpoint. With change, claims are other than they should be, there is one more, such
// as the nonce, or, where nil, one is missing.
func (p *Prover) Proof(method, url, token string, change Claims) string {
	return p.sign(p.head + "." + encode(ProofClaims(method, url, token, change)))
}

// Sign returns a proof whose header and claims are others than they should be:
// what is given replaces what a proof has, and nil removes it.
func (p *Prover) Sign(header, claims map[string]any) string {
	return p.sign(encode(p.header(header)) + "." + encode(claims))
}

// SignRaw is [Prover.Sign] of a header and claims that need not be JSON.
func (p *Prover) SignRaw(header, claims string) string {
	encoded := base64.RawURLEncoding
	return p.sign(encoded.EncodeToString([]byte(header)) + "." + encoded.EncodeToString([]byte(claims)))
}

// JWK is the public key, as the header of a proof has it.
func (p *Prover) JWK() map[string]any {
	text, err := p.public.MarshalJSON()
	if err != nil {
		panic(err) // of the kinds of keys that generate makes none has no JSON
	}
	var members map[string]any
	_ = json.Unmarshal(text, &members)
	return members
}

// ProofClaims are the claims of a proof (RFC 9449 §4.2), with a change or none.
func ProofClaims(method, url, token string, change Claims) Claims {
	claims := Claims{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

func (p *Prover) header(change map[string]any) map[string]any {
	header := map[string]any{"typ": "dpop+jwt", "alg": p.algorithm, "jwk": p.JWK()}
	maps.Copy(header, change)
	maps.DeleteFunc(header, func(_ string, value any) bool { return value == nil })
	return header
}

func encode(members map[string]any) string {
	text, err := json.Marshal(members)
	if err != nil {
		panic(err) // members that are no JSON are the caller's mistake
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func (p *Prover) sign(signed string) string {
	signature, err := signature(p.key, p.algorithm, []byte(signed))
	if err != nil {
		panic(err) // the system has no randomness
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func signature(key crypto.Signer, algorithm string, signed []byte) ([]byte, error) {
	hash := map[string]crypto.Hash{"ES384": crypto.SHA384, "ES512": crypto.SHA512}[algorithm]
	if hash == 0 {
		hash = crypto.SHA256
	}
	digest := hash.New()
	digest.Write(signed)
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, signed), nil
	case *rsa.PrivateKey:
		if algorithm == "PS256" {
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.SignPSS(rand.Reader, key, hash, digest.Sum(nil), options)
		}
		return rsa.SignPKCS1v15(nil, key, hash, digest.Sum(nil))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest.Sum(nil))
		if err != nil {
			return nil, err
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		both := make([]byte, 2*size) // RFC 7518 §3.4
		r.FillBytes(both[:size])
		s.FillBytes(both[size:])
		return both, nil
	}
	return nil, fmt.Errorf("got a key of type %T, want one that signs", key)
}
