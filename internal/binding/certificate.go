package binding

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"
)

// maxCertificateBytes bounds what is decoded: certificates of clients are a few KiB,
// and Envoy lets no header through that is longer than this.
const maxCertificateBytes = 64 << 10

// ThumbprintOfPeer returns the thumbprint (x5t#S256, RFC 8705 §3.1) of the client
// certificate that Envoy verified, as attributes.source.certificate reports it: PEM,
// URL-encoded; the first certificate in it (P-01). Its errors are [ErrKey], also
// where there is no certificate.
func ThumbprintOfPeer(urlEncodedPEM string) (thumbprint string, err error) {
	if err := checkSize(urlEncodedPEM); err != nil {
		return "", err
	}
	text, err := url.PathUnescape(urlEncodedPEM) // a plus is one: base64 has it
	if err != nil {
		return "", certificateError("is not URL-encoded")
	}
	const begin = "-----BEGIN CERTIFICATE-----"
	if !strings.HasPrefix(text, begin) {
		return "", certificateError("does not begin as PEM")
	}
	block, rest := pem.Decode([]byte(text))
	// The decoder skips what it cannot read, and finds the certificate after it.
	if block == nil || block.Type != "CERTIFICATE" || strings.Count(text[:len(text)-len(rest)], begin) != 1 {
		return "", certificateError("is not PEM")
	}
	return thumbprintOf(block.Bytes)
}

// ThumbprintOfHeader returns the thumbprint of the client certificate in a header of
// RFC 9440 §2.1, which holds one byte sequence; several fields, joined with commas,
// do not. Its errors are [ErrKey], also where there is no certificate.
//
// Parameters after the byte sequence are an error: the grammar of the field has
// none, so that what they change is not known.
func ThumbprintOfHeader(value string) (thumbprint string, err error) {
	if err := checkSize(value); err != nil {
		return "", err
	}
	text := strings.Trim(value, " ") // RFC 8941 §4.2
	text, begins := strings.CutPrefix(text, ":")
	text, ends := strings.CutSuffix(text, ":")
	// The decoder would skip line breaks.
	if !begins || !ends || strings.ContainsAny(text, ":\r\n") {
		return "", certificateError("is not one byte sequence")
	}
	// Padding may be left out (RFC 8941 §4.2.7); there is at most two of it.
	bare := strings.TrimSuffix(strings.TrimSuffix(text, "="), "=")
	der, err := base64.RawStdEncoding.DecodeString(bare)
	if err != nil {
		return "", certificateError("is not base64")
	}
	return thumbprintOf(der)
}

func checkSize(text string) error {
	if text == "" {
		return fmt.Errorf("%w: no client certificate", ErrKey)
	}
	if len(text) > maxCertificateBytes {
		return certificateError(fmt.Sprintf("has %d bytes, want at most %d", len(text), maxCertificateBytes))
	}
	return nil
}

// thumbprintOf wants exactly one certificate: with bytes after it, or for what is
// none, there is no telling whose digest it would be.
func thumbprintOf(der []byte) (string, error) {
	if _, err := x509.ParseCertificate(der); err != nil {
		return "", certificateError("is no X.509 certificate") // the parser's text may quote it
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

func certificateError(detail string) error {
	return fmt.Errorf("%w: client certificate %s", ErrKey, detail)
}
