package authz

import (
	"errors"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/validation"
)

func TestCredential(t *testing.T) { // B-01, B-02, B-03, A-11
	long := strings.Repeat("a", validation.MaxTokenBytes)
	for name, tc := range map[string]struct {
		values []string
		target string
		want   string
		err    error
	}{
		"bearer":             {values: []string{"Bearer abc"}, want: "abc"},
		"any case":           {values: []string{"bEARER abc"}, want: "abc"},
		"several spaces":     {values: []string{"Bearer   abc"}, want: "abc"},
		"all characters":     {values: []string{"Bearer aZ0-._~+/=="}, want: "aZ0-._~+/=="},
		"16 KiB":             {values: []string{"Bearer " + long}, want: long},
		"none":               {err: errNoToken},
		"empty":              {values: []string{""}, err: errNoToken},
		"basic":              {values: []string{"Basic dTpw"}, err: errNoToken},
		"DPoP":               {values: []string{"DPoP abc"}, err: errNoToken},
		"digest":             {values: []string{`Digest username="a", realm="b", qop = auth`}, err: errNoToken},
		"query only":         {target: "/?access_token=abc", err: errNoToken},
		"no token":           {values: []string{"Bearer"}, err: errBadRequest},
		"only spaces":        {values: []string{"Bearer   "}, err: errBadRequest},
		"only padding":       {values: []string{"Bearer =="}, err: errBadRequest},
		"padding inside":     {values: []string{"Bearer a=b"}, err: errBadRequest},
		"two words":          {values: []string{"Bearer a b"}, err: errBadRequest},
		"tab":                {values: []string{"Bearer\tabc"}, err: errBadRequest},
		"joined":             {values: []string{"Bearer a,Bearer b"}, err: errBadRequest},
		"joined with space":  {values: []string{"Bearer a, Bearer b"}, err: errBadRequest},
		"comma":              {values: []string{"Bearer a,"}, err: errBadRequest},
		"basic and bearer":   {values: []string{"Basic dTpw,Bearer abc"}, err: errBadRequest},
		"basic and basic":    {values: []string{"Basic dTpw, Basic dTpw"}, err: errBadRequest},
		"two fields":         {values: []string{"Bearer a", "Bearer a"}, err: errBadRequest},
		"two other fields":   {values: []string{"Basic a", "Basic b"}, err: errBadRequest},
		"JSON":               {values: []string{`Bearer {"a":1}`}, err: errBadRequest},
		"newline":            {values: []string{"Bearer a\nb"}, err: errBadRequest},
		"not ASCII":          {values: []string{"Bearer ä"}, err: errBadRequest},
		"scheme not ASCII":   {values: []string{"Bäarer abc"}, err: errBadRequest},
		"too long":           {values: []string{"Bearer a" + long}, err: errBadRequest},
		"header and query":   {values: []string{"Bearer a"}, target: "/?x=1&access_token=b", err: errBadRequest},
		"encoded query name": {values: []string{"Bearer a"}, target: "/?access%5ftoken=b", err: errBadRequest},
		"harmless query":     {values: []string{"Bearer a"}, target: "/?my_access_token=b", want: "a"},
	} {
		got, _, err := credentials{}.find(tc.values, tc.target)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %.20q, %v; want %.20q, %v", name, got, err, tc.want, tc.err)
		}
	}
}

// TestOpaqueTokens: where an issuer introspects, real servers' tokens are taken.
func TestOpaqueTokens(t *testing.T) {
	for value, want := range map[string]string{
		"Bearer 00D!AQ8.x_y": "00D!AQ8.x_y", "Bearer a=b": "a=b", "Bearer {a:1}": "{a:1}", "bearer  ~!@#$%^&*()": "~!@#$%^&*()",
		"Bearer a,Bearer b": "", "Bearer a!,b": "", `Bearer a"b`: "", `Bearer a\b`: "", "Bearer a b": "", "Bearer a!\tb": "", "Bearer ä": "", "Bearer a\x7f": "", "Bearer": "", "Bearer !,": "",
	} {
		got, _, err := credentials{opaque: true}.find([]string{value}, "/")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", value, got, err, want)
		}
	}
	for _, value := range []string{"Basic dTpw,Bearer a!b", "Basic dTpw, Bearer a!b", `Digest a="b", Token a!b`} {
		if _, _, err := (credentials{opaque: true}).find([]string{value}, "/"); !errors.Is(err, errBadRequest) {
			t.Errorf("%q: got %v, want a bad request", value, err)
		}
	}
}

// TestSchemes (RFC 9110 §11.1): in any case, and DPoP only where it is on.
func TestSchemes(t *testing.T) {
	for value, want := range map[string]struct {
		scheme scheme
		err    error
	}{
		"Bearer a": {bearerScheme, nil}, "DPoP a": {dpopScheme, nil}, "dPoP a": {dpopScheme, nil}, "dpop  a": {dpopScheme, nil},
		"DPoP": {noScheme, errBadRequest}, "DPoP a b": {noScheme, errBadRequest}, "DPoP a,Bearer b": {noScheme, errBadRequest},
		"Basic a, DPoP b": {noScheme, errBadRequest}, "Basic a": {noScheme, errNoToken}, "DPoPx a": {noScheme, errNoToken},
	} {
		token, got, err := credentials{dpop: true}.find([]string{value}, "/")
		if got != want.scheme || !errors.Is(err, want.err) || (token == "a") != (err == nil) {
			t.Errorf("%q: got %q, %s, %v; want %s, %v", value, token, got, err, want.scheme, want.err)
		}
	}
	if _, _, err := (credentials{dpop: true}).find([]string{"DPoP a"}, "/?access_token=b"); !errors.Is(err, errBadRequest) {
		t.Errorf("next to one in the query: got %v", err)
	}
}

func FuzzCredential(f *testing.F) {
	f.Add("Bearer abc", "/")
	f.Add("Basic a,Bearer b", "/?access_token=x")
	f.Fuzz(func(t *testing.T, value, target string) {
		token, _, err := credentials{}.find([]string{value}, target)
		if (err == nil) != isB64Token(token) || err == nil && strings.Contains(value, ",") {
			t.Errorf("%q: got %q, %v", value, token, err)
		}
	})
}
