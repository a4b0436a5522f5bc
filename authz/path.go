package authz

import (
	"errors"
	"strings"
)

// errAmbiguous: Envoy, Bearergate and the upstream might read the path
// differently (E-10, A-14).
var errAmbiguous = errors.New("ambiguous path")

// normalPath returns the path of a request target up to the first `?`, with
// percent-encoded visible ASCII decoded, as upstreams will: /%40me must not
// pass by a rule on /@me. Only `%`, `;`, `?` and `#` stay encoded. What could be read in two ways is refused: dot
// segments, empty segments, `\`, `;`, encoded `.`, `/`, `\` (once or twice),
// control characters, and broken encodings.
func normalPath(target string) (string, error) {
	path, _, _ := strings.Cut(target, "?")
	if path == "" || path[0] != '/' {
		return "", errAmbiguous
	}
	if err := checkBytes(path); err != nil {
		return "", err
	}
	path, err := decodeVisible(path)
	if err != nil {
		return "", err
	}
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "." || segment == ".." || segment == "" && more {
			return "", errAmbiguous
		}
	}
	return path, nil
}

func checkBytes(path string) error {
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == ';' || c == '#' {
			return errAmbiguous
		}
	}
	return nil
}

func decodeVisible(path string) (string, error) {
	if !strings.Contains(path, "%") {
		return path, nil
	}
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out.WriteByte(path[i])
			continue
		}
		if i+2 >= len(path) {
			return "", errAmbiguous
		}
		high, low := unhex(path[i+1]), unhex(path[i+2])
		if high < 0 || low < 0 {
			return "", errAmbiguous
		}
		c := byte(high<<4 | low)
		switch {
		case c == '.' || c == '/' || c == '\\' || c < ' ' || c == 0x7f:
			return "", errAmbiguous
		case c == '%' && isAmbiguousTwice(path[i+3:]):
			return "", errAmbiguous
		case c > ' ' && c < 0x7f && !strings.ContainsRune("%;?#", rune(c)):
			out.WriteByte(c)
		default:
			out.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return out.String(), nil
}

// isAmbiguousTwice looks at what follows an encoded percent sign: an upstream
// that decodes once more must not find what is refused here.
func isAmbiguousTwice(rest string) bool {
	if len(rest) < 2 {
		return false
	}
	high, low := unhex(rest[0]), unhex(rest[1])
	if high < 0 || low < 0 {
		return false
	}
	c := byte(high<<4 | low)
	return c == '.' || c == '/' || c == '\\' || c == '%' || c < ' '
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// pattern is a path pattern: literal segments, `*` for one segment that is not
// empty, a final `/**` for the rest, which may be nothing.
type pattern struct {
	segments []string
	rest     bool
}

func parsePattern(s string) (pattern, error) {
	path, rest := strings.CutSuffix(s, "/**")
	if rest && path == "" {
		return pattern{rest: true}, nil
	}
	normal, err := normalPath(path)
	if err != nil || strings.Contains(path, "?") {
		return pattern{}, errors.New("want a path that begins with / and has neither dot segments, //, \\, ;, ? nor encoded . / \\ in it")
	}
	p := pattern{segments: strings.Split(normal[1:], "/"), rest: rest}
	for _, segment := range p.segments {
		if segment != "*" && strings.Contains(segment, "*") {
			return pattern{}, errors.New("want * to be a whole segment, and ** the last one")
		}
	}
	return p, nil
}

// fits says whether the pattern matches a path made by [normalPath].
func (p pattern) fits(path string) bool {
	rest, more := path[1:], true
	for _, want := range p.segments {
		if !more {
			return false
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if want == "*" && segment == "" || want != "*" && want != segment {
			return false
		}
	}
	return !more || p.rest
}

// hostOnly lower-cases a host and cuts its port off, and the dot that may end a
// DNS name: api.example.com. is the same host.
func hostOnly(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.Contains(host[i:], "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
