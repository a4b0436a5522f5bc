package policytest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/config"
)

const (
	lifetime = 5 * time.Minute // of a token that does not say exp

	typeAccess        = "at+jwt"                  // RFC 9068 §2.1
	typeIntrospection = "token-introspection+jwt" // RFC 9701 §5

	mediaJSON          = "application/json"
	mediaIntrospection = "application/token-introspection+jwt"
)

// issuer answers in the place of a configured authorization server, at the URLs
// that are configured, or at those that its metadata says. It takes any client: the
// secrets of the real one are not where policies are tested.
type issuer struct {
	name, client           string
	jwksURI, introspection string
	tokens                 string // the token endpoint

	published key // signs
	foreign   key // is in nobody's JWKS

	now     time.Time
	answers map[string]map[string]any // of introspection, by token; other tokens are inactive
}

func newIssuer(cfg config.Issuer, now time.Time) (*issuer, error) {
	base := strings.TrimSuffix(cfg.Discovery.Issuer, "/")
	i := &issuer{
		name: cfg.Discovery.Issuer, client: cfg.Validation.ClientID, now: now, answers: map[string]map[string]any{},
		jwksURI:       or(cfg.Discovery.JWKSURI, base+"/jwks"),
		introspection: or(cfg.Discovery.IntrospectionEndpoint, base+"/introspect"),
		tokens:        or(cfg.Discovery.TokenEndpoint, base+"/token"),
	}
	algorithm, err := algorithmOf(cfg.Validation.Algorithms)
	if err != nil {
		return nil, err
	}
	if i.published, err = newKey("test-key", algorithm); err != nil {
		return nil, err
	}
	i.foreign, err = newKey("unknown-key", algorithm)
	return i, err
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// issue returns the token that t describes, and remembers what introspection is to
// say of it. Opaque ones begin with prefix.
func (i *issuer) issue(t token, prefix string) (string, error) {
	claims := i.claims(t)
	issued, err := prefix+rand.Text(), error(nil)
	if t.Kind == kindJWT {
		issued, err = i.sign(t.Break, claims)
	}
	if err == nil && i.active(t, claims) {
		i.answers[issued] = answer(t, claims)
	}
	return issued, err
}

// answer is what introspection says of an active token (RFC 7662 §2.2).
func answer(t token, claims map[string]any) map[string]any {
	members := map[string]any{"active": true}
	if slices.Contains(t.Bound, boundDPoP) {
		members["token_type"] = "DPoP"
	} else if _, given := t.Claims["token_type"]; !given {
		members["token_type"] = "Bearer"
	}
	maps.Copy(members, claims)
	return members
}

// claims are those of t, and what every token has unless t says otherwise.
func (i *issuer) claims(t token) map[string]any {
	issued, expires := i.now, i.now.Add(lifetime)
	if t.Break == breakExpired { // by more than any clock skew
		issued, expires = i.now.Add(-2*time.Hour), i.now.Add(-time.Hour)
	}
	all := map[string]any{"iss": i.name, "iat": issued.Unix(), "exp": expires.Unix()}
	if t.Break == breakRevoked { // another one with the same claims is not
		all["jti"] = rand.Text()
	}
	maps.Copy(all, t.Claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

func (i *issuer) sign(broken string, claims map[string]any) (string, error) {
	switch broken {
	case breakAlgNone:
		payload, err := json.Marshal(claims)
		if err != nil {
			return "", err
		}
		jws, err := unsigned(map[string]any{"alg": "none", "typ": typeAccess}, payload)
		return jws + ".", err
	case breakSignature:
		forged := i.foreign
		forged.id = i.published.id
		return forged.sign(typeAccess, claims)
	case breakUnknownKey:
		return i.foreign.sign(typeAccess, claims)
	}
	return i.published.sign(typeAccess, claims)
}

// active is what a real server says of a token: none that it did not sign, that
// expired or was revoked is (RFC 7662 §2.2).
func (i *issuer) active(t token, claims map[string]any) bool {
	switch t.Break {
	case breakSignature, breakAlgNone, breakUnknownKey, breakExpired, breakInactive:
		return false
	}
	exp, ok := seconds(claims["exp"])
	return !ok || i.now.Before(exp)
}

// seconds reads a NumericDate (RFC 7519 §2).
func seconds(claim any) (time.Time, bool) {
	switch n := claim.(type) {
	case int64:
		return time.Unix(n, 0), true
	case json.Number:
		f, err := n.Float64()
		return time.Unix(int64(f), 0), err == nil
	}
	return time.Time{}, false
}

// RoundTrip implements http.RoundTripper.
func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
	}
	switch {
	case r.Method == http.MethodPost && r.URL.String() == i.tokens:
		return i.exchange(r, body)
	case r.Method == http.MethodPost:
		return i.introspect(r, body)
	case r.URL.String() == i.jwksURI:
		return respondJSON(r, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.published.public()}})
	}
	return respondJSON(r, map[string]any{
		"issuer": i.name, "jwks_uri": i.jwksURI, "introspection_endpoint": i.introspection,
		"token_endpoint": i.tokens,
	})
}

func (i *issuer) introspect(r *http.Request, body []byte) (*http.Response, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	members, known := i.answers[form.Get("token")]
	if !known {
		members = map[string]any{"active": false}
	}
	if r.Header.Get("Accept") == mediaIntrospection {
		signed, err := i.published.sign(typeIntrospection, map[string]any{
			"iss": i.name, "aud": i.client, "iat": i.now.Unix(), "token_introspection": members,
		})
		return respond(r, mediaIntrospection, []byte(signed)), err
	}
	return respondJSON(r, members)
}

// exchange gives a token for the upstream, whoever asks: which ones the real server
// gives is not where policies are tested. The token says what was asked for, so that a
// case can want it.
func (i *issuer) exchange(r *http.Request, body []byte) (*http.Response, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	token := "upstream-token"
	asked := slices.Concat(form["audience"], form["resource"], strings.Fields(form.Get("scope")))
	if len(asked) > 0 {
		token += ":" + strings.Join(asked, ",")
	}
	return respondJSON(r, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime.Seconds()),
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}

func respondJSON(r *http.Request, content any) (*http.Response, error) {
	raw, err := json.Marshal(content)
	return respond(r, mediaJSON, raw), err
}

func respond(r *http.Request, media string, body []byte) *http.Response {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {media}},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// errOutage is what a server that cannot be reached is like.
var errOutage = errors.New("the test says that it cannot be reached")

// unreachable is an issuer during an outage, which keys in a file do not feel.
type unreachable struct{ *issuer }

func (u unreachable) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.String() == keysOf {
		return u.issuer.RoundTrip(r)
	}
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return nil, errOutage
}
