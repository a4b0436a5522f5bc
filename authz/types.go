package authz

import (
	"net/http"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// Request is one HTTP request as the gateway reports it.
type Request struct {
	ID     string // the gateway's request ID; for logs only
	Method string
	Host   string // as sent, a port included
	Path   string // the request target, query included, undecoded

	// Authorization holds the value of each Authorization field. Values that a
	// gateway joined with commas stay one entry and are refused (B-02).
	Authorization []string
	// Header returns the value of any other field, by its lower-case name; nil
	// has none.
	Header func(name string) (value string, ok bool)

	Route Route
}

// Route is what the gateway's own route configuration demands (docs/contract.md §3).
type Route struct {
	Rule, Issuer, Audience string
	Scopes                 []string

	// An entry that is present and empty is not an entry that is absent.
	HasRule, HasIssuer, HasAudience, HasScopes bool

	// Unknown is a bearergate.* key that does not exist; it denies.
	Unknown string
}

// Decision is what becomes of a request. Its zero value denies.
type Decision struct {
	Reason Reason
	Rule   string // the name of the rule that decided; empty: none matched
	Issuer string // the configured issuer that was chosen; empty: none
	Token  *validation.Token

	Set    []HeaderValue // upstream headers to overwrite, by name
	Remove []string      // upstream headers to remove

	Challenge  string        // WWW-Authenticate; empty: none
	RetryAfter time.Duration // of unavailable
	Document   []byte        // body of a metadata document
	Header     http.Header   // further response headers of a document

	Err error // why, for logs only
}

// HeaderValue is a header to the upstream; the value is encoded, and not empty.
type HeaderValue struct{ Name, Value string }

// Config is the policy. Audience, issuers and rules are looked at, never
// guessed: an empty list is never "any" unless a comment says so.
type Config struct {
	Realm         string
	Issuers       []IssuerConfig
	Headers       map[string]string // upstream header: claim, dots descend
	ForwardToken  bool
	DefaultAccess string // token or deny

	AmbiguousPaths string // refuse (also when empty) or allow
	EncodedSlashes string // refuse (also when empty) or literal

	Rules        []Rule
	Resources    []Resource
	ScopeImplies map[string][]string
}

// IssuerConfig is what every token of one issuer must satisfy.
type IssuerConfig struct {
	Issuer         string
	Audience       []string // one of them; empty: the check is switched off
	RequiredScopes []string // all of them, on top of the rule's

	ClockSkew   time.Duration // how far ahead of ours its clock may be
	Introspects bool          // its tokens may be opaque
}

// Rule says what holds for the requests that it matches; the first match wins.
type Rule struct {
	Name      string        `yaml:"name"`
	Match     *Match        `yaml:"match"`  // nil: the rule is reached by name only
	Access    string        `yaml:"access"` // public, optional, token (also when empty) or deny
	Issuers   []string      `yaml:"issuers"`
	Audience  []string      `yaml:"audience,string"`
	Scopes    []string      `yaml:"scopes"`
	When      string        `yaml:"when"`
	Resource  string        `yaml:"resource"`
	ACRValues []string      `yaml:"acr_values"` // RFC 9470, in order of preference
	MaxAge    time.Duration `yaml:"max_age"`    // RFC 9470; zero: none
}

// Match is met when each list that is given has a member that fits.
type Match struct {
	Paths   []string `yaml:"paths"`
	Methods []string `yaml:"methods"`
	Hosts   []string `yaml:"hosts"`

	IgnoreCase bool `yaml:"ignore_case"` // of ASCII letters in paths
}

// Resource is a protected resource of RFC 9728.
type Resource struct {
	Resource        string   `yaml:"resource"`
	ScopesSupported []string `yaml:"scopes_supported"`
	Issuers         []string `yaml:"issuers"` // empty: all configured ones
}
