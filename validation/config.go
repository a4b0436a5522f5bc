package validation

import (
	"errors"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/clientauth"
	"github.com/bearergate/bearergate/internal/field"
)

// Strategy says how the tokens of an issuer are validated.
type Strategy string

// The strategies. The zero value is none of them.
const (
	StrategyJWT           Strategy = "jwt"           // locally, with the issuer's keys
	StrategyIntrospection Strategy = "introspection" // by asking the issuer, JWTs too
	StrategyBoth          Strategy = "both"          // JWTs locally and finally, anything else by asking
)

func (s Strategy) introspects() bool { return s == StrategyIntrospection || s == StrategyBoth }

// The values of Config.ClientAuthMethod.
const (
	AuthBasic         = clientauth.Basic
	AuthPost          = clientauth.Post
	AuthPrivateKeyJWT = clientauth.PrivateKeyJWT
	AuthTLS           = clientauth.TLS
	AuthBearer        = clientauth.Bearer
	AuthNone          = clientauth.None
)

// The values of Config.IntrospectionResponse.
const (
	ResponseJSON = "json"
	ResponseJWT  = "jwt" // signed, RFC 9701
)

// The values of Config.AccessTokenType.
const (
	TypeCompatible = "compatible" // typ may be JWT or absent too
	TypeRFC9068    = "rfc9068"    // typ is at+jwt and all claims of RFC 9068 §2.2 are there
	TypeAny        = "any"        // as compatible, but what ID tokens carry is not looked at: dex puts it into all
)

// minCacheBytes is for one issuer.
const minCacheBytes = bytesize.MiB

// Algorithms returns the signature algorithms that can be configured: the
// asymmetric ones, and nothing else (J-03).
func Algorithms() []string { return field.Allowed[Config]("algorithms") }

// Config is how the tokens of one issuer are validated. The zero value is not
// valid: nothing here means "any".
type Config struct {
	Issuer   string   // compared byte for byte
	Strategy Strategy `key:"token_validation" default:"jwt" oneof:"jwt|introspection|both" doc:"jwt: locally, with the issuer's keys. introspection: by asking the issuer, JWTs too. both: JWTs locally, anything else by asking."`

	// How we authenticate to the introspection endpoint.
	ClientID         string   `key:"client_id" doc:"Needed where the issuer is asked, unless client_auth_method is none."`
	ClientSecret     Secret   `key:"client_secret" doc:"Needed by client_secret_basic, client_secret_post and bearer, here or in client_secret_file."`
	ClientSecretFile string   `key:"client_secret_file" doc:"Instead of client_secret; re-read when it changes. One newline at the end is cut off."`
	ClientAuthMethod string   `key:"client_auth_method,empty" default:"client_secret_basic" oneof:"client_secret_basic|client_secret_post|private_key_jwt|tls_client_auth|bearer|none" doc:"How we authenticate where the issuer is asked."`
	ClientKeyFile    string   `key:"client_key_file" doc:"PEM private key of private_key_jwt and tls_client_auth; re-read when it changes."`
	ClientKeyID      string   `key:"client_key_id" doc:"kid of the assertion of private_key_jwt."`
	ClientCertFile   string   `key:"client_cert_file" doc:"PEM certificate chain of tls_client_auth; re-read when it changes."`
	ClientScopes     []string `key:"client_scopes" doc:"Scopes of the token that bearer asks for."`

	IntrospectionResponse string `key:"introspection_response,empty" default:"json" oneof:"json|jwt" doc:"jwt: answers are signed (RFC 9701)."`

	// The asymmetric ones, and nothing else (J-03).
	Algorithms []string `key:"algorithms" default:"all" min:"1" oneof:"RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA|Ed25519" doc:"Signature algorithms that are accepted."`

	AccessTokenType   string        `key:"access_token_type" default:"compatible" oneof:"compatible|rfc9068|any" doc:"rfc9068: typ must be at+jwt, with all claims of RFC 9068 §2.2. any: the marks of ID tokens are not looked at, for dex."`
	RequireTokenType  bool          `key:"require_token_type" doc:"Introspection answers must say token_type: some servers tell refresh and ID tokens apart in no other way."`
	ClockSkew         time.Duration `key:"clock_skew" default:"30s" min:"0s" max:"5m" doc:"How far the clocks of issuer and gateway may differ."` // RFC 9068 §4: "no more than a few minutes"
	RequestTimeout    time.Duration `key:"request_timeout" default:"2s" above:"0s" doc:"Of one call to the authorization server."`
	OpaqueTokenPrefix string        `key:"opaque_token_prefix" doc:"With several introspecting issuers: which opaque tokens are this issuer's."`

	RecheckInterval time.Duration `key:"recheck_interval" default:"0s" min:"0s" doc:"With token_validation jwt or both: how often the introspection endpoint is asked about a verified JWT too, in the background, while requests show it. 0s: never."`

	// Exchanges are the grants by which the issuer is asked for tokens for upstreams;
	// none: it is asked for none.
	Exchanges []string

	InsecureHTTP bool
	CAFile       string
	Cache        CacheConfig
}

// CacheConfig bounds what is remembered of validated tokens.
type CacheConfig struct {
	MaxEntries   int           `key:"max_entries" default:"100000" doc:"Of verified JWTs and introspection answers together, shared out evenly among the issuers."`
	MaxBytes     bytesize.Size `key:"max_bytes" default:"256MiB" doc:"Of all entries together, by estimate. What is expired goes within 20 s."`
	TTL          time.Duration `key:"ttl" default:"60s" min:"0s" doc:"Upper bound; never past the token's exp. 0s switches all caching off."`
	NegativeTTL  time.Duration `key:"negative_ttl" default:"5s" min:"0s" doc:"Of answers against a token. 0s: they are not remembered."`
	StaleIfError time.Duration `key:"stale_if_error" default:"0s" min:"0s" doc:"How long past ttl, never past exp, an answer serves while the authorization server is down."`
}

// Validate reports every mistake at once, each a [*field.Error] with the key
// of the configuration file. URLs are the business of the discovery room.
func (c Config) Validate() error {
	errs := []error{field.Check(c), c.checkPrefix(), field.Under("cache", c.Cache.validate())}
	if c.asks() {
		errs = append(errs, given("introspection_response", c.IntrospectionResponse))
	}
	if c.RecheckInterval > 0 && c.Strategy == StrategyIntrospection {
		errs = append(errs, field.Errorf("recheck_interval",
			"given with token_validation introspection, where no JWT is verified: the issuer is asked anyway"))
	}
	if c.authenticates() {
		errs = append(errs, c.checkClient())
	}
	return errors.Join(errs...)
}

// authenticates says whether the issuer is asked anything in our name.
func (c Config) authenticates() bool { return c.asks() || len(c.Exchanges) > 0 }

// asks says whether the introspection endpoint is asked anything.
func (c Config) asks() bool { return c.Strategy.introspects() || c.rechecks() }

// rechecks says whether it is asked about JWTs that were verified.
func (c Config) rechecks() bool { return c.RecheckInterval > 0 && c.Strategy != StrategyIntrospection }

// checkPrefix: a prefix that is not visible ASCII, or has a character that ends
// or joins credentials, could never fit a token. Salesforce's tokens have a "!".
func (c Config) checkPrefix() error {
	for _, b := range []byte(c.OpaqueTokenPrefix) {
		if b <= ' ' || b > '~' || b == '"' || b == ',' || b == '\\' {
			return field.Errorf("opaque_token_prefix",
				`got %q, want visible ASCII without ", comma and \`, c.OpaqueTokenPrefix)
		}
	}
	return nil
}

func (c Config) checkClient() error {
	errs := []error{given("client_auth_method", c.ClientAuthMethod), c.checkSecret()}
	if len(c.Exchanges) > 0 && c.ClientAuthMethod == AuthBearer {
		errs = append(errs, field.Errorf("client_auth_method",
			"got bearer, which gets no tokens for upstreams (rules[].upstream_token)"))
	}
	if c.ClientID == "" {
		switch {
		case c.ClientAuthMethod != AuthNone && !c.asks():
			errs = append(errs, field.Errorf("client_id",
				"missing: upstream_token needs it, unless client_auth_method is none"))
		case c.ClientAuthMethod != AuthNone:
			errs = append(errs, field.Errorf("client_id", "missing: introspection needs it, unless client_auth_method is none"))
		case c.asks() && c.IntrospectionResponse == ResponseJWT:
			errs = append(errs, field.Errorf("client_id",
				"missing: a signed answer must name it as its audience (RFC 9701 §5)"))
		}
	}
	if c.ClientKeyFile == "" && (c.ClientAuthMethod == AuthPrivateKeyJWT || c.ClientAuthMethod == AuthTLS) {
		errs = append(errs, field.Errorf("client_key_file", "missing: client_auth_method %s needs it", c.ClientAuthMethod))
	}
	if c.ClientCertFile == "" && c.ClientAuthMethod == AuthTLS {
		errs = append(errs, field.Errorf("client_cert_file", "missing: client_auth_method %s needs it", c.ClientAuthMethod))
	}
	return errors.Join(errs...)
}

// given wants what may be left out where nobody is asked.
func given(path, got string) error {
	if got != "" {
		return nil
	}
	return field.Errorf(path, "got %q, want one of %s", got, strings.Join(field.Allowed[Config](path), ", "))
}

func (c Config) checkSecret() error {
	if c.ClientSecret != "" && c.ClientSecretFile != "" {
		return field.Errorf("client_secret_file", "given together with client_secret, want one of them")
	}
	needed := c.ClientAuthMethod == AuthBasic || c.ClientAuthMethod == AuthPost || c.ClientAuthMethod == AuthBearer
	if needed && c.ClientSecret == "" && c.ClientSecretFile == "" {
		return field.Errorf("client_secret",
			"missing: client_auth_method %s needs it or client_secret_file", c.ClientAuthMethod)
	}
	return nil
}

func (c CacheConfig) validate() error {
	errs := []error{field.Check(c)}
	if c.MaxEntries < 1 && c.TTL > 0 {
		errs = append(errs, field.Errorf("max_entries",
			"got %d, want at least 1 (cache.ttl 0s switches the cache off)", c.MaxEntries))
	}
	if c.MaxBytes < minCacheBytes && c.TTL > 0 {
		errs = append(errs, field.Errorf("max_bytes",
			"got %d bytes, want at least 1MiB (cache.ttl 0s switches the cache off)", c.MaxBytes))
	}
	return errors.Join(errs...)
}
