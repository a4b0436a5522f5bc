package config

import (
	"slices"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/validation"
)

// assemble completes what the file filled: a key has one home, and other rooms
// that need its value get it here, and nowhere else.
func (c *Config) assemble() {
	for n := range c.Issuers {
		i := &c.Issuers[n]
		i.share(c.exchangesAt(i.Discovery.Issuer))
		i.Discovery.Intervals = c.JWKS
		i.Discovery.WantKeys = !i.Discovery.NeedKeys && c.takesLogoutTokens(i.Discovery.Issuer)
		i.Validation.Cache = cacheOf(c.Cache, len(c.Issuers), len(i.Validation.Exchanges) > 0)
		c.Authz.Issuers = append(c.Authz.Issuers, i.Authz)
	}
}

// exchangesAt returns the grants of the rules that take tokens of that issuer and want
// others for them.
func (c *Config) exchangesAt(issuer string) []string {
	var grants []string
	for _, r := range c.Authz.Rules {
		if r.UpstreamToken != nil && (len(r.Issuers) == 0 || slices.Contains(r.Issuers, issuer)) {
			grants = append(grants, r.UpstreamToken.Grant)
		}
	}
	slices.Sort(grants)
	return slices.Compact(grants)
}

// takesLogoutTokens says whether logout tokens of that issuer have to be verified.
func (c *Config) takesLogoutTokens(issuer string) bool {
	return c.Revocation != nil && slices.Contains(c.Revocation.BackchannelLogout, issuer)
}

// share hands values from the room that has their key to those that have not.
func (i *Issuer) share(exchanges []string) {
	d, v, a := &i.Discovery, &i.Validation, &i.Authz
	introspects := v.Strategy != validation.StrategyJWT
	rechecks := v.Strategy == validation.StrategyJWT && v.RecheckInterval > 0
	authenticates := introspects || len(exchanges) > 0 || rechecks
	v.Exchanges = exchanges

	d.RequestTimeout = v.RequestTimeout
	d.NeedKeys = v.Strategy != validation.StrategyIntrospection || v.IntrospectionResponse == validation.ResponseJWT
	d.NeedIntrospection = introspects
	d.WantIntrospection = rechecks
	d.NeedToken = introspects && v.ClientAuthMethod == validation.AuthBearer
	d.WantToken = len(exchanges) > 0 || rechecks && v.ClientAuthMethod == validation.AuthBearer
	d.MutualTLS = authenticates && v.ClientAuthMethod == validation.AuthTLS
	if d.MutualTLS { // the key of private_key_jwt is no part of a connection
		d.ClientCertFile, d.ClientKeyFile = v.ClientCertFile, v.ClientKeyFile
	}

	v.Issuer, v.CAFile, v.InsecureHTTP = d.Issuer, d.CAFile, d.InsecureHTTP

	a.Issuer, a.ClockSkew, a.Introspects = d.Issuer, v.ClockSkew, introspects
}

// cacheOf returns the part of the cache that each of so many issuers has: one
// issuer's tokens never evict another's.
// Where tokens for upstreams are remembered too, they have a half of it, and the other
// half is for what validation has found out.
func cacheOf(all validation.CacheConfig, issuers int, exchanges bool) validation.CacheConfig {
	all.MaxEntries /= issuers
	all.MaxBytes /= bytesize.Size(issuers)
	if exchanges {
		all.MaxEntries = (all.MaxEntries + 1) / 2
		all.MaxBytes = max(all.MaxBytes/2, min(all.MaxBytes, bytesize.MiB))
	}
	return all
}
