package devissuer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
)

// grant is an authorization code that waits to be redeemed.
type grant struct {
	client, redirect, challenge, scope, resource string
}

// authorize is the authorization endpoint (RFC 6749 §4.1.1, RFC 7636): every
// user is alice, and alice consents to everything.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	_, known := i.clients[q.Get("client_id")]
	if err != nil || !known || redirect.Scheme == "" ||
		q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.codes[code] = grant{
		client: q.Get("client_id"), redirect: q.Get("redirect_uri"), challenge: q.Get("code_challenge"),
		scope: q.Get("scope"), resource: q.Get("resource"),
	}
	i.mu.Unlock()
	answers := redirect.Query()
	answers.Set("code", code)
	answers.Set("state", q.Get("state"))
	answers.Set("iss", i.url) // RFC 9207
	redirect.RawQuery = answers.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound) //nolint:gosec // it has no user whom a redirect could hurt
}

// redeem serves the authorization-code grant: a code works once, for the client
// that it was made for and that knows the verifier.
func (i *Issuer) redeem(r *http.Request, client string) (Claims, bool) {
	code := r.PostFormValue("code")
	i.mu.Lock()
	g, ok := i.codes[code]
	delete(i.codes, code)
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || g.client != client || g.redirect != r.PostFormValue("redirect_uri") ||
		g.challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		return nil, false
	}
	claims := Claims{"sub": "alice", "client_id": client}
	if g.scope != "" {
		claims["scope"] = g.scope
	}
	if g.resource != "" {
		claims["aud"] = g.resource // RFC 8707
	}
	return claims, true
}
