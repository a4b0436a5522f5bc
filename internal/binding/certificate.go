package binding

import "fmt"

// ThumbprintOfPeer returns the thumbprint (x5t#S256, RFC 8705 §3.1) of the client
// certificate that Envoy verified, as attributes.source.certificate reports it: PEM,
// URL-encoded; the first certificate in it. Its errors are [ErrKey], also where
// there is no certificate.
func ThumbprintOfPeer(urlEncodedPEM string) (thumbprint string, err error) {
	return "", fmt.Errorf("%w: no client certificate", ErrKey)
}

// ThumbprintOfHeader returns the thumbprint of the client certificate in a header of
// RFC 9440 §2.1, which holds one byte sequence; several fields, joined with commas,
// do not. Its errors are [ErrKey], also where there is no certificate.
func ThumbprintOfHeader(value string) (thumbprint string, err error) {
	return "", fmt.Errorf("%w: no client certificate", ErrKey)
}
