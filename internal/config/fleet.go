package config

import (
	"crypto/tls"
	"errors"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/revocation"
)

// RevocationIssuers are the issuers as package revocation knows them.
func (c *Config) RevocationIssuers() []revocation.Issuer {
	var all []revocation.Issuer
	for _, i := range c.Issuers {
		all = append(all, revocation.Issuer{
			Issuer: i.Discovery.Issuer, ClientID: i.Validation.ClientID, CAFile: i.Discovery.CAFile,
			InsecureHTTP: i.Discovery.InsecureHTTP, Algorithms: i.Validation.Algorithms,
			ClockSkew: i.Validation.ClockSkew, RequestTimeout: i.Validation.RequestTimeout, Intervals: c.JWKS,
		})
	}
	return all
}

// checkFleet looks at what replicas share, and at what revokes.
func (c *Config) checkFleet() error {
	var errs []error
	if c.Shared != nil {
		errs = append(errs, field.Under("shared", c.Shared.Validate()))
	}
	if c.Revocation != nil {
		errs = append(errs, field.Under("revocation", c.Revocation.Validate(c.RevocationIssuers())), c.checkReceiver())
	}
	return errors.Join(errs...)
}

func (c *Config) checkReceiver() error {
	address := c.Revocation.ReceiverAddress
	if address == "" {
		return nil
	}
	if err := envoy.CheckTCP(address, "host:port"); err != nil {
		return nil //nolint:nilerr // told already
	}
	for _, other := range []struct{ key, address string }{
		{"grpc_address", c.Server.Envoy.GRPCAddress}, {"admin_address", c.Server.AdminAddress},
		{"probe_address", c.Server.ProbeAddress},
	} {
		if other.address != "" && sharePort(other.address, address) {
			return field.Errorf("revocation.receiver_address",
				"is server.%s too: strangers reach the receiver, so it needs an address of its own", other.key)
		}
	}
	return nil
}

// checkFleetFiles has them read as the service will.
func (c *Config) checkFleetFiles() error {
	var errs []error
	if c.Shared != nil && c.Shared.Validate() == nil {
		errs = append(errs, field.Under("shared", c.Shared.CheckFiles()))
	}
	if c.Revocation == nil {
		return errors.Join(errs...)
	}
	if pair := c.Revocation.ReceiverTLS; pair.CertFile != "" && pair.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile); err != nil {
			errs = append(errs, field.Errorf("revocation.receiver_tls.cert_file", "%w", err))
		}
	}
	if c.Revocation.Validate(c.RevocationIssuers()) == nil {
		_, err := revocation.NewReceiver(*c.Revocation, revocation.ReceiverOptions{Issuers: c.RevocationIssuers()})
		errs = append(errs, field.Under("revocation", err))
	}
	return errors.Join(errs...)
}
