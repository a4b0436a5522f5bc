package explain

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/internal/walk"
)

// maxQuoted bounds what a hint quotes of a token.
const maxQuoted = 200

// walked is a walk as hints look at it: what the steps leave out is read from
// the request.
type walked struct {
	steps   []walk.Step
	token   string
	issuers []string // that are configured
}

// hint names the setting, here or at the authorization server, that changes a
// decision; empty where there is none to name.
func (w walked) hint(reason string) string {
	switch reason {
	case authz.Inactive.String():
		return w.inactive()
	case authz.Revoked.String():
		return "somebody said that this token, or all of its user, session or client until some time, are revoked: " +
			"a new login brings one that is good; bearergate_revocations_total says who tells of revocations"
	case authz.WrongAudience.String():
		return w.wrongAudience()
	case authz.WrongType.String():
		return w.wrongType()
	case authz.UnknownKey.String():
		return w.unknownKey()
	case authz.WrongIssuer.String():
		return w.wrongIssuer()
	case authz.MalformedToken.String():
		return w.malformed()
	case authz.WrongBinding.String():
		return w.wrongBinding()
	case authz.InvalidProof.String():
		return w.invalidProof()
	}
	return ""
}

func (w walked) inactive() string {
	if strings.Contains(w.cause(), "rejected") {
		return "the introspection endpoint answered 400: it does not know such tokens, or does not take them"
	}
	text := "the authorization server says active: false. If the token is alive, our client may not ask about it: " +
		"Keycloak says so unless client_id is in the token's aud (add an audience mapper for client_id there)"
	if w.strategy() == "introspection" && w.isJWT() {
		text += "; token_validation: jwt or both verifies JWTs without asking"
	}
	return text
}

func (w walked) wrongAudience() string {
	aud := w.step("aud")
	if aud.Got == "" {
		return "the token has no aud: have the authorization server add " + strings.TrimPrefix(aud.Want, "one of ") +
			" (Keycloak: an audience mapper; Auth0: audience in the token request; others: resource, RFC 8707), " +
			"or switch the issuer's check off (audience: [])"
	}
	return "the token is meant for others: ask the authorization server for one that names this API in aud; " +
		"if one of these names this API, it belongs into audience (of the issuer, or of the rule or route that wants another)"
}

// wrongType says what each setting takes, whichever mark it was.
func (w walked) wrongType() string {
	text := w.cause() + ": send the access token, not an ID, refresh or logout token. "
	if !w.introspected() {
		text += "access_token_type: rfc9068 takes typ at+jwt only, compatible takes JWT and none too; "
	}
	text += "access_token_type: any takes what only nonce, at_hash, c_hash or " +
		"an aud that is its own client mark as an ID token"
	if w.introspected() {
		text += "; require_token_type: false takes answers without token_type"
	}
	return text
}

func (w walked) unknownKey() string {
	metadata := w.step("metadata").Detail
	if _, file, ok := strings.Cut(metadata, "jwks_file "); ok {
		file, _, _ = strings.Cut(file, ", introspection_endpoint ")
		return "no key with the token's kid and alg is in " + file +
			": did the server get another key since it was written? A running service uses the file's new keys within 5 s"
	}
	_, uri, _ := strings.Cut(metadata, "jwks_uri ")
	uri, _, _ = strings.Cut(uri, ",")
	if uri == "" {
		uri = "the issuer's jwks_uri"
	}
	return "no key with the token's kid and alg is published at " + uri +
		": is it that of the server, realm or tenant that signed the token? " +
		"A running service asks for new keys three times at once, then once in jwks.min_refresh_interval"
}

func (w walked) wrongIssuer() string {
	got := w.iss()
	switch {
	case w.introspected() && got != "":
		return fmt.Sprintf("the introspection answer says iss %s: issuer must equal it byte for byte", quoted(got))
	case got == "" && !w.isJWT():
		return "no opaque_token_prefix fits: it is how the opaque tokens of an issuer begin"
	case slices.Contains(w.wanted(), got):
		return "the issuer is configured, but issuers of the rule, or bearergate.issuer of the route, does not name it"
	}
	for _, want := range w.wanted() {
		if text := nearly(got, want); text != "" {
			return fmt.Sprintf("iss is %s, issuer is %q: they differ by %s", quoted(got), want, text)
		}
	}
	return fmt.Sprintf("iss is %s, configured is %q: issuer is compared byte for byte", quoted(got), w.wanted())
}

// nearly says by what little thing got is not want, and what mends it.
func nearly(got, want string) string {
	if strings.TrimSuffix(got, "/") == strings.TrimSuffix(want, "/") {
		return "a slash at the end; write issuer as the authorization server does"
	}
	gotScheme, gotRest, _ := strings.Cut(got, "://")
	wantScheme, wantRest, _ := strings.Cut(want, "://")
	if gotRest == wantRest && gotRest != "" && gotScheme != wantScheme {
		return gotScheme + " and " + wantScheme +
			"; have the authorization server say its public URL (Keycloak: hostname, proxy-headers), " +
			"or write issuer as it does, with jwks_uri and introspection_endpoint as far as they are needed"
	}
	return ""
}

func (w walked) malformed() string {
	if w.isJWT() || w.introspected() {
		return ""
	}
	return "the token is opaque, no signed JWT: " +
		"token_validation: both or introspection asks the authorization server about such tokens"
}

// wrongBinding goes by the words of package authz.
func (w walked) wrongBinding() string {
	switch cause := w.cause(); {
	case strings.Contains(cause, "dpop is off"):
		return "the token is bound to a key of its client: dpop: {} switches DPoP on"
	case strings.Contains(cause, "mtls is off"):
		return "the token is bound to a client certificate: mtls: {} switches such tokens on, " +
			"and include_peer_certificate: true has Envoy tell of certificates"
	case strings.Contains(cause, "as a bearer token"):
		return "the token is bound to a key of its client: " +
			"send it with the scheme DPoP and a proof (here: --dpop-file)"
	case strings.Contains(cause, "and there is none"):
		return "no client certificate was told of: include_peer_certificate: true in the ext_authz filter does " +
			"(here: --client-cert-file), and mtls.client_certificate_header names that of a proxy in front"
	case strings.Contains(cause, "as token_binding demands"):
		return "token_binding of the rule or the issuer wants a bound token: " +
			"have the client ask the authorization server for one, or write token_binding: accept"
	}
	return ""
}

func (w walked) invalidProof() string {
	if !strings.Contains(w.cause(), "htu") {
		return ""
	}
	return "htu is the URL that the client sees, without query: where a proxy in front changes scheme, host or port, " +
		"dpop.origins has what clients use (here: --scheme, --host)"
}

// step returns the last step of that name, or an empty one.
func (w walked) step(name string) walk.Step {
	for _, s := range slices.Backward(w.steps) {
		if s.Name == name {
			return s
		}
	}
	return walk.Step{}
}

// cause is what was wrong, without the sentinel's words.
func (w walked) cause() string {
	for _, s := range slices.Backward(w.steps) {
		if strings.HasPrefix(s.Name, "decision: ") {
			parts := strings.Split(s.Detail, ": ")
			return parts[len(parts)-1]
		}
	}
	return ""
}

func (w walked) strategy() string {
	strategy, _, _ := strings.Cut(w.step("strategy").Detail, ":")
	return strategy
}

// introspected says whether the authorization server was to be asked.
func (w walked) introspected() bool {
	return w.strategy() == "introspection" || w.strategy() == "both" && !w.isJWT()
}

func (w walked) isJWT() bool { return strings.Count(w.token, ".") == 2 }

// wanted are the issuers that the token could have been from.
func (w walked) wanted() []string {
	if want := w.step("iss").Want; want != "" {
		return []string{want}
	}
	return w.issuers
}

// iss is the token's own word for its issuer, which nobody has verified.
func (w walked) iss() string {
	if got := w.step("iss").Got; got != "" || !w.isJWT() {
		return got
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(w.token, ".")[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

func quoted(s string) string { return fmt.Sprintf("%.*q", maxQuoted, s) }
