package devissuer_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/internal/devissuer"
)

type claims = devissuer.Claims

// The clients of the tests: one with a secret that has to be encoded, and one
// that is public.
const (
	confidential = "gate way"
	secret       = "p%:ß &"
	public       = "app"
)

func start(t *testing.T) *devissuer.Issuer {
	t.Helper()
	as, stop, err := devissuer.Start(map[string]string{confidential: secret, public: ""})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return as
}

// client follows no redirect, as one that plays the browser has to.
func client() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

type answer struct {
	status  int
	header  http.Header
	text    string
	members claims // nil: no JSON object
}

func send(t *testing.T, r *http.Request) answer {
	t.Helper()
	resp, err := client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return read(t, resp)
}

func read(t *testing.T, resp *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(body)}
	_ = json.Unmarshal(body, &a.members)
	return a
}

func get(t *testing.T, address string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return send(t, r)
}

// post sends a form of names and values; with may add client authentication.
func post(t *testing.T, address string, with authentication, form ...string) answer {
	t.Helper()
	values := pairs(form...)
	header := &http.Request{Header: http.Header{}}
	if with != nil {
		with(header, values)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Header
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return send(t, r)
}

func pairs(all ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(all); i += 2 {
		values.Set(all[i], all[i+1])
	}
	return values
}

type authentication = func(*http.Request, url.Values)

// basic encodes both before they are joined (RFC 6749 §2.3.1).
func basic(id, secret string) authentication {
	return func(r *http.Request, _ url.Values) { r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) }
}

func inForm(id, secret string) authentication {
	return func(_ *http.Request, form url.Values) {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
}

func bearer(token string) authentication {
	return func(r *http.Request, _ url.Values) { r.Header.Set("Authorization", "Bearer "+token) }
}

func only(id string) authentication {
	return func(_ *http.Request, form url.Values) { form.Set("client_id", id) }
}

// verify returns header and claims of a JWS that one of the published keys
// verifies.
func verify(t *testing.T, as *devissuer.Issuer, token string) (typ string, all claims) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(get(t, as.URL()+devissuer.PathJWKS).text), &set); err != nil {
		t.Fatal(err)
	}
	header := jws.Signatures[0].Header
	keys := set.Key(header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("got %d keys of ID %q, want one", len(keys), header.KeyID)
	}
	payload, err := jws.Verify(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &all); err != nil {
		t.Fatal(err)
	}
	typ, _ = header.ExtraHeaders["typ"].(string)
	return typ, all
}

func TestMetadata(t *testing.T) {
	as := start(t)
	for _, path := range []string{devissuer.PathOAuth, devissuer.PathOpenID} {
		a := get(t, as.URL()+path)
		if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: got %d %s", path, a.status, a.header.Get("Content-Type"))
		}
		if a.members["issuer"] != as.URL() {
			t.Errorf("%s: got issuer %v, want %s", path, a.members["issuer"], as.URL())
		}
		for member, path := range map[string]string{
			"jwks_uri":               devissuer.PathJWKS,
			"authorization_endpoint": devissuer.PathAuthorization,
			"token_endpoint":         devissuer.PathToken,
			"introspection_endpoint": devissuer.PathIntrospection,
			"revocation_endpoint":    devissuer.PathRevocation,
		} {
			if a.members[member] != as.URL()+path {
				t.Errorf("%s: got %v, want %s", member, a.members[member], as.URL()+path)
			}
		}
	}
}

func TestKeysRotateAndArePublic(t *testing.T) {
	as := start(t)
	published := func() []string {
		text := get(t, as.URL()+devissuer.PathJWKS).text
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal([]byte(text), &set); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, key := range set.Keys {
			if _, ok := key["d"]; ok {
				t.Error("a private key was published")
			}
			ids = append(ids, key["kid"].(string))
		}
		return ids
	}
	first := published()
	as.Rotate(1)
	both := published()
	if len(first) != 1 || len(both) != 2 || both[0] != first[0] || both[1] != as.Key().KeyID {
		t.Errorf("got %q, then %q, want the old key kept beside the new one that signs", first, both)
	}
	as.Rotate(0)
	if last := published(); len(last) != 1 || last[0] == both[1] {
		t.Errorf("got %q, want nothing but a new key", last)
	}
}

func TestClientCredentials(t *testing.T) {
	as := start(t)
	for name, tc := range map[string]struct {
		with authentication
		form []string
		want claims // nil: refused
		err  string
	}{
		"basic, audience": {
			basic(confidential, secret), []string{"audience", "api", "scope", "read write"},
			claims{"sub": confidential, "client_id": confidential, "aud": "api", "scope": "read write"}, "",
		},
		"in the form, resource": {
			inForm(confidential, secret), []string{"resource", "https://api.example.com"},
			claims{"aud": "https://api.example.com", "scope": nil}, "",
		},
		"public":          {only(public), nil, claims{"sub": public, "aud": nil}, ""},
		"wrong secret":    {basic(confidential, "x"), nil, nil, "invalid_client"},
		"no secret":       {only(confidential), nil, nil, "invalid_client"},
		"unknown client":  {inForm("nobody", ""), nil, nil, "invalid_client"},
		"no client":       {nil, nil, nil, "invalid_client"},
		"junk as bearer":  {bearer("junk"), nil, nil, "invalid_client"},
		"unknown grant":   {basic(confidential, secret), []string{"grant_type", "password"}, nil, "unsupported_grant_type"},
		"code of nothing": {only(public), []string{"grant_type", "authorization_code"}, nil, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			form := append([]string{"grant_type", "client_credentials"}, tc.form...)
			a := post(t, as.URL()+devissuer.PathToken, tc.with, form...)
			if tc.want == nil {
				status := http.StatusBadRequest
				if tc.err == "invalid_client" {
					status = http.StatusUnauthorized
				}
				if a.status != status || a.members["error"] != tc.err || a.members["access_token"] != nil {
					t.Errorf("got %d %s, want %d %s", a.status, a.text, status, tc.err)
				}
				return
			}
			token, _ := a.members["access_token"].(string)
			if a.status != 200 || a.members["token_type"] != "Bearer" || a.header.Get("Cache-Control") != "no-store" {
				t.Fatalf("got %d %s", a.status, a.text)
			}
			typ, got := verify(t, as, token)
			if typ != "at+jwt" || got["iss"] != as.URL() || got["exp"].(float64) < float64(time.Now().Unix()) {
				t.Errorf("got typ %q and %v, want an access token of %s", typ, got, as.URL())
			}
			for member, value := range tc.want {
				if got[member] != value {
					t.Errorf("%s: got %v, want %v", member, got[member], value)
				}
			}
		})
	}
}

// introspected asks about a token as the confidential client.
func introspected(t *testing.T, as *devissuer.Issuer, token string) claims {
	t.Helper()
	a := post(t, as.URL()+devissuer.PathIntrospection, basic(confidential, secret), "token", token)
	if a.status != 200 {
		t.Fatalf("got %d %s, want 200", a.status, a.text)
	}
	return a.members
}

func TestIntrospection(t *testing.T) {
	as := start(t)
	issued := post(t, as.URL()+devissuer.PathToken, only(public), "grant_type", "client_credentials", "format", "opaque")
	opaque, _ := issued.members["access_token"].(string)
	if opaque == "" || strings.Contains(opaque, ".") {
		t.Fatalf("got %s, want an opaque token", issued.text)
	}
	other := devissuer.New(as.URL(), nil) // another key under the same name
	for name, tc := range map[string]struct {
		token  string
		active bool
		sub    any
	}{
		"opaque":               {opaque, true, public},
		"opaque, of a prefix":  {as.Opaque("a_", claims{"sub": "bob"}), true, "bob"},
		"a JWT":                {as.JWT(claims{"sub": "alice"}), true, "alice"},
		"an expired JWT":       {as.JWT(claims{"sub": "alice", "exp": 1}), false, nil},
		"a JWT without expiry": {as.JWT(claims{"sub": "alice", "exp": nil}), false, nil},
		"a forged JWT":         {other.JWT(claims{"sub": "alice"}), false, nil},
		"junk":                 {"junk", false, nil},
		"nothing":              {"", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := introspected(t, as, tc.token)
			if got["active"] != tc.active || got["sub"] != tc.sub {
				t.Errorf("got %v, want active %t and sub %v", got, tc.active, tc.sub)
			}
			if !tc.active && len(got) != 1 {
				t.Errorf("got %v, want nothing but active (RFC 7662 §2.2)", got)
			}
		})
	}
	if got := introspected(t, as, opaque); got["token_type"] != "Bearer" || got["iss"] != as.URL() {
		t.Errorf("got %v, want token_type and iss", got)
	}
}

// Introspection and revocation know whom they talk to.
func TestClientAuthentication(t *testing.T) {
	as := start(t)
	mine := as.JWT(claims{"client_id": confidential})
	for name, tc := range map[string]struct {
		with authentication
		ok   bool
	}{
		"basic":                     {basic(confidential, secret), true},
		"in the form":               {inForm(confidential, secret), true},
		"a token as bearer":         {bearer(mine), true},
		"public":                    {only(public), true},
		"basic, wrong secret":       {basic(confidential, secret+"x"), false},
		"basic, not encoded":        {func(r *http.Request, _ url.Values) { r.SetBasicAuth(confidential, secret) }, false},
		"in the form, wrong secret": {inForm(confidential, ""), false},
		"unknown client":            {basic("nobody", secret), false},
		"expired token as bearer":   {bearer(as.JWT(claims{"client_id": confidential, "exp": 1})), false},
		"nothing":                   {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			token := as.Opaque("", claims{"sub": "bob"})
			a := post(t, as.URL()+devissuer.PathIntrospection, tc.with, "token", token)
			if (a.status == 200) != tc.ok || (a.members["active"] == true) != tc.ok {
				t.Errorf("introspection: got %d %s, want accepted %t", a.status, a.text, tc.ok)
			}
			a = post(t, as.URL()+devissuer.PathRevocation, tc.with, "token", token)
			if (a.status == 200) != tc.ok {
				t.Errorf("revocation: got %d %s, want accepted %t", a.status, a.text, tc.ok)
			}
			if !tc.ok && (a.status != http.StatusUnauthorized || a.members["error"] != "invalid_client") {
				t.Errorf("got %d %s, want 401 invalid_client", a.status, a.text)
			}
			if got := introspected(t, as, token)["active"]; got != !tc.ok {
				t.Errorf("got active %v after the revocation, want %t", got, !tc.ok)
			}
		})
	}
}

func TestRevokedTokenIsNoAuthentication(t *testing.T) {
	as := start(t)
	mine := as.JWT(claims{"client_id": confidential})
	as.Revoke(mine)
	if a := post(t, as.URL()+devissuer.PathIntrospection, bearer(mine), "token", mine); a.status != 401 {
		t.Errorf("got %d %s, want 401", a.status, a.text)
	}
	if got := introspected(t, as, mine); got["active"] != false {
		t.Errorf("got %v, want an inactive token", got)
	}
}

func TestSignedIntrospection(t *testing.T) { // RFC 9701
	as := start(t)
	token := as.Opaque("", claims{"sub": "bob"})
	a := post(t, as.URL()+devissuer.PathIntrospection, func(r *http.Request, form url.Values) {
		basic(confidential, secret)(r, form)
		r.Header.Set("Accept", "application/token-introspection+jwt")
	}, "token", token)
	if a.status != 200 || a.header.Get("Content-Type") != "application/token-introspection+jwt" {
		t.Fatalf("got %d %s", a.status, a.header.Get("Content-Type"))
	}
	typ, got := verify(t, as, a.text)
	members, _ := got["token_introspection"].(map[string]any)
	if typ != "token-introspection+jwt" || got["iss"] != as.URL() || got["aud"] != confidential || got["iat"] == nil {
		t.Errorf("got typ %q and %v, want one for this client", typ, got)
	}
	if members["active"] != true || members["sub"] != "bob" || got["sub"] != nil {
		t.Errorf("got %v, want the token's members in token_introspection", got)
	}
}

const (
	redirect = "https://app.example.com/back?keep=1"
	verifier = "a-verifier-of-at-least-forty-three-characters"
)

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorize asks for a code as a browser does, with the parameters changed.
func authorize(t *testing.T, as *devissuer.Issuer, changes ...string) answer {
	t.Helper()
	q := pairs(
		"response_type", "code", "client_id", public, "redirect_uri", redirect, "state", "s&1", "scope", "read",
		"resource", "https://api.example.com", "code_challenge", challenge(verifier), "code_challenge_method", "S256",
	)
	for i := 0; i < len(changes); i += 2 {
		q.Set(changes[i], changes[i+1])
	}
	return get(t, as.URL()+devissuer.PathAuthorization+"?"+q.Encode())
}

func code(t *testing.T, as *devissuer.Issuer) string {
	t.Helper()
	a := authorize(t, as)
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.status != http.StatusFound {
		t.Fatalf("got %d and %v, want a redirect", a.status, err)
	}
	q := to.Query()
	if q.Get("keep") != "1" || q.Get("state") != "s&1" || q.Get("iss") != as.URL() || q.Get("code") == "" {
		t.Fatalf("got %s, want code, state and iss (RFC 9207) beside what was there", to)
	}
	return q.Get("code")
}

func TestAuthorizationRequests(t *testing.T) {
	as := start(t)
	for name, changes := range map[string][]string{
		"no PKCE":            {"code_challenge_method", ""},
		"plain PKCE":         {"code_challenge_method", "plain"},
		"implicit":           {"response_type", "token"},
		"unknown client":     {"client_id", "nobody"},
		"relative redirect":  {"redirect_uri", "/back"},
		"no redirect":        {"redirect_uri", ""},
		"unparsable address": {"redirect_uri", "https://x\x7f"},
	} {
		if a := authorize(t, as, changes...); a.status != 400 || a.members["error"] != "invalid_request" {
			t.Errorf("%s: got %d %s, want 400 and no redirect", name, a.status, a.text)
		}
	}
}

func TestCodeIsRedeemedByWhomItIsFor(t *testing.T) {
	as := start(t)
	for name, tc := range map[string]struct {
		with authentication
		form []string // changes
		ok   bool
	}{
		"as asked for":     {only(public), nil, true},
		"another verifier": {only(public), []string{"code_verifier", verifier + "x"}, false},
		"no verifier":      {only(public), []string{"code_verifier", ""}, false},
		"the challenge":    {only(public), []string{"code_verifier", challenge(verifier)}, false},
		"another redirect": {only(public), []string{"redirect_uri", "https://app.example.com/back"}, false},
		"another client":   {basic(confidential, secret), nil, false},
		"another code":     {only(public), []string{"code", "x"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			form := append([]string{
				"grant_type", "authorization_code", "code", code(t, as), "redirect_uri", redirect, "code_verifier", verifier,
			}, tc.form...)
			a := post(t, as.URL()+devissuer.PathToken, tc.with, form...)
			if !tc.ok {
				if a.status != 400 || a.members["error"] != "invalid_grant" {
					t.Errorf("got %d %s, want 400 invalid_grant", a.status, a.text)
				}
				return
			}
			token, _ := a.members["access_token"].(string)
			_, got := verify(t, as, token)
			if got["sub"] != "alice" || got["client_id"] != public || got["scope"] != "read" ||
				got["aud"] != "https://api.example.com" {
				t.Errorf("got %v, want what was consented to", got)
			}
			if a := post(t, as.URL()+devissuer.PathToken, tc.with, form...); a.members["error"] != "invalid_grant" {
				t.Errorf("a second time: got %d %s, want invalid_grant", a.status, a.text)
			}
		})
	}
}

// A code that was tried with a wrong verifier is used up: guessing goes no further.
func TestCodeIsUsedUpByAWrongTry(t *testing.T) {
	as := start(t)
	form := []string{"grant_type", "authorization_code", "code", code(t, as), "redirect_uri", redirect, "code_verifier"}
	for _, v := range []string{"wrong", verifier} {
		a := post(t, as.URL()+devissuer.PathToken, only(public), append(form, v)...)
		if a.members["error"] != "invalid_grant" {
			t.Errorf("%s: got %d %s, want invalid_grant", v, a.status, a.text)
		}
	}
}

func TestMisbehavesOnRequest(t *testing.T) {
	as := start(t)
	as.Behave(devissuer.PathJWKS, devissuer.Behaviour{Status: 503, Body: "down", Kind: "text/plain",
		Header: map[string]string{"Retry-After": "7"}})
	if a := get(t, as.URL()+devissuer.PathJWKS); a.status != 503 || a.text != "down" ||
		a.header.Get("Content-Type") != "text/plain" || a.header.Get("Retry-After") != "7" {
		t.Errorf("got %d %s %v, want what was asked for", a.status, a.text, a.header)
	}
	as.Behave(devissuer.PathJWKS, devissuer.Behaviour{})
	if a := get(t, as.URL()+devissuer.PathJWKS); a.status != 200 || as.Calls(devissuer.PathJWKS) != 2 {
		t.Errorf("got %d after %d calls, want 200 after 2", a.status, as.Calls(devissuer.PathJWKS))
	}
	as.Behave(devissuer.PathJWKS, devissuer.Behaviour{Abort: true})
	if resp, err := client().Get(as.URL() + devissuer.PathJWKS); err == nil {
		_ = resp.Body.Close()
		t.Errorf("got status %d, want a connection that is closed", resp.StatusCode)
	}
	as.BehaveTo("slow_", devissuer.Behaviour{Delay: 30 * time.Millisecond, Status: 500})
	began := time.Now()
	ask := func(token string) int {
		return post(t, as.URL()+devissuer.PathIntrospection, only(public), "token", token).status
	}
	if got := ask("slow_1"); got != 500 || time.Since(began) < 30*time.Millisecond || as.Calls("slow_1") != 1 {
		t.Errorf("got %d after %s and %d calls, want 500 after 30ms and 1", got, time.Since(began), as.Calls("slow_1"))
	}
	if got := ask("fast_1"); got != 200 || as.Calls("fast_1") != 0 {
		t.Errorf("got %d for another token, want 200", got)
	}
}
