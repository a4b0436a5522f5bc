package envoy

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"slices"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/livefile"
)

// serverTLS reads the files of c, and again when they change.
func serverTLS(c TLSConfig, log *slog.Logger) (*tls.Config, error) {
	pair, err := livefile.OpenPair(c.CertFile, c.KeyFile, log)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.Current(), nil },
	}
	if c.ClientCAFile == "" {
		return config, nil
	}
	clients, err := livefile.OpenAnchors(c.ClientCAFile, log)
	if err != nil {
		return nil, err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = clients.Value()
	if len(c.AllowedClientSANs) > 0 {
		config.VerifyConnection = func(state tls.ConnectionState) error { return checkSANs(state, c.AllowedClientSANs) }
	}
	base := config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := base.Clone()
		current.ClientCAs = clients.Value()
		return current, nil
	}
	return config, nil
}

// CheckFiles reads every file that c names, and reports all that cannot be used,
// each a [*field.Error] with the key of the configuration file.
func (c Config) CheckFiles() error {
	if c.TLS == nil || c.TLS.CertFile == "" || c.TLS.KeyFile == "" {
		return nil
	}
	var errs []error
	chain, err := os.ReadFile(c.TLS.CertFile)
	if err != nil {
		errs = append(errs, field.Errorf("server.tls.cert_file", "%w", err))
	}
	key, err := os.ReadFile(c.TLS.KeyFile)
	if err != nil {
		errs = append(errs, field.Errorf("server.tls.key_file", "%w", err))
	}
	if len(errs) == 0 {
		if _, err := tls.X509KeyPair(chain, key); err != nil {
			errs = append(errs, field.Errorf("server.tls.cert_file", "%s and %s: %w", c.TLS.CertFile, c.TLS.KeyFile, err))
		}
	}
	if c.TLS.ClientCAFile != "" {
		anchors, err := os.ReadFile(c.TLS.ClientCAFile)
		if err == nil {
			_, err = livefile.ParseAnchors(anchors)
		}
		if err != nil {
			errs = append(errs, field.Errorf("server.tls.client_ca_file", "%w", err))
		}
	}
	return errors.Join(errs...)
}

// checkSANs limits who may ask to exact names. It also runs for resumed
// sessions.
func checkSANs(state tls.ConnectionState, allowed []string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no client certificate")
	}
	leaf := state.PeerCertificates[0]
	names := slices.Clone(leaf.DNSNames)
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(allowed, name) }) {
		return errors.New("the client certificate has none of the allowed names")
	}
	return nil
}
