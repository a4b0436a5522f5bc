// Package attack holds the attack table: each case names the rule that it
// breaks, and is sent to the built binary over gRPC.
package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

type claims = devissuer.Claims

// field are two issuers behind one Bearergate: the first strategy both, the
// second introspection for opaque tokens that begin with two_.
type field struct {
	one, two *devissuer.Issuer
	service  *harness.Service
	client   authv3.AuthorizationClient
}

func newField(t *testing.T) *field {
	f := &field{one: harness.Issuer(t), two: harness.Issuer(t)}
	f.service = harness.Serve(t, fmt.Sprintf(`server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}
issuers:
  - {issuer: %q, audience: api, token_validation: both, client_id: gate, client_secret: s3cret, insecure_http: true}
  - {issuer: %q, audience: api, token_validation: introspection, client_id: gate, client_secret: s3cret, insecure_http: true, opaque_token_prefix: two_}
rules:
  - {name: public, match: {paths: ["/public/**"]}, access: public}
  - {name: admin, match: {paths: ["/admin/**"]}, scopes: [admin]}
  - {name: one, match: {paths: ["/one"]}, issuers: [%q]}
  - {name: tenant, match: {paths: ["/tenant"]}, when: 'claims.tenant == "acme"'}
  - {name: tool, match: {paths: ["/tool"]}, when: 'request.headers["mcp-name"] == "safe"'}
resources:
  - {resource: "https://mcp.example.com/mcp"}
`, f.one.URL(), f.two.URL(), f.one.URL())).Ready(t)
	f.client = f.service.Client(t)
	return f
}

// forge signs claims of the first issuer with its key.
func (f *field) forge(header map[string]any, change claims) string {
	now := time.Now().Unix()
	all := claims{
		"iss": f.one.URL(), "sub": "alice", "aud": "api", "exp": now + 600, "iat": now, "scope": "read",
		"client_id": "app", "jti": "j",
	}
	for name, value := range change {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	if header == nil {
		header = map[string]any{"typ": "at+jwt"}
	}
	return devissuer.Sign(f.one.Key(), header, all)
}

func (f *field) raw(payload string) string {
	return devissuer.SignRaw(f.one.Key(), map[string]any{"typ": "at+jwt"}, []byte(payload))
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// head replaces the header of a signed token.
func head(token, header string) string { return encode(header) + token[strings.IndexByte(token, '.'):] }

// hmacWith signs with a public key as the secret (RFC 8725 §2.1).
func hmacWith(secret []byte, header, payload string) string {
	signed := encode(header) + "." + encode(payload)
	sum := hmac.New(sha256.New, secret)
	sum.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}

func TestAttacks(t *testing.T) {
	f := newField(t)
	good := f.forge(nil, nil)
	parts := strings.Split(good, ".")
	key := f.one.Key()
	public, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sameID := jose.JSONWebKey{Key: stranger, KeyID: key.KeyID, Algorithm: "ES256"}
	embedded, err := json.Marshal(jose.JSONWebKey{Key: stranger.Public(), KeyID: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	var jwk map[string]any
	if err := json.Unmarshal(embedded, &jwk); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	iss := fmt.Sprintf(`"iss":%q,"aud":"api",`, f.one.URL())
	payload := fmt.Sprintf(`{%s"exp":%d}`, iss, now+600)
	twoJWT := devissuer.Sign(f.two.Key(), map[string]any{"typ": "at+jwt"}, claims{
		"iss": f.one.URL(), "aud": "api", "exp": now + 600,
	})
	flattened := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2])
	bearer := func(token string) string { return "Bearer " + token }

	type attack struct {
		rule, name    string
		path          string // default /
		authorization string
		headers       map[string]string
		extensions    map[string]string
		want          string // reason
	}
	cases := []attack{
		{"J-01", "two parts", "", bearer(parts[0] + "." + parts[1]), nil, nil, "inactive"},
		{"J-01", "four parts", "", bearer(good + ".x"), nil, nil, "inactive"},
		{"J-01", "flattened JSON", "", bearer(flattened), nil, nil, "bad_request"},
		{"J-01", "whitespace inside", "", bearer(parts[0] + ". " + parts[1] + "." + parts[2]), nil, nil, "bad_request"},
		{"J-01", "newline inside", "", bearer(parts[0] + ".\n" + parts[1] + "." + parts[2]), nil, nil, "bad_request"},
		{"J-02", "padding", "", bearer(parts[0] + "." + parts[1] + "." + parts[2] + "=="), nil, nil, "malformed_token"},
		{"J-03", "none", "", bearer(head(parts[0]+"."+parts[1]+".", `{"alg":"none"}`)), nil, nil, "unsupported_algorithm"},
		{"J-03", "NONE", "", bearer(head(good, `{"alg":"NONE"}`)), nil, nil, "unsupported_algorithm"},
		{"J-03", "HMAC with the public key (DER)", "", bearer(hmacWith(public, `{"alg":"HS256"}`, payload)), nil, nil, "unsupported_algorithm"},
		{"J-03", "HMAC with the empty key", "", bearer(hmacWith(nil, `{"alg":"HS256","typ":"at+jwt"}`, payload)), nil, nil, "unsupported_algorithm"},
		{"J-03", "RSA1_5", "", bearer(head(good, `{"alg":"RSA1_5"}`)), nil, nil, "unsupported_algorithm"},
		{"J-03", "alg of a number", "", bearer(head(good, `{"alg":256}`)), nil, nil, "malformed_token"},
		{"J-03", "alg twice", "", bearer(head(good, `{"alg":"none","alg":"ES256"}`)), nil, nil, "malformed_token"},
		{"J-03", "no alg", "", bearer(head(good, `{"typ":"at+jwt"}`)), nil, nil, "inactive"},
		{"J-03", "other algorithm than the key's", "", bearer(head(good, `{"alg":"ES384","kid":"`+key.KeyID+`"}`)), nil, nil, "unknown_key"},
		{"J-04", "logout token", "", bearer(f.forge(map[string]any{"typ": "logout+jwt"}, nil)), nil, nil, "wrong_type"},
		{"J-04", "DPoP proof", "", bearer(f.forge(map[string]any{"typ": "dpop+jwt"}, nil)), nil, nil, "wrong_type"},
		{"J-04", "introspection answer", "", bearer(f.forge(map[string]any{"typ": "token-introspection+jwt"}, nil)), nil, nil, "wrong_type"},
		{"J-04", "security event", "", bearer(f.forge(map[string]any{"typ": "secevent+jwt"}, nil)), nil, nil, "wrong_type"},
		{"J-04", "request object", "", bearer(f.forge(map[string]any{"typ": "oauth-authz-req+jwt"}, nil)), nil, nil, "wrong_type"},
		{"J-05", "crit", "", bearer(f.forge(map[string]any{"typ": "at+jwt", "crit": []string{"exp"}, "exp": 1}, nil)), nil, nil, "malformed_token"},
		{"J-05", "empty crit", "", bearer(f.forge(map[string]any{"typ": "at+jwt", "crit": []string{}}, nil)), nil, nil, "malformed_token"},
		{"J-05", "b64", "", bearer(f.forge(map[string]any{"typ": "at+jwt", "b64": true}, nil)), nil, nil, "malformed_token"},
		{"J-06", "key in the header", "", bearer(devissuer.Sign(jose.JSONWebKey{Key: stranger, Algorithm: "ES256"}, map[string]any{"typ": "at+jwt", "kid": "mine", "jwk": jwk}, claims{"iss": f.one.URL(), "aud": "api", "exp": now + 60})), nil, nil, "unknown_key"},
		{"J-06", "jku", "", bearer(devissuer.Sign(sameID, map[string]any{"typ": "at+jwt", "jku": f.two.URL() + "/jwks"}, claims{"iss": f.one.URL(), "aud": "api", "exp": now + 60})), nil, nil, "bad_signature"},
		{"J-06", "zip", "", bearer(f.forge(map[string]any{"typ": "at+jwt", "zip": "DEF"}, nil)), nil, nil, "malformed_token"},
		{"J-06", "nested", "", bearer(f.forge(map[string]any{"typ": "at+jwt", "cty": "JWT"}, nil)), nil, nil, "malformed_token"},
		{"J-07", "long kid", "", bearer(f.forge(map[string]any{"kid": strings.Repeat("k", 257)}, nil)), nil, nil, "malformed_token"},
		{"J-07", "kid of a path", "", bearer(f.forge(map[string]any{"kid": "../../dev/null"}, nil)), nil, nil, "unknown_key"},
		{"J-07", "kid of a number", "", bearer(f.forge(map[string]any{"kid": 1}, nil)), nil, nil, "malformed_token"},
		{"J-13", "another issuer's key", "", bearer(twoJWT), nil, nil, "unknown_key"},
		{"A-04", "same kid, another key", "", bearer(devissuer.Sign(sameID, map[string]any{"typ": "at+jwt"}, claims{"iss": f.one.URL(), "aud": "api", "exp": now + 60})), nil, nil, "bad_signature"},
		{"J-20", "exp twice", "", bearer(f.raw(fmt.Sprintf(`{%s"exp":1,"exp":%d}`, iss, now+600))), nil, nil, "malformed_token"},
		{"J-20", "EXP beside exp", "", bearer(f.forge(nil, claims{"exp": 1, "EXP": now + 600})), nil, nil, "expired"},
		{"J-20", "AUD for aud", "", bearer(f.forge(nil, claims{"aud": nil, "AUD": "api"})), nil, nil, "wrong_audience"},
		{"J-20", "Sub twice in other case", "", bearer(f.forge(nil, claims{"SUB": "admin"})), nil, nil, "allowed"},
		{"J-21", "unknown issuer", "", bearer(f.forge(nil, claims{"iss": "https://evil.example"})), nil, nil, "wrong_issuer"},
		{"J-21", "issuer and a slash", "", bearer(f.forge(nil, claims{"iss": f.one.URL() + "/"})), nil, nil, "wrong_issuer"},
		{"J-21", "issuer of a list", "", bearer(f.forge(nil, claims{"iss": []string{f.one.URL()}})), nil, nil, "wrong_issuer"},
		{"J-21", "no issuer", "", bearer(f.forge(nil, claims{"iss": nil})), nil, nil, "wrong_issuer"},
		{"J-21", "audience in other case", "", bearer(f.forge(nil, claims{"aud": "API"})), nil, nil, "wrong_audience"},
		{"J-21", "audience as part", "", bearer(f.forge(nil, claims{"aud": "api2"})), nil, nil, "wrong_audience"},
		{"J-21", "audience of an object", "", bearer(f.forge(nil, claims{"aud": claims{"api": true}})), nil, nil, "malformed_token"},
		{"J-21", "empty audience", "", bearer(f.forge(nil, claims{"aud": []string{}})), nil, nil, "wrong_audience"},
		{"J-22", "expired", "", bearer(f.forge(nil, claims{"exp": now - 60})), nil, nil, "expired"},
		{"J-22", "no exp", "", bearer(f.forge(nil, claims{"exp": nil})), nil, nil, "malformed_token"},
		{"J-22", "exp as text", "", bearer(f.forge(nil, claims{"exp": "99999999999"})), nil, nil, "malformed_token"},
		{"J-22", "exp 1e30", "", bearer(f.raw(`{` + iss + `"exp":1e30}`)), nil, nil, "malformed_token"},
		{"J-22", "exp -1", "", bearer(f.forge(nil, claims{"exp": -1})), nil, nil, "malformed_token"},
		{"J-22", "exp null", "", bearer(f.raw(`{` + iss + `"exp":null}`)), nil, nil, "malformed_token"},
		{"J-22", "not yet", "", bearer(f.forge(nil, claims{"nbf": now + 300})), nil, nil, "not_yet_valid"},
		{"J-22", "from the future", "", bearer(f.forge(nil, claims{"iat": now + 300})), nil, nil, "not_yet_valid"},
		{"J-24", "ID token", "", bearer(f.forge(map[string]any{"typ": "JWT"}, claims{"nonce": "n", "scope": nil, "client_id": nil})), nil, nil, "wrong_type"},
		{"J-24", "ID token for its client", "", bearer(f.forge(map[string]any{"typ": "JWT"}, claims{"aud": "app", "scope": nil})), nil, nil, "wrong_type"},
		{"J-24", "refresh token by tokenType", "", bearer(f.forge(nil, claims{"tokenType": "refresh-token"})), nil, nil, "wrong_type"},
		{"J-24", "ID token by use", "", bearer(f.forge(nil, claims{"token_use": "id"})), nil, nil, "wrong_type"},
		{"A-17", "refresh token", "", bearer(f.forge(map[string]any{"typ": "JWT"}, claims{"typ": "Refresh"})), nil, nil, "wrong_type"},
		{"P-02", "bound to a key", "", bearer(f.forge(nil, claims{"cnf": claims{"jkt": "x"}})), nil, nil, "wrong_binding"},
		{"P-02", "bound to a certificate", "", bearer(f.forge(nil, claims{"cnf": claims{"x5t#S256": "x"}})), nil, nil, "wrong_binding"},
		{"P-02", "bound, opaque", "", bearer(f.one.Opaque("", claims{"aud": "api", "cnf": claims{"jkt": "x"}})), nil, nil, "wrong_binding"},
		{"A-16", "oversized", "", bearer(strings.Repeat("a", 16<<10+1)), nil, nil, "bad_request"},
		{"A-16", "a thousand dots", "", bearer(strings.Repeat(".", 1000)), nil, nil, "inactive"},
		{"A-16", "five-part JWE", "", bearer(encode(`{"alg":"dir","enc":"A256GCM"}`) + "..a.b.c"), nil, nil, "inactive"},
		{"I-04", "unknown opaque token", "", bearer("never-issued"), nil, nil, "inactive"},
		{"I-05", "opaque, other audience", "", bearer(f.one.Opaque("", claims{"aud": "other"})), nil, nil, "wrong_audience"},
		{"I-05", "opaque, no audience", "", bearer(f.one.Opaque("", nil)), nil, nil, "wrong_audience"},
		{"I-05", "opaque, expired", "", bearer(f.one.Opaque("", claims{"aud": "api", "exp": now - 60})), nil, nil, "expired"},
		{"I-05", "opaque, another issuer's", "", bearer(f.one.Opaque("", claims{"aud": "api", "iss": "https://evil.example"})), nil, nil, "wrong_issuer"},
		{"I-09", "opaque refresh token", "", bearer(f.one.Opaque("", claims{"aud": "api", "token_type": "refresh_token"})), nil, nil, "wrong_type"},
		{"I-27", "failed JWT is not introspected", "", bearer(good[:len(good)-8] + "AAAAAAAA"), nil, nil, "bad_signature"},
		{"A-02", "the other issuer's opaque token", "", bearer("two_" + f.one.Opaque("", claims{"aud": "api"})), nil, nil, "inactive"},
		{"B-02", "joined fields", "", bearer(good) + ", " + bearer(good), nil, nil, "bad_request"},
		{"B-02", "basic and bearer", "", "Basic dTpw," + bearer(good), nil, nil, "bad_request"},
		{"B-02", "header and query", "/?access_token=" + good, bearer(good), nil, nil, "bad_request"},
		{"B-02", "query only", "/?access_token=" + good, "", nil, nil, "no_token"},
		{"B-03", "another scheme", "", "Basic dTpw", nil, nil, "no_token"},
		{"B-03", "DPoP scheme", "", "DPoP " + good, nil, nil, "no_token"},
		{"A-01", "cached for a lower scope", "/admin/x", bearer(good), nil, nil, "insufficient_scope"},
		{"I-07", "scope as part of another", "/admin/x", bearer(f.forge(nil, claims{"scope": "administrator xadmin ADMIN"})), nil, nil, "insufficient_scope"},
		{"I-07", "scope with a comma", "/admin/x", bearer(f.forge(nil, claims{"scope": "read,admin"})), nil, nil, "insufficient_scope"},
		{"I-07", "scope of a list with a space", "/admin/x", bearer(f.forge(nil, claims{"scope": []string{"x admin"}})), nil, nil, "malformed_token"},
		{"A-14", "dot segments", "/public/../admin/x", "", nil, nil, "bad_request"},
		{"A-14", "encoded dots", "/public/%2e%2E/admin/x", "", nil, nil, "bad_request"},
		{"A-14", "encoded slash", "/public%2fx", "", nil, nil, "bad_request"},
		{"A-14", "backslash", `/public\..\admin`, "", nil, nil, "bad_request"},
		{"A-14", "double slash", "//public/x", "", nil, nil, "bad_request"},
		{"A-14", "path parameter", "/public/..;/admin", "", nil, nil, "bad_request"},
		{"A-14", "NUL", "/public/%00", "", nil, nil, "bad_request"},
		{"A-14", "query that looks public", "/x?/public/x", "", nil, nil, "no_token"},
		{"A-14", "fragment", "/admin/x#/public/", "", nil, nil, "bad_request"},
		{"A-14", "other case is another path", "/Public/x", "", nil, nil, "no_token"},
		{"E-11", "pathless", "-", bearer(good), nil, nil, "bad_request"},
		{"A-13", "X-Forwarded headers", "", "", map[string]string{"x-forwarded-uri": "/public/x", "x-original-url": "/public/x", "x-envoy-original-path": "/public/x"}, nil, "no_token"},
		{"A-13", "identity in headers", "", "", map[string]string{"x-auth-sub": "admin"}, nil, "no_token"},
		{"A-19", "probe's User-Agent", "", "", map[string]string{"user-agent": "kube-probe/1.30"}, nil, "no_token"},
		{"§3", "unknown rule", "", bearer(good), nil, map[string]string{"bearergate.rule": "publik"}, "misconfigured"},
		{"§3", "unknown key", "/public/x", "", nil, map[string]string{"bearergate.scope": "x"}, "misconfigured"},
		{"§3", "unknown issuer", "", bearer(good), nil, map[string]string{"bearergate.issuer": "https://evil.example"}, "misconfigured"},
		{"§3", "scopes over public", "/public/x", "", nil, map[string]string{"bearergate.scopes": "x"}, "no_token"},
		{"§4", "rule of another issuer", "/one", bearer(f.two.Opaque("two_", claims{"aud": "api"})), nil, nil, "wrong_issuer"},
		{"§4", "when without the claim", "/tenant", bearer(good), nil, nil, "forbidden"},
		{"M-15", "tool by header", "/tool", bearer(good), map[string]string{"mcp-name": "dangerous"}, nil, "forbidden"},
	}
	if len(cases) < 60 {
		t.Errorf("got %d cases, want at least 60", len(cases))
	}
	for _, a := range cases {
		t.Run(a.rule+" "+a.name, func(t *testing.T) {
			headers := map[string]string{}
			for name, value := range a.headers {
				headers[name] = value
			}
			if a.authorization != "" {
				headers["authorization"] = a.authorization
			}
			path := a.path
			if path == "" {
				path = "/"
			}
			f.expect(t, harness.Check("GET", "api.example.com", strings.TrimPrefix(path, "-"), headers, a.extensions), a.want)
		})
	}
	if calls := f.one.Calls(devissuer.PathJWKS); calls > 1+3 { // at the start, and a burst
		t.Errorf("the attacks caused %d fetches of the keys (J-27)", calls-1)
	}
	f.expect(t,
		harness.Check("GET", "api.example.com", "/", map[string]string{"authorization": bearer(good)}, nil), "allowed")
	if logs := f.service.String(); strings.Contains(logs, parts[1]) || strings.Contains(logs, "s3cret") ||
		strings.Contains(logs, "never-issued") {
		t.Error("a token or a secret is in the logs (§8)")
	}
}

// expect sends the request in both header forms (E-05) and holds the answers to
// what is true of all.
func (f *field) expect(t *testing.T, check *authv3.CheckRequest, want string) {
	t.Helper()
	encoded := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: check.Attributes.ContextExtensions,
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: check.Attributes.Request.Http.Host, Path: check.Attributes.Request.Http.Path,
			HeaderMap: &corev3.HeaderMap{},
		}},
	}}
	for name, value := range check.Attributes.Request.Http.Headers {
		encoded.Attributes.Request.Http.HeaderMap.Headers = append(encoded.Attributes.Request.Http.HeaderMap.Headers,
			&corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	for _, c := range []*authv3.CheckRequest{check, encoded} {
		response, err := f.client.Check(t.Context(), c)
		if err != nil {
			t.Fatalf("got a gRPC error (E-06): %v", err)
		}
		if got := harness.Reason(response); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		allowed := want == "allowed" || want == "public"
		if (response.Status.Code == 0) != allowed || (response.GetOkResponse() != nil) != allowed {
			t.Errorf("%s: got %v", want, response)
		}
		body := response.GetDeniedResponse().GetBody()
		if strings.Contains(body, "alice") || strings.Contains(body, "evil") {
			t.Errorf("the body echoes the request (B-05): %s", body)
		}
	}
}

func TestRepeatedFields(t *testing.T) {
	f := newField(t)
	good := "Bearer " + f.forge(nil, nil)
	check := harness.Check("GET", "api.example.com", "/", nil, nil)
	check.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: "authorization", RawValue: []byte(good)}, {Key: "authorization", RawValue: []byte(good)},
	}}
	response, err := f.client.Check(t.Context(), check)
	if err != nil || harness.Reason(response) != "bad_request" {
		t.Errorf("got %v, %v", response, err)
	}
}

func TestEmptyRequests(t *testing.T) { // E-11
	f := newField(t)
	for _, check := range []*authv3.CheckRequest{{}, {Attributes: &authv3.AttributeContext{}}, {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}}} {
		response, err := f.client.Check(t.Context(), check)
		if err != nil || response.Status.Code == 0 {
			t.Errorf("got %v, %v; want a deny", response, err)
		}
	}
}
