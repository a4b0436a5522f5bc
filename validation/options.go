package validation

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/observe"
)

// Source is what an authorization server publishes; *discovery.Server is one.
type Source interface {
	Metadata() (discovery.Metadata, error)
	Key(ctx context.Context, keyID, alg string) (discovery.Key, error)
	Trusted(thumbprint string) error
}

// The operations that an Event tells of.
const (
	OperationCache         = "cache"         // a look-up
	OperationIntrospection = "introspection" // a call
	OperationBreaker       = "breaker"       // the endpoint went down or came up
)

// Event is what an Issuer did.
type Event struct {
	Operation string
	Issuer    string
	Cache     string        // of a look-up: jwt, introspection or negative
	Result    string        // of a look-up: hit, miss or stale; of a call: active, inactive, rejected or error
	Took      time.Duration // of a call
	Down      bool          // of the breaker: calls are refused, but for probes
}

// Options are what an Issuer works with.
type Options struct {
	Source Source
	Client *http.Client // of introspection
	Log    *slog.Logger
	Events observe.Observer[Event]
	Now    func() time.Time // nil: time.Now
}
