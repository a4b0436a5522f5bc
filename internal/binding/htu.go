package binding

import (
	"errors"
	"strings"
)

var (
	errNoURL    = errors.New("is no absolute URL of visible ASCII")
	errQuery    = errors.New("has a query")
	errFragment = errors.New("has a fragment")
	errEscape   = errors.New("has a malformed percent escape")
)

// target is what htu names (RFC 9449 §4.2): where a request goes to, without query
// and fragment.
type target struct {
	origin origin
	path   string // begins with a slash; percent escapes as they came, and well formed
}

// parseTarget reads htu. RFC 9449 §4.3 wants query and fragment ignored where the
// request's are compared; in htu itself they have no place, and neither have empty
// ones, nor a name of a user.
func parseTarget(htu string) (target, error) {
	for i := range len(htu) {
		if c := htu[i]; c <= ' ' || c >= 0x7f || c == '\\' {
			return target{}, errNoURL
		}
	}
	scheme, rest, ok := strings.Cut(htu, "://")
	if !ok {
		return target{}, errNoURL
	}
	if strings.Contains(rest, "#") {
		return target{}, errFragment
	}
	if strings.Contains(rest, "?") {
		return target{}, errQuery
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	o, err := newOrigin(scheme, authority)
	if err != nil {
		return target{}, err
	}
	if path == "" { // RFC 3986 §6.2.3
		path = "/"
	}
	if !escapesAreWhole(path) {
		return target{}, errEscape
	}
	return target{o, path}, nil
}

// pathOf returns the path of a request without its query.
func pathOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if path == "" {
		return "/"
	}
	return path
}

// samePath compares two paths whose escapes may be written in several ways: those of
// unreserved characters stand for them, and the case of hex digits does not matter
// (RFC 3986 §6.2.2.1 and §6.2.2.2). Everything else counts, byte for byte: dot
// segments, empty segments and a final slash mean to some what they do not mean to
// others. A path with a malformed escape equals none.
func samePath(a, b string) bool {
	for a != "" && b != "" {
		var x, y character
		x, a = nextOf(a)
		y, b = nextOf(b)
		if x != y || x == malformed {
			return false
		}
	}
	return a == "" && b == ""
}

// character is a byte of a path, or one that must stay escaped: "%2F" is no "/".
type character uint16

const (
	escaped   character = 1 << 8
	malformed character = 1 << 9
)

// nextOf returns the first character of a path, which is not empty, and the rest.
func nextOf(path string) (character, string) {
	c := path[0]
	if c != '%' {
		return character(c), path[1:]
	}
	if len(path) < 3 {
		return malformed, ""
	}
	high, ok := hexDigit(path[1])
	low, ok2 := hexDigit(path[2])
	if !ok || !ok2 {
		return malformed, ""
	}
	c = high<<4 | low
	if isAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' { // RFC 3986 §2.3
		return character(c), path[3:]
	}
	return escaped | character(c), path[3:]
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func escapesAreWhole(path string) bool {
	for path != "" {
		var c character
		if c, path = nextOf(path); c == malformed {
			return false
		}
	}
	return true
}
