package validation

import (
	"errors"
	"slices"
	"strings"
	"time"

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
const minCacheBytes = 1 << 20

// maxClockSkew bounds the leeway: RFC 9068 §4 allows "no more than a few minutes".
const maxClockSkew = 5 * time.Minute

// Algorithms returns the signature algorithms that can be configured: the
// asymmetric ones, and nothing else (J-03).
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
}

// Config is how the tokens of one issuer are validated. The zero value is not
// valid: nothing here means "any".
type Config struct {
	Issuer   string // compared byte for byte
	Strategy Strategy

	// How we authenticate to the introspection endpoint.
	ClientID         string
	ClientSecret     Secret
	ClientSecretFile string
	ClientAuthMethod string
	ClientKeyFile    string
	ClientKeyID      string
	ClientCertFile   string
	ClientScopes     []string // of the token that ClientAuthMethod bearer asks for

	IntrospectionResponse string
	Algorithms            []string
	AccessTokenType       string
	RequireTokenType      bool // introspection answers must say token_type
	ClockSkew             time.Duration
	RequestTimeout        time.Duration // of one call to the issuer
	OpaqueTokenPrefix     string
	InsecureHTTP          bool
	CAFile                string
	Cache                 CacheConfig
}

// CacheConfig bounds what is remembered of validated tokens.
type CacheConfig struct {
	MaxEntries   int           // of verified JWTs and introspection answers together
	MaxBytes     int64         // of all of them, by estimate
	TTL          time.Duration // never past exp; 0 switches all caching off
	NegativeTTL  time.Duration // of answers against a token; 0 switches these off
	StaleIfError time.Duration // past TTL, never past exp, while the issuer is down
}

// Validate reports every mistake at once, each a [*field.Error] with the key
// of the configuration file. URLs are the business of the discovery room.
func (c Config) Validate() error {
	errs := []error{
		oneOf("token_validation", string(c.Strategy), string(StrategyJWT), string(StrategyIntrospection), string(StrategyBoth)),
		oneOf("access_token_type", c.AccessTokenType, TypeCompatible, TypeRFC9068, TypeAny),
		c.checkAlgorithms(),
		between("clock_skew", c.ClockSkew, 0, maxClockSkew),
		c.checkPrefix(),
		c.Cache.validate(),
	}
	if c.RequestTimeout <= 0 {
		errs = append(errs, field.Errorf("request_timeout", "got %s, want more than 0s", c.RequestTimeout))
	}
	if c.Strategy.introspects() {
		errs = append(errs, c.checkIntrospection())
	}
	return errors.Join(errs...)
}

func (c Config) checkAlgorithms() error {
	if len(c.Algorithms) == 0 {
		return field.Errorf("algorithms", "got none, want at least one of %s", strings.Join(Algorithms(), ", "))
	}
	var errs []error
	for _, alg := range c.Algorithms {
		errs = append(errs, oneOf("algorithms", alg, Algorithms()...))
	}
	return errors.Join(errs...)
}

// checkPrefix: a prefix that is not visible ASCII, or has a character that ends
// or joins credentials, could never fit a token. Salesforce's tokens have a "!".
func (c Config) checkPrefix() error {
	for _, b := range []byte(c.OpaqueTokenPrefix) {
		if b <= ' ' || b > '~' || b == '"' || b == ',' || b == '\\' {
			return field.Errorf("opaque_token_prefix", "got %q, want visible ASCII without \", comma and \\", c.OpaqueTokenPrefix)
		}
	}
	return nil
}

func (c Config) checkIntrospection() error {
	errs := []error{
		oneOf("introspection_response", c.IntrospectionResponse, ResponseJSON, ResponseJWT),
		oneOf("client_auth_method", c.ClientAuthMethod, AuthBasic, AuthPost, AuthPrivateKeyJWT, AuthTLS, AuthBearer, AuthNone),
		c.checkSecret(),
	}
	if c.ClientID == "" {
		switch {
		case c.ClientAuthMethod != AuthNone:
			errs = append(errs, field.Errorf("client_id", "missing: introspection needs it, unless client_auth_method is none"))
		case c.IntrospectionResponse == ResponseJWT:
			errs = append(errs, field.Errorf("client_id", "missing: a signed answer must name it as its audience (RFC 9701 §5)"))
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

func (c Config) checkSecret() error {
	if c.ClientSecret != "" && c.ClientSecretFile != "" {
		return field.Errorf("client_secret_file", "given together with client_secret, want one of them")
	}
	needed := c.ClientAuthMethod == AuthBasic || c.ClientAuthMethod == AuthPost || c.ClientAuthMethod == AuthBearer
	if needed && c.ClientSecret == "" && c.ClientSecretFile == "" {
		return field.Errorf("client_secret", "missing: client_auth_method %s needs it or client_secret_file", c.ClientAuthMethod)
	}
	return nil
}

func (c CacheConfig) validate() error {
	errs := []error{
		atLeastZero("cache.ttl", c.TTL),
		atLeastZero("cache.negative_ttl", c.NegativeTTL),
		atLeastZero("cache.stale_if_error", c.StaleIfError),
	}
	if c.MaxEntries < 1 && c.TTL > 0 {
		errs = append(errs, field.Errorf("cache.max_entries", "got %d, want at least 1 (cache.ttl 0s switches the cache off)", c.MaxEntries))
	}
	if c.MaxBytes < minCacheBytes && c.TTL > 0 {
		errs = append(errs, field.Errorf("cache.max_bytes", "got %d bytes, want at least 1MiB (cache.ttl 0s switches the cache off)", c.MaxBytes))
	}
	return errors.Join(errs...)
}

func oneOf(path, got string, want ...string) error {
	if slices.Contains(want, got) {
		return nil
	}
	return field.Errorf(path, "got %q, want one of %s", got, strings.Join(want, ", "))
}

func between(path string, got, least, most time.Duration) error {
	if got >= least && got <= most {
		return nil
	}
	return field.Errorf(path, "got %s, want %s to %s", got, least, most)
}

func atLeastZero(path string, got time.Duration) error {
	if got >= 0 {
		return nil
	}
	return field.Errorf(path, "got %s, want 0s or more", got)
}
