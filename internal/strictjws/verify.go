package strictjws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"math/big"
)

// Verify says whether public made the signature, by the algorithm of the header
// and no other. Its error is of kind [ErrSignature], also where the type or the
// curve of the key does not fit the algorithm (RFC 8725 §3.1). Whether the key is
// strong enough, and whose it is, the caller knows.
//
// The standard library verifies what was decoded by [Parse]: go-jose would have to
// decode all of it again, takes a salt of any length, and does not know the name
// Ed25519.
func (j *JWS) Verify(public crypto.PublicKey) error {
	ok := false
	switch key := public.(type) {
	case *rsa.PublicKey:
		ok = key != nil && j.verifyRSA(key)
	case *ecdsa.PublicKey:
		ok = key != nil && j.verifyECDSA(key)
	case ed25519.PublicKey:
		ok = j.verifyEdDSA(key)
	}
	if !ok {
		return &Error{Kind: ErrSignature}
	}
	return nil
}

// verifyRSA is RSASSA-PKCS1-v1_5 or RSASSA-PSS. The salt of the latter is as long
// as the hash (RFC 7518 §3.5, J-12).
func (j *JWS) verifyRSA(key *rsa.PublicKey) bool {
	switch alg := j.Header.Algorithm; alg {
	case "RS256", "RS384", "RS512":
		hash, sum := j.digest(alg)
		return rsa.VerifyPKCS1v15(key, hash, sum, j.signature) == nil
	case "PS256", "PS384", "PS512":
		hash, sum := j.digest(alg)
		salt := rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return rsa.VerifyPSS(key, hash, sum, j.signature, &salt) == nil
	}
	return false
}

// verifyECDSA: each algorithm has one curve, and a signature is both numbers, each
// as long as the curve's order (RFC 7518 §3.4).
func (j *JWS) verifyECDSA(key *ecdsa.PublicKey) bool {
	alg := j.Header.Algorithm
	var size int // of one number, in bytes
	switch {
	case alg == "ES256" && key.Curve == elliptic.P256():
		size = 32
	case alg == "ES384" && key.Curve == elliptic.P384():
		size = 48
	case alg == "ES512" && key.Curve == elliptic.P521():
		size = 66
	default:
		return false
	}
	if len(j.signature) != 2*size {
		return false
	}
	_, sum := j.digest(alg)
	r, s := new(big.Int).SetBytes(j.signature[:size]), new(big.Int).SetBytes(j.signature[size:])
	return ecdsa.Verify(key, sum, r, s)
}

// verifyEdDSA: Ed25519 is the name that RFC 9864 §2.2 gives to EdDSA with a key on
// that curve, and the signatures are the same. There is no other curve here.
func (j *JWS) verifyEdDSA(key ed25519.PublicKey) bool {
	alg := j.Header.Algorithm
	var room [onStack]byte
	return (alg == "EdDSA" || alg == "Ed25519") && len(key) == ed25519.PublicKeySize &&
		ed25519.Verify(key, append(room[:0], j.signed...), j.signature)
}

// onStack is the length up to which what is signed is hashed without allocating.
const onStack = 2048

// digest hashes what is signed by the hash of alg, which its last digits name.
func (j *JWS) digest(alg string) (crypto.Hash, []byte) {
	var room [onStack]byte
	signed := append(room[:0], j.signed...)
	switch alg[2:] {
	case "384":
		sum := sha512.Sum384(signed)
		return crypto.SHA384, sum[:]
	case "512":
		sum := sha512.Sum512(signed)
		return crypto.SHA512, sum[:]
	}
	sum := sha256.Sum256(signed)
	return crypto.SHA256, sum[:]
}
