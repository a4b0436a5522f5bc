package attack

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// target is what the requests of the table are for.
const target = "https://api.example.com/orders/1"

// strong is a field where DPoP is on, and a client that has a key.
type strong struct {
	*field

	client *devissuer.Prover
	token  string
}

func newStrong(t *testing.T, settings string) *strong {
	t.Helper()
	f := &field{one: harness.Issuer(t)}
	f.service = harness.Serve(t, harness.Config(f.one.URL())+settings).Ready(t)
	f.client = f.service.Client(t)
	s := &strong{field: f, client: devissuer.NewProver()}
	s.token = s.bound(s.client)
	return s
}

func (s *strong) bound(p *devissuer.Prover) string {
	return s.forge(nil, claims{"cnf": devissuer.BoundToKey(p.Thumbprint())})
}

// proof is the right one, with a change to its header or claims; nil removes.
func (s *strong) proof(header, change claims) string {
	all := devissuer.ProofClaims("GET", target, s.token, nil)
	for name, value := range change {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return s.client.Sign(header, all)
}

// check is a request with a proof; fields of the same name stay apart.
func (s *strong) check(authorization string, proofs []string, more map[string]string) *authv3.CheckRequest {
	check := harness.Check("GET", "api.example.com", "/orders/1?expand=lines", nil, nil)
	headers := &corev3.HeaderMap{}
	add := func(name, value string) {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	add("authorization", authorization)
	for _, proof := range proofs {
		add("dpop", proof)
	}
	for name, value := range more {
		add(name, value)
	}
	check.Attributes.Request.Http.HeaderMap = headers
	return check
}

// malleable is the other signature of the same bytes: s becomes n - s.
func malleable(t *testing.T, proof string) string {
	t.Helper()
	parts := strings.Split(proof, ".")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(signature[32:]))
	s.FillBytes(signature[32:])
	return parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// changed replaces text in a part of a JWT that is then signed by nobody.
func changed(t *testing.T, jwt string, part int, old, fresh string) string {
	t.Helper()
	parts := strings.Split(jwt, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("got %q, %v; want %q in it", text, err, old)
	}
	parts[part] = encode(strings.Replace(string(text), old, fresh, 1))
	return strings.Join(parts, ".")
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// weak signs a proof with an RSA key that is too short.
func (s *strong) weak(t *testing.T) string {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return devissuer.Sign(jose.JSONWebKey{Key: key, Algorithm: "RS256"},
		map[string]any{"typ": "dpop+jwt", "jwk": jose.JSONWebKey{Key: key.Public()}},
		devissuer.ProofClaims("GET", target, s.token, nil))
}

func TestAttacksOnProofs(t *testing.T) { // RFC 9449 §4.3, §7, §11
	s := newStrong(t, "dpop: {}\nrules: [{name: strong, match: {paths: [\"/strong\"]}, token_binding: dpop}]\n")
	jwk := s.client.JWK()
	stranger := devissuer.NewProver()
	good := func() string { return s.proof(nil, nil) }
	claim := func(name string, value any) string { return s.proof(nil, claims{name: value}) }
	head := func(name string, value any) string { return s.proof(claims{name: value}, nil) }
	key := func(member string, value any) string {
		changed := claims{}
		for name, v := range jwk {
			changed[name] = v
		}
		changed[member] = value
		if value == nil {
			delete(changed, member)
		}
		return s.proof(claims{"jwk": changed}, nil)
	}
	raw := good()
	parts := strings.Split(raw, ".")
	header := fmt.Sprintf(`{"typ":"dpop+jwt","alg":"ES256","jwk":%s}`, asJSON(t, jwk))
	body := asJSON(t, devissuer.ProofClaims("GET", target, s.token, nil))
	now := time.Now().Unix()
	sum := sha256.Sum256([]byte(s.token))
	other := s.forge(nil, claims{"jti": "other", "cnf": devissuer.BoundToKey(s.client.Thumbprint())})
	replayed, twin := good(), good()
	id := claims{"jti": "the-same"}
	for _, proof := range []string{replayed, twin, s.proof(nil, id)} {
		if response, err := s.field.client.Check(t.Context(), s.check("DPoP "+s.token, []string{proof}, nil)); err != nil ||
			harness.Reason(response) != "allowed" {
			t.Fatalf("got %v, %v", response, err)
		}
	}
	hmacKey := asJSON(t, claims{"kty": "oct", "k": encode("0123456789abcdef0123456789abcdef")})

	const bad, unbound = "invalid_proof", "wrong_binding"
	dpop := "DPoP " + s.token
	type attack struct {
		name          string
		authorization string
		proofs        []string
		want          string
	}
	of := func(name, token, want string) attack {
		return attack{name, "DPoP " + token, []string{s.client.Proof("GET", target, token, nil)}, want}
	}
	cases := []attack{
		// 1: one field.
		{"none", dpop, nil, bad},
		{"empty", dpop, []string{""}, bad},
		{"two fields", dpop, []string{good(), good()}, bad},
		{"the same field twice", dpop, []string{raw, raw}, bad},
		{"two in a field", dpop, []string{good() + ", " + good()}, bad},
		{"a comma behind", dpop, []string{good() + ","}, bad},
		// 2: one compact JWT.
		{"junk", dpop, []string{"junk"}, bad},
		{"two parts", dpop, []string{parts[0] + "." + parts[1]}, bad},
		{"four parts", dpop, []string{good() + ".x"}, bad},
		{"JWE", dpop, []string{encode(`{"alg":"dir","enc":"A256GCM"}`) + "..a.b.c"}, bad},
		{"flattened JSON", dpop, []string{fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2])}, bad},
		{"padding", dpop, []string{good() + "=="}, bad},
		{"spaces", dpop, []string{strings.Replace(good(), ".", ". ", 1)}, bad},
		{"more than 8 KiB", dpop, []string{claim("junk", strings.Repeat("a", 8<<10))}, bad},
		{"megabytes of dots", dpop, []string{strings.Repeat(".", 100_000)}, bad},
		{"deep JSON", dpop, []string{s.client.SignRaw(header, strings.Repeat("[", 3000)+strings.Repeat("]", 3000))}, bad},
		{"claims of a list", dpop, []string{s.client.SignRaw(header, "[]")}, bad},
		{"claims twice", dpop, []string{s.client.SignRaw(header, strings.Replace(body, "{", `{"htm":"POST",`, 1))}, bad},
		{"header twice", dpop, []string{s.client.SignRaw(strings.Replace(header, "{", `{"alg":"none",`, 1), body)}, bad},
		{"key twice", dpop, []string{s.client.SignRaw(strings.Replace(header, "{", `{"jwk":`+asJSON(t, stranger.JWK())+`,`, 1), body)}, bad},
		{"the access token", dpop, []string{s.token}, bad},
		// 3: every claim, of the right type.
		{"no htm", dpop, []string{claim("htm", nil)}, bad},
		{"htm of a number", dpop, []string{claim("htm", 1)}, bad},
		{"HTM for htm", dpop, []string{s.proof(nil, claims{"htm": nil, "HTM": "GET"})}, bad},
		{"no htu", dpop, []string{claim("htu", nil)}, bad},
		{"htu of a list", dpop, []string{claim("htu", []string{target})}, bad},
		{"no iat", dpop, []string{claim("iat", nil)}, bad},
		{"iat of a text", dpop, []string{claim("iat", fmt.Sprint(now))}, bad},
		{"iat 1e30", dpop, []string{claim("iat", 1e30)}, bad},
		{"iat -1", dpop, []string{claim("iat", -1)}, bad},
		{"no jti", dpop, []string{claim("jti", nil)}, bad},
		{"empty jti", dpop, []string{claim("jti", "")}, bad},
		{"jti of a number", dpop, []string{claim("jti", 1)}, bad},
		{"jti of 257 bytes", dpop, []string{claim("jti", strings.Repeat("j", 257))}, bad},
		{"no ath", dpop, []string{claim("ath", nil)}, bad},
		{"ath null", dpop, []string{s.client.SignRaw(header, strings.Replace(body, `"ath":"`+base64.RawURLEncoding.EncodeToString(sum[:])+`"`, `"ath":null`, 1))}, bad},
		// 4: its type.
		{"no typ", dpop, []string{head("typ", nil)}, bad},
		{"typ JWT", dpop, []string{head("typ", "JWT")}, bad},
		{"typ at+jwt", dpop, []string{head("typ", "at+jwt")}, bad},
		// 5: the algorithm.
		{"alg none", dpop, []string{changed(t, good(), 0, `"ES256"`, `"none"`)}, bad},
		{"alg none, unsigned", dpop, []string{strings.Join(strings.Split(changed(t, good(), 0, `"ES256"`, `"none"`), ".")[:2], ".") + "."}, bad},
		{"HMAC with an oct key", dpop, []string{hmacWith([]byte("0123456789abcdef0123456789abcdef"), `{"typ":"dpop+jwt","alg":"HS256","jwk":`+hmacKey+`}`, body)}, bad},
		{"HMAC with the public key", dpop, []string{hmacWith([]byte(asJSON(t, jwk)), `{"typ":"dpop+jwt","alg":"HS256","jwk":`+asJSON(t, jwk)+`}`, body)}, bad},
		{"an algorithm of another kind of key", dpop, []string{head("alg", "RS256")}, bad},
		{"an algorithm of another curve", dpop, []string{head("alg", "ES384")}, bad},
		{"an algorithm that is off", dpop, []string{head("alg", "ES256K")}, bad},
		{"no algorithm", dpop, []string{head("alg", nil)}, bad},
		{"crit", dpop, []string{s.proof(claims{"crit": []string{"exp"}, "exp": 1}, nil)}, bad},
		{"b64", dpop, []string{s.proof(claims{"crit": []string{"b64"}, "b64": false}, nil)}, bad},
		// 6: the signature.
		{"no signature", dpop, []string{strings.Join(strings.Split(good(), ".")[:2], ".") + "."}, bad},
		{"a signature of zeros", dpop, []string{strings.Join(strings.Split(good(), ".")[:2], ".") + "." + encode(strings.Repeat("\x00", 64))}, bad},
		{"claims changed", dpop, []string{changed(t, good(), 1, `"GET"`, `"GET" `)}, bad},
		{"another's signature, own key", dpop, []string{stranger.Sign(map[string]any{"jwk": jwk}, devissuer.ProofClaims("GET", target, s.token, nil))}, bad},
		{"key named, not shown", dpop, []string{s.proof(claims{"jwk": nil, "kid": s.client.Thumbprint()}, nil)}, bad},
		// 7: the key.
		{"no key", dpop, []string{head("jwk", nil)}, bad},
		{"key of a text", dpop, []string{head("jwk", s.client.Thumbprint())}, bad},
		{"key with its secret", dpop, []string{key("d", jwk["x"])}, bad},
		{"key with an oct secret", dpop, []string{key("k", "c2VjcmV0")}, bad},
		{"key off the curve", dpop, []string{key("y", jwk["x"])}, bad},
		{"key without a coordinate", dpop, []string{key("y", nil)}, bad},
		{"key of an unknown kind", dpop, []string{key("kty", "XX")}, bad},
		{"RSA key of 1024 bits", dpop, []string{s.weak(t)}, bad},
		// 8, 9: the request.
		{"another method", dpop, []string{claim("htm", "POST")}, bad},
		{"method in lower case", dpop, []string{claim("htm", "get")}, bad},
		{"another host", dpop, []string{claim("htu", "https://evil.example/orders/1")}, bad},
		{"host as a prefix", dpop, []string{claim("htu", "https://api.example.com.evil.example/orders/1")}, bad},
		{"host in the user information", dpop, []string{claim("htu", "https://api.example.com@evil.example/orders/1")}, bad},
		{"user information", dpop, []string{claim("htu", "https://alice@api.example.com/orders/1")}, bad},
		{"http", dpop, []string{claim("htu", "http://api.example.com/orders/1")}, bad},
		{"another port", dpop, []string{claim("htu", "https://api.example.com:8443/orders/1")}, bad},
		{"another path", dpop, []string{claim("htu", "https://api.example.com/orders/2")}, bad},
		{"a path below", dpop, []string{claim("htu", target+"/lines")}, bad},
		{"a final slash", dpop, []string{claim("htu", target+"/")}, bad},
		{"path in another case", dpop, []string{claim("htu", "https://api.example.com/Orders/1")}, bad},
		{"an encoded slash", dpop, []string{claim("htu", "https://api.example.com/orders%2F1")}, bad},
		{"dot segments", dpop, []string{claim("htu", "https://api.example.com/orders/2/../1")}, bad},
		{"query", dpop, []string{claim("htu", target+"?expand=lines")}, bad},
		{"empty query", dpop, []string{claim("htu", target+"?")}, bad},
		{"fragment", dpop, []string{claim("htu", target+"#x")}, bad},
		{"no origin", dpop, []string{claim("htu", "/orders/1")}, bad},
		{"no scheme", dpop, []string{claim("htu", "//api.example.com/orders/1")}, bad},
		{"backslashes", dpop, []string{claim("htu", `https:\\api.example.com\orders\1`)}, bad},
		{"a space before", dpop, []string{claim("htu", " "+target)}, bad},
		{"broken encoding", dpop, []string{claim("htu", target+"%zz")}, bad},
		// 11: the time.
		{"old", dpop, []string{claim("iat", now-3600)}, bad},
		{"just too old", dpop, []string{claim("iat", now-65)}, bad},
		{"from the future", dpop, []string{claim("iat", now+3600)}, bad},
		// 12: the token and its key.
		{"for another token", dpop, []string{claim("ath", ath(other))}, bad},
		{"the digest in hexadecimal", dpop, []string{claim("ath", hex.EncodeToString(sum[:]))}, bad},
		{"the digest padded", dpop, []string{claim("ath", base64.URLEncoding.EncodeToString(sum[:]))}, bad},
		{"another key", dpop, []string{stranger.Proof("GET", target, s.token, nil)}, unbound},
		{"as bearer", "Bearer " + s.token, nil, unbound},
		{"as bearer, proven", "Bearer " + s.token, []string{good()}, unbound},
		// Another token, with a proof for that one.
		of("an unbound token", s.forge(nil, nil), unbound),
		of("thumbprint in another case", s.forge(nil, claims{"cnf": devissuer.BoundToKey(strings.ToLower(s.client.Thumbprint()))}), unbound),
		of("thumbprint of a list", s.forge(nil, claims{"cnf": claims{"jkt": []string{s.client.Thumbprint()}}}), unbound),
		of("an empty thumbprint", s.forge(nil, claims{"cnf": claims{"jkt": ""}}), unbound),
		of("a certificate, too", s.forge(nil, claims{"cnf": claims{"jkt": s.client.Thumbprint(), "x5t#S256": "x"}}), unbound),
		of("the key itself in cnf", s.forge(nil, claims{"cnf": claims{"jwk": jwk}}), unbound),
		of("introspected as bearer", s.one.Opaque("", claims{"aud": "api", "token_type": "Bearer", "cnf": devissuer.BoundToKey(s.client.Thumbprint())}), unbound),
		of("expired", s.forge(nil, claims{"exp": now - 60, "cnf": devissuer.BoundToKey(s.client.Thumbprint())}), "expired"),
		of("for another audience", s.forge(nil, claims{"aud": "other", "cnf": devissuer.BoundToKey(s.client.Thumbprint())}), "wrong_audience"),
		of("the proof as the token", good(), "wrong_type"),
		// Once.
		{"replay", dpop, []string{replayed}, bad},
		{"replay with the other signature", dpop, []string{malleable(t, twin)}, bad},
		{"jti again", dpop, []string{s.proof(nil, id)}, bad},
		{"jti again, later", dpop, []string{s.proof(nil, claims{"jti": "the-same", "iat": now + 5})}, bad},
	}
	if len(cases) < 60 {
		t.Errorf("got %d cases, want at least 60", len(cases))
	}
	for _, a := range cases {
		t.Run(a.name, func(t *testing.T) {
			series := func(reason string) float64 {
				return s.service.Metric(t, `bearergate_checks_total{decision="deny",reason="`+reason+`"}`)
			}
			before := series(a.want)
			response, err := s.field.client.Check(t.Context(), s.check(a.authorization, a.proofs, nil))
			if err != nil {
				t.Fatalf("got a gRPC error (E-06): %v", err)
			}
			if harness.Reason(response) != a.want {
				t.Errorf("got %s, want %s", harness.Reason(response), a.want)
			}
			if got := int(response.GetDeniedResponse().GetStatus().GetCode()); got != 401 || harness.Allowed(response) {
				t.Errorf("got status %d of reason %s, want 401", got, harness.Reason(response))
			}
			if after := series(a.want); after != before+1 {
				t.Errorf("the metric of %s: got %v and then %v, want one more", a.want, before, after)
			}
		})
	}
	// What proxies say about themselves does not move the request.
	for name, value := range map[string]string{
		"x-forwarded-host": "evil.example", "x-forwarded-proto": "http", "x-original-url": "/orders/2", "forwarded": "host=evil.example",
		"x-http-method-override": "POST", "x-forwarded-method": "POST",
	} {
		proof := s.proof(nil, claims{"htu": "https://evil.example/orders/1"})
		if strings.Contains(name, "method") {
			proof = s.proof(nil, claims{"htm": "POST"})
		}
		response, err := s.field.client.Check(t.Context(), s.check(dpop, []string{proof}, map[string]string{name: value}))
		if err != nil || harness.Reason(response) != bad {
			t.Errorf("%s: got %v, %v", name, response, err)
		}
	}
	// After all of this a good proof passes: nothing was filled up or switched off.
	response, err := s.field.client.Check(t.Context(), s.check(dpop, []string{good()}, nil))
	if err != nil || harness.Reason(response) != "allowed" {
		t.Errorf("got %v, %v", response, err)
	}
	if logs := s.service.String(); strings.Contains(logs, parts[1]) || strings.Contains(logs, s.client.Thumbprint()) {
		t.Error("a proof or its key is in the logs (§8)")
	}
}

func ath(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// One client cannot have the memory of proofs for itself: from a tenth of it on,
// it is refused with 503, and nobody else is.
func TestOneKeyCannotFillTheMemory(t *testing.T) { // P-10
	s := newStrong(t, "dpop: {replay_entries: 1000}\n")
	reasons := map[string]int{}
	for range 150 {
		response, err := s.field.client.Check(t.Context(), s.check("DPoP "+s.token, []string{s.proof(nil, nil)}, nil))
		if err != nil {
			t.Fatal(err)
		}
		reasons[harness.Reason(response)]++
	}
	if reasons["allowed"] < 90 || reasons["allowed"] > 100 || reasons["allowed"]+reasons["unavailable"] != 150 {
		t.Errorf("got %v, want about 100 allowed and the rest unavailable", reasons)
	}
	other := devissuer.NewProver()
	token := s.bound(other)
	response, err := s.field.client.Check(t.Context(), s.check("DPoP "+token, []string{other.Proof("GET", target, token, nil)}, nil))
	if err != nil || harness.Reason(response) != "allowed" {
		t.Errorf("another client: got %v, %v", response, err)
	}
}

// When the memory is full of many clients' proofs, the answer is 503: what cannot
// be remembered could come again.
func TestFullMemoryOfProofs(t *testing.T) { // P-10
	s := newStrong(t, "dpop: {replay_entries: 1000}\n")
	var first []string
	reasons := map[string]int{}
	for n := range 15 {
		client := devissuer.NewProverOf("EdDSA")
		token := s.bound(client)
		for range 90 {
			proof := client.Proof("GET", target, token, nil)
			response, err := s.field.client.Check(t.Context(), s.check("DPoP "+token, []string{proof}, nil))
			if err != nil {
				t.Fatal(err)
			}
			reasons[harness.Reason(response)]++
			if first = append(first, token, proof); n > 0 {
				first = first[:180]
			}
		}
	}
	if reasons["allowed"] > 1000 || reasons["allowed"] < 800 || reasons["allowed"]+reasons["unavailable"] != 15*90 {
		t.Errorf("got %v, want at most 1000 allowed and the rest unavailable", reasons)
	}
	for pair := range slices.Chunk(first, 2) { // none was forgotten to make room
		response, err := s.field.client.Check(t.Context(), s.check("DPoP "+pair[0], []string{pair[1]}, nil))
		if err != nil || harness.Reason(response) != "invalid_proof" {
			t.Fatalf("replayed: got %s, %v", harness.Reason(response), err)
		}
	}
}
