package main

import (
	"encoding/json"
	"slices"

	"github.com/bearergate/bearergate/test/bench/mint"
)

// filter is an HTTP filter of Envoy, as YAML has it; nil is none.
type filter = map[string]any

// The servers that a filter may ask.
const (
	askNobody     = ""
	askNoop       = "no-op"
	askBearergate = "bearergate"
	askInside     = "module" // Envoy itself is it
)

// The rows that others are compared with.
const (
	nothing   = "none"
	yardstick = "noop"
)

// row is one filter.
type row struct {
	name, title string

	asks     string
	filter   func(shipped filter, i *mint.Issuer) (filter, error)
	noop     []string // arguments of the no-op
	settings string   // sections of Bearergate's configuration
	manager  []string // settings of the connection manager that are left out
	unix     bool     // the server is reached by a Unix socket
}

// rows are the table: first what is compared, then one setting at a time.
func rows() []row {
	all := []row{
		{name: nothing, title: "no filter", filter: noFilter},
		{name: yardstick, title: "no-op, the least configuration", asks: askNoop, filter: plain},
		{name: "jwt-authn", title: "jwt_authn, local JWKS", filter: jwtAuthn(0)},
		{name: "jwt-authn-cache", title: "jwt_authn with jwt_cache_config", filter: jwtAuthn(10_000)},
		{name: "module", title: "Bearergate in Envoy's process", asks: askInside, filter: module},
		{name: "bearergate", title: "Bearergate, as shipped", asks: askBearergate, filter: without()},
		{
			name: "bearergate-all-headers", title: "Bearergate, all headers", asks: askBearergate,
			filter: without("allowed_headers"),
		},
		{name: "bearergate-plain", title: "Bearergate, the least configuration", asks: askBearergate, filter: plain},
		{
			name: "bearergate-no-headers", title: "Bearergate as shipped, headers: {}", asks: askBearergate,
			filter: without(), settings: "headers: {}\nforward_token: true\n",
		},
		{name: "noop-shipped", title: "no-op, the shipped filter", asks: askNoop, filter: without()},
		{
			name: "noop-remove", title: "no-op, the shipped filter, 14 names removed", asks: askNoop, filter: without(),
			noop: []string{"-remove"},
		},
		{
			name: "noop-metadata", title: "no-op, the shipped filter, with metadata", asks: askNoop, filter: without(),
			noop: []string{"-metadata"},
		},
		{
			name: "noop-like", title: "no-op, the shipped filter, names removed and metadata", asks: askNoop,
			filter: without(), noop: []string{"-remove", "-metadata"},
		},
	}
	for _, setting := range []string{"validate_mutations", "decoder_header_mutation_rules", "encode_raw_headers"} {
		all = append(all, row{
			name: "without-" + setting, title: "Bearergate as shipped, without " + setting, asks: askBearergate,
			filter: without(setting),
		})
	}
	early := "early_header_mutation_extensions"
	return append(all,
		row{
			name: "bearergate-unix", title: "Bearergate as shipped, by a Unix socket", asks: askBearergate,
			filter: without(), unix: true,
		},
		row{
			name: "patterns-as-they-are", title: "Bearergate as shipped, allowed_headers without ignore_case",
			asks: askBearergate, filter: set("allowed_headers", map[string]any{"patterns": []any{
				map[string]any{"exact": "authorization"}, map[string]any{"exact": "x-request-id"},
				map[string]any{"exact": "traceparent"}, map[string]any{"exact": "tracestate"},
				map[string]any{"prefix": "mcp-"},
			}}),
		},
		row{
			name: "without-cluster-stats", title: "Bearergate as shipped, charge_cluster_response_stats: false",
			asks: askBearergate, filter: set("charge_cluster_response_stats", false),
		},
		row{
			name: "none-without-" + early, title: "no filter, without " + early, manager: []string{early},
			filter: noFilter,
		},
	)
}

// set is the shipped filter with another value of one setting.
func set(setting string, value any) func(filter, *mint.Issuer) (filter, error) {
	return func(shipped filter, _ *mint.Issuer) (filter, error) {
		shipped["typed_config"].(map[string]any)[setting] = value
		return shipped, nil
	}
}

// without is the shipped filter less some settings.
func without(settings ...string) func(filter, *mint.Issuer) (filter, error) {
	return func(shipped filter, _ *mint.Issuer) (filter, error) {
		config := shipped["typed_config"].(map[string]any)
		for name := range config {
			if slices.Contains(settings, name) {
				delete(config, name)
			}
		}
		return shipped, nil
	}
}

// inFile stands for Bearergate's configuration file.
const inFile = "$CONFIG"

// module is Bearergate as a dynamic module of Envoy.
func module(filter, *mint.Issuer) (filter, error) {
	return filter{
		"name": "bearergate",
		"typed_config": map[string]any{
			"@type":                 "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
			"dynamic_module_config": map[string]any{"name": "bearergate", "do_not_close": true},
			"filter_name":           "bearergate",
			"filter_config":         map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": inFile},
		},
	}, nil
}

func noFilter(filter, *mint.Issuer) (filter, error) { return nil, nil }

// plain is what the documentation of Envoy begins with.
func plain(filter, *mint.Issuer) (filter, error) {
	return filter{
		"name": "envoy.filters.http.ext_authz",
		"typed_config": map[string]any{
			"@type":                 "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
			"transport_api_version": "V3",
			"grpc_service": map[string]any{
				"envoy_grpc": map[string]any{"cluster_name": "bearergate"}, "timeout": "1s",
			},
		},
	}, nil
}

// jwtAuthn is Envoy's own filter, which sets the same three headers.
func jwtAuthn(cache int) func(filter, *mint.Issuer) (filter, error) {
	return func(_ filter, i *mint.Issuer) (filter, error) {
		keys, err := json.Marshal(i.Keys())
		if err != nil {
			return nil, err
		}
		provider := map[string]any{
			"issuer": i.URL(), "audiences": []string{"api"},
			"local_jwks": map[string]any{"inline_string": string(keys)},
			"claim_to_headers": []any{
				map[string]any{"header_name": "x-auth-sub", "claim_name": "sub"},
				map[string]any{"header_name": "x-auth-scope", "claim_name": "scope"},
				map[string]any{"header_name": "x-auth-client-id", "claim_name": "client_id"},
			},
		}
		if cache > 0 {
			provider["jwt_cache_config"] = map[string]any{"jwt_cache_size": cache}
		}
		return filter{
			"name": "envoy.filters.http.jwt_authn",
			"typed_config": map[string]any{
				"@type":     "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
				"providers": map[string]any{"bench": provider},
				"rules": []any{map[string]any{
					"match": map[string]any{"prefix": "/"}, "requires": map[string]any{"provider_name": "bench"},
				}},
			},
		}, nil
	}
}
