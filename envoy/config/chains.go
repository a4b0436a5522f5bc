// Package config holds the filter chains that operators copy, so that the demo
// and the tests run the very same files.
package config

import (
	_ "embed"
	"fmt"
	"net"
	"strings"
)

//go:embed envoy.yaml
var plain string

//go:embed mcp.yaml
var mcp string

//go:embed mcp-bearergate.yaml
var mcpRules string

//go:embed routes.yaml
var routes string

// The addresses that envoy.yaml names.
const (
	listener   = "127.0.0.1, port_value: 10000"
	bearergate = "127.0.0.1, port_value: 9191"
	upstream   = "127.0.0.1, port_value: 8081"
	admin      = "127.0.0.1, port_value: 9901"
)

// Addresses are host:port each.
type Addresses struct{ Listener, Bearergate, Upstream, Admin string }

// Plain returns envoy.yaml at other addresses.
func Plain(a Addresses) (string, error) { return place(plain, a) }

// MCP returns mcp.yaml at other addresses.
func MCP(a Addresses) (string, error) { return place(mcp, a) }

// MCPRules returns mcp-bearergate.yaml.
func MCPRules() string { return mcpRules }

// Routes returns routes.yaml at other addresses.
func Routes(a Addresses) (string, error) { return place(routes, a) }

func place(file string, a Addresses) (string, error) {
	for old, address := range map[string]string{listener: a.Listener, bearergate: a.Bearergate, upstream: a.Upstream, admin: a.Admin} {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return "", err
		}
		file = strings.ReplaceAll(file, old, fmt.Sprintf("%s, port_value: %s", host, port))
	}
	return file, nil
}
