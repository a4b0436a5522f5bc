package revocation

import "github.com/bearergate/bearergate/internal/observe"

// The operations that an Event tells of.
const (
	OperationRevocation = "revocation" // one that is new here; with Issuer and Source
	OperationEvent      = "event"      // a security event that came; with Transmitter and Result
)

// The results of a security event.
const (
	ResultRevoked   = "revoked"   // tokens are revoked
	ResultDropped   = "dropped"   // cached facts are dropped
	ResultAnswered  = "answered"  // verification and stream-updated, which need no more than an answer
	ResultIgnored   = "ignored"   // another kind of event, acknowledged
	ResultDuplicate = "duplicate" // accepted before, acknowledged again
	ResultRefused   = "refused"
)

// Event is what happened, without the values that it happened to: everything in it is
// from the configuration or a closed set, and so fit for metrics.
type Event struct {
	Operation   string
	Issuer      string // of a revocation
	Source      string // of a revocation
	Transmitter string // of a security event: a configured one; empty: nobody knows who sent it
	Result      string // of a security event
}

// Observer is told of revocations and security events; the zero Observer is told
// nothing. Its functions must not block, and must be safe for concurrent use.
type Observer = observe.Observer[Event]
