package discovery

import (
	"crypto"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/internal/observe"
)

// What discovery can fail with; found by [errors.Is].
var (
	// ErrUnavailable: what was asked for has not been fetched, or is too old
	// to be trusted. It says nothing against anybody's token.
	ErrUnavailable = errors.New("authorization server unavailable")
	// ErrUnknownKey: the authorization server publishes no such key.
	ErrUnknownKey = errors.New("unknown key")
)

// Config is where one authorization server is and what is needed of it.
type Config struct {
	Issuer string // compared byte for byte

	// MetadataURL is where the metadata is fetched, and nowhere else; empty: at
	// the well-known places of the issuer.
	MetadataURL string

	// Overrides of what discovery would find. With every needed one given, no
	// discovery takes place.
	JWKSURI, IntrospectionEndpoint, TokenEndpoint string

	NeedKeys, NeedIntrospection, NeedToken bool

	MutualTLS bool // a client certificate is presented: RFC 8705 §5 has endpoints for that

	// Whom the client of [Options] trusts, and what it presents. They are here to
	// be compared: what was fetched under other anchors is not inherited.
	CAFile, ClientCertFile, ClientKeyFile string

	RequestTimeout time.Duration // of one call
	InsecureHTTP   bool          // allow http:// for loopback addresses

	RefreshInterval    time.Duration // of metadata and keys
	MinRefreshInterval time.Duration // between fetches caused by unknown key IDs
	MaxStale           time.Duration // how long the last good keys and metadata serve
}

// Metadata is what is used of the metadata document (RFC 8414 §2), overrides
// applied.
type Metadata struct {
	Issuer, JWKSURI, IntrospectionEndpoint, TokenEndpoint string

	Fetched time.Time // zero: configured, not fetched
}

// Key is one usable verification key (J-10).
type Key struct {
	ID         string // kid; may be empty
	Algorithm  string // alg of the JWK; empty: any that fits the key's type
	Public     crypto.PublicKey
	Thumbprint string // RFC 7638, SHA-256, base64url
	Fetched    time.Time
}

// The operations that an Event tells of.
const (
	OperationMetadata = "discovery"
	OperationKeys     = "jwks"
)

// Event is how a fetch ended.
type Event struct {
	Operation string
	Issuer    string
	Err       error // nil: a success; an alarm about keys counts as a failure of its own
}

// Options are what a Server works with.
type Options struct {
	Client *http.Client
	Log    *slog.Logger
	Events observe.Observer[Event]
	Now    func() time.Time // nil: time.Now
}
