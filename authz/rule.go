package authz

import (
	"slices"
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

	paths    []pattern
	when     *condition
	resource *resource
}

// looksAtPaths says whether the rule would be led astray by a path that can be
// read in two ways.
func (r *rule) looksAtPaths() bool {
	return len(r.paths) > 0 || r.when != nil && r.when.onPath
}

// Why a rule does not match, for explain.
const (
	otherPath   = "no path pattern fits"
	otherMethod = "other methods"
	otherHost   = "other hosts"
)

// mismatch returns why the rule does not match, or "".
func (r *rule) mismatch(method, host, path string) string {
	switch {
	case len(r.paths) > 0 && !slices.ContainsFunc(r.paths, func(p pattern) bool { return p.fits(path) }):
		return otherPath
	case len(r.Match.Methods) > 0 && !slices.Contains(r.Match.Methods, method):
		return otherMethod
	case len(r.Match.Hosts) > 0 && !slices.Contains(r.Match.Hosts, host):
		return otherHost
	}
	return ""
}
