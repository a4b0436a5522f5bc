package discovery

import (
	"time"
)

// Config is where one authorization server is and what is needed of it.
type Config struct {
	Issuer string `key:"issuer,required" doc:"The issuer identifier, compared byte for byte."`

	MetadataURL string `key:"metadata_url" doc:"Where the metadata is fetched, and nowhere else; its issuer must still be this one. Empty: at the well-known places of the issuer."`

	// WellKnown is the name of the metadata below /.well-known, where it is neither
	// that of RFC 8414 nor that of OpenID Connect: of a transmitter of security events
	// ssf-configuration. Empty: those two.
	WellKnown string

	// Overrides of what discovery would find. With every needed one given, no
	// discovery takes place.
	JWKSURI               string `key:"jwks_uri" doc:"Where the keys are, instead of what is discovered."`
	JWKSFile              string `key:"jwks_file" doc:"File with the keys, a JWKS, instead of jwks_uri: nothing is fetched for them. Re-read when it changes; while it is broken, empty or gone, the last good keys serve on, with an alarm."`
	IntrospectionEndpoint string `key:"introspection_endpoint" doc:"Instead of the discovered one. With every needed endpoint given, no discovery takes place."`
	TokenEndpoint         string `key:"token_endpoint" doc:"Of client_auth_method bearer and of rules with upstream_token, instead of the discovered one."`

	CAFile       string `key:"ca_file" doc:"Trust anchors for the authorization server, PEM; re-read when it changes. Empty: those of the system."`
	InsecureHTTP bool   `key:"insecure_http" doc:"Allow http:// for loopback addresses. Never use it in production."`

	NeedKeys, NeedIntrospection, NeedToken bool

	// WantToken: the token endpoint is looked for, and tokens can be decided without.
	// WantIntrospection and WantKeys: likewise, the introspection endpoint and the keys.
	WantToken, WantIntrospection, WantKeys bool

	MutualTLS bool // a client certificate is presented: RFC 8705 §5 has endpoints for that

	// What the client of [Options] presents. They are here, as CAFile is, to be
	// compared: what was fetched in another trust is not inherited.
	ClientCertFile, ClientKeyFile string

	RequestTimeout time.Duration // of one call

	Intervals
}

// Intervals is how metadata and keys are kept fresh.
type Intervals struct {
	RefreshInterval    time.Duration `key:"refresh_interval" default:"5m" above:"0s" doc:"How often metadata and keys are fetched: a key that left the JWKS stops working within this time."`
	MinRefreshInterval time.Duration `key:"min_refresh_interval" default:"15s" above:"0s" doc:"Between fetches caused by unknown key IDs."`
	MaxStale           time.Duration `key:"max_stale" default:"24h" above:"0s" doc:"How long the last good keys and metadata serve while none can be fetched."`
}
