package binding

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/headername"
	"github.com/bearergate/bearergate/internal/safehttp"
)

// The values of [DPoP.Nonce].
const (
	NonceOff      = "off"
	NonceRequired = "required"
)

// DPoP is the section dpop, which switches proofs of possession on (RFC 9449).
type DPoP struct {
	Algorithms    []string      `key:"algorithms" default:"all" min:"1" oneof:"ES256|ES384|ES512|EdDSA|Ed25519|PS256|RS256" doc:"Signature algorithms of proofs."`
	MaxAge        time.Duration `key:"max_age" default:"60s" above:"0s" max:"10m" doc:"How far the iat of a proof may lie from now, either way."`
	Origins       []string      `key:"origins" doc:"https://api.example.com[:port]: what the origin of htu may be; http for loopback hosts. Empty: scheme and host as Envoy reports them."`
	Nonce         string        `key:"nonce,empty" default:"off" oneof:"off|required" doc:"required: a proof must have a nonce of ours, valid for 5 to 10 minutes."`
	NonceKeyFile  string        `key:"nonce_key_file" doc:"At least 32 bytes, the same on every replica; re-read when it changes, and the key before is still accepted. Empty: random per process."`
	ReplayEntries int           `key:"replay_entries" default:"1000000" min:"1000" doc:"Proofs that are remembered per replica, when there is no shared store. One key may fill a tenth."`
}

// Validate reports every mistake at once, each a [*field.Error].
func (c DPoP) Validate() error {
	errs := []error{field.Check(c)}
	for i, text := range c.Origins {
		if _, err := parseOrigin(text); err != nil {
			errs = append(errs, field.Errorf(fmt.Sprintf("origins[%d]", i), "%w", err))
		}
	}
	return errors.Join(errs...)
}

// CheckFiles reads the key of the nonces, and reports why it cannot be used as a
// [*field.Error].
func (c DPoP) CheckFiles() error {
	if c.NonceKeyFile == "" {
		return nil
	}
	_, err := newNonces(c.NonceKeyFile, nil, slog.New(slog.DiscardHandler), time.Now)
	return field.Under("nonce_key_file", err)
}

// parseOrigin reads scheme, host and port, and wants nothing after them.
func parseOrigin(text string) (origin, error) {
	if err := safehttp.CheckURL(text, true); err != nil {
		return origin{}, err
	}
	scheme, authority, _ := strings.Cut(text, "://")
	if strings.ContainsAny(authority, "/?") {
		return origin{}, fmt.Errorf("got %q, want scheme, host and port only", text)
	}
	return newOrigin(scheme, authority)
}

// MTLS is the section mtls, which switches certificate-bound tokens on (RFC 8705 §3).
type MTLS struct {
	ClientCertificateHeader string `key:"client_certificate_header" doc:"The header of RFC 9440 (client-cert) in which what terminates TLS in front of Envoy reports the client's certificate, and which it must set or remove. Empty: the certificate that Envoy itself verified."`
}

// Validate reports every mistake at once, each a [*field.Error].
func (c MTLS) Validate() error {
	if c.ClientCertificateHeader == "" {
		return nil
	}
	if err := checkHeader(c.Header()); err != nil {
		return &field.Error{Path: "client_certificate_header", Err: err}
	}
	return nil
}

// Header returns the name of the header in lower case; empty: there is none.
func (c MTLS) Header() string { return strings.ToLower(c.ClientCertificateHeader) }

// checkHeader wants a name that may be taken from every request: the header does not
// go upstream, in no spelling of it. x-forwarded-client-cert holds no certificate of
// RFC 9440, and others of the kind are Envoy's own.
func checkHeader(name string) error {
	const forwarded = "x-forwarded-"
	if strings.HasPrefix(headername.Dashed(name), forwarded) {
		return fmt.Errorf("names that begin with %s are not allowed", forwarded)
	}
	return headername.Check(name)
}
