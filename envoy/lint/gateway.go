package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	egGroup  = "gateway.envoyproxy.io"
	apiGroup = "gateway.networking.k8s.io"
)

// gatewayTimeout is what Envoy Gateway waits where a policy says nothing.
const gatewayTimeout = 10 * time.Second

var routeKinds = []string{"HTTPRoute", "GRPCRoute"}

func (l *linter) checkGateways() error {
	policies := l.all(egGroup, "SecurityPolicy")
	for _, p := range policies {
		l.checked.add("SecurityPolicy")
		if auth := p.get("spec", "extAuth"); auth != nil {
			l.checkExtAuth(p, auth)
		}
	}
	for _, p := range l.all(egGroup, "ClientTrafficPolicy") {
		l.checked.add("ClientTrafficPolicy")
		l.checkTraffic(p)
	}
	for _, o := range l.all(egGroup, "EnvoyPatchPolicy", "EnvoyExtensionPolicy") {
		l.note(o.node, o.kind+" is not looked into")
	}
	if len(policies) == 0 && !l.hasEnvoyGateway() {
		return nil
	}
	for _, r := range l.all(apiGroup, routeKinds...) {
		l.checked.add(r.kind)
		l.checkGatewayRoute(r, policies)
	}
	return nil
}

// hasEnvoyGateway tells Envoy Gateway's Gateways from those of others.
func (l *linter) hasEnvoyGateway() bool {
	return slices.ContainsFunc(l.all(apiGroup, "GatewayClass"), func(o object) bool {
		return strings.HasPrefix(o.get("spec", "controllerName").string(), egGroup+"/")
	}) || slices.ContainsFunc(l.objects, func(o object) bool { return o.group == egGroup })
}

// patchesCertificate says whether some patch concerns include_peer_certificate: what
// comes of it, the /config_dump shows.
func (l *linter) patchesCertificate() bool {
	found := false
	for _, o := range l.all(egGroup, "EnvoyPatchPolicy") {
		o.walk(func(key string, n *node) {
			found = found || strings.Contains(key+" "+n.string(), "include_peer_certificate")
		})
	}
	return found
}

// checkExtAuth looks at whom a SecurityPolicy asks, and how.
func (l *linter) checkExtAuth(p object, auth *node) {
	if auth.get("grpc") == nil && auth.get("http") != nil {
		l.add("BG013", Error, auth.get("http"), fmt.Sprintf("SecurityPolicy %s asks an HTTP service", p.name))
		return
	}
	if open := auth.get("failOpen"); open.isTrue() {
		l.add("BG001", Error, open, fmt.Sprintf("failOpen of SecurityPolicy %s is on", p.name))
	} else if auth.get("statusOnError") == nil {
		l.add("BG001", Info, auth,
			"statusOnError is not set: while Bearergate cannot be asked, requests are refused with 403",
			"Set statusOnError: 503.", "403 says that the token is bad; 503 says that nobody can tell.")
	}
	if again := auth.get("recomputeRoute"); again.isTrue() && !l.matchesIdentity() {
		l.add("BG008", Warning, again, "recomputeRoute is on")
	}
	if body := auth.get("bodyToExtAuth"); body != nil {
		l.add("BG017", Warning, body, "bodyToExtAuth is set")
	}
	l.checkDuration(auth, auth.get("timeout"), gatewayTimeout)
	if l.policy != nil && l.policy.PeerCertificate && !l.patchesCertificate() {
		l.add("BG016", Warning, auth,
			"a SecurityPolicy cannot say include_peer_certificate, and client certificates bind tokens",
			"Set include_peer_certificate: true of the filter by an EnvoyPatchPolicy.")
	}
	if headers := auth.get("headersToExtAuth"); len(headers.items()) > 0 {
		l.checkHeaders(headers, func(name string) bool {
			return slices.ContainsFunc(headers.items(), func(n *node) bool { return strings.EqualFold(n.string(), name) })
		})
	}
	for _, e := range auth.get("contextExtensions").items() {
		value := e.get("value")
		if value == nil {
			if strings.HasPrefix(e.get("name").string(), keyPrefix) {
				l.note(e, e.get("name").string()+" comes from another object, and is not looked at")
			}
			continue
		}
		l.checkExtension(e, e.get("name").string(), value.string())
	}
}

// matchesIdentity says whether some route matches an identity header.
func (l *linter) matchesIdentity() bool {
	for _, r := range l.all(apiGroup, routeKinds...) {
		for _, rule := range r.get("spec", "rules").items() {
			for _, m := range rule.get("matches").items() {
				if slices.ContainsFunc(m.get("headers").items(), func(h *node) bool {
					return l.names.has(h.get("name").string())
				}) {
					return true
				}
			}
		}
	}
	return false
}

// checkTraffic looks at what a ClientTrafficPolicy loosens: Envoy Gateway's own
// defaults are strict.
func (l *linter) checkTraffic(p object) {
	if action := p.get("spec", "headers", "withUnderscoresAction"); action.string() == "Allow" {
		l.add("BG009", Warning, action, "withUnderscoresAction is Allow", "Set withUnderscoresAction: RejectRequest.")
	}
	const mend = "Set escapedSlashesAction: RejectRequest and disableMergeSlashes: false."
	if action := p.get("spec", "path", "escapedSlashesAction"); action.string() == "KeepUnchanged" {
		l.add("BG010", Warning, action, "escapedSlashesAction is KeepUnchanged", mend)
	}
	if merge := p.get("spec", "path", "disableMergeSlashes"); merge.isTrue() {
		l.add("BG010", Warning, merge, "slashes are not merged", mend)
	}
}

// checkGatewayRoute finds the policy of each rule of a route: the one that names it
// most exactly replaces the others as a whole.
func (l *linter) checkGatewayRoute(r object, policies []object) {
	guarded := l.isGuarded(r)
	for _, rule := range r.get("spec", "rules").items() {
		l.checkRuleHeaders(rule)
		if l.answers(r, rule) {
			continue
		}
		p, found, seen := l.policyOf(r, rule.get("name").string(), policies)
		switch {
		case found && (p.get("spec", "extAuth") != nil || p.get("spec", "mergeType") != nil && parentAsks(policies)):
		case found:
			severity, what := Error, fmt.Sprintf("SecurityPolicy %s replaces that of the Gateway for %s %s, and asks nobody",
				p.name, r.kind, r.name)
			if guarded {
				severity, what = Info, what+", behind a route that refuses ambiguous paths"
			}
			l.add("BG003", severity, p.get("spec"), what, "Repeat extAuth in that policy, or set mergeType; or make the paths "+
				"`access: public` in Bearergate.")
		case seen:
			l.add("BG020", Error, r.get("spec"),
				fmt.Sprintf("no SecurityPolicy with extAuth is for %s %s, nor for its Gateway", r.kind, r.name),
				"Add the SecurityPolicy of envoy/config/envoy-gateway.yaml for the Gateway.")
		default:
			l.note(r.get("spec"), fmt.Sprintf("the Gateway of %s %s and its policies are not among the files", r.kind, r.name))
		}
	}
}

// parentAsks says whether a policy that is merged into that of a Gateway gets extAuth
// from it.
func parentAsks(policies []object) bool {
	return slices.ContainsFunc(policies, func(o object) bool {
		return o.get("spec", "extAuth") != nil && slices.ContainsFunc(targets(o), func(ref *node) bool {
			return ref.get("kind").string() == "Gateway"
		})
	})
}

// checkRuleHeaders tells of identity headers that a route writes.
func (l *linter) checkRuleHeaders(rule *node) {
	filters := rule.get("filters").items()
	for _, b := range rule.get("backendRefs").items() {
		filters = append(slices.Clone(filters), b.get("filters").items()...)
	}
	for _, f := range filters {
		for _, how := range []string{"set", "add"} {
			for _, h := range f.get("requestHeaderModifier", how).items() {
				l.checkAdded(h, h.get("name").string(), h.get("value").string())
			}
		}
	}
}

// answers says whether a rule answers or redirects by itself.
func (l *linter) answers(r object, rule *node) bool {
	for _, f := range rule.get("filters").items() {
		if f.get("type").string() == "RequestRedirect" || l.directStatus(r, f) > 0 {
			return true
		}
	}
	return false
}

// directStatus returns the status of an HTTPRouteFilter with a direct response, or 0.
func (l *linter) directStatus(r object, filter *node) int {
	ref := filter.get("extensionRef")
	if ref.get("kind").string() != "HTTPRouteFilter" {
		return 0
	}
	for _, o := range l.all(egGroup, "HTTPRouteFilter") {
		if o.name == ref.get("name").string() && o.namespace == r.namespace && o.get("spec", "directResponse") != nil {
			status, err := strconv.Atoi(o.get("spec", "directResponse", "statusCode").string())
			if err != nil {
				return 200
			}
			return status
		}
	}
	return 0
}

// isGuarded says whether another route refuses ambiguous paths for every host of r.
func (l *linter) isGuarded(r object) bool {
	for _, g := range l.all(apiGroup, "HTTPRoute") {
		if g.node == r.node || !coversHosts(g, r) || !sharesParent(g, r) {
			continue
		}
		for _, rule := range g.get("spec", "rules").items() {
			if l.isGuardRule(g, rule) {
				return true
			}
		}
	}
	return false
}

func (l *linter) isGuardRule(g object, rule *node) bool {
	if !slices.ContainsFunc(rule.get("filters").items(), func(f *node) bool { return l.directStatus(g, f) >= 400 }) {
		return false
	}
	takes := func(path string) bool {
		return slices.ContainsFunc(rule.get("matches").items(), func(m *node) bool {
			return len(m.keys) == 1 && m.get("path", "type").string() == "RegularExpression" &&
				fullMatch(m.get("path", "value").string(), path)
		})
	}
	// Envoy Gateway answers encoded slashes itself, before routes are looked at.
	return !slices.ContainsFunc(ambiguous, func(p string) bool { return !takes(p) }) && !slices.ContainsFunc(plain, takes)
}

func coversHosts(g, r object) bool {
	guards, hosts := g.get("spec", "hostnames").items(), r.get("spec", "hostnames").items()
	if len(guards) == 0 {
		return len(hosts) == 0 // one that names a host is looked at before
	}
	return len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h *node) bool {
		return !slices.ContainsFunc(guards, func(g *node) bool { return g.string() == h.string() })
	})
}

func sharesParent(g, r object) bool {
	return slices.ContainsFunc(r.get("spec", "parentRefs").items(), func(a *node) bool {
		return slices.ContainsFunc(g.get("spec", "parentRefs").items(), func(b *node) bool {
			return a.get("name").string() == b.get("name").string()
		})
	})
}

// policyOf returns the policy in force for a rule of a route. seen says that the
// route's Gateway is among the files, so that no policy means none.
func (l *linter) policyOf(r object, rule string, policies []object) (p object, found, seen bool) {
	best := 0
	consider := func(o object, rank int) {
		if rank > best {
			best, p, found = rank, o, true
		}
	}
	for _, o := range policies {
		for _, ref := range targets(o) {
			section := ref.get("sectionName").string()
			switch {
			case o.namespace != r.namespace && ref.get("kind").string() != "Gateway":
			case names(ref, r):
				switch section {
				case "":
					consider(o, 3)
				case rule:
					consider(o, 4)
				}
			}
		}
	}
	for _, parent := range r.get("spec", "parentRefs").items() {
		namespace := parent.get("namespace").string()
		if namespace == "" {
			namespace = r.namespace
		}
		for _, g := range l.all(apiGroup, "Gateway") {
			if g.name != parent.get("name").string() || g.namespace != namespace {
				continue
			}
			seen = true
			l.gatewayPolicies(g, parent.get("sectionName").string(), policies, consider)
		}
		for _, o := range policies { // the Gateway itself need not be among the files
			for _, ref := range targets(o) {
				if ref.get("kind").string() == "Gateway" && o.namespace == namespace &&
					ref.get("name").string() == parent.get("name").string() {
					consider(o, l.gatewayRank(ref, parent.get("sectionName").string()))
				}
			}
		}
	}
	return p, found, seen
}

func (l *linter) gatewayPolicies(g object, section string, policies []object, consider func(object, int)) {
	for _, o := range policies {
		for _, ref := range targets(o) {
			if o.namespace == g.namespace && names(ref, g) {
				consider(o, l.gatewayRank(ref, section))
			}
		}
	}
}

// gatewayRank says how exactly a reference to a Gateway names the listener of a route.
func (l *linter) gatewayRank(ref *node, section string) int {
	switch own := ref.get("sectionName").string(); own {
	case "":
		return 1
	case section:
		return 2
	}
	return 0
}

// targets returns what a policy is for.
func targets(o object) []*node {
	all := slices.Clone(o.get("spec", "targetRefs").items())
	if one := o.get("spec", "targetRef"); one != nil {
		all = append(all, one)
	}
	return append(all, o.get("spec", "targetSelectors").items()...)
}

// names says whether a reference, by name or by labels, is to an object.
func names(ref *node, o object) bool {
	if ref.get("kind").string() != o.kind {
		return false
	}
	if ref.get("name") != nil {
		return ref.get("name").string() == o.name
	}
	labels := ref.get("matchLabels")
	if labels == nil || len(labels.keys) == 0 {
		return false
	}
	for i, key := range labels.keys {
		if o.get("metadata", "labels").member(key).string() != labels.children[i].string() {
			return false
		}
	}
	return true
}
