package devissuer

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// token serves the client-credentials grant (RFC 6749 §4.4), where the
// parameters audience or resource, scope and format (jwt or opaque) say what
// comes out, the authorization-code grant, and those in place of another token.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	client, ok := i.authenticate(r)
	if !ok {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	var claims Claims
	switch r.PostFormValue("grant_type") {
	case "client_credentials":
		claims = Claims{"sub": client, "client_id": client}
		for _, p := range [][2]string{{"aud", "audience"}, {"aud", "resource"}, {"scope", "scope"}} {
			if value := r.PostFormValue(p[1]); value != "" {
				claims[p[0]] = value
			}
		}
	case "authorization_code":
		if claims, ok = i.redeem(r, client); !ok {
			answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
			return
		}
	case grantExchange, grantJWTBearer:
		var refusal string
		if claims, refusal = i.exchange(r, client); refusal != "" {
			answer(w, http.StatusBadRequest, map[string]string{"error": refusal})
			return
		}
	default:
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	if problem := i.bind(w, r, claims); problem != "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": problem})
		return
	}
	token := i.JWT(claims)
	if r.PostFormValue("format") == "opaque" {
		token = i.Opaque("", claims)
	}
	i.answerToken(w, r, token, tokenType(claims))
}

// introspect answers for opaque tokens, and for its own JWTs.
func (i *Issuer) introspect(w http.ResponseWriter, r *http.Request) {
	client, ok := i.authenticate(r)
	if !ok {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	members := i.state(r.PostFormValue("token"))
	if !strings.Contains(r.Header.Get("Accept"), "token-introspection+jwt") {
		answer(w, http.StatusOK, members)
		return
	}
	w.Header().Set("Content-Type", "application/token-introspection+jwt")
	_, _ = w.Write([]byte(Sign(i.Key(), map[string]any{"typ": "token-introspection+jwt"}, Claims{
		"iss": i.url, "aud": client, "iat": time.Now().Unix(), "token_introspection": members,
	})))
}

// State returns what introspection says of a token.
func (i *Issuer) State(token string) Claims { return i.state(token) }

// state returns the introspection answer for a token.
func (i *Issuer) state(token string) Claims {
	inactive := Claims{"active": false}
	i.mu.Lock()
	claims, known := i.opaque[token]
	revoked := i.revoked[token]
	i.mu.Unlock()
	if !known {
		claims, known = i.open(token)
	}
	if !known || revoked {
		return inactive
	}
	members := Claims{"active": true}
	for name, value := range claims {
		members[name] = value
	}
	// An opaque token has its type already, and a JWT needs none but where it is bound.
	if kind := tokenType(claims); kind != "Bearer" && members["token_type"] == nil {
		members["token_type"] = kind
	}
	return members
}

func (i *Issuer) open(token string) (Claims, bool) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, false
	}
	key := i.Key()
	payload, err := jws.Verify(key.Public())
	if err != nil {
		return nil, false
	}
	var claims Claims
	if json.Unmarshal(payload, &claims) != nil {
		return nil, false
	}
	exp, _ := claims["exp"].(float64)
	return claims, time.Now().Before(time.Unix(int64(exp), 0))
}

func (i *Issuer) revoke(w http.ResponseWriter, r *http.Request) {
	if _, ok := i.authenticate(r); !ok {
		answer(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	i.Revoke(r.PostFormValue("token"))
	w.WriteHeader(http.StatusOK)
}

// authenticate takes client_secret_basic, client_secret_post, a token of ours
// as bearer, and a public client, which is one whose secret is empty.
func (i *Issuer) authenticate(r *http.Request) (client string, ok bool) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		claims := i.state(token)
		client, _ := claims["client_id"].(string)
		return client, claims["active"] == true
	}
	id, secret, basic := r.BasicAuth()
	if basic { // form-encoded before they were joined (RFC 6749 §2.3.1)
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	want, known := i.clients[id]
	return id, known && subtle.ConstantTimeCompare([]byte(secret), []byte(want)) == 1
}
