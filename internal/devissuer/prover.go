package devissuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Prover is a client with a key of its own, to which tokens can be bound (RFC 9449).
type Prover struct{ key jose.JSONWebKey }

// NewProver returns a client with a new key.
func NewProver() *Prover {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Prover{jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256)}}
}

// Thumbprint is what cnf.jkt of a token for this client says (RFC 7638).
func (p *Prover) Thumbprint() string {
	sum, err := p.key.Thumbprint(crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// Proof returns a DPoP proof for one request with that token. With change, claims can
// be other than they should, or, where nil, missing.
func (p *Prover) Proof(method, url, token string, change Claims) string {
	hash := sha256.Sum256([]byte(token))
	claims := map[string]any{
		"htm": method, "htu": url, "iat": time.Now().Unix(), "jti": rand.Text(),
		"ath": base64.RawURLEncoding.EncodeToString(hash[:]),
	}
	for name, value := range change {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return Sign(p.key, map[string]any{"typ": "dpop+jwt", "jwk": p.key.Public()}, claims)
}
