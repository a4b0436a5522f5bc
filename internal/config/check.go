package config

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/memory"
	"github.com/bearergate/bearergate/validation"
)

// settle moves auth into Issuers, completes what each room needs, and returns
// every mistake that is not one of form.
func (c *Config) settle() error {
	var errs []error
	switch {
	case c.Auth != nil && c.Issuers != nil:
		errs = append(errs, field.Errorf("issuers", "given together with auth, want one of them"))
	case c.Auth != nil:
		c.Issuers, c.Auth, c.single = []Issuer{*c.Auth}, nil, true
	case len(c.Issuers) == 0:
		errs = append(errs, field.Errorf("auth", "missing: an authorization server is needed, here or under issuers"))
	}
	c.assemble()
	errs = append(errs,
		c.checkServer(), field.Under("log", field.Check(c.Log)),
		field.Under("telemetry.decision_log", field.Check(c.Telemetry.DecisionLog)), c.checkIssuers(), c.checkCache(),
		c.Server.Envoy.Validate(), c.rename(c.Authz.Validate()), c.checkFleet())
	return errors.Join(errs...)
}

func (c *Config) checkServer() error {
	return errors.Join(c.checkAdminAddress(), c.checkProbeAddress(), c.checkMemoryLimit())
}

func (c *Config) checkMemoryLimit() error {
	if c.Server.MemoryLimit == "" {
		return nil
	}
	_, err := memory.Parse(c.Server.MemoryLimit)
	return field.Under("server.memory_limit", err)
}

func (c *Config) checkAdminAddress() error {
	if err := envoy.CheckTCP(c.Server.AdminAddress, "host:port"); err != nil {
		return field.Errorf("server.admin_address", "got %q, %w", c.Server.AdminAddress, err)
	}
	if sharePort(c.Server.Envoy.GRPCAddress, c.Server.AdminAddress) {
		return field.Errorf("server.admin_address",
			"is the gRPC address too: health and metrics need an address of their own")
	}
	return nil
}

func (c *Config) checkProbeAddress() error {
	address := c.Server.ProbeAddress
	if address == "" {
		return nil
	}
	if err := envoy.CheckTCP(address, "host:port"); err != nil {
		return field.Errorf("server.probe_address", "got %q, %w", address, err)
	}
	for _, other := range []struct{ key, address string }{
		{"grpc_address", c.Server.Envoy.GRPCAddress}, {"admin_address", c.Server.AdminAddress},
	} {
		if sharePort(other.address, address) {
			return field.Errorf("server.probe_address", "is server.%s too: want an address of its own, or none", other.key)
		}
	}
	return nil
}

// sharePort says whether two listeners would be in each other's way, however
// their hosts and ports are spelt.
func sharePort(a, b string) bool {
	one, err := net.ResolveTCPAddr("tcp", a)
	if err != nil {
		return false // a socket, or reported elsewhere
	}
	other, err := net.ResolveTCPAddr("tcp", b)
	if err != nil || one.Port != other.Port || one.Port == 0 {
		return false
	}
	return one.IP.Equal(other.IP) || isWildcard(one.IP) || isWildcard(other.IP)
}

func isWildcard(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }

func (c *Config) checkIssuers() error {
	var errs []error
	var all []validation.Config
	for n, i := range c.Issuers {
		errs = append(errs, field.Under(c.issuerPath(n), field.Check(i)))
		if i.Authz.Audience == nil {
			errs = append(errs, field.Errorf(c.issuerPath(n)+".audience",
				"missing: name what the tokens must be meant for, or write [] to switch the check off"))
		}
		errs = append(errs, c.own(n, i.Discovery.Validate()), c.own(n, i.Validation.Validate()))
		all = append(all, i.Validation)
	}
	return errors.Join(append(errs, c.rename(validation.Distinct(all...)))...)
}

func (c *Config) checkCache() error {
	if c.Cache.MaxEntries < len(c.Issuers) && c.Cache.TTL > 0 {
		return field.Errorf("cache.max_entries", "got %d, want at least 1 for each issuer (ttl: 0s switches the cache off)",
			c.Cache.MaxEntries)
	}
	return nil
}

// own puts a room's mistakes under its issuer; those of cache and jwks belong
// to all issuers, and the first one reports them.
func (c *Config) own(n int, err error) error {
	var errs []error
	for _, e := range field.List(err) {
		var at *field.Error
		if errors.As(e, &at) && (strings.HasPrefix(at.Path, "cache.") || strings.HasPrefix(at.Path, "jwks.")) {
			if n == 0 {
				errs = append(errs, e)
			}
			continue
		}
		errs = append(errs, field.Under(c.issuerPath(n), e))
	}
	return errors.Join(errs...)
}

func (c *Config) issuerPath(n int) string {
	if c.single {
		return "auth"
	}
	return fmt.Sprintf("issuers[%d]", n)
}

// rename makes issuers[0] auth where the file says auth.
func (c *Config) rename(err error) error {
	if !c.single {
		return err
	}
	var errs []error
	for _, e := range field.List(err) {
		var at *field.Error
		if errors.As(e, &at) {
			if rest, ok := strings.CutPrefix(at.Path, "issuers[0]"); ok {
				e = &field.Error{Path: "auth" + rest, Err: at.Err}
			}
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// checkFiles wants every named file to be usable: "valid" means "would start".
func (c *Config) checkFiles() error {
	var errs []error
	for n, i := range c.Issuers {
		errs = append(errs, c.own(n, i.Discovery.CheckFiles()), c.own(n, i.Validation.CheckFiles()))
	}
	errs = append(errs, c.Server.Envoy.CheckFiles(), c.checkAdminToken(), c.Telemetry.DecisionLog.checkFiles())
	errs = append(errs, c.checkFleetFiles())
	if c.Authz.DPoP != nil {
		errs = append(errs, field.Under("dpop", c.Authz.DPoP.CheckFiles()))
	}
	return errors.Join(errs...)
}

// Warnings says in one line each what the configuration allows although it is
// unsafe, or most likely not what was meant. None of it keeps the service from
// starting: there are systems that cannot do without, and people who know.
func (c *Config) Warnings() []string {
	var all []string
	for n, i := range c.Issuers {
		at := c.issuerPath(n)
		if i.Discovery.InsecureHTTP {
			all = append(all, at+".insecure_http: http:// is allowed for loopback hosts; never use it in production")
		}
		if len(i.Authz.Audience) == 0 {
			all = append(all, at+".audience: the check is switched off: "+
				"every token of the issuer is taken, whoever it was meant for")
		}
	}
	if c.Authz.ForwardToken {
		all = append(all, "forward_token: upstreams get the client's token and could use it elsewhere")
	}
	if c.Revocation != nil {
		all = append(all, c.Revocation.Warnings()...)
	}
	for _, w := range c.Authz.Warnings() {
		if rest, ok := strings.CutPrefix(w, "issuers[0]"); ok && c.single {
			w = "auth" + rest
		}
		all = append(all, w)
	}
	return all
}
