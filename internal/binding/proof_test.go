package binding

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/jwk"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

type m = map[string]any

// clock is the time of all proofs here.
var clock = time.Unix(1_800_000_000, 500_000_000)

func at() time.Time { return clock }

// client makes proofs, good and bad ones.
type client struct {
	alg string
	key crypto.Signer
	jwk m
	jkt string
}

func newClient(t testing.TB, alg string) client {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := client{alg: alg, key: key}
	raw, err := jose.JSONWebKey{Key: key.Public()}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &c.jwk); err != nil {
		t.Fatal(err)
	}
	parsed, err := jwk.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	c.jkt = parsed.Thumbprint
	return c
}

func encode(content string) string { return base64.RawURLEncoding.EncodeToString([]byte(content)) }

func text(t testing.TB, v any) string {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// sign makes a JWS of two texts, by the algorithm of the client.
func (c client) sign(t testing.TB, header, claims string) string {
	t.Helper()
	signed := encode(header) + "." + encode(claims)
	hash := crypto.SHA256
	sum := sha256.Sum256([]byte(signed))
	digest := sum[:]
	switch c.alg {
	case "ES384":
		sum := sha512.Sum384([]byte(signed))
		digest = sum[:]
	case "ES512":
		sum := sha512.Sum512([]byte(signed))
		digest = sum[:]
	}
	var signature []byte
	var err error
	switch key := c.key.(type) {
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key, digest)
		size := (key.Params().BitSize + 7) / 8
		if err == nil {
			signature = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(signed))
	case *rsa.PrivateKey:
		if c.alg == "PS256" {
			signature, err = rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(nil, key, hash, digest)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const token = "an.access-token"

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

var jtis atomic.Int64

// proof makes a good one, with members replaced; nil removes one.
func (c client) proof(t testing.TB, header, claims m) string {
	t.Helper()
	h := m{"typ": "dpop+jwt", "alg": c.alg, "jwk": c.jwk}
	p := m{
		"htm": "POST", "htu": "https://api.example.com/orders/1", "iat": clock.Unix(),
		"jti": fmt.Sprint("id-", jtis.Add(1)), "ath": hashOf(token),
	}
	for into, changes := range map[*m]m{&h: header, &p: claims} {
		for name, value := range changes {
			(*into)[name] = value
			if value == nil {
				delete(*into, name)
			}
		}
	}
	return c.sign(t, text(t, h), text(t, p))
}

// request is the one that the proofs are made for.
func (c client) request(field string) Proof {
	return Proof{
		Field: field, Method: "POST", Scheme: "https", Host: "api.example.com", Path: "/orders/1?since=2026", Token: token, JKT: c.jkt,
		ClockSkew: 30 * time.Second,
	}
}

// section is the configuration with its defaults.
func section(change ...func(*DPoP)) DPoP {
	c := DPoP{
		Algorithms: []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256"},
		MaxAge:     time.Minute, Nonce: "off", ReplayEntries: 1000,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func newProofs(t testing.TB, c DPoP, change ...func(*Options)) *Proofs {
	t.Helper()
	o := Options{Replays: NewMemory(1_000_000, at), Now: at}
	for _, f := range change {
		f(&o)
	}
	p, err := NewProofs(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestExampleOfTheRFC is RFC 9449 §7.1, figures 13 and 14; §6.1 has the thumbprint.
func TestExampleOfTheRFC(t *testing.T) {
	const field = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6Ik" +
		"VDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR" +
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JE" +
		"QSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIj" +
		"oiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z" +
		"WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNF" +
		"c05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71E" +
		"OptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	r := Proof{
		Field: field, Method: "GET", Scheme: "https", Host: "resource.example.org", Path: "/protectedresource",
		Token: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU", JKT: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
	}
	now := time.Unix(1562262618, 0)
	p, err := NewProofs(section(), Options{Replays: NewMemory(1000, func() time.Time { return now }), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if next, err := p.Accept(t.Context(), r); err != nil || next != "" {
		t.Fatalf("got %q, %v", next, err)
	}
	if _, err := p.Accept(t.Context(), r); !errors.Is(err, ErrProof) {
		t.Errorf("the second time: got %v", err)
	}
}

func TestEveryAlgorithm(t *testing.T) {
	for _, alg := range section().Algorithms {
		c := newClient(t, alg)
		if _, err := newProofs(t, section()).Accept(t.Context(), c.request(c.proof(t, nil, nil))); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// TestBadProofs has each with the one thing that is wrong about it, and what is said
// of that. The numbers in names are those of the list in RFC 9449 §4.3.
func TestBadProofs(t *testing.T) {
	c, other := newClient(t, "ES256"), newClient(t, "ES256")
	p384, ed, weak := newClient(t, "ES384"), newClient(t, "EdDSA"), client{alg: "RS256"}
	t.Setenv("GODEBUG", "rsa1024min=0")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak.key = short
	weak.jwk = m{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(short.N.Bytes())}
	with := func(changes m, base m) m {
		changed := maps.Clone(base)
		maps.Copy(changed, changes)
		return changed
	}
	good := c.proof(t, nil, nil)
	parts := strings.Split(good, ".")
	raw := func(header, claims string) string { return c.sign(t, header, claims) }
	header, claims := text(t, m{"typ": "dpop+jwt", "alg": "ES256", "jwk": c.jwk}), `{"htm":"POST"}`
	claim := func(name string, value any) string { return c.proof(t, nil, m{name: value}) }
	head := func(name string, value any) string { return c.proof(t, m{name: value}, nil) }
	key := func(changes m) string { return c.proof(t, m{"jwk": with(changes, c.jwk)}, nil) }
	private := c.key.(*ecdsa.PrivateKey)
	now := clock.Unix()
	flip := func(s string) string {
		if s[0] == 'A' {
			return "B" + s[1:]
		}
		return "A" + s[1:]
	}
	table := map[string]struct {
		field string
		want  string
	}{
		"1 none":                        {"", "there is none"},
		"1 two fields":                  {good + ", " + c.proof(t, nil, nil), "more than one"},
		"1 the same field twice":        {good + "," + good, "more than one"},
		"1 comma at the end":            {good + ",", "more than one"},
		"2 not a JWS":                   {"proof", "three parts"},
		"2 two parts":                   {parts[0] + "." + parts[1], "three parts"},
		"2 four parts":                  {good + ".AAAA", "three parts"},
		"2 JWE (J-01)":                  {good + "..", "three parts"},
		"2 JSON serialization (J-01)":   {`{"protected":"` + parts[0] + `"}`, "three parts"},
		"2 space before":                {" " + good, "not base64url"},
		"2 space after":                 {good + " ", "not base64url"},
		"2 line break":                  {parts[0] + "\n." + parts[1] + "." + parts[2], "three parts"},
		"2 padding (J-02)":              {good + "=", "not base64url"},
		"2 scheme before":               {"DPoP " + good, "not base64url"},
		"2 empty parts":                 {"..", "JSON object"},
		"2 longer than 8 KiB":           {claim("pad", strings.Repeat("x", 8<<10)), "want at most 8192"},
		"2 header no object":            {raw(`[]`, claims), "JSON object"},
		"2 claims no object":            {raw(header, `"x"`), "JSON object"},
		"2 claims null":                 {raw(header, `null`), "null"},
		"2 claim twice (J-20)":          {raw(header, `{"htm":"GET","htm":"POST"}`), "JSON object"},
		"2 header twice (J-03)":         {raw(header[:len(header)-1]+`,"typ":"dpop+jwt"}`, claims), "JSON object"},
		"2 no UTF-8":                    {raw(header, "{\"jti\":\"\xff\"}"), "JSON object"},
		"2 crit (J-05)":                 {head("crit", []string{"exp"}), "crit"},
		"2 b64 (J-05)":                  {head("b64", false), "b64"},
		"2 compressed (J-06)":           {head("zip", "DEF"), "zip"},
		"2 nested (J-06)":               {head("cty", "JWT"), "nested"},
		"3 no jti":                      {claim("jti", nil), "jti is missing"},
		"3 jti of a number":             {claim("jti", 5), "jti is missing or not a string"},
		"3 jti null":                    {raw(header, strings.Replace(text(t, m{"htm": "POST", "htu": "https://api.example.com/orders/1", "iat": now}), "{", `{"jti":null,`, 1)), "jti is missing or not a string"},
		"3 jti empty":                   {claim("jti", ""), "jti has 0 bytes"},
		"3 jti of 257 bytes":            {claim("jti", strings.Repeat("j", 257)), "jti has 257 bytes"},
		"3 no htm":                      {claim("htm", nil), "htm is missing"},
		"3 HTM is not htm (J-20)":       {c.proof(t, nil, m{"htm": nil, "HTM": "POST"}), "htm is missing"},
		"3 htm of a list":               {claim("htm", []string{"POST"}), "htm is missing or not a string"},
		"3 no htu":                      {claim("htu", nil), "htu is missing"},
		"3 htu of an object":            {claim("htu", m{}), "htu is missing or not a string"},
		"3 no iat":                      {claim("iat", nil), "iat is missing"},
		"3 iat of text":                 {claim("iat", fmt.Sprint(now)), "iat is missing or not a number"},
		"3 iat of true":                 {claim("iat", true), "iat is missing or not a number"},
		"3 no ath":                      {claim("ath", nil), "ath is missing"},
		"3 ath of a number":             {claim("ath", 5), "ath is missing or not a string"},
		"4 no typ":                      {head("typ", nil), "typ is not dpop+jwt"},
		"4 typ of a JWT (J-04)":         {head("typ", "JWT"), "typ is not dpop+jwt"},
		"4 typ of a token (J-04)":       {head("typ", "at+jwt"), "typ is not dpop+jwt"},
		"4 typ of a number":             {head("typ", 5), "typ is not a string"},
		"4 typ with another prefix":     {head("typ", "text/dpop+jwt"), "typ is not dpop+jwt"},
		"5 no alg":                      {head("alg", nil), "alg is not a string"},
		"5 alg none":                    {encode(strings.Replace(header, "ES256", "none", 1)) + "." + parts[1] + ".", "unsupported algorithm"},
		"5 alg nOnE":                    {head("alg", "nOnE"), "unsupported algorithm"},
		"5 alg in lower case":           {head("alg", "es256"), "unsupported algorithm"},
		"5 HMAC":                        {head("alg", "HS256"), "unsupported algorithm"},
		"5 Ed448":                       {head("alg", "Ed448"), "unsupported algorithm"},
		"5 ES256K":                      {head("alg", "ES256K"), "unsupported algorithm"},
		"5 not configured":              {head("alg", "RS512"), "unsupported algorithm"},
		"5 of another curve":            {head("alg", "ES384"), "alg does not fit jwk"},
		"5 of another type":             {head("alg", "PS256"), "alg does not fit jwk"},
		"5 EdDSA by an EC key":          {head("alg", "EdDSA"), "alg does not fit jwk"},
		"5 ES256 by P-384":              {p384.proof(t, m{"alg": "ES256"}, nil), "alg does not fit jwk"},
		"5 ES256 by Ed25519":            {ed.proof(t, m{"alg": "ES256"}, nil), "alg does not fit jwk"},
		"5 EdDSA by Ed448":              {c.proof(t, m{"alg": "EdDSA", "jwk": m{"kty": "OKP", "crv": "Ed448", "x": strings.Repeat("A", 76)}}, nil), "malformed key"},
		"5 EdDSA by X25519":             {c.proof(t, m{"alg": "EdDSA", "jwk": m{"kty": "OKP", "crv": "X25519", "x": strings.Repeat("A", 43)}}, nil), "malformed key"},
		"5 jwk for another alg (J-10)":  {key(m{"alg": "ES384"}), "alg does not fit the key"},
		"5 jwk for encryption (J-10)":   {key(m{"use": "enc"}), "use is neither sig nor jwt-svid"},
		"5 jwk for signing only (J-10)": {key(m{"key_ops": []string{"encrypt"}}), "key_ops"},
		"5 RSA of 1024 bits (J-10)":     {weak.proof(t, nil, nil), "modulus of 1024 bits"},
		"5 RSA of 4104 bits (J-10)":     {c.proof(t, m{"alg": "RS256", "jwk": m{"kty": "RSA", "e": "AQAB", "n": strings.Repeat("_", 684)}}, nil), "modulus of 4104 bits"},
		"5 RSA exponent 1 (J-10)":       {c.proof(t, m{"alg": "RS256", "jwk": m{"kty": "RSA", "e": "AQ", "n": strings.Repeat("_", 342)}}, nil), "exponent"},
		"5 key off its curve (J-10)":    {key(m{"y": strings.Repeat("A", 43)}), "malformed key"},
		"6 signature of another key":    {other.proof(t, m{"jwk": c.jwk}, nil), "bad signature"},
		"6 signature changed":           {parts[0] + "." + parts[1] + "." + flip(parts[2]), "bad signature"},
		"6 signature of another proof":  {parts[0] + "." + parts[1] + "." + strings.Split(claim("jti", "x"), ".")[2], "bad signature"},
		"6 no signature":                {parts[0] + "." + parts[1] + ".", "bad signature"},
		"6 signature of zeros":          {parts[0] + "." + parts[1] + "." + strings.Repeat("A", 86), "bad signature"},
		"6 DER signature":               {parts[0] + "." + parts[1] + "." + derOf(t, private, parts), "bad signature"},
		"6 claims changed":              {parts[0] + "." + encode(text(t, m{"htm": "POST", "htu": "https://api.example.com/orders/1", "iat": now, "jti": "j", "ath": hashOf(token)})) + "." + parts[2], "bad signature"},
		"7 no jwk":                      {head("jwk", nil), "jwk is not an object"},
		"7 jwk null":                    {raw(strings.Replace(header, `"jwk":{`, `"jwk":null,"x":{`, 1), claims), "jwk is not an object"},
		"7 jwk of text":                 {head("jwk", "key"), "jwk is not an object"},
		"7 only kid":                    {c.proof(t, m{"jwk": nil, "kid": "k"}, nil), "jwk is not an object"},
		"7 only x5c":                    {c.proof(t, m{"jwk": nil, "x5c": []string{"MII"}}, nil), "jwk is not an object"},
		"7 private key":                 {key(m{"d": encode("secret")}), "private key"},
		"7 private key, null (J-10)":    {raw(strings.Replace(header, `"crv"`, `"p":"AA","crv"`, 1), claims), "private key"},
		"7 symmetric key":               {head("jwk", m{"kty": "oct", "k": encode("secret")}), "symmetric key"},
		"7 unknown type of key":         {head("jwk", m{"kty": "AKP"}), "malformed key"},
		"8 another method":              {claim("htm", "GET"), "htm is not the method"},
		"8 method in lower case":        {claim("htm", "post"), "htm is not the method"},
		"8 method and a space":          {claim("htm", "POST "), "htm is not the method"},
		"8 empty method":                {claim("htm", ""), "htm is not the method"},
		"9 query":                       {claim("htu", "https://api.example.com/orders/1?since=2026"), "has a query"},
		"9 empty query":                 {claim("htu", "https://api.example.com/orders/1?"), "has a query"},
		"9 fragment":                    {claim("htu", "https://api.example.com/orders/1#a"), "has a fragment"},
		"9 empty fragment":              {claim("htu", "https://api.example.com/orders/1#"), "has a fragment"},
		"9 user":                        {claim("htu", "https://api.example.com@evil.example/orders/1"), "user information"},
		"9 empty user":                  {claim("htu", "https://@api.example.com/orders/1"), "user information"},
		"9 another host":                {claim("htu", "https://api.example.org/orders/1"), "origin of htu"},
		"9 another port":                {claim("htu", "https://api.example.com:8443/orders/1"), "origin of htu"},
		"9 http":                        {claim("htu", "http://api.example.com/orders/1"), "origin of htu"},
		"9 http on 443":                 {claim("htu", "http://api.example.com:443/orders/1"), "origin of htu"},
		"9 https on 80":                 {claim("htu", "https://api.example.com:80/orders/1"), "origin of htu"},
		"9 port with a zero":            {claim("htu", "https://api.example.com:0443/orders/1"), "port is malformed"},
		"9 port 0":                      {claim("htu", "https://api.example.com:0/orders/1"), "port is malformed"},
		"9 port of letters":             {claim("htu", "https://api.example.com:https/orders/1"), "port is malformed"},
		"9 port too great":              {claim("htu", "https://api.example.com:65979/orders/1"), "port is malformed"}, // 443 + 2^16
		"9 signed port":                 {claim("htu", "https://api.example.com:+443/orders/1"), "port is malformed"},
		"9 two ports":                   {claim("htu", "https://api.example.com:443:443/orders/1"), "port is malformed"},
		"9 dot after the host":          {claim("htu", "https://api.example.com./orders/1"), "origin of htu"},
		"9 escape in the host":          {claim("htu", "https://api%2Eexample.com/orders/1"), "host is malformed"},
		"9 Kelvin sign in the host":     {claim("htu", "https://api.example.com\u212a/orders/1"), "visible ASCII"},
		"9 no host":                     {claim("htu", "https:///orders/1"), "host is malformed"},
		"9 relative":                    {claim("htu", "/orders/1"), "absolute URL"},
		"9 no scheme":                   {claim("htu", "//api.example.com/orders/1"), "absolute URL"},
		"9 another scheme":              {claim("htu", "wss://api.example.com/orders/1"), "neither https nor http"},
		"9 empty":                       {claim("htu", ""), "absolute URL"},
		"9 space before":                {claim("htu", " https://api.example.com/orders/1"), "visible ASCII"},
		"9 line break":                  {claim("htu", "https://api.example.com/orders/1\n"), "visible ASCII"},
		"9 backslash":                   {claim("htu", `https://api.example.com\orders\1`), "visible ASCII"},
		"9 final slash":                 {claim("htu", "https://api.example.com/orders/1/"), "path of htu"},
		"9 two slashes":                 {claim("htu", "https://api.example.com//orders/1"), "path of htu"},
		"9 dot segment":                 {claim("htu", "https://api.example.com/x/../orders/1"), "path of htu"},
		"9 escaped slash":               {claim("htu", "https://api.example.com/orders%2F1"), "path of htu"},
		"9 another case":                {claim("htu", "https://api.example.com/Orders/1"), "path of htu"},
		"9 half a path":                 {claim("htu", "https://api.example.com/orders"), "path of htu"},
		"9 no path":                     {claim("htu", "https://api.example.com"), "path of htu"},
		"9 parameters":                  {claim("htu", "https://api.example.com/orders/1;a"), "path of htu"},
		"9 half an escape":              {claim("htu", "https://api.example.com/orders/1%3"), "escape"},
		"9 escape of no hex":            {claim("htu", "https://api.example.com/orders/1%zz"), "escape"},
		"11 too old":                    {claim("iat", now-60), "iat is 1m1s old, want at most 1m0s"}, // by half a second
		"11 an hour old":                {claim("iat", now-3600), "iat is 1h0m1s old"},
		"11 too far ahead":              {claim("iat", now+91), "iat lies 1m31s ahead, want at most 1m30s"},
		"11 milliseconds":               {claim("iat", now*1000), "ahead"},
		"11 negative":                   {claim("iat", -now), "no date"},
		"11 for ever (J-22)":            {claim("iat", 1e30), "no date"},
		"11 more than a float":          {claim("iat", json.Number("1e999")), "no date"},
		"12 another token":              {claim("ath", hashOf("another")), "ath is not of the token"},
		"12 the token itself":           {claim("ath", token), "ath is not of the token"},
		"12 padded":                     {claim("ath", hashOf(token)+"="), "ath is not of the token"},
		"12 in hex":                     {claim("ath", fmt.Sprintf("%x", sha256.Sum256([]byte(token)))), "ath is not of the token"},
		"12 empty":                      {claim("ath", ""), "ath is not of the token"},
	}
	if len(table) < 60 {
		t.Fatalf("got %d proofs", len(table))
	}
	var told []string
	memory := NewMemory(1_000_000, at)
	p := newProofs(t, section(), func(o *Options) {
		o.Replays, o.Told = memory, func(r string) { told = append(told, r) }
	})
	for name, tc := range table {
		t.Run(name, func(t *testing.T) {
			told = nil
			ctx, w := walk.With(t.Context())
			next, err := p.Accept(ctx, c.request(tc.field))
			if !errors.Is(err, ErrProof) || !strings.Contains(err.Error(), tc.want) || next != "" {
				t.Errorf("got %q, %v; want a wrong proof because of %q", next, err, tc.want)
			}
			if len(told) != 1 || told[0] != Invalid {
				t.Errorf("told %q", told)
			}
			steps := w.Steps()
			if len(steps) == 0 || steps[len(steps)-1].Result != walk.Failed {
				t.Errorf("got the walk %+v", steps)
			}
			if jti := jtiOf(tc.field); jti != "" && strings.Contains(fmt.Sprint(err, steps), jti) {
				t.Errorf("%v, %+v have something of the proof", err, steps)
			}
		})
	}
	if memory.Len() != 0 {
		t.Errorf("%d bad proofs are remembered", memory.Len())
	}
	if _, err := p.Accept(t.Context(), c.request(good)); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func derOf(t *testing.T, key *ecdsa.PrivateKey, parts []string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	der, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(der)
}

// jtiOf returns a jti that is long enough to be looked for in a text.
func jtiOf(field string) string {
	parts := strings.Split(field, ".")
	if len(parts) != 3 {
		return ""
	}
	content, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ JTI any }
	_ = json.Unmarshal(content, &claims)
	if jti, ok := claims.JTI.(string); ok && strings.HasPrefix(jti, "id-") {
		return jti
	}
	return ""
}

// TestGoodProofs: what two ends write differently is the same all the same.
func TestGoodProofs(t *testing.T) {
	c := newClient(t, "ES256")
	now := clock.Unix()
	for name, tc := range map[string]struct {
		header, claims m
		host, path     string // of the request, where others are wanted
	}{
		"as it is":                       {},
		"typ as a media type":            {header: m{"typ": "application/DPoP+JWT"}},
		"a key ID besides":               {header: m{"kid": "k"}},
		"a key that says what it is for": {header: m{"jwk": m{"kty": "EC", "crv": "P-256", "x": c.jwk["x"], "y": c.jwk["y"], "use": "sig", "key_ops": []string{"verify"}, "alg": "ES256", "ext": true, "kid": "k"}}},
		"jti of 256 bytes":               {claims: m{"jti": strings.Repeat("j", 256)}},
		"jti of one byte":                {claims: m{"jti": " "}},
		"a nonce that nobody wants":      {claims: m{"nonce": 5}},
		"claims that nobody knows":       {claims: m{"exp": 1, "aud": []int{}}},
		"almost too old":                 {claims: m{"iat": now - 59}},
		"exactly a minute old":           {claims: m{"iat": json.Number(fmt.Sprintf("%d.5", now-60))}},
		"far ahead":                      {claims: m{"iat": now + 90}},
		"fraction":                       {claims: m{"iat": json.Number(fmt.Sprintf("%d.25", now))}},
		"exponent":                       {claims: m{"iat": json.Number("1.8e9")}},
		"default port":                   {claims: m{"htu": "https://api.example.com:443/orders/1"}},
		"empty port":                     {claims: m{"htu": "https://api.example.com:/orders/1"}},
		"default port of the request":    {host: "api.example.com:443"},
		"upper case":                     {claims: m{"htu": "HTTPS://API.Example.COM/orders/1"}},
		"upper case of the request":      {host: "API.EXAMPLE.COM"},
		"another port, both":             {claims: m{"htu": "https://api.example.com:8443/orders/1"}, host: "api.example.com:8443"},
		"a final dot, both":              {claims: m{"htu": "https://api.example.com./orders/1"}, host: "api.example.com."},
		"escaped unreserved":             {claims: m{"htu": "https://api.example.com/%6Frders/%31"}},
		"escaped by the request":         {path: "/%6frders/1"},
		"dot and tilde escaped":          {claims: m{"htu": "https://api.example.com/~a.b"}, path: "/%7Ea%2eb"},
		"hex in lower case":              {claims: m{"htu": "https://api.example.com/caf%c3%a9"}, path: "/caf%C3%A9"},
		"escaped slash, both":            {claims: m{"htu": "https://api.example.com/a%2fb"}, path: "/a%2Fb"},
		"escaped question mark":          {claims: m{"htu": "https://api.example.com/a%3Fb"}, path: "/a%3fb?c"},
		"dot segments, both":             {claims: m{"htu": "https://api.example.com/a/../b"}, path: "/a/../b"},
		"final slash, both":              {claims: m{"htu": "https://api.example.com/orders/"}, path: "/orders/"},
		"bars and brackets":              {claims: m{"htu": "https://api.example.com/a|b[1]"}, path: "/a|b[1]"},
		"plus":                           {claims: m{"htu": "https://api.example.com/a+b"}, path: "/a+b"},
		"empty path":                     {claims: m{"htu": "https://api.example.com"}, path: "/"},
		"empty path, default port":       {claims: m{"htu": "https://api.example.com:443"}, path: "/?a=b"},
		"slash":                          {claims: m{"htu": "https://api.example.com/"}, path: "/?"},
		"IPv4":                           {claims: m{"htu": "https://127.0.0.1:8443/"}, host: "127.0.0.1:8443", path: "/"},
		"IPv6":                           {claims: m{"htu": "https://[2001:DB8:0:0::1]/"}, host: "[2001:db8::1]:443", path: "/"},
		"IPv6 with a port":               {claims: m{"htu": "https://[::1]:8443/"}, host: "[0:0:0:0:0:0:0:1]:8443", path: "/"},
		"IDN":                            {claims: m{"htu": "https://xn--bcher-kva.example/"}, host: "XN--bcher-KVA.example", path: "/"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.request(c.proof(t, tc.header, tc.claims))
			if tc.host != "" {
				r.Host = tc.host
			}
			if tc.path != "" {
				r.Path = tc.path
			}
			if _, err := newProofs(t, section()).Accept(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadHosts(t *testing.T) {
	c := newClient(t, "ES256")
	for _, host := range []string{
		"", "[::1", "[::1]x", "[::1%25eth0]", "[127.0.0.1]", "[]", "a b", "a/b", "a,b", "::1", "user@api.example.com", "api.example.com:",
		"api.example.com:99999",
	} {
		r := c.request(c.proof(t, nil, m{"htu": "https://" + strings.ReplaceAll(host, ":99999", ":34463") + "/orders/1"}))
		r.Host = host
		_, err := newProofs(t, section()).Accept(t.Context(), r)
		if ok := host == "api.example.com:"; ok != (err == nil) { // the port may be empty, on both sides alike
			t.Errorf("%q: got %v", host, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	c := newClient(t, "ES256")
	p := newProofs(t, section(func(d *DPoP) {
		d.Origins = []string{"https://API.example.com", "https://[2001:db8::1]:8443", "http://localhost:8080"}
	}))
	for htu, want := range map[string]bool{
		"https://api.example.com/orders/1":          true,
		"https://api.example.com:443/orders/1":      true,
		"https://[2001:db8:0::1]:8443/orders/1":     true,
		"http://LOCALHOST:8080/orders/1":            true,
		"http://api.example.com/orders/1":           false,
		"https://internal.example/orders/1":         false, // what the gateway reports does not count then
		"https://[2001:db8::1]/orders/1":            false,
		"https://api.example.com.evil.org/orders/1": false,
		"https://api.example.com/orders/2":          false,
	} {
		r := c.request(c.proof(t, nil, m{"htu": htu}))
		r.Scheme, r.Host = "http", "internal.example"
		if _, err := p.Accept(t.Context(), r); (err == nil) != want {
			t.Errorf("%s: got %v", htu, err)
		}
	}
}

// TestKeyOfAnother: who stole the token has a key, too, and makes good proofs by it.
func TestKeyOfAnother(t *testing.T) {
	owner, thief := newClient(t, "ES256"), newClient(t, "ES256")
	memory := NewMemory(1000, at)
	p := newProofs(t, section(), func(o *Options) { o.Replays = memory })
	for _, jkt := range []string{owner.jkt, "", strings.ToLower(thief.jkt), thief.jkt + "=", thief.jkt[:42]} {
		r := owner.request(thief.proof(t, nil, nil))
		r.JKT = jkt
		if _, err := p.Accept(t.Context(), r); !errors.Is(err, ErrKey) || errors.Is(err, ErrProof) {
			t.Errorf("%q: got %v", jkt, err)
		}
	}
	if memory.Len() != 0 {
		t.Errorf("%d are remembered", memory.Len())
	}
}

// TestOneOfManyIsAccepted: get and then set would accept several.
func TestOneOfManyIsAccepted(t *testing.T) {
	c := newClient(t, "ES256")
	var mu sync.Mutex
	told := map[string]int{}
	p := newProofs(t, section(), func(o *Options) {
		o.Told = func(r string) { mu.Lock(); told[r]++; mu.Unlock() }
	})
	r := c.request(c.proof(t, nil, nil))
	var accepted atomic.Int64
	var wait sync.WaitGroup
	start := make(chan struct{})
	for range 500 {
		wait.Go(func() {
			<-start
			if _, err := p.Accept(t.Context(), r); err == nil {
				accepted.Add(1)
			} else if !errors.Is(err, ErrProof) {
				t.Error(err)
			}
		})
	}
	close(start)
	wait.Wait()
	if accepted.Load() != 1 || told[Accepted] != 1 || told[Replayed] != 499 {
		t.Errorf("%d accepted, told %v", accepted.Load(), told)
	}
}

// TestWhatMakesAProofTheSame: the pair of key and jti, whatever else is in it (P-10).
func TestWhatMakesAProofTheSame(t *testing.T) {
	c, other := newClient(t, "ES256"), newClient(t, "ES256")
	p := newProofs(t, section())
	accept := func(c client, claims m) error {
		_, err := p.Accept(t.Context(), c.request(c.proof(t, nil, claims)))
		return err
	}
	if err := accept(c, m{"jti": "a"}); err != nil {
		t.Fatal(err)
	}
	if err := accept(c, m{"jti": "a", "iat": clock.Unix() + 30}); !errors.Is(err, ErrProof) {
		t.Errorf("with another iat: got %v", err)
	}
	if err := accept(other, m{"jti": "a"}); err != nil {
		t.Errorf("by another key: %v", err)
	}
	if err := accept(c, m{"jti": "A"}); err != nil {
		t.Errorf("with another jti: %v", err)
	}
}

// broken is a store that does not answer.
type broken struct{}

func (broken) Claim(context.Context, Replay) (bool, error) {
	return true, errors.New("no route to host")
}

func TestNobodyCanTell(t *testing.T) {
	c := newClient(t, "ES256")
	var told []string
	p := newProofs(t, section(), func(o *Options) {
		o.Replays, o.Told = broken{}, func(r string) { told = append(told, r) }
	})
	if _, err := p.Accept(t.Context(), c.request(c.proof(t, nil, nil))); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrProof) {
		t.Errorf("got %v", err)
	}
	if len(told) != 1 || told[0] != Unavailable {
		t.Errorf("told %q", told)
	}
}

// TestWalk: every check that RFC 9449 wants is told, in the order in which it is made.
func TestWalk(t *testing.T) {
	c := newClient(t, "ES256")
	p := newProofs(t, section(func(d *DPoP) { d.Nonce = "required" }))
	ctx, w := walk.With(t.Context())
	field := c.proof(t, nil, m{"nonce": p.Nonce()})
	if _, err := p.Accept(ctx, c.request(field)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range w.Steps() {
		if s.Package != "binding" || s.Result != walk.Passed {
			t.Errorf("got %+v", s)
		}
		got = append(got, s.Name)
	}
	if want := "proof typ jwk htm htu iat jti ath signature jkt nonce replay"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestOrder mends a proof that is wrong in every way, one thing at a time: what is found
// next says in which order is looked, what is cheap before the signature, and a proof
// that is good but for its nonce before the memory.
func TestOrder(t *testing.T) {
	c, thief := newClient(t, "ES256"), newClient(t, "ES256")
	memory := NewMemory(1000, at)
	p := newProofs(t, section(required("")), func(o *Options) { o.Replays = memory })
	header := m{"typ": "JWT", "jwk": m{"kty": "oct"}}
	claims := m{"htm": "GET", "htu": "/", "iat": 1, "jti": "", "ath": "", "nonce": "old"}
	by := thief
	for _, step := range []struct {
		mend func()
		want error
		text string
	}{
		{func() {}, ErrProof, "typ"},
		{func() { delete(header, "typ") }, ErrProof, "jwk"},
		{func() { header["jwk"] = c.jwk }, ErrProof, "htm"},
		{func() { delete(claims, "htm") }, ErrProof, "htu"},
		{func() { delete(claims, "htu") }, ErrProof, "iat"},
		{func() { delete(claims, "iat") }, ErrProof, "jti"},
		{func() { delete(claims, "jti") }, ErrProof, "ath"},
		{func() { delete(claims, "ath") }, ErrProof, "signature"},
		{func() { header["jwk"] = thief.jwk }, ErrKey, ""},
		{func() { delete(header, "jwk"); by = c }, ErrNonce, ""},
		{func() { claims["nonce"] = p.Nonce() }, nil, ""},
	} {
		step.mend()
		_, err := p.Accept(t.Context(), c.request(by.proof(t, header, claims)))
		if !errors.Is(err, step.want) || err != nil && !strings.Contains(err.Error(), step.text) {
			t.Errorf("got %v, want %v because of %q", err, step.want, step.text)
		}
	}
	if memory.Len() != 1 {
		t.Errorf("%d proofs are remembered", memory.Len())
	}
}

func BenchmarkAccept(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "PS256"} {
		c := newClient(b, alg)
		r := c.request(c.proof(b, nil, nil))
		b.Run(alg+"/signature", func(b *testing.B) { // what no check can do without
			jws, err := strictjws.Parse(r.Field, strictjws.Options{Algorithms: []string{alg}, EmbeddedKey: true})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := jws.Verify(c.key.Public()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+"/proof", func(b *testing.B) {
			p := newProofs(b, section(), func(o *Options) { o.Replays = everFirst{} })
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Accept(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// everFirst has one proof accepted again and again.
type everFirst struct{}

func (everFirst) Claim(context.Context, Replay) (bool, error) { return true, nil }
