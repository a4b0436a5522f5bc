package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
)

const (
	perRouteType     = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
	filterConfigType = "envoy.config.route.v3.FilterConfig"
)

// routeTable finds the routes of a manager: in it, or by name among the files.
func (l *linter) routeTable(m *manager) (*node, *routev3.RouteConfiguration, error) {
	n := m.get("route_config")
	if rds := m.get("rds"); rds != nil {
		name := rds.get("route_config_name").string()
		if n = l.routes[name]; n == nil {
			l.note(rds, fmt.Sprintf("the routes %q come from a control plane, and are not among the files", name))
			return nil, nil, nil
		}
	}
	if m.get("scoped_routes") != nil {
		l.note(m.get("scoped_routes"), "scoped routes are not looked into")
	}
	if n == nil {
		return nil, nil, nil
	}
	table := new(routev3.RouteConfiguration)
	if err := decode(n, table); err != nil {
		return nil, nil, err
	}
	return n, table, nil
}

// reachesUpstream says whether some route does more than answer by itself.
func reachesUpstream(table *routev3.RouteConfiguration) bool {
	if table.GetVhds() != nil {
		return true
	}
	for _, host := range table.GetVirtualHosts() {
		if host.GetMatcher() != nil || slices.ContainsFunc(host.GetRoutes(), leadsOn) {
			return true
		}
	}
	return false
}

// leadsOn says whether a route passes requests on: one that answers or redirects by
// itself needs nobody's permission.
func leadsOn(r *routev3.Route) bool { return r.GetDirectResponse() == nil && r.GetRedirect() == nil }

// level is what one level of a route table says.
type level struct {
	at      *node
	filters *node // typed_per_filter_config
	add     []*corev3.HeaderValueOption
}

func (l *linter) checkRoutes(m *manager, table *routev3.RouteConfiguration, n *node) {
	outer := []level{{n, n.get("typed_per_filter_config"), table.GetRequestHeadersToAdd()}}
	if table.GetVhds() != nil {
		l.note(n.get("vhds"), "virtual hosts come from a control plane, and are not among the files")
	}
	l.checkLevel(m, outer[0])
	hosts := n.get("virtual_hosts")
	for i, host := range table.GetVirtualHosts() {
		at := hosts.item(i)
		mid := level{at, at.get("typed_per_filter_config"), host.GetRequestHeadersToAdd()}
		l.checkLevel(m, mid)
		if host.GetMatcher() != nil {
			l.note(at.get("matcher"),
				fmt.Sprintf("virtual host %s chooses routes by a matcher, which is not looked into", host.GetName()))
		}
		guarded := false
		for j, route := range host.GetRoutes() {
			r := at.get("routes").item(j)
			l.checkRoute(m, route, r, append(slices.Clone(outer), mid), guarded)
			guarded = guarded || isGuard(route)
		}
	}
}

// checkRoute looks at one route, and at each of its weighted clusters.
func (l *linter) checkRoute(m *manager, route *routev3.Route, n *node, above []level, guarded bool) {
	l.checked.add("route")
	for _, h := range route.GetMatch().GetHeaders() {
		m.matches = m.matches || l.names.has(h.GetName())
	}
	own := level{n, n.get("typed_per_filter_config"), route.GetRequestHeadersToAdd()}
	l.checkLevel(m, own)
	levels := slices.Concat(above, []level{own})
	if !leadsOn(route) || route.GetNonForwardingAction() != nil {
		return
	}
	weighted := n.get("route", "weighted_clusters", "clusters").items()
	if len(weighted) == 0 {
		l.checkAsked(m, route, levels, guarded)
	}
	for i, w := range weighted {
		var add []*corev3.HeaderValueOption
		if all := route.GetRoute().GetWeightedClusters().GetClusters(); i < len(all) {
			add = all[i].GetRequestHeadersToAdd()
		}
		least := level{w, w.get("typed_per_filter_config"), add}
		l.checkLevel(m, least)
		l.checkAsked(m, route, append(slices.Clone(levels), least), guarded)
	}
}

// checkAsked tells of a route for which none of our filters is on. What stands
// nearest to the route counts.
func (l *linter) checkAsked(m *manager, route *routev3.Route, levels []level, guarded bool) {
	var off *node
	for _, f := range m.ours {
		by := f.disabled
		for _, lv := range slices.Backward(levels) {
			if s := setting(lv.filters.member(f.name)); s.present {
				by = s.disabled
				break
			}
		}
		if by == nil {
			return
		}
		if off == nil {
			off = by
		}
	}
	severity, what := Error, "a route asks nobody"
	switch {
	case guarded:
		severity, what = Info, "a route asks nobody, behind one that refuses ambiguous paths"
	case route.GetMatch().GetPath() != "":
		severity, what = Warning, fmt.Sprintf("the route for exactly %s asks nobody", route.GetMatch().GetPath())
	}
	m.unasked = m.unasked || severity == Error
	l.add("BG003", severity, off, what)
}

// routeSetting is what typed_per_filter_config says of one filter.
type routeSetting struct {
	present  bool
	disabled *node // where it is switched off
	config   *node // an ExtAuthzPerRoute
}

// setting reads the configuration of a filter for a route, also inside the wrapper
// FilterConfig.
func setting(n *node) routeSetting {
	if n == nil {
		return routeSetting{}
	}
	s := routeSetting{present: true, config: n}
	if typeOf(n) == filterConfigType {
		if off := n.get("disabled"); off.isTrue() {
			s.disabled = off
		}
		s.config = n.get("config")
	}
	if off := s.config.get("disabled"); off.isTrue() && typeOf(s.config) == perRouteType {
		s.disabled = off
	}
	return s
}

// checkLevel looks at what one level says: to us, and to the upstream past us.
func (l *linter) checkLevel(m *manager, lv level) {
	added := lv.at.get("request_headers_to_add")
	for i, h := range lv.add {
		l.checkAdded(added.item(i), h.GetHeader().GetKey(), h.GetHeader().GetValue())
	}
	if lv.filters == nil {
		return
	}
	for i, name := range lv.filters.keys {
		s := setting(lv.filters.children[i])
		ours := slices.ContainsFunc(m.ours, func(f filter) bool { return f.name == name })
		switch {
		case typeOf(s.config) != perRouteType:
			l.checkPerRouteNeighbour(m, name, s.config)
		case ours:
			l.checkSettings(s.config)
		case !slices.ContainsFunc(m.filters, func(n *node) bool { return n.get("name").string() == name }):
			l.add("BG015", Error, lv.filters.children[i],
				fmt.Sprintf("no filter is called %s: Envoy does not look at this", name),
				"Use the name that the ext_authz filter has in http_filters.",
				"What the route demands never reaches Bearergate, which decides without it.")
		}
	}
}

// checkAdded tells of an identity header that Envoy writes by itself.
func (l *linter) checkAdded(at *node, name, value string) {
	switch {
	case !l.names.has(name):
	case strings.Contains(strings.ToUpper(value), "%REQ"):
		l.add("BG018", Error, at, fmt.Sprintf("%s is made of the client's own header: %s", name, value))
	default:
		l.add("BG018", Warning, at, name+" is written after Bearergate was asked")
	}
}

// checkSettings looks at what a route says to Bearergate, and which it asks.
func (l *linter) checkSettings(n *node) {
	per := new(extauthzv3.ExtAuthzPerRoute)
	if err := decode(n, per); err != nil {
		l.note(n, err.Error())
		return
	}
	check := n.get("check_settings")
	s := per.GetCheckSettings()
	extensions := check.get("context_extensions")
	if extensions != nil {
		for i, key := range extensions.keys { // in their order, which the map has not
			l.checkExtension(extensions.children[i], key, s.GetContextExtensions()[key])
		}
	}
	if s.GetWithRequestBody() != nil {
		l.add("BG017", Warning, check.get("with_request_body"), "with_request_body is set")
	}
	if s.GetHttpService() != nil {
		l.add("BG013", Error, check.get("http_service"), "the route asks an HTTP service")
	}
	if s.GetGrpcService() != nil {
		l.checkGRPC(check.get("grpc_service"), s.GetGrpcService())
	}
}

// The keys of context_extensions (docs/contract.md §3).
const (
	keyPrefix = "bearergate."
	keyRule   = keyPrefix + "rule"
	keyIssuer = keyPrefix + "issuer"
)

var extensionKeys = []string{keyRule, keyIssuer, keyPrefix + "scopes", keyPrefix + "audience"}

// checkExtension says what Bearergate will say of a key that a route sets.
func (l *linter) checkExtension(at *node, key, value string) {
	switch {
	case len(key) < len(keyPrefix) || !strings.EqualFold(key[:len(keyPrefix)], keyPrefix):
	case !slices.Contains(extensionKeys, key):
		l.add("BG015", Error, at, fmt.Sprintf("the key %s does not exist", strconv.Quote(key)))
	case strings.TrimSpace(value) == "":
		l.add("BG015", Error, at, key+" is empty")
	case l.policy == nil:
	case key == keyRule && !slices.Contains(l.policy.Rules, value):
		l.add("BG015", Error, at, fmt.Sprintf("the configuration has no rule %s", strconv.Quote(value)))
	case key == keyIssuer && !slices.Contains(l.policy.Issuers, value):
		l.add("BG015", Error, at, fmt.Sprintf("the configuration has no issuer %s", strconv.Quote(value)))
	}
}

// Paths that an upstream may read otherwise than Envoy, and some that it may not.
var (
	ambiguous = []string{
		"/a;b", "/a%2fb", "/a%2Fb", "/a//b", `/a\b`, "/a%5cb", "/a/%2e%2e/b", "/a%252fb", "/a%3bb", "/a%00",
	}
	plain = []string{"/", "/a", "/a/b", "/a-b_c/d.e"}
)

// isGuard says whether a route refuses every ambiguous path by itself, so that none
// reaches the routes after it. It is tried, not recognised.
func isGuard(r *routev3.Route) bool {
	if r.GetDirectResponse().GetStatus() < 400 {
		return false
	}
	takes := func(path string) bool { return takesPath(r.GetMatch(), path) }
	return !slices.ContainsFunc(ambiguous, func(p string) bool { return !takes(p) }) && !slices.ContainsFunc(plain, takes)
}

// takesPath knows the matches that a guard is made of; with any other one it says no.
func takesPath(m *routev3.RouteMatch, path string) bool {
	if m.GetRuntimeFraction() != nil || len(m.GetQueryParameters())+len(m.GetCookies()) > 0 || m.GetGrpc() != nil ||
		m.GetTlsContext() != nil || len(m.GetDynamicMetadata())+len(m.GetFilterState()) > 0 {
		return false
	}
	for _, h := range m.GetHeaders() {
		m := h.GetStringMatch()
		if h.GetName() != ":path" || m == nil || matchString(m, path) == h.GetInvertMatch() {
			return false
		}
	}
	if re := m.GetSafeRegex(); re != nil {
		return fullMatch(re.GetRegex(), path)
	}
	prefix, ok := m.GetPathSpecifier().(*routev3.RouteMatch_Prefix)
	return ok && (prefix.Prefix == "" || prefix.Prefix == "/")
}
