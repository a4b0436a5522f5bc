package config

import (
	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/validation"
)

// Discovery returns what the room discovery needs for the nth issuer.
func (c *Config) Discovery(n int) discovery.Config {
	i := c.Issuers[n]
	introspects := i.TokenValidation != string(validation.StrategyJWT)
	d := discovery.Config{
		Issuer:                i.Issuer,
		MetadataURL:           i.MetadataURL,
		JWKSURI:               i.JWKSURI,
		IntrospectionEndpoint: i.IntrospectionEndpoint,
		TokenEndpoint:         i.TokenEndpoint,
		NeedKeys:              i.TokenValidation != string(validation.StrategyIntrospection) || i.IntrospectionResponse == validation.ResponseJWT,
		NeedIntrospection:     introspects,
		MutualTLS:             introspects && i.ClientAuthMethod == validation.AuthTLS,
		NeedToken:             introspects && i.ClientAuthMethod == validation.AuthBearer,
		CAFile:                i.CAFile,
		RequestTimeout:        i.RequestTimeout,
		InsecureHTTP:          i.InsecureHTTP,
		RefreshInterval:       c.JWKS.RefreshInterval,
		MinRefreshInterval:    c.JWKS.MinRefreshInterval,
		MaxStale:              c.JWKS.MaxStale,
	}
	if d.MutualTLS {
		d.ClientCertFile, d.ClientKeyFile = i.ClientCertFile, i.ClientKeyFile
	}
	return d
}

// Validation returns what the room validation needs for the nth issuer. The
// cache is shared out evenly, so that one issuer's tokens never evict
// another's.
func (c *Config) Validation(n int) validation.Config {
	i := c.Issuers[n]
	return validation.Config{
		Issuer:                i.Issuer,
		Strategy:              validation.Strategy(i.TokenValidation),
		ClientID:              i.ClientID,
		ClientSecret:          i.ClientSecret,
		ClientSecretFile:      i.ClientSecretFile,
		ClientAuthMethod:      i.ClientAuthMethod,
		ClientKeyFile:         i.ClientKeyFile,
		ClientKeyID:           i.ClientKeyID,
		ClientCertFile:        i.ClientCertFile,
		ClientScopes:          i.ClientScopes,
		IntrospectionResponse: i.IntrospectionResponse,
		Algorithms:            i.Algorithms,
		AccessTokenType:       i.AccessTokenType,
		RequireTokenType:      i.RequireTokenType,
		ClockSkew:             i.ClockSkew,
		RequestTimeout:        i.RequestTimeout,
		OpaqueTokenPrefix:     i.OpaqueTokenPrefix,
		InsecureHTTP:          i.InsecureHTTP,
		CAFile:                i.CAFile,
		Cache: validation.CacheConfig{
			MaxEntries:   c.Cache.MaxEntries / len(c.Issuers),
			MaxBytes:     int64(c.Cache.MaxBytes) / int64(len(c.Issuers)),
			TTL:          c.Cache.TTL,
			NegativeTTL:  c.Cache.NegativeTTL,
			StaleIfError: c.Cache.StaleIfError,
		},
	}
}

// Authz returns what the room authz needs.
func (c *Config) Authz() authz.Config {
	issuers := make([]authz.IssuerConfig, len(c.Issuers))
	for n, i := range c.Issuers {
		issuers[n] = authz.IssuerConfig{
			Issuer: i.Issuer, Audience: i.Audience, RequiredScopes: i.RequiredScopes,
			ClockSkew: i.ClockSkew, Introspects: i.TokenValidation != string(validation.StrategyJWT),
		}
	}
	return authz.Config{
		Realm: c.Realm, Issuers: issuers, Headers: c.Headers, ForwardToken: c.ForwardToken, DefaultAccess: c.DefaultAccess,
		AmbiguousPaths: c.AmbiguousPaths, EncodedSlashes: c.EncodedSlashes,
		Rules: c.Rules, Resources: c.Resources, ScopeImplies: c.ScopeImplies,
	}
}

// Envoy returns what the room envoy needs.
func (c *Config) Envoy() envoy.Config {
	s := c.Server
	out := envoy.Config{GRPCAddress: s.GRPCAddress, DrainDelay: s.DrainDelay, ShutdownTimeout: s.ShutdownTimeout}
	if s.TLS != nil {
		out.TLS = &envoy.TLSConfig{CertFile: s.TLS.CertFile, KeyFile: s.TLS.KeyFile, ClientCAFile: s.TLS.ClientCAFile, AllowedClientSANs: s.TLS.AllowedClientSANs}
	}
	return out
}
