package revocation

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/bearergate/bearergate/discovery"
)

// Keys finds the key that an issuer signs its logout tokens with;
// *[discovery.Issuer] does.
type Keys interface {
	Key(ctx context.Context, keyID, alg string) (discovery.Key, error)
}

// ReceiverOptions are what a Receiver works with.
type ReceiverOptions struct {
	Set     *Set
	Issuers []Issuer // all that are configured
	// Keys finds the keys of an issuer of backchannel_logout; nil: there are none yet.
	Keys   func(issuer string) Keys
	Log    *slog.Logger
	Events Observer           // of security events; revocations are told by the Set
	Keeps  discovery.Observer // of fetches of transmitters' metadata and keys
	Now    func() time.Time   // nil: time.Now
	// Transport wraps that of all connections; nil: it stays what it is.
	Transport func(http.RoundTripper) http.RoundTripper
}

// Receiver takes security events and logout tokens of one configuration: as an
// http.Handler those that are sent, and while [Receiver.Run] runs those that are
// polled for. It is safe for concurrent use.
type Receiver struct{}

// NewReceiver returns a Receiver. It reads the files with tokens; nothing is fetched
// before Run.
func NewReceiver(c Config, o ReceiverOptions) (*Receiver, error) { return &Receiver{}, nil }

// Run fetches the keys of transmitters, keeps them fresh, and polls, until ctx ends.
func (r *Receiver) Run(ctx context.Context) {}

// ServeHTTP answers POST /events and POST /backchannel-logout.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {}

// Stream is how the events of one transmitter flow.
type Stream struct {
	Transmitter string
	// Alive is the last sign of life: an event that was accepted, or a poll that was
	// answered; before the first one when the Receiver began.
	Alive time.Time
	Err   error // why its keys cannot be had or the last poll failed; nil: all is well
}

// Streams returns those of all transmitters.
func (r *Receiver) Streams() []Stream { return nil }

// NewServer returns the receiver's server: 64 KiB, 5 seconds and 64 requests at a time.
// Whether it speaks TLS is the listener's business.
func NewServer(h http.Handler, log *slog.Logger) *http.Server { return nil }

// Listen returns the listener of receiver_address, which speaks TLS if the
// configuration has a certificate.
func Listen(c Config, log *slog.Logger) (net.Listener, error) { return nil, nil }
