// Package exchange gets tokens for upstreams: from the authorization server that issued
// a client's token, in place of that token (RFC 8693, on behalf of the user as Microsoft
// Entra has it) or for ourselves (client credentials). What was got is remembered for as
// long as it is good.
//
// It knows nothing of rules and headers, nor whether the client's token is genuine: who
// asks has found that out.
package exchange

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/validation"
)

// The values of Config.Grant.
const (
	TokenExchange     = "token_exchange"     // RFC 8693
	OnBehalfOf        = "on_behalf_of"       // RFC 7523 with requested_token_use, as Microsoft Entra wants it
	ClientCredentials = "client_credentials" // RFC 6749 §4.4: not in the name of the client's user
)

// Authorization is the header that carries a token as RFC 6750 has it; any other
// carries the bare token.
const Authorization = "authorization"

// Config is the token that an upstream gets.
type Config struct {
	Grant    string   `key:"grant" default:"token_exchange" oneof:"token_exchange|on_behalf_of|client_credentials" doc:"token_exchange: RFC 8693. on_behalf_of: as Microsoft Entra wants it. client_credentials: a token of our own, whoever the client is."`
	Audience []string `key:"audience" doc:"Whom the token is for (RFC 8693); each is a parameter of its own."`
	Resource []string `key:"resource" doc:"Whom the token is for, by absolute URI (RFC 8707); each is a parameter of its own."`
	Scopes   []string `key:"scopes" doc:"That the token is to have."`
	Header   string   `key:"header" default:"authorization" doc:"Which header carries it. With another name than authorization the value is the bare token."`
}

// Validate reports every mistake at once, each a [*field.Error] with the key of the
// configuration file. What a header may be called is the business of who sets it.
func (c Config) Validate() error {
	errs := []error{field.Check(c)}
	for i, audience := range c.Audience {
		if audience == "" {
			errs = append(errs, field.Errorf(fmt.Sprintf("audience[%d]", i), "is empty"))
		}
	}
	for i, resource := range c.Resource {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			errs = append(errs, field.Errorf(fmt.Sprintf("resource[%d]", i),
				"got %q, want an absolute URI without fragment (RFC 8707 §2)", resource))
		}
	}
	for i, scope := range c.Scopes {
		if !validation.IsScopeToken(scope) {
			errs = append(errs, field.Errorf(fmt.Sprintf("scopes[%d]", i),
				"got %q, want a scope token (RFC 6749 §3.3)", scope))
		}
	}
	return errors.Join(errs...)
}

// Target is a Config in use.
type Target struct {
	Config

	digest   lru.Key
	unwanted bool // no rule has the grant
}

// NewTarget returns the target of c, which is valid.
func NewTarget(c Config) *Target {
	// The header is left out: what two rules put into different headers is one token.
	parts := [][]string{{c.Grant}, c.Audience, c.Resource, c.Scopes}
	return &Target{Config: c, digest: digestOf(parts...)}
}

// digestOf is a hash over length-prefixed lists of length-prefixed texts: no two
// requests that differ have one.
func digestOf(lists ...[]string) lru.Key {
	sum := sha256.New()
	for _, list := range lists {
		fmt.Fprintf(sum, "%d;", len(list))
		for _, text := range list {
			fmt.Fprintf(sum, "%d:%s", len(text), text)
		}
	}
	return lru.Key(sum.Sum(nil))
}

// ofClient says whether the token depends on that of the client.
func (t *Target) ofClient() bool { return t.Grant != ClientCredentials }
