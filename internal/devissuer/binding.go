package devissuer

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofAge is how far the iat of a proof may lie from now.
const proofAge = 5 * time.Minute

// Mistakes in a DPoP proof (RFC 9449 §5 and §8), as the token endpoint tells them.
const (
	invalidProof = "invalid_dpop_proof"
	useNonce     = "use_dpop_nonce"
)

// proofAlgorithms are those that the token endpoint takes: what the JOSE library
// knows. Ed25519 by its own name (RFC 9864) is not among them.
func proofAlgorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.PS256, jose.RS256}
}

// BoundToKey is the cnf of a token that a client with that key alone may use
// (RFC 9449 §6.1): the thumbprint of [Prover.Thumbprint].
func BoundToKey(thumbprint string) Claims { return Claims{"jkt": thumbprint} }

// BoundToCertificate is the cnf of a token for the holder of a certificate
// (RFC 8705 §3.1).
func BoundToCertificate(certificate *x509.Certificate) Claims {
	sum := sha256.Sum256(certificate.Raw)
	return Claims{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
}

// RequireNonce makes the token endpoint want that nonce in each DPoP proof; empty:
// none. A real server would change it every few minutes.
func (i *Issuer) RequireNonce(nonce string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.nonce = nonce
}

// bind says in cnf what the request for a token proves: the key of a DPoP proof,
// and the certificate of the connection. It returns the error of a bad proof.
func (i *Issuer) bind(w http.ResponseWriter, r *http.Request, claims Claims) (problem string) {
	cnf := Claims{}
	if proofs := r.Header.Values("DPoP"); len(proofs) > 0 {
		thumbprint, problem := i.prove(r, strings.Join(proofs, ","))
		if problem == useNonce {
			w.Header().Set("DPoP-Nonce", i.wantedNonce())
		}
		if problem != "" {
			return problem
		}
		cnf = BoundToKey(thumbprint)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		cnf["x5t#S256"] = BoundToCertificate(r.TLS.PeerCertificates[0])["x5t#S256"]
	}
	if len(cnf) > 0 {
		claims["cnf"] = cnf
	}
	return ""
}

func (i *Issuer) wantedNonce() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.nonce
}

// prove checks a proof as RFC 9449 §4.3 says, and returns its key's thumbprint.
func (i *Issuer) prove(r *http.Request, proof string) (thumbprint, problem string) {
	jws, err := jose.ParseSignedCompact(proof, proofAlgorithms())
	if err != nil {
		return "", invalidProof
	}
	header := jws.Signatures[0].Protected
	key := header.JSONWebKey
	if key == nil || !key.IsPublic() || header.ExtraHeaders[jose.HeaderType] != "dpop+jwt" {
		return "", invalidProof
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return "", invalidProof
	}
	var claims struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Nonce  string `json:"nonce"`
	}
	age := func() time.Duration { return time.Since(time.Unix(claims.Issued, 0)).Abs() }
	if json.Unmarshal(payload, &claims) != nil || claims.ID == "" || claims.Method != r.Method ||
		claims.URL != i.url+r.URL.Path || age() > proofAge {
		return "", invalidProof
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", invalidProof
	}
	thumbprint = base64.RawURLEncoding.EncodeToString(sum)
	return thumbprint, i.once(thumbprint+" "+claims.ID, claims.Nonce)
}

// once refuses a proof that came before, and one without the nonce that is wanted.
func (i *Issuer) once(proof, nonce string) (problem string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.nonce != "" && nonce != i.nonce {
		return useNonce
	}
	if i.proofs[proof] {
		return invalidProof
	}
	i.proofs[proof] = true
	return ""
}

// tokenType of a token with these claims (RFC 9449 §5): a certificate makes no
// other type of it.
func tokenType(claims Claims) string {
	if cnf, ok := claims["cnf"].(Claims); ok && cnf["jkt"] != nil {
		return "DPoP"
	}
	return "Bearer"
}
