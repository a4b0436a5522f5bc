package livefile

import (
	"crypto/x509"
	"errors"
	"log/slog"
)

// Anchors are the trust anchors of one PEM file. The pool is another one only
// when the file has changed, so callers can compare it.
type Anchors = File[*x509.CertPool]

// OpenAnchors reads the file for the first time.
func OpenAnchors(path string, log *slog.Logger) (*Anchors, error) {
	return Open(path, log, ParseAnchors)
}

// ParseAnchors returns the certificates that content holds in PEM. None at all
// is an error: a pool without anchors would refuse everybody, or, where nil
// stands for the system's, trust everybody whom the system trusts.
func ParseAnchors(content []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("no PEM certificate in it")
	}
	return pool, nil
}
