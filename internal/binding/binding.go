// Package binding decides whether the sender of a request holds the key or the
// certificate that its access token is bound to: proofs of possession (DPoP, RFC
// 9449), certificate-bound tokens (RFC 8705 §3), and that no proof is taken twice.
//
// It does not decide which tokens must be bound, whether a token is valid, or what
// is answered to whom: it knows neither rules nor issuers nor Envoy.
package binding

import "errors"

// What can be wrong, found by [errors.Is]. What is said besides tells which check
// failed, and holds nothing of the proof, the token or the certificate.
var (
	// ErrProof is a proof that is missing, wrong, or was used before.
	ErrProof = errors.New("wrong DPoP proof")
	// ErrKey is a good proof by another key than the token's, and a certificate that
	// is missing, unreadable or another than the token's.
	ErrKey = errors.New("not the key that the token is bound to")
	// ErrNonce is a proof that is good but for its nonce, which is missing or old.
	ErrNonce = errors.New("no fresh nonce in the DPoP proof")
	// ErrUnavailable is a good proof of which nobody can say whether it was used before.
	ErrUnavailable = errors.New("no memory of DPoP proofs")
)

// room names this package in a walk.
const room = "binding"
