package strictjws

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func compact(header, payload string) string { return encode(header) + "." + encode(payload) + ".AAAA" }

var one = Options{Algorithms: []string{"ES256"}} //nolint:gochecknoglobals // never changed

// wantKind wants an error of that kind, and one that quotes nothing of the JWS.
func wantKind(t *testing.T, err, want error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
		return
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%q quotes the token", err)
	}
}

func TestParse(t *testing.T) {
	header := `{"alg":"ES256","kid":"k","typ":"application/AT+JWT","jwk":{"kty":"EC"},"cty":"json"}`
	raw := compact(header, `{"sub":"alice","exp":1e3}`)
	j, err := Parse(raw, one)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Header{Algorithm: "ES256", KeyID: "k", Type: "at+jwt"}, j.Header); diff != "" {
		t.Error(diff)
	}
	want := map[string]any{"sub": "alice", "exp": stdjson.Number("1e3")} // as it was written
	if diff := cmp.Diff(want, j.Claims.Map()); diff != "" {
		t.Error(diff)
	}
	if j.Raw() != raw || j.Claims.Text != `{"sub":"alice","exp":1e3}` {
		t.Errorf("got %q with payload %q", j.Raw(), j.Claims.Text)
	}
	claims, err := UnverifiedClaims(raw)
	if diff := cmp.Diff(want, claims.Map()); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// TestEmbeddedKey: whoever signs could bring a key, so that it is seen by those
// only who ask for it (J-06), and these get one.
func TestEmbeddedKey(t *testing.T) {
	proof := Options{Algorithms: []string{"ES256"}, EmbeddedKey: true}
	for header, want := range map[string]string{
		`{"alg":"ES256","jwk":{"kty":"EC","x":"1"}}`: `{"kty":"EC","x":"1"}`,
		`{"alg":"ES256"}`:                                "",
		`{"alg":"ES256","jwk":null}`:                     "",
		`{"alg":"ES256","jwk":"s3cret"}`:                 "",
		`{"alg":"ES256","jwk":[]}`:                       "",
		`{"alg":"ES256","JWK":{"kty":"EC"}}`:             "",
		`{"alg":"ES256","jwk":{"kty":"EC","kty":"RSA"}}`: "",
	} {
		j, err := Parse(compact(header, `{}`), proof)
		if want == "" {
			wantKind(t, err, ErrMalformed)
			continue
		}
		if err != nil || string(j.Header.Key) != want {
			t.Errorf("%s: got %+v, %v", header, j, err)
		}
		if j, err := Parse(compact(header, `{}`), one); err != nil || j.Header.Key != nil {
			t.Errorf("%s, not asked for: got %+v, %v", header, j, err)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	good := compact(`{"alg":"ES256"}`, `{}`)
	for name, raw := range map[string]string{
		"empty (J-01)":              "",
		"two parts (J-01)":          encode(`{"alg":"ES256"}`) + "." + encode(`{}`),
		"five parts (J-01)":         good + ".AAAA.AAAA",
		"JSON serialization (J-01)": `{"protected":"` + encode(`{"alg":"ES256"}`) + `","payload":"e30","signature":"AAAA"}`,
		"line break":                good + "\n",
		"inner line break":          good[:5] + "\r\n" + good[5:],
		"padding (J-02)":            good + "==",
		"padding of the header":     encode(`{"alg":"ES256" }`) + "=." + encode(`{}`) + ".AAAA",
		"unused bits (J-02)":        good[:len(good)-4] + "AB",
		"of the header":             encode(`{"alg":"ES256"}`)[:19] + "R." + encode(`{}`) + ".AAAA",
		"of the payload":            encode(`{"alg":"ES256"}`) + ".e31.AAAA",
		"standard alphabet":         good[:len(good)-4] + "AA+A",
		"header is no object":       compact(`[]`, `{}`),
		"header is null":            compact(`null`, `{}`),
		"no alg (J-03)":             compact(`{}`, `{}`),
		"alg of another type":       compact(`{"alg":5}`, `{}`),
		"alg null":                  compact(`{"alg":null}`, `{}`),
		"ALG is not alg":            compact(`{"ALG":"ES256"}`, `{}`),
		"alg twice (J-03)":          compact(`{"alg":"ES256","alg":"ES256"}`, `{}`),
		"nested name twice":         compact(`{"alg":"ES256","x":{"a":1,"a":2}}`, `{}`),
		"invalid UTF-8":             compact("{\"alg\":\"ES256\",\"x\":\"\xff\"}", `{}`),
		"nested invalid UTF-8":      compact("{\"alg\":\"ES256\",\"x\":[\"\xff\"]}", `{}`),
		"bytes after the header":    compact(`{"alg":"ES256"}{}`, `{}`),
		"payload is a list":         compact(`{"alg":"ES256"}`, `[]`),
		"payload is null":           compact(`{"alg":"ES256"}`, `null`),
		"claim twice (J-20)":        compact(`{"alg":"ES256"}`, `{"s3cret":1,"s3cret":2}`),
		"claim of invalid UTF-8":    compact(`{"alg":"ES256"}`, "{\"sub\":\"s3cret\xff\"}"),
		"bytes after the payload":   compact(`{"alg":"ES256"}`, `{}{}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(raw, one)
			wantKind(t, err, ErrMalformed)
		})
	}
}

func TestHeadersThatAreRefused(t *testing.T) { // J-05, J-06, J-07
	for _, member := range []string{
		`"crit":["exp"]`, `"crit":[]`, `"crit":null`, `"b64":true`, `"b64":false`, `"zip":"DEF"`, `"enc":"A128GCM"`,
		`"cty":"JWT"`, `"cty":"jwt"`, `"cty":5`, `"cty":null`, `"kid":""`, `"kid":5`, `"kid":null`, `"typ":null`, `"typ":""`,
		`"typ":"application/"`, `"kid":"` + strings.Repeat("k", 257) + `"`,
	} {
		_, err := Parse(compact(`{"alg":"ES256",`+member+`}`, `{}`), one)
		wantKind(t, err, ErrMalformed)
	}
	for _, member := range []string{
		`"cty":"json"`, `"kid":"` + strings.Repeat("k", 256) + `"`, `"jku":"https://evil.example"`, `"x5t":"t"`, `"x5c":[]`,
		`"jwk":"no key"`,
	} {
		if _, err := Parse(compact(`{"alg":"ES256",`+member+`}`, `{}`), one); err != nil {
			t.Errorf("%s: got %v", member, err)
		}
	}
}

// TestAlgorithmsAreTheCallers: names are compared exactly, and a list has what it
// names only (J-03).
func TestAlgorithmsAreTheCallers(t *testing.T) {
	for _, alg := range []string{"none", "nOnE", "", "HS256", "es256", "ES384", "EdDSA", "RSA1_5"} {
		_, err := Parse(compact(`{"alg":"`+alg+`"}`, `{}`), one)
		wantKind(t, err, ErrAlgorithm)
	}
	_, err := Parse(compact(`{"alg":"EdDSA"}`, `{}`), Options{Algorithms: []string{"Ed25519"}})
	wantKind(t, err, ErrAlgorithm)
	_, err = Parse(compact(`{"alg":"ES256"}`, `{}`), Options{})
	wantKind(t, err, ErrAlgorithm)
}

func TestResembles(t *testing.T) { // I-27
	good := compact(`{"alg":"ES256"}`, `{}`)
	for raw, want := range map[string]bool{
		good: true,
		compact(`{"alg":"none","alg":5}`, `nonsense`): true, // judged strictly, and finally
		encode(`{"alg":"a"}`) + "=..":                 true,
		compact(`{"typ":"JWT"}`, `{}`):                false,
		compact(`["alg"]`, `{}`):                      false,
		good + ".AAAA.AAAA":                           false,
		"opaque":                                      false,
		"a.b.c":                                       false,
		good + "\n":                                   false,
	} {
		if got := Resembles(raw); got != want {
			t.Errorf("%q: got %t", raw, got)
		}
	}
}

// FuzzParse: what is read has one spelling, and a library reads the same.
func FuzzParse(f *testing.F) {
	f.Add(compact(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`, `{"iss":"https://as","exp":9999999999}`))
	f.Add(compact(`{"alg":"EdDSA","jwk":{"kty":"OKP"}}`, `{"htm":"GET"}`))
	f.Add(compact(`{"alg":"none"}`, `{}`))
	f.Add("..")
	o := Options{Algorithms: []string{"ES256", "EdDSA", "PS256"}, EmbeddedKey: true}
	f.Fuzz(func(t *testing.T, raw string) {
		resembles := Resembles(raw)
		_, _ = UnverifiedClaims(raw)
		for _, o.EmbeddedKey = range []bool{true, false} {
			j, err := Parse(raw, o)
			if err != nil {
				if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAlgorithm) || j != nil {
					t.Errorf("got %+v, %v", j, err)
				}
				continue
			}
			spelling := encode(j.Claims.Text) + "." + encode(string(j.signature))
			if !resembles || !strings.HasSuffix(raw, "."+spelling) || j.signed+"."+encode(string(j.signature)) != raw {
				t.Errorf("%q has another spelling, %q", raw, spelling)
			}
			theirs, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.PS256})
			if err == nil && string(theirs.UnsafePayloadWithoutVerification()) != j.Claims.Text {
				t.Errorf("%q is read in two ways", raw)
			}
			if j.Verify(nil) == nil {
				t.Error("verified by no key")
			}
		}
	})
}
