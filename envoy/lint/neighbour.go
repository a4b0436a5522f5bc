package lint

import (
	"fmt"
	"strings"
)

// What filters of Envoy do to a request, by the end of their types' names. They are
// known by name only: their configuration is searched for words.
const httpFilters = "envoy.extensions.filters.http."

// harmless neither answer with anything but a refusal, nor change what Bearergate
// decides by.
var harmless = map[string]bool{
	"adaptive_concurrency": true, "admission_control": true, "alternate_protocols_cache": true,
	"bandwidth_limit": true, "bandwidth_share": true, "body_size_limit": true, "buffer": true, "cdn_loop": true,
	"compressor": true, "cors": true, "csrf": true, "decompressor": true, "dynamic_forward_proxy": true, "fault": true,
	"file_system_buffer": true, "geoip": true, "grpc_field_extraction": true, "grpc_http1_bridge": true,
	"grpc_stats": true, "grpc_web": true, "gzip": true, "ip_tagging": true, "kill_request": true,
	"local_ratelimit": true, "on_demand": true, "original_src": true, "proto_message_extraction": true,
	"rate_limit_quota": true, "ratelimit": true, "rbac": true, "router": true, "set_filter_state": true,
	"set_metadata": true, "stateful_session": true, "tap": true, "upstream_codec": true, "ext_authz": true,
	"aws_eventstream_parser": true, "sse_to_metadata": true, "thrift_to_metadata": true,
}

// answering reach a content of their own, or another request, without the rest of
// the chain.
var answering = map[string]string{
	"cache": "answers from its cache", "cache_v2": "answers from its cache", "aws_lambda": "answers by itself",
	"file_server": "answers by itself", "grpc_json_transcoder": "rewrites the path",
	"grpc_json_reverse_transcoder": "rewrites the path", "connect_grpc_bridge": "rewrites the request",
	"mcp_json_rest_bridge": "rewrites the path", "credential_injector": "writes Authorization",
	"gcp_authn": "writes Authorization", "aws_request_signing": "writes Authorization",
}

// programmable may do anything.
var programmable = map[string]string{
	"lua": "may answer and rewrite", "wasm": "may answer and rewrite", "ext_proc": "may answer and rewrite",
	"golang": "may answer and rewrite", "dynamic_modules": "may answer and rewrite", "transform": "may rewrite",
	"composite": "may answer and rewrite", "custom_response": "may answer", "health_check": "answers health checks",
	"oauth2": "answers sign-ins, and writes Authorization", "mcp_router": "may answer and rewrite",
}

// kindOf returns what stands between filters.http. and the version in a type's name.
func kindOf(typeName string) string {
	rest, ok := strings.CutPrefix(typeName, httpFilters)
	if !ok {
		return ""
	}
	kind, _, _ := strings.Cut(rest, ".")
	return kind
}

// checkNeighbours looks at the filters around ours.
func (l *linter) checkNeighbours(m *manager) {
	first, last := m.ours[0].index, m.ours[len(m.ours)-1].index
	for i, n := range m.filters {
		switch { // one that is disabled may be switched on by a route, and is at the same place then
		case i < first:
			l.checkBefore(n)
		case i > last:
			l.checkAfter(n.get("name").string(), n.get("typed_config"), n)
		}
	}
}

// checkBefore looks at a filter that sees the request before we are asked.
func (l *linter) checkBefore(n *node) {
	config, name := n.get("typed_config"), n.get("name").string()
	kind := kindOf(typeOf(config))
	switch {
	case config == nil:
		l.note(n, fmt.Sprintf("filter %s before Bearergate comes by extension discovery, and is not looked into", name))
	case kind == "router":
		l.add("BG006", Error, n, fmt.Sprintf("%s stands before Bearergate, and ends the chain", name))
	case answering[kind] != "":
		l.add("BG006", Error, n, fmt.Sprintf("%s before Bearergate %s", name, answering[kind]))
	case kind == "jwt_authn":
		l.checkJWT(name, config)
	case programmable[kind] != "" || rewrites[kind]:
		if at := mentions(config, "authorization", ":path", ":method", ":authority"); at != nil {
			l.add("BG006", Warning, at, fmt.Sprintf("%s before Bearergate handles %s", name, at.string()))
		} else if programmable[kind] != "" {
			l.add("BG006", Warning, n, fmt.Sprintf("%s before Bearergate %s", name, programmable[kind]))
		}
	case harmless[kind] || kind == "basic_auth" || kind == "api_key_auth":
	default:
		l.note(n, fmt.Sprintf("the extension %s (%s) before Bearergate is not known", typeOf(config), name))
	}
}

// rewrites change a request only by names that stand in their configuration.
var rewrites = map[string]bool{"header_mutation": true, "header_to_metadata": true, "json_to_metadata": true}

// checkJWT knows that jwt_authn takes the token away unless it is told to leave it.
func (l *linter) checkJWT(name string, config *node) {
	for _, provider := range config.get("providers").childrenOf() {
		if !provider.get("forward").isTrue() {
			l.add("BG006", Warning, provider, fmt.Sprintf("%s before Bearergate takes the token away: forward is off", name),
				"Set forward: true, or remove the filter: Bearergate verifies the token itself.")
		}
	}
}

// checkAfter looks at a filter, or what a route says to it, that sees the request
// after the decision.
func (l *linter) checkAfter(name string, config, at *node) {
	kind := kindOf(typeOf(config))
	cleared := false
	config.walk(func(key string, n *node) {
		if plainName(key) == "clearroutecache" && n.isTrue() || strings.Contains(n.string(), "clearRouteCache") {
			cleared = true
			l.add("BG007", Error, n, fmt.Sprintf("%s after Bearergate clears the route cache", name))
		}
		if header := l.names.in(n.string()); header != "" && writesHeaders(kind) {
			l.add("BG007", Error, n, fmt.Sprintf("%s after Bearergate handles %s", name, header))
			cleared = true
		}
	})
	switch {
	case cleared || harmless[kind] && kind != "ext_authz":
	case kind == "ext_proc" && !strings.EqualFold(config.get("route_cache_action").string(), "RETAIN") &&
		!config.get("disable_clear_route_cache").isTrue():
		l.add("BG007", Warning, config, name+" after Bearergate may clear the route cache",
			"Set route_cache_action: RETAIN, or move the filter before ext_authz.")
	case kind == "grpc_json_transcoder" && !config.get("match_incoming_request_route").isTrue():
		l.add("BG007", Error, config, name+" after Bearergate rewrites the path, and clears the route cache",
			"Set match_incoming_request_route: true.")
	case kind == "wasm", kind == "golang", kind == "dynamic_modules":
		l.note(config, fmt.Sprintf("the program of %s after Bearergate is not looked into", name))
	case config == nil:
		l.note(at, fmt.Sprintf("filter %s after Bearergate comes by extension discovery, and is not looked into", name))
	case kind == "":
		l.note(config, fmt.Sprintf("the extension %s (%s) after Bearergate is not known", typeOf(config), name))
	}
}

// writesHeaders says whether a name in the filter's configuration is one that it may
// write: a rate limit reads it only.
func writesHeaders(kind string) bool {
	switch kind {
	case "lua", "header_mutation", "jwt_authn", "ext_proc", "wasm", "golang", "dynamic_modules", "oauth2", "basic_auth",
		"api_key_auth", "credential_injector", "ext_authz", "transform", "composite",
		"json_to_metadata", "header_to_metadata":
		return true
	}
	return false
}

// checkPerRouteNeighbour looks at what a route says to a filter after ours.
func (l *linter) checkPerRouteNeighbour(m *manager, name string, config *node) {
	for i, n := range m.filters {
		if i > m.ours[len(m.ours)-1].index && n.get("name").string() == name && kindOf(typeOf(config)) != "" {
			l.checkPerRoute(name, config)
		}
	}
}

func (l *linter) checkPerRoute(name string, config *node) {
	kind := kindOf(typeOf(config))
	config.walk(func(_ string, n *node) {
		if header := l.names.in(n.string()); header != "" && writesHeaders(kind) {
			l.add("BG007", Error, n, fmt.Sprintf("%s after Bearergate handles %s on a route", name, header))
		} else if strings.Contains(n.string(), "clearRouteCache") {
			l.add("BG007", Error, n, fmt.Sprintf("%s after Bearergate clears the route cache on a route", name))
		}
	})
}

// mentions finds the first value or key that names one of words.
func mentions(config *node, words ...string) (found *node) {
	config.walk(func(key string, n *node) {
		for _, word := range words {
			if found == nil && (strings.EqualFold(key, word) || strings.Contains(strings.ToLower(n.string()), word)) {
				found = &node{file: n.file, line: n.line, text: word}
			}
		}
	})
	return found
}

// childrenOf returns the values of an object, or the members of a list.
func (n *node) childrenOf() []*node {
	if n == nil {
		return nil
	}
	return n.children
}
