package authz

import (
	"slices"

	"github.com/bearergate/bearergate/internal/exchange"
)

// The values of Rule.Access and Config.DefaultAccess.
const (
	accessPublic   = "public"
	accessOptional = "optional"
	accessToken    = "token"
	accessDeny     = "deny"
)

// rule is a compiled [Rule].
type rule struct {
	Rule

	noted    string // its name in an explanation
	paths    []pattern
	when     *condition
	resource *resource
	upstream *exchange.Target // nil: the upstream gets no token of its own
}

// looksAtHosts says whether the rule would be led astray by a host that Envoy
// reads otherwise.
func (r *rule) looksAtHosts() bool {
	return r.Match != nil && len(r.Match.Hosts) > 0 || r.when != nil && r.when.onHost
}

// Why a rule does not match, for explain.
const (
	nameOnly    = "it has no match, and is reached by name only"
	otherPath   = "no path pattern fits"
	otherMethod = "other methods"
	otherHost   = "other hosts"
)

// mismatch returns why the rule does not match, or "". It explains what the
// index finds, and a test holds the two against each other.
func (r *rule) mismatch(method, host, path string) string {
	switch {
	case r.Match == nil:
		return nameOnly
	case len(r.paths) > 0 && !r.fitsPath(path):
		return otherPath
	case !r.fitsMethod(method):
		return otherMethod
	case len(r.Match.Hosts) > 0 && !slices.Contains(r.Match.Hosts, host):
		return otherHost
	}
	return ""
}

func (r *rule) fitsPath(path string) bool {
	return slices.ContainsFunc(r.paths, func(p pattern) bool { return p.fits(path, r.Match.IgnoreCase) })
}

func (r *rule) fitsMethod(method string) bool {
	return len(r.Match.Methods) == 0 || slices.Contains(r.Match.Methods, method)
}
