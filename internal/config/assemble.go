package config

import (
	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/validation"
)

// assemble completes what the file filled: a key has one home, and other rooms
// that need its value get it here, and nowhere else.
func (c *Config) assemble() {
	for n := range c.Issuers {
		i := &c.Issuers[n]
		i.share()
		i.Discovery.Intervals = c.JWKS
		i.Validation.Cache = cacheOf(c.Cache, len(c.Issuers))
		c.Authz.Issuers = append(c.Authz.Issuers, i.Authz)
	}
}

// share hands values from the room that has their key to those that have not.
func (i *Issuer) share() {
	d, v, a := &i.Discovery, &i.Validation, &i.Authz
	introspects := v.Strategy != validation.StrategyJWT

	d.RequestTimeout = v.RequestTimeout
	d.NeedKeys = v.Strategy != validation.StrategyIntrospection || v.IntrospectionResponse == validation.ResponseJWT
	d.NeedIntrospection = introspects
	d.NeedToken = introspects && v.ClientAuthMethod == validation.AuthBearer
	d.MutualTLS = introspects && v.ClientAuthMethod == validation.AuthTLS
	if d.MutualTLS { // the key of private_key_jwt is no part of a connection
		d.ClientCertFile, d.ClientKeyFile = v.ClientCertFile, v.ClientKeyFile
	}

	v.Issuer, v.CAFile, v.InsecureHTTP = d.Issuer, d.CAFile, d.InsecureHTTP

	a.Issuer, a.ClockSkew, a.Introspects = d.Issuer, v.ClockSkew, introspects
}

// cacheOf returns the part of the cache that each of so many issuers has: one
// issuer's tokens never evict another's.
func cacheOf(all validation.CacheConfig, issuers int) validation.CacheConfig {
	all.MaxEntries /= issuers
	all.MaxBytes /= bytesize.Size(issuers)
	return all
}
