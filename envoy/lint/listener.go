package lint

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

const (
	managerType  = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	extAuthzType = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
)

func (l *linter) checkListeners() error {
	for _, n := range l.listeners {
		if err := l.checkListener(n); err != nil {
			return err
		}
	}
	for _, chain := range l.foreign {
		if l.named {
			l.add("BG020", Warning, chain, "the ext_authz filters of this chain ask others; elsewhere Bearergate is asked")
		}
	}
	return nil
}

// checkListener looks at every filter chain: each takes connections of its own, and
// one that asks nobody is a door beside the gate.
func (l *linter) checkListener(n *node) error {
	listener := new(listenerv3.Listener)
	if err := decode(n, listener); err != nil {
		return err
	}
	l.checked.add("listener")
	chains := n.get("filter_chains").items()
	if d := n.get("default_filter_chain"); d != nil {
		chains = append(slices.Clone(chains), d)
	}
	managers := 0
	for _, chain := range chains {
		found := false
		for _, filter := range chain.get("filters").items() {
			config := filter.get("typed_config")
			if typeOf(config) != managerType {
				continue
			}
			found = true
			managers++
			if err := l.checkManager(config, listener); err != nil {
				return err
			}
		}
		if !found {
			l.note(chain, called(listener)+" has a filter chain without HTTP: nobody is asked about its connections")
		}
	}
	if managers == 0 && len(chains) == 0 {
		l.note(n, called(listener)+" has no filter chain in this file")
	}
	return nil
}

func called(l *listenerv3.Listener) string {
	if l.GetName() == "" {
		return "a listener"
	}
	return "listener " + l.GetName()
}

// filter is one ext_authz filter of a chain.
type filter struct {
	name     string
	index    int
	disabled *node // off unless a route switches it on
	config   *node
	message  *extauthzv3.ExtAuthz
}

// manager is an HTTP connection manager with what the checks know of it.
type manager struct {
	*node

	message *hcmv3.HttpConnectionManager
	filters []*node  // http_filters
	ours    []filter // in order
	unasked bool     // some route asks nobody
	matches bool     // some route matches an identity header
}

// checkManager looks at one chain of HTTP filters with its routes.
func (l *linter) checkManager(n *node, listener *listenerv3.Listener) error {
	m := &manager{node: n, message: new(hcmv3.HttpConnectionManager), filters: n.get("http_filters").items()}
	if err := decode(n, m.message); err != nil {
		return err
	}
	all, unseen, err := l.extAuthz(m)
	if err != nil {
		return err
	}
	m.ours = l.chosen(all)
	routes, table, err := l.routeTable(m)
	if err != nil {
		return err
	}
	if len(m.ours) == 0 && hasModule(m) {
		l.note(m.near("http_filters"), "Bearergate decides in Envoy's own process here: its filter has nothing to ask about")
		l.checkSpelling(m)
		return nil
	}
	if len(m.ours) == 0 {
		l.checkUnguarded(m, listener, table, unseen)
		return nil
	}
	if first := m.ours[0]; !isOurs(first.name) && !isOurs(target(first.message.GetGrpcService())) {
		l.foreign = append(l.foreign, m.near("http_filters"))
	}
	l.checkUpgrades(m)
	l.checkNeighbours(m)
	if table != nil {
		l.checkRoutes(m, table, routes)
	}
	for _, f := range m.ours {
		l.checkFilter(f.config, f.message, m.matches)
	}
	l.checkSpelling(m)
	return nil
}

const moduleType = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"

// hasModule says whether Bearergate is a dynamic module of the chain.
func hasModule(m *manager) bool {
	return slices.ContainsFunc(m.filters, func(n *node) bool {
		config := n.get("typed_config")
		return typeOf(config) == moduleType && isOurs(config.get("filter_name").string()) && !n.get("disabled").isTrue()
	})
}

// checkUnguarded tells of a chain without our filter, unless nothing in it reaches
// an upstream, or it is for requests that go out.
func (l *linter) checkUnguarded(m *manager, on *listenerv3.Listener, table *routev3.RouteConfiguration, unseen bool) {
	switch {
	case unseen:
		return // told where the filter is
	case on.GetTrafficDirection() == corev3.TrafficDirection_OUTBOUND:
		l.note(m.node, called(on)+" is for requests that go out: nobody is asked about them")
	case table != nil && !reachesUpstream(table):
		return
	default:
		l.add("BG020", Error, m.near("http_filters"), called(on)+" has a filter chain without an ext_authz filter")
	}
}

// extAuthz finds the ext_authz filters of a chain, those that are inside of others
// too. unseen says that one comes by extension discovery and is not among the files.
func (l *linter) extAuthz(m *manager) (all []filter, unseen bool, err error) {
	for i, n := range m.filters {
		config := n.get("typed_config")
		if discovery := n.get("config_discovery"); discovery != nil {
			config = l.discovered(n, discovery)
			if config == nil && mayBeExtAuthz(discovery) {
				l.note(n, fmt.Sprintf("filter %s comes by extension discovery, and is not among the files", n.get("name").string()))
				unseen = true
			}
		}
		if typeOf(config) != extAuthzType {
			inner := within(config)
			if inner == nil {
				continue
			}
			config = inner
			l.add("BG002", Warning, n, fmt.Sprintf("the ext_authz filter is inside of %s, which decides whether it is asked",
				n.get("name").string()), "Put the filter into http_filters itself.")
		}
		f := filter{name: n.get("name").string(), index: i, config: config, message: new(extauthzv3.ExtAuthz)}
		if err := decode(config, f.message); err != nil {
			return nil, false, err
		}
		if off := n.get("disabled"); off.isTrue() {
			f.disabled = off
		}
		if optional := n.get("is_optional"); optional.isTrue() {
			l.add("BG002", Error, optional, "is_optional: an Envoy that does not know the filter goes without it",
				"Remove is_optional.")
		}
		all = append(all, f)
	}
	return all, unseen, nil
}

func (l *linter) discovered(n, discovery *node) *node {
	if config := l.filters[n.get("name").string()]; config != nil {
		return config
	}
	return discovery.get("default_config")
}

func mayBeExtAuthz(discovery *node) bool {
	for _, url := range discovery.get("type_urls").items() {
		if strings.HasSuffix(url.string(), "/"+extAuthzType) {
			return true
		}
	}
	return false
}

// within finds an ext_authz filter inside of another filter's configuration.
func within(config *node) (found *node) {
	config.walk(func(_ string, n *node) {
		if found == nil && n != config && typeOf(n) == extAuthzType {
			found = n
		}
	})
	return found
}

// chosen leaves out the filters that ask others, where names tell which are ours.
func (l *linter) chosen(all []filter) []filter {
	var ours []filter
	for _, f := range all {
		if isOurs(f.name) || isOurs(target(f.message.GetGrpcService())) {
			ours = append(ours, f)
		}
	}
	l.named = l.named || len(ours) > 0
	if len(ours) == 0 || len(ours) == len(all) {
		return all
	}
	for _, f := range all {
		if !slices.ContainsFunc(ours, func(o filter) bool { return o.index == f.index }) {
			l.note(f.config, fmt.Sprintf("filter %s asks another service than Bearergate, and is not looked at", f.name))
		}
	}
	return ours
}

// isOurs says whether a name is likely one of Bearergate's.
func isOurs(name string) bool { return strings.Contains(strings.ToLower(name), "bearergate") }

func target(s *corev3.GrpcService) string {
	if name := s.GetEnvoyGrpc().GetClusterName(); name != "" {
		return name
	}
	return s.GetGoogleGrpc().GetTargetUri()
}

// checkUpgrades looks at the filter chains that upgrades may have for themselves: a
// WebSocket through one without ours is asked about by nobody.
func (l *linter) checkUpgrades(m *manager) {
	for _, upgrade := range m.get("upgrade_configs").items() {
		filters := upgrade.get("filters")
		if len(filters.items()) == 0 || slices.ContainsFunc(filters.items(), func(n *node) bool {
			return typeOf(n.get("typed_config")) == extAuthzType
		}) {
			continue
		}
		l.add("BG020", Error, filters, fmt.Sprintf("upgrades to %s have a filter chain without an ext_authz filter",
			upgrade.get("upgrade_type").string()))
	}
}

// checkSpelling looks at how paths and header names reach us. Where every request is
// asked about, Bearergate refuses or removes what has two readings itself.
func (l *linter) checkSpelling(m *manager) {
	common := m.message.GetCommonHttpProtocolOptions()
	if common.GetHeadersWithUnderscoresAction() == corev3.HttpProtocolOptions_ALLOW {
		l.add("BG009", l.spelling(m, false), m.near("common_http_protocol_options", "headers_with_underscores_action"),
			"headers_with_underscores_action is ALLOW")
	}
	var off []string
	at := m.node
	for _, setting := range []struct {
		field string
		ok    bool
	}{
		{"normalize_path", m.message.GetNormalizePath().GetValue()},
		{"merge_slashes", m.message.GetMergeSlashes()},
		{"path_with_escaped_slashes_action", !keepsEscapedSlashes(m.message)},
	} {
		if setting.ok {
			continue
		}
		if n := m.get(setting.field); n != nil && at == m.node {
			at = n
		}
		off = append(off, setting.field)
	}
	if len(off) > 0 {
		l.add("BG010", l.spelling(m, true), at, "not set, or off: "+strings.Join(off, ", "))
	}
}

func keepsEscapedSlashes(m *hcmv3.HttpConnectionManager) bool {
	switch m.GetPathWithEscapedSlashesAction() {
	case hcmv3.HttpConnectionManager_KEEP_UNCHANGED, hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT:
		return true
	}
	return false
}

// spelling is how much it matters that a path or a header has several spellings.
func (l *linter) spelling(m *manager, paths bool) Severity {
	if m.unasked || paths && l.policy != nil && l.policy.MatchesPaths {
		return Warning
	}
	return Info
}
