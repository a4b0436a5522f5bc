package binding

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// origin is scheme, host and port of a URL as they compare: in lower case, and
// without a port that the scheme implies (RFC 3986 §6.2.2.1 and §6.2.3). The zero
// value is none.
type origin struct {
	scheme string // http or https
	host   string // an IPv6 address without brackets
	port   string // decimal, without leading zeros; empty: that of the scheme
}

func (o origin) String() string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if o.port != "" {
		host += ":" + o.port
	}
	return o.scheme + "://" + host
}

var (
	errScheme    = errors.New("scheme is neither https nor http")
	errAuthority = errors.New("host is malformed")
	errPort      = errors.New("port is malformed")
	errUserinfo  = errors.New("has user information")
)

// newOrigin reads scheme and authority strictly. What it does not know it does not
// guess: an address in brackets has no zone, and a name no escapes, since two
// readers might see two hosts. A dot at the end of a name is part of it.
func newOrigin(scheme, authority string) (origin, error) {
	o := origin{scheme: strings.ToLower(scheme)}
	if o.scheme != "https" && o.scheme != "http" {
		return origin{}, errScheme
	}
	if strings.Contains(authority, "@") {
		return origin{}, errUserinfo
	}
	var err error
	if rest, ok := strings.CutPrefix(authority, "["); ok {
		address, rest, closed := strings.Cut(rest, "]")
		ip, err := netip.ParseAddr(address)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" || rest != "" && rest[0] != ':' {
			return origin{}, errAuthority
		}
		o.host, o.port = ip.String(), strings.TrimPrefix(rest, ":")
	} else {
		o.host, o.port, _ = strings.Cut(authority, ":")
		if !isName(o.host) { // before it is lowered: that makes a k of the Kelvin sign
			return origin{}, errAuthority
		}
		o.host = strings.ToLower(o.host)
	}
	if o.port, err = portOf(o.scheme, o.port); err != nil {
		return origin{}, err
	}
	return o, nil
}

// portOf returns nothing for the scheme's own port, and for an empty one, which is
// that port, too.
func portOf(scheme, port string) (string, error) {
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return "", nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port[0] == '0' {
		return "", errPort
	}
	return port, nil
}

// isName says whether s is a host name or an IPv4 address, as they stand in URLs.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
