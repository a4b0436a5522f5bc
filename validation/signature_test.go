package validation

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"testing"
)

func TestSaltIsAsLongAsTheHash(t *testing.T) { // J-12, RFC 7518 §3.5
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"PS256"}`)) + "." + encode([]byte(`{}`))
	sum := sha256.Sum256([]byte(signed))
	for salt, want := range map[int]error{32: nil, 31: ErrSignature, 20: ErrSignature, 64: ErrSignature} {
		signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifySignature(signed+"."+encode(signature), "PS256", key.Public()); !errors.Is(err, want) {
			t.Errorf("salt of %d bytes: got %v, want %v", salt, err, want)
		}
	}
}
