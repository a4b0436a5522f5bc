package discovery

import (
	"github.com/bearergate/bearergate/internal/observe"
)

// The operations that an Event tells of.
const (
	OperationMetadata = "discovery"
	OperationKeys     = "jwks"
)

// Event is how a fetch of one issuer's metadata or keys ended, whether it was due or a
// token with an unknown key ID was the occasion.
type Event struct {
	Operation string
	Issuer    string
	Err       error // nil: a success; an alarm about keys counts as a failure of its own
}

// Observer is told of fetches; the zero Observer is told nothing. Its functions must
// not block, and must be safe for concurrent use.
type Observer = observe.Observer[Event]
