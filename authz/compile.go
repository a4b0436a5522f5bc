package authz

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/headername"
	"github.com/bearergate/bearergate/validation"
)

// Validate reports every mistake at once, each a [*field.Error] with the key of
// the configuration file.
func (c Config) Validate() error {
	_, err := newPolicy(c)
	return err
}

// newPolicy compiles the configuration and finds every mistake in it.
func newPolicy(c Config) (*Policy, error) {
	p := &Policy{
		cfg: c, issuers: map[string]IssuerConfig{}, byName: map[string]*rule{},
		implied:     closeOver(c.ScopeImplies),
		injector:    newInjector(c.Headers, c.upstreamHeaders(), c.ForwardToken, c.boundHeaders(c.ForwardToken)...),
		withholding: newInjector(c.Headers, c.upstreamHeaders(), false, c.boundHeaders(false)...),
	}
	var names []string
	for _, i := range c.Issuers {
		p.issuers[i.Issuer] = i
		names = append(names, i.Issuer)
	}
	p.slashes = c.EncodedSlashes == slashesLiteral
	p.credentials = credentials{
		opaque: slices.ContainsFunc(c.Issuers, func(i IssuerConfig) bool { return i.Introspects }), dpop: c.DPoP != nil,
	}
	if c.DPoP != nil {
		p.algs = strings.Join(c.DPoP.Algorithms, " ")
	}
	errs := []error{c.checkRealm(), c.checkIssuers(), c.checkHeaders(), c.checkImplied(), field.Check(c)}
	errs = append(errs, c.checkBindings(), p.addResources(names), p.addRules(), p.checkAmbiguousPaths())
	errs = append(errs, p.writeDocuments())
	if slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.StreamUntilExpiry }) {
		p.injector.spare, p.withholding.spare = 1, 1
	}
	p.index = newIndex(p.rules)
	p.matchesHosts = len(p.resources) > 0 || slices.ContainsFunc(p.rules, (*rule).looksAtHosts)
	return p, errors.Join(errs...)
}

// The values of Config.AmbiguousPaths and Config.EncodedSlashes that are not the
// usual ones.
const (
	pathsAllowed   = "allow"
	slashesLiteral = "literal"
)

// checkAmbiguousPaths lets them pass only where nobody would be led astray.
func (p *Policy) checkAmbiguousPaths() error {
	if p.cfg.AmbiguousPaths != pathsAllowed {
		return nil
	}
	const refused = "allow, and %s looks at paths, which could be read in two ways: want refuse"
	if len(p.cfg.Resources) > 0 {
		return field.Errorf("ambiguous_paths", refused, "resources[0].resource")
	}
	for n, r := range p.rules {
		if len(r.paths) > 0 {
			return field.Errorf("ambiguous_paths", refused, fmt.Sprintf("rules[%d].match.paths", n))
		}
		if r.when != nil && r.when.onPath {
			return field.Errorf("ambiguous_paths", refused, fmt.Sprintf("rules[%d].when", n))
		}
	}
	return nil
}

func (c Config) checkRealm() error {
	if err := checkQuotable(c.Realm); err != nil {
		return field.Errorf("realm", "%w", err)
	}
	return nil
}

func (c Config) checkIssuers() error {
	var errs []error
	for n, i := range c.Issuers {
		at := fmt.Sprintf("issuers[%d]", n)
		if slices.Contains(i.Audience, "") {
			errs = append(errs, field.Errorf(at+".audience", "has an empty member"))
		}
		errs = append(errs, checkScopes(at+".required_scopes", i.RequiredScopes))
	}
	return errors.Join(errs...)
}

func (c Config) checkHeaders() error {
	var errs []error
	seen := map[string]string{}
	names := make([]string, 0, len(c.Headers))
	for name := range c.Headers {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		at := "headers." + name
		if err := headername.Check(name); err != nil {
			errs = append(errs, field.Errorf(at, "%w", err))
		}
		if c.Headers[name] == "" {
			errs = append(errs, field.Errorf(at, "names no claim"))
		}
		if other, ok := seen[headername.Dashed(name)]; ok {
			errs = append(errs, field.Errorf(at, "is another spelling of %s: upstreams may take them for one", other))
		}
		seen[headername.Dashed(name)] = name
	}
	return errors.Join(errs...)
}

func (c Config) checkImplied() error {
	var errs []error
	for scope, others := range c.ScopeImplies {
		at := "scope_implies." + scope
		if !validation.IsScopeToken(scope) {
			errs = append(errs, field.Errorf(at, "is not a scope token (RFC 6749 §3.3)"))
		}
		errs = append(errs, checkScopes(at, others))
	}
	return errors.Join(errs...)
}

func checkScopes(at string, scopes []string) error {
	var errs []error
	for i, s := range scopes {
		if !validation.IsScopeToken(s) {
			errs = append(errs, field.Errorf(fmt.Sprintf("%s[%d]", at, i), "got %q, want a scope token (RFC 6749 §3.3)", s))
		}
	}
	return errors.Join(errs...)
}

func (p *Policy) addResources(issuers []string) error {
	var errs []error
	for n, r := range p.cfg.Resources {
		at := fmt.Sprintf("resources[%d]", n)
		errs = append(errs, p.checkNames(at+".issuers", r.Issuers), checkScopes(at+".scopes_supported", r.ScopesSupported))
		compiled, err := newResource(r, issuers, p.slashes)
		if err != nil {
			errs = append(errs, field.Errorf(at+".resource", "%w", err))
			continue
		}
		for _, other := range p.resources {
			if other.host == compiled.host && other.path == compiled.path {
				errs = append(errs, field.Errorf(at+".resource",
					"has the host and path of %s: nobody could tell them apart", other.identifier))
			}
		}
		p.resources = append(p.resources, compiled)
	}
	sort.SliceStable(p.resources, func(i, j int) bool { return len(p.resources[i].path) > len(p.resources[j].path) })
	return errors.Join(errs...)
}

// checkNames wants every name to be a configured issuer.
func (p *Policy) checkNames(at string, names []string) error {
	var errs []error
	for i, name := range names {
		if _, ok := p.issuers[name]; !ok {
			errs = append(errs, field.Errorf(fmt.Sprintf("%s[%d]", at, i), "%q is not a configured issuer", name))
		}
	}
	return errors.Join(errs...)
}

func (p *Policy) addRules() error {
	var errs []error
	for n, r := range p.cfg.Rules {
		compiled, err := p.compileRule(r)
		errs = append(errs, field.Under(fmt.Sprintf("rules[%d]", n), err))
		if _, ok := p.byName[r.Name]; ok && r.Name != "" {
			errs = append(errs, field.Errorf(fmt.Sprintf("rules[%d].name", n), "%q is the name of another rule too", r.Name))
		}
		p.rules = append(p.rules, compiled)
		p.byName[r.Name] = compiled
	}
	return errors.Join(errs...)
}

// newRule returns a rule of its own, to be compiled.
func newRule(r Rule) *rule {
	if r.Access == "" {
		r.Access = accessToken
	}
	if r.Match != nil {
		match := *r.Match
		match.Hosts = slices.Clone(match.Hosts)
		r.Match = &match
	}
	return &rule{Rule: r, noted: "rule " + r.Name}
}

func (p *Policy) compileRule(r Rule) (*rule, error) {
	compiled := newRule(r)
	errs := []error{
		field.Check(r), p.checkNames("issuers", r.Issuers), checkScopes("scopes", r.Scopes),
		compiled.checkAccess(), compiled.checkMatch(p.slashes), compiled.checkStepUp(),
	}
	if r.Name == "" {
		errs = append(errs, field.Errorf("name", "missing: rules are told apart by name"))
	}
	if slices.Contains(r.Audience, "") {
		errs = append(errs, field.Errorf("audience", "has an empty member"))
	}
	if r.When != "" {
		var err error
		if compiled.when, err = p.conditions.compile(r.When); err != nil {
			errs = append(errs, field.Errorf("when", "%w", err))
		}
	}
	var err error
	compiled.upstream, err = p.compileUpstream(compiled.Rule)
	errs = append(errs, err)
	if r.Resource != "" {
		i := slices.IndexFunc(p.resources, func(res *resource) bool { return res.identifier == r.Resource })
		if i < 0 {
			errs = append(errs, field.Errorf("resource", "%q is not an entry of resources", r.Resource))
		} else {
			compiled.resource = p.resources[i]
		}
	}
	return compiled, errors.Join(errs...)
}

// checkAccess refuses demands that would never be looked at.
func (r *rule) checkAccess() error {
	if r.Access != accessPublic && r.Access != accessDeny {
		return nil
	}
	var errs []error
	for _, demand := range []struct {
		path  string
		given bool
	}{
		{"issuers", len(r.Issuers) > 0}, {"audience", len(r.Audience) > 0}, {"scopes", len(r.Scopes) > 0},
		{"acr_values", len(r.ACRValues) > 0}, {"max_age", r.MaxAge != 0}, {"token_binding", r.TokenBinding != ""},
		{"stream_until_expiry", r.StreamUntilExpiry},
	} {
		if demand.given {
			errs = append(errs, field.Errorf(demand.path, "is never looked at: access is %s", r.Access))
		}
	}
	return errors.Join(errs...)
}

// checkMatch refuses what is written and empty: a list that something was left
// out of must not match everything.
func (r *rule) checkMatch(slashes bool) error {
	if r.Match == nil {
		return nil
	}
	errs := []error{r.Match.checkLists()}
	for i, s := range r.Match.Paths {
		p, err := parsePattern(s, slashes)
		if err != nil {
			errs = append(errs, field.Errorf(fmt.Sprintf("match.paths[%d]", i), "got %q, %w", s, err))
		}
		r.paths = append(r.paths, p)
	}
	for i, m := range r.Match.Methods {
		if !isToken(m) || m != strings.ToUpper(m) {
			errs = append(errs, field.Errorf(fmt.Sprintf("match.methods[%d]", i), "got %q, want a method in upper case", m))
		}
	}
	for i, h := range r.Match.Hosts {
		name, err := hostOnly(h)
		if err != nil || h == "" || name != strings.ToLower(h) || strings.ContainsAny(h, "*/") {
			errs = append(errs, field.Errorf(fmt.Sprintf("match.hosts[%d]", i),
				"got %q, want a host name without port and wildcard", h))
		}
		r.Match.Hosts[i] = strings.ToLower(h)
	}
	return errors.Join(errs...)
}

func (m *Match) checkLists() error {
	if m.Paths == nil && m.Methods == nil && m.Hosts == nil {
		return field.Errorf("match", `is empty: a rule for everything says paths: ["/**"], `+
			`and one that is reached by name has no match`)
	}
	var errs []error
	for _, list := range []struct {
		path  string
		items []string
	}{{"paths", m.Paths}, {"methods", m.Methods}, {"hosts", m.Hosts}} {
		if list.items != nil && len(list.items) == 0 {
			errs = append(errs, field.Errorf("match."+list.path, "is empty: leave the key out where everything fits"))
		}
	}
	return errors.Join(errs...)
}

func (r *rule) checkStepUp() error {
	var errs []error
	for i, acr := range r.ACRValues {
		if checkQuotable(acr) != nil || strings.Contains(acr, " ") {
			errs = append(errs, field.Errorf(fmt.Sprintf("acr_values[%d]", i),
				`got %q, want visible ASCII without spaces, " and \`, acr))
		}
	}
	if r.MaxAge%time.Second != 0 {
		errs = append(errs, field.Errorf("max_age", "got %s, want whole seconds", r.MaxAge))
	}
	return errors.Join(errs...)
}
