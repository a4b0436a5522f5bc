package main

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/test/bench/mint"
)

// shippedSocket is where unix-socket.yaml asks.
const shippedSocket = "/run/bearergate/authz.sock"

// bootstrap is the shipped one with another filter. Envoy answers itself what is
// let through, and writes no access log, so that as little as possible is
// measured beside the filter.
func bootstrap(r row, a chains.Addresses, i *mint.Issuer) ([]byte, error) {
	name := "envoy.yaml"
	if r.unix {
		name = "unix-socket.yaml"
	}
	shipped, err := chains.Bootstrap(name, a)
	if err != nil {
		return nil, err
	}
	if r.unix {
		shipped = strings.ReplaceAll(shipped, shippedSocket, strings.TrimPrefix(a.Bearergate, "unix://"))
	}
	var all map[string]any
	if err := yaml.Unmarshal([]byte(shipped), &all); err != nil {
		return nil, err
	}
	manager, err := connectionManager(all)
	if err != nil {
		return nil, err
	}
	for _, setting := range append(r.manager, "access_log") {
		delete(manager, setting)
	}
	manager["route_config"] = map[string]any{"virtual_hosts": []any{map[string]any{
		"name": "all", "domains": []string{"*"},
		"routes": []any{map[string]any{
			"match": map[string]any{"prefix": "/"}, "direct_response": map[string]any{"status": 200},
		}},
	}}}
	filters, ok := manager["http_filters"].([]any)
	if !ok || len(filters) != 2 {
		return nil, errors.New("got a chain of other filters, want ours and the router")
	}
	chosen, err := r.filter(filters[0].(map[string]any), i)
	if err != nil {
		return nil, err
	}
	if manager["http_filters"] = filters[1:]; chosen != nil {
		manager["http_filters"] = []any{chosen, filters[1]}
	}
	return yaml.Marshal(all)
}

// connectionManager finds the one of the only listener.
func connectionManager(bootstrap map[string]any) (map[string]any, error) {
	at := any(bootstrap)
	for _, step := range []any{
		"static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config",
	} {
		switch step := step.(type) {
		case string:
			object, _ := at.(map[string]any)
			at = object[step]
		case int:
			list, _ := at.([]any)
			if len(list) != 1 {
				return nil, errors.New("got a bootstrap of several listeners or filters, want one")
			}
			at = list[step]
		}
	}
	manager, ok := at.(map[string]any)
	if !ok {
		return nil, errors.New("got a bootstrap without a connection manager")
	}
	return manager, nil
}
