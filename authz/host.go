package authz

import (
	"errors"
	"strconv"
	"strings"
)

// errHost: Envoy may have chosen another virtual host than the rules would.
var errHost = errors.New("want a host name or address, with a port that is a number or none")

// hostOnly lower-cases a host and cuts its port off. What Envoy compares
// otherwise than the rules do is refused: a trailing dot, an empty port or one
// that is no number, user information, and bytes that no host has.
func hostOnly(host string) (string, error) {
	for i := range len(host) {
		if c := host[i]; c <= ' ' || c >= 0x7f || c == '@' {
			return "", errHost
		}
	}
	name := host
	end := 0
	if strings.HasPrefix(host, "[") { // an IPv6 address has colons of its own
		if end = strings.IndexByte(host, ']'); end < 0 {
			return "", errHost
		}
	}
	if i := strings.IndexByte(host[end:], ':'); i >= 0 {
		name = host[:end+i]
		if !isPort(host[end+i+1:]) || name == "" {
			return "", errHost
		}
	}
	if strings.HasSuffix(name, ".") || end > 0 && len(name) != end+1 {
		return "", errHost
	}
	return strings.ToLower(name), nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}
