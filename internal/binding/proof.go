package binding

import (
	"context"
	"log/slog"
	"time"
)

// Proof is one request as the check of its proof sees it. Its texts are not kept.
type Proof struct {
	Field     string        // the DPoP header field, or all of them joined with commas; empty: there is none
	Method    string        // as in the request, byte for byte
	Scheme    string        // scheme and host as the gateway reports them
	Host      string        // with its port, where there is one
	Path      string        // with its query, where there is one
	Token     string        // the access token that was sent
	JKT       string        // cnf.jkt of the token (RFC 9449 §6.1)
	ClockSkew time.Duration // how far ahead of ours the clock of the client may be, besides max_age
}

// The results that [Options.Told] is told.
const (
	Accepted    = "accepted"
	Invalid     = "invalid" // another key's, too
	Replayed    = "replayed"
	NonceWanted = "nonce"
	Unavailable = "unavailable"
)

// Options are what [NewProofs] needs besides the configuration.
type Options struct {
	Replays Replays             // remembers the proofs that were accepted; required
	Log     *slog.Logger        // nil: nothing is logged
	Now     func() time.Time    // nil: time.Now
	Told    func(result string) // of every proof, also from several goroutines at once; nil: nobody
}

// Proofs checks proofs of possession. It is safe for concurrent use, and may be
// replaced by another with the same Replays without one being accepted twice.
type Proofs struct{}

// NewProofs returns the check of proofs that c, which must be valid, describes. It
// reads c.NonceKeyFile.
func NewProofs(c DPoP, o Options) (*Proofs, error) { return &Proofs{}, nil }

// Accept returns nil once for each proof that is good as RFC 9449 §4.3 and §7.1
// say. Otherwise its error is [ErrProof], [ErrKey], [ErrNonce] or [ErrUnavailable],
// judged in this order but for a proof that was used before, which is an ErrProof
// that is found last. A fresh nonce that the client should use from now on is in
// next; empty: it need not.
func (p *Proofs) Accept(ctx context.Context, w Proof) (next string, err error) { return "", ErrProof }

// Nonce returns a fresh nonce for the DPoP-Nonce header, which goes with [ErrNonce].
func (p *Proofs) Nonce() string { return "" }
