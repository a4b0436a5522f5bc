package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
)

// provider is an extension provider of MeshConfig that authorizes.
type provider struct {
	*node

	name string
	http bool
}

// istioTimeout is what Istio waits where a provider says nothing.
const istioTimeout = 600 * time.Second

func (l *linter) checkIstio() error {
	providers := l.providers()
	for _, p := range providers {
		l.checkProvider(p)
	}
	for _, mesh := range l.meshes {
		l.checked.add("MeshConfig")
		l.checkMeshPaths(mesh)
	}
	l.checkAuthorizationPolicies(providers)
	for _, o := range l.all("networking.istio.io", "EnvoyFilter") {
		if err := l.checkEnvoyFilter(o); err != nil {
			return err
		}
	}
	return nil
}

// providers returns those that are ours: by name, or else all that speak gRPC, or
// else all.
func (l *linter) providers() []provider {
	var all []provider
	for _, mesh := range l.meshes {
		for _, p := range mesh.get("extensionProviders").items() {
			if g := p.get("envoyExtAuthzGrpc"); g != nil {
				all = append(all, provider{node: g, name: p.get("name").string()})
			} else if h := p.get("envoyExtAuthzHttp"); h != nil {
				all = append(all, provider{node: h, name: p.get("name").string(), http: true})
			}
		}
	}
	for _, likely := range []func(provider) bool{
		func(p provider) bool { return isOurs(p.name) || isOurs(p.get("service").string()) },
		func(p provider) bool { return !p.http },
	} {
		var some []provider
		for _, p := range all {
			if likely(p) {
				some = append(some, p)
			}
		}
		if len(some) > 0 {
			return some
		}
	}
	return all
}

func (l *linter) checkProvider(p provider) {
	l.checked.add("extension provider")
	if p.http {
		l.add("BG013", Error, p.node, fmt.Sprintf("provider %s is envoyExtAuthzHttp", p.name))
		return
	}
	if open := p.get("failOpen"); open.isTrue() {
		l.add("BG001", Error, open, fmt.Sprintf("failOpen of provider %s is on", p.name))
	} else if p.get("statusOnError") == nil {
		l.add("BG001", Info, p.node,
			"statusOnError is not set: while Bearergate cannot be asked, requests are refused with 403",
			`Set statusOnError: "503".`, "403 says that the token is bad; 503 says that nobody can tell.")
	}
	if clearing := p.get("clearRouteCache"); clearing.isTrue() {
		l.add("BG008", Warning, clearing, "clearRouteCache is on")
	}
	if body := p.get("includeRequestBodyInCheck"); body != nil {
		l.add("BG017", Warning, body, "includeRequestBodyInCheck is set")
	}
	l.checkDuration(p.node, p.get("timeout"), istioTimeout)
}

// checkDuration judges the timeout of a manifest.
func (l *linter) checkDuration(at, timeout *node, otherwise time.Duration) {
	if timeout == nil {
		l.checkTimeout(at, otherwise, true)
		return
	}
	d, err := time.ParseDuration(timeout.string())
	if err != nil {
		l.add("BG011", Warning, timeout, fmt.Sprintf("timeout: got %q, want a duration", timeout.string()))
		return
	}
	l.checkTimeout(timeout, d, false)
}

// checkMeshPaths looks at how the mesh reads paths. Encoded slashes are left to
// Bearergate, which refuses them: Istio's settings can only decode them.
func (l *linter) checkMeshPaths(mesh *node) {
	normal := mesh.get("pathNormalization", "normalization")
	const mend = "Set pathNormalization.normalization: MERGE_SLASHES."
	switch strings.ToUpper(normal.string()) {
	case "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES":
	case "NONE":
		l.add("BG010", Warning, normal, "pathNormalization is NONE", mend)
	default:
		severity := Info
		if l.policy != nil && l.policy.MatchesPaths {
			severity = Warning
		}
		l.add("BG010", severity, mesh.near("pathNormalization", "normalization"), "slashes are not merged", mend)
	}
}

// checkAuthorizationPolicies looks at what is asked about.
func (l *linter) checkAuthorizationPolicies(providers []provider) {
	asked := map[string]bool{}
	known := func(name string) bool {
		return slices.ContainsFunc(providers, func(p provider) bool { return p.name == name })
	}
	for _, o := range l.all("security.istio.io", "AuthorizationPolicy") {
		spec := o.get("spec")
		name := spec.get("provider", "name").string()
		if spec.get("action").string() != "CUSTOM" || len(providers) > 0 && !known(name) && !isOurs(name) {
			continue
		}
		l.checked.add("AuthorizationPolicy")
		asked[name] = true
		if !known(name) {
			l.note(spec.near("provider", "name"), fmt.Sprintf("the provider %s of MeshConfig is not among the files: "+
				"where there is none, everything is refused", name))
		}
		if dry := o.get("metadata", "annotations").member("istio.io/dry-run"); dry.isTrue() {
			l.add("BG002", Error, dry, "istio.io/dry-run: the policy refuses nothing", "Remove the annotation.")
		}
		l.checkPolicyRules(spec)
	}
	for _, p := range providers {
		if !asked[p.name] {
			l.note(p.node, fmt.Sprintf("no AuthorizationPolicy among the files asks provider %s", p.name))
		}
	}
}

// checkPolicyRules tells of requests that the policy leaves out.
func (l *linter) checkPolicyRules(spec *node) {
	rules := spec.get("rules").items()
	const mend = "Ask about everything (`rules: [{}]`), and make the paths `access: public` in Bearergate."
	if len(rules) == 0 {
		l.add("BG003", Error, spec.near("rules"), "an AuthorizationPolicy without rules asks about nothing", mend)
		return
	}
	for _, r := range rules {
		if len(r.keys) == 0 {
			return // everything
		}
	}
	for _, r := range rules {
		severity, at, what := Info, r, "requests that the rule does not match are not asked about"
		for _, to := range r.get("to").items() {
			operation := to.get("operation")
			for _, field := range []string{"paths", "notPaths"} {
				paths := operation.get(field)
				if paths == nil {
					continue
				}
				at, what = paths, field+" leaves out exact paths"
				if field == "paths" || slices.ContainsFunc(paths.items(), hasWildcard) {
					severity, what = Warning, field+" leaves out paths, of which an upstream may read some otherwise than Envoy"
				}
			}
		}
		if when := r.get("when"); when != nil {
			severity, at, what = Warning, when, "what does not meet `when` is not asked about"
		}
		l.add("BG003", severity, at, what, mend)
	}
}

func hasWildcard(n *node) bool { return strings.ContainsAny(n.string(), "*{") }

// checkEnvoyFilter looks at patches: Envoy's own configuration, in pieces.
func (l *linter) checkEnvoyFilter(o object) error {
	l.checked.add("EnvoyFilter")
	for _, p := range o.get("spec", "configPatches").items() {
		value := p.get("patch", "value")
		operation := p.get("patch", "operation").string()
		var err error
		switch p.get("applyTo").string() {
		case "HTTP_FILTER":
			err = l.checkFilterPatch(p, value, operation)
		case "NETWORK_FILTER":
			l.checkManagerPatch(value.get("typed_config"))
		case "CLUSTER":
			if name := value.get("name").string(); name != "" && operation == "ADD" {
				l.clusters[name] = value
			}
		case "ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE":
			l.checkRoutePatch(value)
		case "EXTENSION_CONFIG":
			l.filters[value.get("name").string()] = value.get("typed_config")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkManagerPatch looks at how a patch has paths and header names read.
func (l *linter) checkManagerPatch(config *node) {
	for _, field := range []string{"normalize_path", "merge_slashes"} {
		if n := config.get(field); strings.EqualFold(n.string(), "false") {
			l.add("BG010", Warning, n, field+" is switched off")
		}
	}
	action := config.get("common_http_protocol_options", "headers_with_underscores_action")
	if action.string() == "ALLOW" {
		l.add("BG009", Warning, action, "headers_with_underscores_action is ALLOW")
	}
}

// checkFilterPatch looks at an ext_authz filter that is inserted or merged, and at
// patches that take one away.
func (l *linter) checkFilterPatch(p, value *node, operation string) error {
	subFilter := p.get("match", "listener", "filterChain", "filter", "subFilter", "name")
	if operation == "REMOVE" && strings.Contains(subFilter.string(), "ext_authz") {
		l.add("BG020", Error, subFilter, "the patch removes the ext_authz filter", "Remove the patch.")
	}
	if off := value.get("disabled"); off.isTrue() && strings.Contains(subFilter.string(), "ext_authz") {
		l.add("BG003", Error, off, "the patch switches the filter off", "Remove `disabled`.")
	}
	config := value.get("typed_config")
	if typeOf(config) != extAuthzType {
		if what := programmable[kindOf(typeOf(config))]; what != "" {
			l.note(value, fmt.Sprintf("the inserted filter %s %s; where it stands in the chain is not known",
				value.get("name").string(), what))
		}
		return nil
	}
	if operation == "MERGE" || operation == "" {
		// What is not in a piece may be in the filter that it is merged into.
		l.checkMerged(config)
		return nil
	}
	f := new(extauthzv3.ExtAuthz)
	if err := decode(config, f); err != nil {
		return err
	}
	if off := value.get("disabled"); off.isTrue() {
		l.add("BG003", Error, off, "the filter is inserted disabled", "Remove `disabled`.")
	}
	l.checkFilter(config, f, false)
	return nil
}

// checkMerged looks for what is wrong whatever it is merged into.
func (l *linter) checkMerged(config *node) {
	l.checked.add("ext_authz patch")
	for field, code := range map[string]Code{"failure_mode_allow": "BG001", "shadow_mode": "BG002"} {
		if n := config.get(field); n.isTrue() {
			l.add(code, Error, n, field+" is merged into the filter")
		}
	}
	for field, code := range map[string]Code{"http_service": "BG013", "with_request_body": "BG017"} {
		if n := config.get(field); n != nil {
			l.add(code, Error, n, field+" is merged into the filter")
		}
	}
}

// checkRoutePatch looks for filters that are switched off for a route, and for
// identity headers that are written.
func (l *linter) checkRoutePatch(value *node) {
	answers := value.get("direct_response") != nil || value.get("redirect") != nil
	value.walk(func(key string, n *node) {
		switch plainName(key) {
		case "typedperfilterconfig":
			for i, name := range n.keys {
				s := setting(n.children[i])
				if typeOf(s.config) == perRouteType {
					l.checkSettings(s.config)
				}
				about := typeOf(s.config) == perRouteType || strings.Contains(name, "ext_authz")
				if s.disabled != nil && about && !answers {
					l.add("BG003", Error, s.disabled, "the patch switches the filter off")
				}
			}
		case "requestheaderstoadd":
			for _, item := range n.items() {
				l.checkAdded(item, item.get("header", "key").string(), item.get("header", "value").string())
			}
		}
	})
}
