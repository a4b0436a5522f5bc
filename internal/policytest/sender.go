package policytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/explain"
)

// The values of token.Bound.
const (
	boundDPoP = "dpop"
	boundMTLS = "mtls"
)

// The values of request.Proof.
const (
	proofValid        = "valid"
	proofNone         = "none"         // the scheme is DPoP all the same
	proofBearer       = "bearer"       // none, and the token comes as a bearer token
	proofReplayed     = "replayed"     // it was accepted a moment ago
	proofWrongMethod  = "wrong_method" // of another request
	proofWrongPath    = "wrong_path"   // likewise
	proofExpired      = "expired"      // made an hour ago
	proofOtherKey     = "other_key"    // by somebody else
	proofWithoutNonce = "without_nonce"
)

// The values of request.Certificate.
const (
	certificateOwn   = "own"
	certificateOther = "other" // somebody else's
	certificateNone  = "none"
)

// typeProof is that of proofs (RFC 9449 §4.2).
const typeProof = "dpop+jwt"

// sender is a client with a key and a certificate, to which tokens are bound.
type sender struct {
	key         key
	certificate []byte // DER
}

func newSender(algorithm string) (sender, error) {
	var s sender
	var err error
	if s.key, err = newKey("", algorithm); err != nil {
		return s, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return s, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)} // Envoy has looked at the rest
	s.certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return s, err
}

// confirmation is what a token says that is bound to s (RFC 9449 §6.1, RFC 8705 §3.1).
func (s sender) confirmation(bound []string) (map[string]any, error) {
	cnf := map[string]any{}
	if slices.Contains(bound, boundDPoP) {
		jwk := jose.JSONWebKey{Key: s.key.private.Public()}
		sum, err := jwk.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		cnf["jkt"] = base64.RawURLEncoding.EncodeToString(sum)
	}
	if slices.Contains(bound, boundMTLS) {
		cnf["x5t#S256"] = digest(s.certificate)
	}
	return cnf, nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proof is one by s for a request; a nonce that is empty is left out.
func (s sender) proof(method, url, token, nonce string, issued time.Time) (string, error) {
	claims := map[string]any{
		"htm": method, "htu": url, "iat": issued.Unix(), "jti": rand.Text(), "ath": digest([]byte(token)),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return s.key.prove(typeProof, claims)
}

// sends completes a request as its client would send it, and says what kind of proof
// goes along; empty: none.
func (w *world) sends(r request, to *explain.Request) (proof string) {
	t := w.tokens[r.Token]
	w.certify(r, t, to)
	proof = r.Proof
	if proof == "" && slices.Contains(t.Bound, boundDPoP) {
		proof = proofValid
	}
	_, raw := r.Headers["dpop"]
	switch {
	case proof == "" || proof == proofBearer:
		return ""
	case raw || proof == proofNone:
		to.Headers["authorization"], to.Token = "DPoP "+to.Token, ""
		return ""
	}
	return proof
}

// certify has the client show a certificate where there is one.
func (w *world) certify(r request, t token, to *explain.Request) {
	shown := r.Certificate
	if shown == "" && slices.Contains(t.Bound, boundMTLS) {
		shown = certificateOwn
	}
	var certificate []byte
	switch shown {
	case certificateOwn:
		certificate = w.own.certificate
	case certificateOther:
		certificate = w.other.certificate
	default:
		return
	}
	mtls := w.cfg.Authz.MTLS
	if mtls == nil || mtls.Header() == "" {
		to.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}))
	} else if _, raw := r.Headers[mtls.Header()]; !raw {
		to.Headers[mtls.Header()] = ":" + base64.StdEncoding.EncodeToString(certificate) + ":" // RFC 9440 §2.1
	}
}

// prove makes the proof of one kind.
func (w *world) prove(kind string, r request, token, nonce string) (string, error) {
	by, method, url, issued := w.own, r.Method, w.origin(r.Host), w.now
	path, _, _ := strings.Cut(r.Path, "?")
	path, _, _ = strings.Cut(path, "#")
	url += path
	switch kind {
	case proofWrongMethod:
		method = "not-" + method
	case proofWrongPath:
		url += "/elsewhere"
	case proofExpired:
		issued = issued.Add(-time.Hour)
	case proofOtherKey:
		by = w.other
	case proofWithoutNonce:
		nonce = ""
	}
	return by.proof(method, url, token, nonce, issued)
}

// origin is what a client calls the host by.
func (w *world) origin(host string) string {
	if dpop := w.cfg.Authz.DPoP; dpop != nil && len(dpop.Origins) > 0 {
		return dpop.Origins[0]
	}
	return "https://" + host
}

// wantsNonce returns the nonce that the client is to use, as a library would; empty:
// it is not asked to.
func (o *outcome) wantsNonce() string {
	if o.reason != authz.UseNonce.String() {
		return ""
	}
	return o.headers["dpop-nonce"]
}
