package exchange

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

//nolint:gosec // names of RFC 8693 §3 and RFC 7523 §2.1, no secrets
const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"

	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// form is what is asked for: t, in place of the client's token.
func form(t *Target, token string) url.Values {
	form := url.Values{}
	switch t.Grant {
	case TokenExchange: // RFC 8693 §2.1
		form.Set("grant_type", grantTokenExchange)
		form.Set("subject_token", token)
		form.Set("subject_token_type", typeAccessToken)
		form.Set("requested_token_type", typeAccessToken)
	case OnBehalfOf:
		form.Set("grant_type", grantJWTBearer)
		form.Set("assertion", token)
		form.Set("requested_token_use", "on_behalf_of")
	case ClientCredentials: // RFC 6749 §4.4.2: the client's token is nobody's business
		form.Set("grant_type", "client_credentials")
	}
	for _, audience := range t.Audience {
		form.Add("audience", audience)
	}
	for _, resource := range t.Resource {
		form.Add("resource", resource)
	}
	if len(t.Scopes) > 0 {
		form.Set("scope", strings.Join(t.Scopes, " "))
	}
	return form
}

// request is a POST with everything in its body, never in a URL, but for the
// authentication (I-01).
func (e *Exchanger) request(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {mediaJSON}}
	if err := e.auth.Authenticate(ctx, header, form); err != nil {
		return nil, fmt.Errorf("client authentication: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	// A second token does no harm: net/http may repeat the call when the server has
	// just closed a connection. A nil value is not sent.
	req.Header["Idempotency-Key"] = nil
	return req, nil
}
