package validation

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/discovery"
)

// Source is what an authorization server publishes; *discovery.Server is one.
type Source interface {
	Metadata() (discovery.Metadata, error)
	Key(ctx context.Context, keyID, alg string) (discovery.Key, error)
	Trusted(thumbprint string) error
}

// Hooks observe what happens; nil functions are allowed. They are called on
// the path of a request and must not block.
type Hooks struct {
	// Cache is told of each look-up: cache is jwt, introspection or negative,
	// result is hit, miss or stale.
	Cache func(cache, result string)
	// Introspection is told of each call: result is active, inactive, rejected
	// or error.
	Introspection func(issuer, result string, took time.Duration)
	// Breaker is told when the circuit breaker of an issuer's introspection
	// endpoint stops letting calls through, and when it is closed again.
	Breaker func(issuer string, open bool)
}

func (h Hooks) cache(cache, result string) {
	if h.Cache != nil {
		h.Cache(cache, result)
	}
}

// Options are what an Issuer works with.
type Options struct {
	Source Source
	Client *http.Client // of introspection
	Log    *slog.Logger
	Hooks  Hooks
	Now    func() time.Time // nil: time.Now
}
