package authz

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// errAmbiguous: Envoy, Bearergate and the upstream might read the path
// differently (E-10, A-14).
var errAmbiguous = errors.New("ambiguous path")

// normalPath returns the path of a request target up to the first `?`, with
// percent-encoded visible ASCII decoded, as upstreams will (/%40me must not
// pass by a rule on /@me), and without the slash that may end it. Only `%`,
// `;`, `?` and `#` stay encoded, and `/` where slashes is true. What could be
// read in two ways is refused, whoever decodes it how often: dot segments,
// empty segments, `\`, `;`, encoded `.`, `/`, `\`, control characters, broken
// encodings, and what is no UTF-8.
func normalPath(target string, slashes bool) (string, error) {
	path, _, _ := strings.Cut(target, "?")
	if path == "" || path[0] != '/' {
		return "", errAmbiguous
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == ';' || c == '#' {
			return "", errAmbiguous
		}
	}
	if strings.IndexByte(path, '%') >= 0 { // all others are judged as they are, at no cost
		var err error
		if path, err = decodePath(path, slashes); err != nil {
			return "", err
		}
	} else if !hasPlainSegments(path) {
		return "", errAmbiguous
	}
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	return path, nil
}

// decodePath decodes once for the rules, and again until nothing changes for
// the judgement: an upstream behind another proxy must not find what is refused
// here.
func decodePath(path string, slashes bool) (string, error) {
	var normal strings.Builder
	normal.Grow(len(path))
	once := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			normal.WriteByte(c)
			once = append(once, c)
			continue
		}
		c, ok := decodeTriple(path[i:])
		if !ok || isNeverEncoded(c) && (c != '/' || !slashes) {
			return "", errAmbiguous
		}
		once = append(once, c)
		if c > ' ' && c < 0x7f && strings.IndexByte("%;?#/", c) < 0 {
			normal.WriteByte(c)
		} else {
			const digits = "0123456789ABCDEF"
			normal.WriteByte('%')
			normal.WriteByte(digits[c>>4])
			normal.WriteByte(digits[c&0xf])
		}
		i += 2
	}
	if !utf8.Valid(once) {
		return "", errAmbiguous
	}
	plain, err := decodeFully(once)
	if err != nil || !isText(plain) || !hasPlainSegments(plain) {
		return "", errAmbiguous
	}
	return normal.String(), nil
}

// decodeFully takes what was decoded once and decodes it until nothing changes,
// in one walk: what a decoded byte completes stands at the end of the output.
// It writes over its argument.
func decodeFully(once []byte) (string, error) {
	out := once[:0]
	for _, c := range once {
		out = append(out, c)
		for len(out) >= 3 {
			c, ok := decodeTriple(string(out[len(out)-3:]))
			if !ok {
				break
			}
			if isNeverEncoded(c) || c == ';' {
				return "", errAmbiguous
			}
			out = append(out[:len(out)-3], c)
		}
	}
	return string(out), nil
}

// decodeTriple decodes the percent-encoded byte at the beginning of s.
func decodeTriple(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, low := unhex(s[1]), unhex(s[2])
	return byte(high<<4 | low), high >= 0 && low >= 0 //nolint:gosec // two hexadecimal digits
}

// isNeverEncoded finds what nobody has a reason to encode who does not mean to
// deceive.
func isNeverEncoded(c byte) bool {
	return c == '.' || c == '/' || c == '\\' || c < ' ' || c == 0x7f
}

func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// hasPlainSegments finds neither dot segments nor empty ones, but for the last,
// which a final slash makes.
func hasPlainSegments(path string) bool {
	for rest, more := path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "" && more || segment != "" && !isPlain(segment) {
			return false
		}
	}
	return true
}

// isPlain judges a segment that is not empty. An encoded `;`, `?` or `#` may
// end it once it is decoded: Tomcat takes `..;x` for `..`.
func isPlain(segment string) bool {
	switch segment[0] {
	case ';':
		return false
	case '.':
		if i := strings.IndexAny(segment, ";?#"); i >= 0 {
			segment = segment[:i]
		}
		return segment != "." && segment != ".."
	}
	return true
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

func parsePattern(s string, slashes bool) (pattern, error) {
	path, rest := strings.CutSuffix(strings.TrimSuffix(s, "/"), "/**")
	if rest && path == "" {
		return pattern{rest: true}, nil
	}
	if !rest {
		path = s
	}
	normal, err := normalPath(path, slashes)
	// An encoded * would come out of normalPath as one that stands for anything.
	if err != nil || strings.Contains(s, "?") || strings.Contains(s, "//") || strings.Contains(strings.ToUpper(s), "%2A") {
		return pattern{}, errors.New("want a path that begins with / and has neither dot segments, " +
			"//, \\, ;, ? nor encoded . / \\ * in it")
	}
	p := pattern{segments: strings.Split(normal[1:], "/"), rest: rest}
	for _, segment := range p.segments {
		if segment != "*" && strings.Contains(segment, "*") {
			return pattern{}, errors.New("want * to be a whole segment, and ** the last one")
		}
	}
	return p, nil
}

// fits says whether the pattern matches a path made by [normalPath]. Both are
// ASCII, so that folding knows no other letters.
func (p pattern) fits(path string, ignoreCase bool) bool {
	rest, more := path[1:], true
	for _, want := range p.segments {
		if !more {
			return false
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		switch {
		case want == "*":
			if segment == "" {
				return false
			}
		case want != segment && (!ignoreCase || !strings.EqualFold(want, segment)):
			return false
		}
	}
	return !more || p.rest
}
