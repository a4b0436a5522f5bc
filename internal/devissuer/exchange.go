package devissuer

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// The grants by which a client gets a token in place of another's.
const (
	grantExchange  = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693
	grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523, here on behalf of the user only
)

const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token" //nolint:gosec // RFC 8693 §3, no secret
	lifetime        = 600                                             // seconds
)

// Targets says for which audiences and resources tokens can be exchanged; none: for
// all.
func (i *Issuer) Targets(all ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.targets = all
}

// AnswerTokens changes the members of every token that the token endpoint answers
// with; nil takes one out.
func (i *Issuer) AnswerTokens(change Claims) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answers = change
}

// exchange makes the claims of a token in place of the subject's: for whom it was asked
// for, and with no more scopes. The second result is the error code.
func (i *Issuer) exchange(r *http.Request, client string) (Claims, string) {
	subject, refusal := i.subject(r)
	if refusal != "" {
		return nil, refusal
	}
	audience := append(slices.Clone(r.PostForm["audience"]), r.PostForm["resource"]...)
	i.mu.Lock()
	targets := i.targets
	i.mu.Unlock()
	for _, asked := range audience {
		if len(targets) > 0 && !slices.Contains(targets, asked) {
			return nil, "invalid_target" // RFC 8693 §2.2.2
		}
	}
	granted, _ := subject["scope"].(string)
	scope := r.PostFormValue("scope")
	for _, asked := range strings.Fields(scope) {
		if !slices.Contains(strings.Fields(granted), asked) {
			return nil, "invalid_scope"
		}
	}
	claims := Claims{"sub": subject["sub"], "client_id": client, "aud": nil, "exp": subject["exp"], "scope": granted}
	if scope != "" {
		claims["scope"] = scope
	}
	switch len(audience) {
	case 0:
	case 1:
		claims["aud"] = audience[0]
	default:
		claims["aud"] = audience
	}
	return claims, ""
}

// subject returns what the token says that is to be exchanged.
func (i *Issuer) subject(r *http.Request) (Claims, string) {
	token := r.PostFormValue("assertion")
	if r.PostFormValue("grant_type") == grantExchange {
		token = r.PostFormValue("subject_token")
		asked := r.PostFormValue("requested_token_type")
		if r.PostFormValue("subject_token_type") != typeAccessToken || asked != "" && asked != typeAccessToken {
			return nil, "invalid_request"
		}
	} else if r.PostFormValue("requested_token_use") != "on_behalf_of" {
		return nil, "invalid_request"
	}
	state := i.state(token)
	switch {
	case state["active"] == true:
		return state, ""
	case r.PostFormValue("grant_type") == grantExchange:
		return nil, "invalid_request" // RFC 8693 §2.2.2
	}
	return nil, "invalid_grant" // RFC 7523 §3.1
}

// answerToken answers with a token, as far as it was not asked to lie.
func (i *Issuer) answerToken(w http.ResponseWriter, r *http.Request, token, kind string) {
	members := Claims{"access_token": token, "token_type": kind, "expires_in": lifetime}
	if r.PostFormValue("grant_type") == grantExchange {
		members["issued_token_type"] = typeAccessToken
	}
	i.mu.Lock()
	maps.Copy(members, i.answers)
	i.mu.Unlock()
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	answer(w, http.StatusOK, members)
}
