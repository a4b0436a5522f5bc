package discovery

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/bearergate/bearergate/internal/jwk"
)

// raw returns the JWK of a key with members replaced; nil removes one.
func raw(t *testing.T, public crypto.PublicKey, changes map[string]any) string {
	t.Helper()
	body, err := (jose.JSONWebKey{Key: public, KeyID: "a"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		members[name] = value
		if value == nil {
			delete(members, name)
		}
	}
	body, err = json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// modulus is an odd number of so many bits, as in n.
func modulus(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return base64.RawURLEncoding.EncodeToString(n.Add(n, big.NewInt(1)).Bytes())
}

func TestWhichKeysAreUsable(t *testing.T) { // J-10
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	rsa2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	t.Setenv("GODEBUG", "rsa1024min=0")
	rsa1024, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	type m = map[string]any
	for name, tc := range map[string]struct {
		key    crypto.PublicKey
		change m
		alg    string // fits; empty: not usable
		secret bool
	}{
		"EC":                 {key: ec.Public(), alg: "ES256"},
		"RSA":                {key: rsa2048.Public(), alg: "PS512"},
		"Ed25519":            {key: ed, alg: "EdDSA"},
		"Ed25519, RFC 9864":  {key: ed, alg: "Ed25519"},
		"both of its names":  {key: ed, change: m{"alg": "EdDSA"}, alg: "Ed25519"},
		"and the other way":  {key: ed, change: m{"alg": "Ed25519"}, alg: "EdDSA"},
		"Ed25519 for EC":     {key: ec.Public(), change: m{"alg": "Ed25519"}},
		"use sig":            {key: ec.Public(), change: m{"use": "sig"}, alg: "ES256"},
		"verify":             {key: ec.Public(), change: m{"key_ops": []string{"verify"}}, alg: "ES256"},
		"named algorithm":    {key: rsa2048.Public(), change: m{"alg": "RS256"}, alg: "RS256"},
		"unknown members":    {key: ec.Public(), change: m{"x5c": []string{"!"}, "ext": true}, alg: "ES256"},
		"use jwt-svid":       {key: ec.Public(), change: m{"use": "jwt-svid"}, alg: "ES256"},
		"jwt-svid, RSA":      {key: rsa2048.Public(), change: m{"use": "jwt-svid"}, alg: "PS384"},
		"jwt-svid, Ed25519":  {key: ed, change: m{"use": "jwt-svid"}},
		"jwt-svid, EdDSA":    {key: ed, change: m{"use": "jwt-svid", "alg": "EdDSA"}},
		"JWT-SVID":           {key: ec.Public(), change: m{"use": "JWT-SVID"}},
		"use x509-svid":      {key: ec.Public(), change: m{"use": "x509-svid"}},
		"Ed25519, sig":       {key: ed, change: m{"use": "sig", "alg": "Ed25519"}, alg: "EdDSA"},
		"Ed448":              {key: ed, change: m{"crv": "Ed448", "x": strings.Repeat("A", 76)}},
		"Ed448 by alg":       {key: ed, change: m{"alg": "Ed448"}},
		"ed25519":            {key: ed, change: m{"crv": "ed25519"}},
		"X25519":             {key: ed, change: m{"crv": "X25519"}},
		"X448":               {key: ed, change: m{"crv": "X448", "x": strings.Repeat("A", 75)}},
		"P-256 in OKP":       {key: ed, change: m{"crv": "P-256"}},
		"Ed25519 in EC":      {key: ec.Public(), change: m{"crv": "Ed25519"}},
		"Ed25519, too short": {key: ed, change: m{"x": strings.Repeat("A", 42)}},
		"Ed25519, too long":  {key: ed, change: m{"x": strings.Repeat("A", 44)}},
		"EdDSA for EC":       {key: ec.Public(), change: m{"alg": "EdDSA"}},
		"Ed25519 for RSA":    {key: rsa2048.Public(), change: m{"alg": "Ed25519"}},
		"ES256 for Ed25519":  {key: ed, change: m{"alg": "ES256"}},
		"ECDH for Ed25519":   {key: ed, change: m{"alg": "ECDH-ES"}},
		"use enc":            {key: ec.Public(), change: m{"use": "enc"}},
		"use empty":          {key: ec.Public(), change: m{"use": ""}},
		"sign":               {key: ec.Public(), change: m{"key_ops": []string{"sign"}}},
		"no operation":       {key: ec.Public(), change: m{"key_ops": []string{}}},
		"foreign algorithm":  {key: ec.Public(), change: m{"alg": "ES384"}},
		"encryption":         {key: rsa2048.Public(), change: m{"alg": "RSA-OAEP"}},
		"HMAC with RSA":      {key: rsa2048.Public(), change: m{"alg": "HS256"}},
		"short RSA":          {key: rsa1024.Public()},
		"RSA exponent 1":     {key: rsa2048.Public(), change: m{"e": "AQ"}},
		"RSA exponent even":  {key: rsa2048.Public(), change: m{"e": "AQAA"}},
		"not on the curve":   {key: ec.Public(), change: m{"y": strings.Repeat("A", 43)}},
		"unknown curve":      {key: ec.Public(), change: m{"crv": "secp256k1"}},
		"unknown type":       {key: ec.Public(), change: m{"kty": "AKP"}},
		"no type":            {key: ec.Public(), change: m{"kty": nil}},
		"key ID of a number": {key: ec.Public(), change: m{"kid": 5}},
		"private":            {key: ec.Public(), change: m{"d": "AQAB"}, secret: true},
		"p alone":            {key: rsa2048.Public(), change: m{"p": "AQAB"}, secret: true},
		"q alone":            {key: rsa2048.Public(), change: m{"q": "AQAB"}, secret: true},
		"dp alone":           {key: rsa2048.Public(), change: m{"dp": "AQAB"}, secret: true},
		"dq alone":           {key: rsa2048.Public(), change: m{"dq": "AQAB"}, secret: true},
		"qi alone":           {key: rsa2048.Public(), change: m{"qi": "AQAB"}, secret: true},
		"oth alone":          {key: rsa2048.Public(), change: m{"oth": []m{{"r": "AQAB"}}}, secret: true},
		"RSA of 2047 bits":   {key: rsa2048.Public(), change: m{"n": modulus(2047)}},
		"RSA of 2048 bits":   {key: rsa2048.Public(), change: m{"n": modulus(2048)}, alg: "RS256"},
		"RSA of 4096 bits":   {key: rsa2048.Public(), change: m{"n": modulus(4096)}, alg: "RS256"},
		"RSA of 4097 bits":   {key: rsa2048.Public(), change: m{"n": modulus(4097)}},
		"RSA of 16384 bits":  {key: rsa2048.Public(), change: m{"n": modulus(16384)}},
		"symmetric":          {key: ec.Public(), change: m{"kty": "oct", "k": "c2VjcmV0"}, secret: true},
		"k in an RSA key":    {key: rsa2048.Public(), change: m{"k": "c2VjcmV0"}, secret: true},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := parseKey([]byte(raw(t, tc.key, tc.change)))
			if tc.alg == "" {
				if err == nil || errors.Is(err, jwk.ErrSecret) != tc.secret {
					t.Fatalf("got %+v, %v; want it refused, as a secret %v", key, err, tc.secret)
				}
				return
			}
			if err != nil || !key.fits(tc.alg) || key.Thumbprint == "" {
				t.Fatalf("got %+v, %v; want a key for %s", key, err, tc.alg)
			}
			for _, alg := range []string{"HS256", "none", "", "RSA1_5", "es256", "ed25519", "EDDSA", "Ed448"} {
				if key.fits(alg) {
					t.Errorf("fits %q", alg)
				}
			}
		})
	}
}

func TestOneBadKeyLosesNothingElse(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good := raw(t, ec.Public(), nil)
	for _, bad := range []string{
		`{}`, `null`, `5`, `{"kty":"EC","kty":"EC"}`, `{"kty":"RSA","n":"!","e":"AQAB"}`, "{\"kty\":\"\xff\"}",
		`[[[]]]`,
	} {
		keys, err := parseKeySet([]byte(`{"keys":[` + bad + `,` + good + `],"more":1}`))
		if err != nil || len(keys.usable) != 1 || keys.skipped == nil {
			t.Errorf("%s: got %d keys, %v, %v; want the good one", bad, len(keys.usable), keys.skipped, err)
		}
	}
}

func TestFind(t *testing.T) { // J-07, J-11
	parse := func(id, alg string, key crypto.PublicKey) Key {
		change := map[string]any{"kid": id, "alg": alg}
		if id == "" {
			change["kid"] = nil
		}
		if alg == "" {
			change["alg"] = nil
		}
		k, err := parseKey([]byte(raw(t, key, change)))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	two, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	for name, tc := range map[string]struct {
		keys    []Key
		id, alg string
		want    bool
	}{
		"by ID":                       {keys: []Key{parse("1", "", one.Public()), parse("2", "", two.Public())}, id: "2", alg: "ES256", want: true},
		"alg of another key":          {keys: []Key{parse("1", "RS256", rsaKey.Public())}, id: "1", alg: "PS256"},
		"alg of the key":              {keys: []Key{parse("1", "RS256", rsaKey.Public())}, id: "1", alg: "RS256", want: true},
		"ID of another type":          {keys: []Key{parse("1", "", one.Public())}, id: "1", alg: "EdDSA"},
		"same ID, other type":         {keys: []Key{parse("1", "", one.Public()), parse("1", "", ed)}, id: "1", alg: "EdDSA", want: true},
		"same ID twice is ambiguous":  {keys: []Key{parse("1", "", one.Public()), parse("1", "", two.Public())}, id: "1", alg: "ES256"},
		"the very same key twice":     {keys: []Key{parse("1", "", one.Public()), parse("1", "", one.Public())}, id: "1", alg: "ES256", want: true},
		"no ID, one key":              {keys: []Key{parse("1", "", one.Public()), parse("2", "", ed)}, alg: "ES256", want: true},
		"no ID, two keys":             {keys: []Key{parse("1", "", one.Public()), parse("2", "", two.Public())}, alg: "ES256"},
		"an ID, but keys without one": {keys: []Key{parse("", "", one.Public())}, id: "1", alg: "ES256"},
	} {
		if _, got := index(tc.keys, time.Now(), "").find(tc.id, tc.alg); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _ := parseKeySet(body)
		for _, k := range keys.usable {
			if k.Public == nil || k.Thumbprint == "" || k.fits("HS256") || k.fits("none") {
				t.Errorf("unusable key passed: %+v", k)
			}
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://as","jwks_uri":"https://as/jwks"}`))
	f.Add([]byte(`{"issuer":"https://as","issuer":"https://as"}`))
	s, err := New(Config{Issuer: "https://as", NeedKeys: true, Intervals: Intervals{
		RefreshInterval: 1, MinRefreshInterval: 1, MaxStale: 1,
	}}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var m Metadata
		doc, err := s.read(body, map[string][]string{"Content-Type": {"application/json"}})
		if err == nil {
			err = s.complete(&m, doc)
		}
		if err == nil && (doc.IssuerURL != "https://as" || !strings.HasPrefix(m.JWKSURI, "https://")) {
			t.Errorf("adopted %+v of %q", m, doc.IssuerURL)
		}
	})
}

// TestCurvesBelongToAlgorithms: ECDSA with another curve than the algorithm's is
// no signature of RFC 7518 §3.4.
func TestCurvesBelongToAlgorithms(t *testing.T) {
	for want, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, alg := range []string{"ES256", "ES384", "ES512", "RS256", "EdDSA"} {
			if got := (Key{Public: private.Public()}).fits(alg); got != (alg == want) {
				t.Errorf("a key of %s fits %s: %v", curve.Params().Name, alg, got)
			}
		}
	}
}
