package livefile

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
)

// Pair is a certificate chain and its private key in two PEM files that may be
// replaced one after the other: while they do not fit, the last ones that did
// serve on.
type Pair struct {
	chain, key *File[string]

	mu                 sync.Mutex
	lastChain, lastKey string
	certificate        *tls.Certificate
}

// OpenPair reads both files for the first time.
func OpenPair(chainFile, keyFile string, log *slog.Logger) (*Pair, error) {
	text := func(content []byte) (string, error) { return string(content), nil }
	chain, err := Open(chainFile, log, text)
	if err != nil {
		return nil, err
	}
	key, err := Open(keyFile, log, text)
	if err != nil {
		return nil, err
	}
	p := &Pair{chain: chain, key: key}
	if p.Current() == nil {
		return nil, errors.New(chainFile + " and " + keyFile + " are not a PEM certificate chain and its private key")
	}
	return p, nil
}

// Current returns the newest certificate whose key fits.
func (p *Pair) Current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	chain, key := p.chain.Value(), p.key.Value()
	if chain == p.lastChain && key == p.lastKey {
		return p.certificate
	}
	p.lastChain, p.lastKey = chain, key
	if c, err := tls.X509KeyPair([]byte(chain), []byte(key)); err == nil {
		p.certificate = &c
	}
	return p.certificate
}
