package binding

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/jwk"
)

// fixedClient has one key in every process, so that what it signed is not found by a
// fuzzer, but is the same everywhere.
func fixedClient(t testing.TB) client {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte("a key of thirty-two bytes, fixed"))
	x := base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	c := client{alg: "EdDSA", key: key, jwk: m{"kty": "OKP", "crv": "Ed25519", "x": x}}
	parsed, err := jwk.Parse([]byte(text(t, c.jwk)))
	if err != nil {
		t.Fatal(err)
	}
	c.jkt = parsed.Thumbprint
	return c
}

// FuzzProof: of all that can stand in the field, only what the client signed is accepted.
func FuzzProof(f *testing.F) {
	c := fixedClient(f)
	good := c.proof(f, nil, m{"jti": "good"})
	wanted := c.proof(f, nil, m{"htm": "GET", "jti": "j"})
	f.Add(good)
	f.Add(wanted)
	f.Add(good + "," + good)
	f.Add(c.proof(f, m{"jwk": m{"kty": "oct", "k": "AA"}}, nil))
	f.Add(c.proof(f, m{"alg": "none"}, m{"iat": 1e30, "nonce": 5}))
	f.Add("..")
	f.Fuzz(func(t *testing.T, field string) {
		p := newProofs(t, section())
		next, err := p.Accept(t.Context(), c.request(field))
		if ok := field == good; ok != (err == nil) || next != "" {
			t.Errorf("%q: got %q, %v", field, next, err)
		}
		if err != nil && !errors.Is(err, ErrProof) && !errors.Is(err, ErrKey) {
			t.Errorf("%q: got %v", field, err)
		}
		required := newProofs(t, section(func(d *DPoP) { d.Nonce = "required" }))
		if _, err := required.Accept(t.Context(), c.request(field)); err == nil {
			t.Errorf("%q: accepted without a nonce", field)
		}
	})
}

// FuzzTarget: what is read is what net/url reads, and paths that are called the same
// stand for the same bytes.
func FuzzTarget(f *testing.F) {
	f.Add("https://api.example.com/orders/1", "/orders/1")
	f.Add("HTTPS://[2001:DB8::1]:443/%7Ea", "/~a?b")
	f.Add("https://me@api.example.com:0443?#", "/%2F")
	f.Add("http://api.example.com:80", "")
	f.Add("https://api.example.com/%c3%A9%", "/%C3%a9%25")
	f.Fuzz(func(t *testing.T, htu, path string) {
		got, err := parseTarget(htu)
		if err != nil {
			if got != (target{}) {
				t.Errorf("%q: got %+v, %v", htu, got, err)
			}
			return
		}
		again, err := parseTarget(got.origin.String() + got.path)
		if err != nil || again != got {
			t.Errorf("%q: got %+v, then %+v, %v", htu, got, again, err)
		}
		if u, err := url.Parse(htu); err == nil {
			if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Scheme != got.origin.scheme {
				t.Errorf("%q: got %+v, net/url reads %+v", htu, got, u)
			}
			if !strings.Contains(got.origin.host, ":") && strings.ToLower(u.Hostname()) != got.origin.host {
				t.Errorf("%q: got host %q, net/url reads %q", htu, got.origin.host, u.Hostname())
			}
		}
		if !samePath(got.path, got.path) {
			t.Errorf("%q: the path is not the same as itself", htu)
		}
		a, _ := url.PathUnescape(got.path)
		b, err := url.PathUnescape(pathOf(path))
		same := samePath(got.path, pathOf(path))
		if same && (err != nil || a != b) || same != samePath(pathOf(path), got.path) {
			t.Errorf("%q and %q: got the same", got.path, path)
		}
		if same && strings.Count(got.path, "/") != strings.Count(pathOf(path), "/") {
			t.Errorf("%q and %q: an escaped slash is one", got.path, path)
		}
	})
}

func FuzzThumbprintOfPeer(f *testing.F) {
	f.Add(url.PathEscape(pemOf(der(f, rfc8705))))
	f.Add(pemOf(der(f, rfc9440)) + pemOf(der(f, rfc8705)))
	f.Add("-----BEGIN CERTIFICATE-----%0A-----END CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ThumbprintOfPeer(text)
		if err != nil {
			if got != "" || !errors.Is(err, ErrKey) {
				t.Errorf("%q: got %q, %v", text, got, err)
			}
			return
		}
		plain, _ := url.PathUnescape(text)
		if block, _ := pem.Decode([]byte(plain)); block == nil || thumbprint(block.Bytes) != got {
			t.Errorf("%q: got %q", text, got)
		}
	})
}

func FuzzThumbprintOfHeader(f *testing.F) {
	f.Add(":" + rfc8705 + ":")
	f.Add(" :" + strings.TrimRight(rfc9440, "=") + ": ")
	f.Add(":AAAA:, :AAAA:;a=1")
	f.Fuzz(func(t *testing.T, value string) {
		got, err := ThumbprintOfHeader(value)
		if err != nil {
			if got != "" || !errors.Is(err, ErrKey) {
				t.Errorf("%q: got %q, %v", value, got, err)
			}
			return
		}
		content, err := base64.RawStdEncoding.DecodeString(strings.Trim(value, " :="))
		if err != nil || thumbprint(content) != got {
			t.Errorf("%q: got %q, %v", value, got, err)
		}
	})
}
