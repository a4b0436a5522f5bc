package validation

import (
	"crypto/tls"
	"log/slog"

	"github.com/bearergate/bearergate/internal/clientauth"
)

// clientAuth is how we authenticate at the issuer: an introspection endpoint that
// answered everybody would tell which of many guessed tokens is alive (RFC 7662
// §2.1, I-02).
func (c Config) clientAuth() clientauth.Config {
	return clientauth.Config{
		Method:     c.ClientAuthMethod,
		ClientID:   c.ClientID,
		Secret:     c.ClientSecret.Reveal,
		SecretFile: c.ClientSecretFile,
		KeyFile:    c.ClientKeyFile,
		KeyID:      c.ClientKeyID,
		CertFile:   c.ClientCertFile,
		Audience:   c.Issuer,
		Scopes:     c.ClientScopes,
	}
}

// NewClientAuth returns how we authenticate at the issuer, whatever we ask there.
func NewClientAuth(c Config, o Options) (clientauth.Method, error) {
	return clientauth.New(c.clientAuth(), clientauth.Options{
		Client: o.Client, Log: o.Log, Now: o.Now,
		TokenEndpoint: func() (string, error) {
			metadata, err := o.Source.Metadata()
			return metadata.TokenEndpoint, err
		},
	})
}

// ClientCertificate returns where the certificate of tls_client_auth is to be
// had at each handshake; nil for every other method.
func ClientCertificate(cfg Config, log *slog.Logger) (func() (*tls.Certificate, error), error) {
	if !cfg.authenticates() {
		return nil, nil
	}
	return clientauth.Certificate(cfg.clientAuth(), log)
}
