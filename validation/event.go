package validation

import (
	"time"

	"github.com/bearergate/bearergate/internal/observe"
)

// The operations that an Event tells of.
const (
	OperationCache         = "cache"         // a look-up
	OperationIntrospection = "introspection" // a call
	OperationBreaker       = "breaker"       // the endpoint went down or came up
	OperationVerify        = "jwt.verify"    // of a JWT that is not cached; its Result: verified, refused or error
)

// Event is what a Validator did, without the token that it did it for: everything in
// it is from a closed set or a measure, and so fit for metrics.
type Event struct {
	Operation string
	Issuer    string
	Cache     string        // of a look-up: jwt, introspection, negative or shared
	Result    string        // of a look-up: hit, miss or stale; of a call: active, inactive, rejected or error
	Took      time.Duration // of a call
	Down      bool          // of the breaker: calls are refused, but for probes
}

// Observer is told of look-ups, calls and breakers; the zero Observer is told
// nothing. Its functions must not block, and must be safe for concurrent use.
type Observer = observe.Observer[Event]
