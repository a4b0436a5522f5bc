package authz

import (
	"time"

	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/exchange"
)

// Config is the policy. Audience, issuers and rules are looked at, never
// guessed: an empty list is never "any" unless a comment says so.
type Config struct {
	Issuers []IssuerConfig

	Realm          string            `key:"realm" default:"bearergate" doc:"In every challenge."`
	Headers        map[string]string `key:"headers" default:"x-auth-sub: sub, x-auth-scope: scope, x-auth-client-id: client_id" doc:"Upstream headers and the claims in them; dots descend. A name has at most 5 dashes and underscores, and must not break or re-route a request."`
	ForwardToken   bool              `key:"forward_token" doc:"Upstreams see Authorization. Else it is removed."`
	DefaultAccess  string            `key:"default_access" default:"token" oneof:"token|deny" doc:"What holds where no rule matches."`
	AmbiguousPaths string            `key:"ambiguous_paths,empty" default:"refuse" oneof:"refuse|allow" doc:"Paths that two programs may read in two ways. allow: only where nothing looks at paths."`
	EncodedSlashes string            `key:"encoded_slashes,empty" default:"refuse" oneof:"refuse|literal" doc:"literal: %2F in a path is a character of its segment, if all upstreams read it so."`

	Rules        []Rule              `key:"rules" doc:"The first match wins."`
	Resources    []Resource          `key:"resources" doc:"Protected resources (RFC 9728), whose metadata is answered for."`
	ScopeImplies map[string][]string `key:"scope_implies" doc:"Scopes that a scope stands for: {admin: [read, write]}."`

	DPoP *binding.DPoP `key:"dpop" doc:"Tokens that are bound to a key of the client (DPoP, RFC 9449). The section switches it on."`
	MTLS *binding.MTLS `key:"mtls" doc:"Tokens that are bound to a client certificate (RFC 8705). The section switches it on."`
}

// IssuerConfig is what every token of one issuer must satisfy.
type IssuerConfig struct {
	Issuer         string
	Audience       []string `key:"audience,string,required" doc:"A token needs one of them. [] switches the check off: every token of the issuer is taken, whoever it was meant for."`
	RequiredScopes []string `key:"required_scopes" doc:"All of them, on every request of this issuer, on top of the rule's."`
	TokenBinding   string   `key:"token_binding,empty" default:"accept" oneof:"accept|required|dpop|mtls" doc:"How tokens must be bound to their sender. accept: one with cnf must prove it, one without is a bearer token. required: by dpop or mtls."`

	ClockSkew   time.Duration // how far ahead of ours its clock may be
	Introspects bool          // its tokens may be opaque
}

// Rule says what holds for the requests that it matches; the first match wins.
type Rule struct {
	Name      string        `key:"name,required" doc:"Unique."`
	Match     *Match        `key:"match" doc:"Absent: the rule is reached by name only."`
	Access    string        `key:"access,empty" default:"token" oneof:"public|optional|token|deny" doc:"public: no token is looked at. optional: none is fine, a bad one is not."`
	Issuers   []string      `key:"issuers" doc:"Configured issuers whose tokens pass. Empty: all."`
	Audience  []string      `key:"audience,string" doc:"Instead of the issuer's."`
	Scopes    []string      `key:"scopes" doc:"All of them."`
	When      string        `key:"when" doc:"A condition in CEL, checked at load."`
	Resource  string        `key:"resource" doc:"The entry of resources that the requests belong to, instead of matching."`
	ACRValues []string      `key:"acr_values" doc:"The token's acr must be one of them (RFC 9470); in order of preference."`
	MaxAge    time.Duration `key:"max_age" default:"0s" min:"0s" doc:"How long ago the user was authenticated at most, in whole seconds (RFC 9470). 0s: not asked."`
	Enforce   *bool         `key:"enforce" default:"true" doc:"false: shadow mode. The rule is evaluated and told, and the request passes, without identity headers."`

	TokenBinding string `key:"token_binding,empty" oneof:"accept|required|dpop|mtls" doc:"Instead of the issuer's."`

	UpstreamToken *exchange.Config `key:"upstream_token" doc:"The upstream gets a token of its own, which the issuer gives in place of the client's. Absent: it gets none."`

	StreamUntilExpiry bool `key:"stream_until_expiry" doc:"Envoy ends the response when the token expires, instead of after its route's timeout."`
}

// shadowed says whether the rule is evaluated and told, and stops nothing.
func (r Rule) shadowed() bool { return r.Enforce != nil && !*r.Enforce }

// Match is met when each list that is given has a member that fits.
type Match struct {
	Paths   []string `key:"paths" doc:"Patterns: * is one segment, ** at the end any number of them."`
	Methods []string `key:"methods" doc:"In upper case."`
	Hosts   []string `key:"hosts" doc:"Host names, without port and wildcard."`

	IgnoreCase bool `key:"ignore_case" doc:"Of ASCII letters in paths: for upstreams that do."`
}

// Resource is a protected resource (RFC 9728). Its metadata document, which tells
// clients where to get tokens for it, is served from here: the upstream need not
// know that there are tokens at all.
type Resource struct {
	Resource        string   `key:"resource,required" doc:"The resource identifier, an https URL; http for loopback hosts."`
	ScopesSupported []string `key:"scopes_supported" doc:"In the document, and in challenges where nothing else is demanded."`
	Issuers         []string `key:"issuers" doc:"authorization_servers of the document. Empty: all configured ones."`
}
