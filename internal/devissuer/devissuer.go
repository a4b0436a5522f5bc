// Package devissuer is a small real authorization server for the demo, for
// tests and for examples: metadata (RFC 8414, OpenID Connect), rotating keys,
// authorization code with PKCE, client credentials, token exchange (RFC 8693, and on
// behalf of the user as Microsoft Entra has it), JWT and opaque tokens, bound to a
// key (RFC 9449) or a certificate (RFC 8705) too, introspection (RFC 7662, signed
// too: RFC 9701) and revocation (RFC 7009). It can delay, fail and lie on request,
// and must never serve anything that matters.
package devissuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The endpoints, below the issuer.
const (
	PathOAuth         = "/.well-known/oauth-authorization-server"
	PathOpenID        = "/.well-known/openid-configuration"
	PathJWKS          = "/jwks"
	PathAuthorization = "/authorize"
	PathToken         = "/token" //nolint:gosec // a path, no secret
	PathIntrospection = "/introspect"
	PathRevocation    = "/revoke"
)

// Claims are the members of a token.
type Claims = map[string]any

// Behaviour is what an endpoint does instead of its work.
type Behaviour struct {
	Delay  time.Duration // before anything else
	Status int           // 0: do the work
	Kind   string        // content type; empty: application/json
	Body   string
	Header map[string]string
	Abort  bool // close the connection instead of an answer
}

// Issuer is the authorization server. It is an http.Handler, and its methods
// are safe for concurrent use.
type Issuer struct {
	url     string
	clients map[string]string // ID: secret
	mux     *http.ServeMux

	mu         sync.Mutex
	keys       []jose.JSONWebKey // the last one signs
	opaque     map[string]Claims
	revoked    map[string]bool
	codes      map[string]grant
	behaviours map[string]Behaviour
	tokens     map[string]Behaviour // of introspection, by the beginning of the token
	calls      map[string]int
	targets    []string        // of exchanged tokens; none: all
	answers    Claims          // what is changed in answers of the token endpoint
	nonce      string          // that DPoP proofs must have; empty: none
	proofs     map[string]bool // that were used
}

// New returns an issuer of that identifier with one key.
func New(url string, clients map[string]string) *Issuer {
	i := &Issuer{
		url: url, clients: clients, mux: http.NewServeMux(),
		opaque: map[string]Claims{}, revoked: map[string]bool{}, codes: map[string]grant{},
		behaviours: map[string]Behaviour{}, tokens: map[string]Behaviour{}, calls: map[string]int{},
		proofs: map[string]bool{},
	}
	i.mux.HandleFunc("GET "+PathOAuth, i.metadata)
	i.mux.HandleFunc("GET "+PathOpenID, i.metadata)
	i.mux.HandleFunc("GET "+PathJWKS, i.jwks)
	i.mux.HandleFunc("GET "+PathAuthorization, i.authorize)
	i.mux.HandleFunc("POST "+PathToken, i.token)
	i.mux.HandleFunc("POST "+PathIntrospection, i.introspect)
	i.mux.HandleFunc("POST "+PathRevocation, i.revoke)
	i.Rotate(0)
	return i
}

// URL returns the issuer identifier.
func (i *Issuer) URL() string { return i.url }

// ServeHTTP counts the call, and does what was asked for with [Issuer.Behave].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b := i.behaviour(r)
	if b.Delay > 0 {
		select {
		case <-time.After(b.Delay):
		case <-r.Context().Done():
			return
		}
	}
	if b.Abort {
		panic(http.ErrAbortHandler)
	}
	for name, value := range b.Header {
		w.Header().Set(name, value)
	}
	if b.Status == 0 {
		i.mux.ServeHTTP(w, r)
		return
	}
	if b.Kind == "" {
		b.Kind = "application/json"
	}
	w.Header().Set("Content-Type", b.Kind)
	w.WriteHeader(b.Status)
	_, _ = w.Write([]byte(b.Body))
}

// behaviour counts the call and returns what to do instead of the work.
func (i *Issuer) behaviour(r *http.Request) Behaviour {
	// Read in any case: a client that leaves is noticed only once its body is read.
	token := r.PostFormValue("token")
	if r.URL.Path != PathIntrospection {
		token = ""
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls[r.URL.Path]++
	for prefix, b := range i.tokens {
		if token != "" && strings.HasPrefix(token, prefix) {
			i.calls[token]++
			return b
		}
	}
	return i.behaviours[r.URL.Path]
}

// BehaveTo changes what introspection does about tokens that begin with prefix;
// [Issuer.Calls] then counts them by the whole token too.
func (i *Issuer) BehaveTo(prefix string, b Behaviour) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens[prefix] = b
}

// Behave changes what the endpoint at path does; the zero Behaviour is its work.
func (i *Issuer) Behave(path string, b Behaviour) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.behaviours[path] = b
}

// Calls returns how often path was asked for.
func (i *Issuer) Calls(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[path]
}

// Rotate signs with a new key from now on; keep older ones stay published.
func (i *Issuer) Rotate(keep int) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system has no randomness
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	fresh := jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: "ES256", Use: "sig"}
	i.keys = append(i.keys[max(0, len(i.keys)-keep):], fresh)
}

// Key returns the private key that signs now.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// JWT returns an at+jwt of the claims, with iss, iat, exp and jti filled in
// where they are missing.
func (i *Issuer) JWT(claims Claims) string {
	return Sign(i.Key(), map[string]any{"typ": "at+jwt"}, i.complete(claims))
}

// Opaque returns a random token of that prefix, of which introspection says
// the claims.
func (i *Issuer) Opaque(prefix string, claims Claims) string {
	token := prefix + rand.Text()
	all := i.complete(claims)
	if _, ok := all["token_type"]; !ok {
		all["token_type"] = tokenType(all)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opaque[token] = all
	return token
}

// Revoke makes the token inactive.
func (i *Issuer) Revoke(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.revoked[token] = true
}

func (i *Issuer) complete(claims Claims) Claims {
	now := time.Now().Unix()
	all := Claims{"iss": i.url, "iat": now, "exp": now + 600, "jti": rand.Text()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// Sign returns a compact JWS of claims by key, whatever they say.
func Sign(key jose.JSONWebKey, header, claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err) // claims that are no JSON are the caller's mistake
	}
	return SignRaw(key, header, payload)
}

// SignRaw is [Sign] of a payload that need not be JSON.
func SignRaw(key jose.JSONWebKey, header map[string]any, payload []byte) string {
	options := &jose.SignerOptions{}
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, options)
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

func (i *Issuer) metadata(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{
		"issuer":                   i.url,
		"jwks_uri":                 i.url + PathJWKS,
		"authorization_endpoint":   i.url + PathAuthorization,
		"token_endpoint":           i.url + PathToken,
		"introspection_endpoint":   i.url + PathIntrospection,
		"revocation_endpoint":      i.url + PathRevocation,
		"response_types_supported": []string{"code"},
		"grant_types_supported":    []string{"authorization_code", "client_credentials", grantExchange, grantJWTBearer},

		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "none"},
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,

		"dpop_signing_alg_values_supported":          proofAlgorithms(),
		"tls_client_certificate_bound_access_tokens": true,
	})
}

func (i *Issuer) jwks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	keys := slices.Clone(i.keys)
	i.mu.Unlock()
	for n := range keys {
		keys[n] = keys[n].Public()
	}
	answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: keys})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
