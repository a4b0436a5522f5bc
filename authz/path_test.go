package authz

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
)

func TestNormalPath(t *testing.T) { // E-10, A-14
	for target, want := range map[string]string{
		"/": "/", "/a/b": "/a/b", "/a/?x=/../": "/a", "/a/": "/a", "/a%2Db": "/a-b", "/%61dmin": "/admin",
		"/a%20b": "/a%20b", "/%40me%3aget%21%2B": "/@me:get!+", "/a%3Fb%23": "/a%3Fb%23", "/a%c3%bc": "/a%C3%BC", "/a..b": "/a..b", "/...": "/...",
		"/a%3bb": "/a%3Bb", "/%25": "/%25", "/100%2541": "/100%2541", "/100%25zz": "/100%25zz", "/%25%34%31": "/%2541", "/%25c3%25bc": "/%25c3%25bc",
	} {
		if got, err := normalPath(target, false); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", target, got, err, want)
		}
	}
	for _, target := range []string{
		"", "*", "a", "?", "//", "/a//b", "//a", "/a//", "/.", "/..", "/a/./b", "/a/../b", "/a/..", `/a\b`, "/a;b", "/a;b=c/d", "/;/a", "/..;/a", "/./",
		"/%2e", "/%2E%2e/", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/a%00", "/a%0d", "/a%7f", "/%252e", "/a%252Fb", "/a%", "/a%2", "/a%zz", "/a b", "/a\tb", "/a\x7fb", "/ä", "/a#b",
		"http://host/a",

		// However often they are encoded.
		"/%25252e", "/%252525252e%252525252e/a", "/%25%32%65%25%32%65", "/%252%65%252%65/a", "/%25%32%66", "/a%255c", "/a%2500", "/a%250%61", "/%25%32%35%32%65",
		"/a%253bb", "/a%25253b", "/..%3b/a", "/.%3Bx", "/%3b/a", "/a/%3B", "/..%3fx", "/..%23",

		// What is no UTF-8, and control characters beyond ASCII.
		"/%ff", "/%c3", "/%c3%28", "/%c0%ae%c0%ae/a", "/%ed%a0%80", "/%25ff", "/%c3%25bc", "/%c2%85", "/%25c2%2585",
	} {
		if got, err := normalPath(target, false); err == nil {
			t.Errorf("%s: got %q, want it refused", target, got)
		}
	}
}

func TestEncodedSlashesStandForThemselves(t *testing.T) {
	for target, want := range map[string]string{
		"/@a%2fb": "/@a%2Fb", "/%40a%2Fb/": "/@a%2Fb", "/api/projects/g%2Fs%2Fp/issues": "/api/projects/g%2Fs%2Fp/issues", "/a/b": "/a/b",
	} {
		if got, err := normalPath(target, true); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", target, got, err, want)
		}
	}
	for _, target := range []string{
		"/a%252fb", "/a%25%32%66b", "/..%2fa", "/a%2f..", "/a%2f..%2fb", "/a%2f%2fb", "/a/%2fb", "/a%2f/b", "/%2f", "/a%5cb", "/a%2f%2e%2e", "/a%2f..%3bx", "/%2e%2fa",
	} {
		if got, err := normalPath(target, true); err == nil {
			t.Errorf("%s: got %q, want it refused", target, got)
		}
	}
	p, err := parsePattern("/@a%2fb/*", true)
	if err != nil || !p.fits("/@a%2Fb/c%2Fd", false) || p.fits("/@a/b/c", false) {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := parsePattern("/@a%2fb", false); err == nil {
		t.Error("a pattern that can never fit was accepted")
	}
}

func TestNormalPathOfManyLayersIsLinear(t *testing.T) {
	if _, err := normalPath("/"+strings.Repeat("%25", 20_000)+strings.Repeat("25", 20_000)+"2e", false); err == nil {
		t.Error("got a path, want it refused")
	}
}

func TestNormalPathWithoutPercentAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = normalPath("/orders/1/items/?q=%2e", false) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func TestPatterns(t *testing.T) {
	for s, tc := range map[string]struct{ fit, miss []string }{
		"/a":       {[]string{"/a"}, []string{"/", "/ab", "/a/b", "/A"}},
		"/":        {[]string{"/"}, []string{"/a"}},
		"/a/":      {[]string{"/a"}, []string{"/a/b", "/"}},
		"/*":       {[]string{"/a", "/b"}, []string{"/", "/a/b"}},
		"/a/*/":    {[]string{"/a/b"}, []string{"/a", "/a/b/c"}},
		"/a/*/c":   {[]string{"/a/b/c"}, []string{"/a/c", "/a/b/b/c"}},
		"/a/**":    {[]string{"/a", "/a/b", "/a/b/c"}, []string{"/", "/ab", "/b/a"}},
		"/a/**/":   {[]string{"/a", "/a/b", "/a/b/c"}, []string{"/", "/ab"}},
		"/**":      {[]string{"/", "/a", "/a/b"}, nil},
		"/a/*/**":  {[]string{"/a/b", "/a/b/c"}, []string{"/a"}},
		"/%c3%bc":  {[]string{"/%C3%BC"}, []string{"/ü"}},
		"/%41/b%2": {},
	} {
		p, err := parsePattern(s, false)
		if (err == nil) != (tc.fit != nil) {
			t.Errorf("%s: %v", s, err)
			continue
		}
		for _, path := range tc.fit {
			if !p.fits(path, false) {
				t.Errorf("%s does not fit %s", s, path)
			}
		}
		for _, path := range tc.miss {
			if p.fits(path, false) {
				t.Errorf("%s fits %s", s, path)
			}
		}
	}
	for _, s := range []string{
		"", "a", "**", "/a*", "/**/a", "/a/../b", "/a//b", "/a//", "/a//**", "//", "//**", "/a?b", "/a**", "/%2e",
		"/a;b", "/**?x", "/a/%2a", "/a/%2A/b", "/a/%2a*",
	} {
		if _, err := parsePattern(s, false); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
	admin, _ := parsePattern("/Admin/*/k", false)
	if !admin.fits("/aDMIN/X/K", true) || admin.fits("/aDMIN/X/K", false) || admin.fits("/adm1n/x/k", true) {
		t.Error("case is not compared as ignore_case says")
	}
}

// FuzzNormalPath holds what is accepted to what every later decoder makes of it.
func FuzzNormalPath(f *testing.F) {
	for _, s := range []string{
		"/a/b?c", "/%2e%2e/", "//", "/a;b", "/%61", "/%252%65", "/%25%32%65", "/a%3bb", "/..%3b/a", "/a%2fb", "/a%2f..", "/a%252fb", "/%c3%25bc", "/%25%36%31", "/a/", "/%3f",
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	all, _ := parsePattern("/**", false)
	f.Fuzz(func(t *testing.T, target string, slashes bool) {
		path, err := normalPath(target, slashes)
		if err != nil {
			return
		}
		if !all.fits(path, false) || path[0] != '/' || strings.ContainsAny(path, "?;\\#") {
			t.Errorf("%q became %q", target, path)
		}
		if again, err := normalPath(path, slashes); err != nil || again != path {
			t.Errorf("%q became %q became %q, %v", target, path, again, err)
		}
		sent, _, _ := strings.Cut(target, "?")
		for _, spelling := range []string{path, sent} {
			checkDecodings(t, spelling, path, slashes)
		}
	})
}

// checkDecodings decodes until nothing changes: nothing may appear that the
// normal path does not show, be it as `%3B` or `%2F`.
func checkDecodings(t *testing.T, spelling, normal string, slashes bool) {
	t.Helper()
	semicolons := strings.Count(normal, "%3B")
	separators := strings.Count(normal, "/")
	if slashes {
		separators += strings.Count(normal, "%2F")
	}
	for {
		bare := strings.TrimSuffix(spelling, "/")
		if strings.Count(bare, ";") > semicolons || strings.ContainsFunc(bare, unicode.IsControl) || strings.ContainsAny(bare, `\`) || strings.Contains(spelling, "//") ||
			strings.Count(bare, "/") > separators {
			t.Errorf("%q shows %q", normal, spelling)
		}
		for _, segment := range strings.Split(spelling, "/") {
			segment, _, _ = strings.Cut(segment, ";")
			if segment == "." || segment == ".." {
				t.Errorf("%q shows %q", normal, spelling)
			}
		}
		decoded, err := url.PathUnescape(spelling)
		if err != nil || decoded == spelling {
			return
		}
		spelling = decoded
	}
}

func TestHostOnly(t *testing.T) { // E-10
	for host, want := range map[string]string{
		"": "", "api.example.com": "api.example.com", "API.Example.com:8443": "api.example.com", "localhost:0": "localhost", "10.0.0.1:80": "10.0.0.1",
		"[::1]": "[::1]", "[2001:DB8::1]:443": "[2001:db8::1]", "a_b": "a_b",
	} {
		if got, err := hostOnly(host); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", host, got, err, want)
		}
	}
	for _, host := range []string{
		"api.example.com.", "api.example.com.:443", "api.example.com:", "api.example.com:evil.com", ":evil.com", ":443", "a:1:2", "a:65536", "a:+1", "a:-1", "a:0x50", "a:1_0",
		"user@a", "user:pass@a", "a@:1", "[::1", "[::1]:", "[::1]x", "[::1]x:1", "[::1].", "[::1]:x", "::1", ".", "a b", "a\t", "\u212aube", "a,b:c",
	} {
		if got, err := hostOnly(host); err == nil {
			t.Errorf("%q: got %q, want it refused", host, got)
		}
	}
}
