package clientauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"github.com/go-jose/go-jose/v4"
)

// privateKey signs client assertions with the algorithm of its type.
type privateKey struct {
	crypto.Signer

	algorithm jose.SignatureAlgorithm
}

// CheckPrivateKey says whether a file of that content can be a KeyFile.
func CheckPrivateKey(content []byte) error {
	_, err := parsePrivateKey(content)
	return err
}

// parsePrivateKey reads PKCS #8, PKCS #1 and SEC 1 PEM.
func parsePrivateKey(content []byte) (privateKey, error) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return privateKey{}, errors.New("malformed PKCS #8 private key")
			}
			return withAlgorithm(key)
		case "RSA PRIVATE KEY":
			key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
			if err != nil {
				return privateKey{}, errors.New("malformed PKCS #1 private key")
			}
			return withAlgorithm(key)
		case "EC PRIVATE KEY":
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return privateKey{}, errors.New("malformed SEC 1 private key")
			}
			return withAlgorithm(key)
		}
	}
	return privateKey{}, errors.New("no PEM private key of PKCS #8, PKCS #1 or SEC 1 in it")
}

func withAlgorithm(key any) (privateKey, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return privateKey{key, jose.RS256}, nil
	case *ecdsa.PrivateKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return privateKey{key, jose.ES256}, nil
		case 384:
			return privateKey{key, jose.ES384}, nil
		case 521:
			return privateKey{key, jose.ES512}, nil
		}
	case ed25519.PrivateKey:
		return privateKey{key, jose.EdDSA}, nil
	}
	return privateKey{}, errors.New("private key is neither RSA, P-256, P-384, P-521 nor Ed25519")
}
