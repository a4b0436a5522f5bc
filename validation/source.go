package validation

import (
	"context"

	"github.com/bearergate/bearergate/discovery"
)

// Source is what an authorization server publishes; *discovery.Issuer is one.
type Source interface {
	Metadata() (discovery.Metadata, error)
	Key(ctx context.Context, keyID, alg string) (discovery.Key, error)
	Trusted(thumbprint string) error
}
