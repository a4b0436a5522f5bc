package authz

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bearergate/bearergate/internal/exchange"
)

// Warnings says what a valid configuration may not mean: texts that begin with
// the key's path.
func (c Config) Warnings() []string {
	var all []string
	for n, i := range c.Issuers {
		for _, audience := range i.Audience {
			if len(c.Resources) > 0 && !c.isResource(audience) {
				all = append(all, fmt.Sprintf("issuers[%d].audience: tokens for %q pass beside the resources, "+
					"and so by another Host or spelling of the path (/MCP): name only resources here, "+
					"or let the gateway send nothing else to their upstreams", n, audience))
			}
		}
	}
	if c.ForwardToken && slices.Contains(c.upstreamHeaders(), exchange.Authorization) {
		all = append(all, "forward_token: Authorization carries tokens for upstreams (rules[].upstream_token), "+
			"and is removed where none is due: no upstream gets the client's token")
	}
	for n, r := range c.Rules {
		if r.shadowed() {
			all = append(all, fmt.Sprintf("rules[%d].enforce: false: every request of rule %s passes", n, r.Name))
		}
	}
	if c.MTLS != nil && c.MTLS.ClientCertificateHeader != "" {
		all = append(all, fmt.Sprintf("mtls.client_certificate_header: whoever sends %s has that certificate: "+
			"the proxy in front must set or remove it on every request, and nothing else may reach the gateway",
			c.MTLS.ClientCertificateHeader))
	}
	return append(all, c.caseWarnings()...)
}

func (c Config) isResource(identifier string) bool {
	return slices.ContainsFunc(c.Resources, func(r Resource) bool { return r.Resource == identifier })
}

// caseWarnings has one text for all rules that the same thing undermines.
func (c Config) caseWarnings() []string {
	compiled, anyCase := c.rulesByCase()
	var order []string
	rules := map[string][]int{}
	for n, r := range compiled {
		if instead := c.weakerInAnotherCase(r, anyCase); instead != "" {
			if rules[instead] == nil {
				order = append(order, instead)
			}
			rules[instead] = append(rules[instead], n)
		}
	}
	var all []string
	for _, instead := range order {
		more := ""
		if others := len(rules[instead]) - 1; others > 0 {
			more = fmt.Sprintf(" (and of %d more rules)", others)
		}
		all = append(all, fmt.Sprintf("rules[%d]: a path of this rule%s in another case meets %s, which asks for less, "+
			"and upstreams like Express and IIS take it for the same: set match.ignore_case: true",
			rules[instead][0], more, instead))
	}
	return all
}

// rulesByCase returns all rules, without their conditions, and those of them
// that can match a path whatever its case: there are few, so that a long list
// of rules is not compared with itself.
func (c Config) rulesByCase() (all, anyCase []*rule) {
	for _, configured := range c.Rules {
		r := newRule(configured)
		if r.checkMatch(c.EncodedSlashes == slashesLiteral) != nil {
			return nil, nil
		}
		all = append(all, r)
		hasNoLetters := func(p pattern) bool { return p.inAnotherCase() == "" }
		if r.Match != nil && (len(r.paths) == 0 || slices.ContainsFunc(r.paths, hasNoLetters)) {
			anyCase = append(anyCase, r)
		}
	}
	return all, anyCase
}

// weakerInAnotherCase names what holds for a path that differs from r's in case
// alone, if that is weaker than the rule.
func (c Config) weakerInAnotherCase(r *rule, anyCase []*rule) string {
	if r.Match == nil || r.rank() == 0 {
		return ""
	}
	for i := range r.paths {
		sample := r.paths[i].inAnotherCase()
		if sample == "" || r.fitsPath(sample) { // ignore_case, or another pattern
			continue
		}
		if instead := c.weakerOn(sample, r, anyCase); instead != "" {
			return instead
		}
	}
	return ""
}

// weakerOn names the first rule or default that holds on path instead of r, for
// some of its methods and hosts, and is weaker.
func (c Config) weakerOn(path string, r *rule, others []*rule) string {
	for _, other := range others {
		if other == r || len(other.paths) > 0 && !other.fitsPath(path) ||
			!overlap(r.Match.Methods, other.Match.Methods) || !overlap(r.Match.Hosts, other.Match.Hosts) {
			continue
		}
		if r.isStrongerThan(other) {
			return "rule " + other.Name
		}
		if holdsAll(other.Match.Methods, r.Match.Methods) && holdsAll(other.Match.Hosts, r.Match.Hosts) {
			return ""
		}
	}
	if r.isStrongerThan(&rule{Rule: Rule{Access: c.DefaultAccess}}) {
		return "default_access " + c.DefaultAccess
	}
	return ""
}

// overlap and holdsAll take an empty list for everything.
func overlap(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func holdsAll(all, some []string) bool {
	return len(all) == 0 || len(some) > 0 && isSubset(some, all)
}

func isSubset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// isStrongerThan says whether the rule keeps out what other lets pass.
func (r *rule) isStrongerThan(other *rule) bool {
	if r.rank() != other.rank() || r.Access == accessDeny || r.rank() == 0 {
		return r.rank() > other.rank()
	}
	lacks := func(mine, others []string) bool { // each list names what will do
		return len(mine) > 0 && (len(others) == 0 || !isSubset(others, mine))
	}
	return !isSubset(r.Scopes, other.Scopes) || lacks(r.Issuers, other.Issuers) || lacks(r.Audience, other.Audience) ||
		lacks(r.ACRValues, other.ACRValues) || r.bindingStrength() > other.bindingStrength() ||
		r.When != "" && r.When != other.When || r.StreamUntilExpiry && !other.StreamUntilExpiry ||
		r.MaxAge > 0 && (other.MaxAge == 0 || other.MaxAge > r.MaxAge)
}

// rank is how much is asked; of a rule that is not enforced, nothing.
func (r *rule) rank() int {
	if r.shadowed() {
		return 0
	}
	return slices.Index([]string{accessPublic, accessOptional, accessToken, accessDeny}, r.Access)
}

// inAnotherCase returns a path that would fit the pattern but for its case, or
// "" where the pattern has no letters.
func (p pattern) inAnotherCase() string {
	var path strings.Builder
	letters := false
	for _, segment := range p.segments {
		path.WriteByte('/')
		if segment == "*" {
			segment = "-"
		}
		swapped := swapCase(segment)
		letters = letters || swapped != segment
		path.WriteString(swapped)
	}
	if !letters {
		return ""
	}
	if p.rest {
		path.WriteString("/-")
	}
	return path.String()
}

// swapCase leaves percent-encoded bytes alone.
func swapCase(s string) string {
	out := []byte(s)
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '%':
			i += 2
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			out[i] = c ^ 0x20
		}
	}
	return string(out)
}
