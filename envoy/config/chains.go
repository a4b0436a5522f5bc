// Package chains holds the filter chains that operators copy, so that the demo
// and the tests run the very same files. It has another name than its folder:
// the documentation links to the files where they are, go:embed reaches nothing
// beside or above the package that it stands in, and a package called config
// would be taken for the service's own configuration.
package chains

import (
	"embed"
	"fmt"
	"net"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// The addresses that the Envoy bootstraps name.
const (
	listener   = "127.0.0.1, port_value: 10000"
	bearergate = "127.0.0.1, port_value: 9191"
	upstream   = "127.0.0.1, port_value: 8081"
	admin      = "127.0.0.1, port_value: 9901"
)

// Addresses are host:port each.
type Addresses struct{ Listener, Bearergate, Upstream, Admin string }

// File returns a file of this folder as it stands.
func File(name string) (string, error) {
	content, err := files.ReadFile(name)
	return string(content), err
}

// Bootstrap returns an Envoy bootstrap of this folder at other addresses.
func Bootstrap(name string, a Addresses) (string, error) {
	file, err := File(name)
	if err != nil {
		return "", err
	}
	for old, address := range map[string]string{
		listener: a.Listener, bearergate: a.Bearergate, upstream: a.Upstream, admin: a.Admin,
	} {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return "", err
		}
		file = strings.ReplaceAll(file, old, fmt.Sprintf("%s, port_value: %s", host, port))
	}
	return file, nil
}
