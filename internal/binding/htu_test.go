package binding

import "testing"

func TestSamePath(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"/", "/", true},
		{"/a", "/a", true},
		{"/%61", "/a", true},
		{"/%2d%2E%5F%7e", "/-._~", true},
		{"/%c3%a9", "/%C3%A9", true},
		{"/%2f", "/%2F", true},
		{"/%25", "/%25", true},
		{"/%2561", "/%61", false}, // decoded once
		{"/%2F", "//", false},
		{"/%3B", "/;", false}, // reserved
		{"/%7C", "/|", false}, // not unreserved
		{"/a", "/A", false},
		{"/a", "/a/", false},
		{"/a/", "/a", false},
		{"/a", "/ab", false},
		{"/é", "/%C3%A9", false},
		{"/a/./b", "/a/b", false},
		{"/a/%2e/b", "/a/./b", true}, // and whoever reads it takes it for one
		{"/%", "/%", false},
		{"/%6", "/%6", false},
		{"/%zz", "/%zz", false},
		{"/%6g", "/%6g", false},
		{"", "", true},
		{"", "/", false},
	} {
		if got := samePath(tc.a, tc.b); got != tc.want {
			t.Errorf("%q and %q: got %t", tc.a, tc.b, got)
		}
	}
}

// TestNewOrigin: the text of an origin is as it compares; empty: it is none.
func TestNewOrigin(t *testing.T) {
	for _, tc := range []struct{ scheme, authority, want string }{
		{"https", "a.example", "https://a.example"},
		{"HTTPS", "A.Example:443", "https://a.example"},
		{"https", "a.example:80", "https://a.example:80"},
		{"http", "a.example:80", "http://a.example"},
		{"http", "a.example:443", "http://a.example:443"},
		{"https", "a.example:", "https://a.example"},
		{"https", "a.example:1", "https://a.example:1"},
		{"https", "a.example:65535", "https://a.example:65535"},
		{"https", "a.example.:8443", "https://a.example.:8443"},
		{"https", "a_b-c.example", "https://a_b-c.example"},
		{"https", "[2001:DB8:0:0:0:0:0:1]", "https://[2001:db8::1]"},
		{"https", "[::1]:443", "https://[::1]"},
		{"https", "[::1]:", "https://[::1]"},
		{"http", "[::FFFF:127.0.0.1]:8080", "http://[::ffff:127.0.0.1]:8080"},
		{"https", "a.example:65536", ""},
		{"https", "a.example:00443", ""},
		{"https", "a.example:-1", ""},
		{"https", "a.example: 443", ""},
		{"https", "", ""},
		{"https", ":443", ""},
		{"https", "@", ""},
		{"https", "a@b.example", ""},
		{"https", "a.example,b.example", ""},
		{"https", "b\u00fccher.example", ""},
		{"https", "\u212aelvin.example", ""},
		{"https", "[fe80::1%25eth0]", ""},
		{"https", "[fe80::1%eth0]", ""},
		{"https", "[::1]443", ""},
		{"https", "[1.2.3.4]", ""},
		{"https", "::1", ""},
		{"ftp", "a.example", ""},
		{"", "a.example", ""},
	} {
		o, err := newOrigin(tc.scheme, tc.authority)
		if tc.want == "" {
			if err == nil || o != (origin{}) {
				t.Errorf("%s, %s: got %+v, %v", tc.scheme, tc.authority, o, err)
			}
			continue
		}
		if err != nil || o.String() != tc.want {
			t.Errorf("%s, %s: got %s, %v; want %s", tc.scheme, tc.authority, o, err, tc.want)
		}
	}
}
