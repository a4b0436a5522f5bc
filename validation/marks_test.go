package validation_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/validation"
)

const (
	testIssuer = "https://as.example"
	alphabet   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" // of base64url
)

// doors is one issuer whose tokens come as JWTs and as answers.
func doors(t *testing.T, accessTokenType string, requireTokenType bool) *shapes {
	t.Helper()
	file := serverFile{Now: 1_764_000_000}
	file.Config.Issuer, file.Config.ClientID = testIssuer, "gate"
	file.Config.AccessTokenType, file.Config.RequireTokenType = accessTokenType, requireTokenType
	return newShapes(t, file)
}

// asJWT has the members signed, with what every JWT needs.
func (s *shapes) asJWT(t *testing.T, header, members string) string {
	t.Helper()
	all := map[string]json.RawMessage{"iss": json.RawMessage(`"` + testIssuer + `"`), "exp": json.RawMessage("1764000600")}
	var own map[string]json.RawMessage
	if err := json.Unmarshal([]byte(members), &own); err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, own)
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return reasonOf(s.jwt.Validate(t.Context(), signRaw(t, []byte(header), payload)))
}

func (s *shapes) asAnswer(t *testing.T, members string) string {
	t.Helper()
	s.answer([]byte(strings.Replace(members, "{", `{"active":true,`, 1)))
	return reasonOf(s.introspection.Validate(t.Context(), "token"))
}

const (
	plain = `{"alg":"ES256","typ":"JWT"}`
	at    = `{"alg":"ES256","typ":"at+jwt"}`
)

func TestWordsOfOtherTokens(t *testing.T) { // J-24, I-09
	s := doors(t, validation.TypeCompatible, false)
	names := []string{"typ", "token_type", "token_use", "tokenType", "TokenType", "tokenName", "token_usage"}
	for _, word := range []string{
		"ID", "id", "Id", "id_token", "ID-Token", "IdToken", "IDTOKEN", "id token", "id+jwt", "identity_token",
		"refresh", "Refresh", "refresh-token", "refresh_token", "RefreshToken", "REFRESH", "refresh_token_v2",
		"Offline", "offline_token", "OfflineToken", "logout", "Logout+JWT", "logout_token",
		"LogoutToken", "application/logout+jwt",
		"urn:ietf:params:oauth:token-type:refresh_token", "urn:ietf:params:oauth:token-type:id_token",
	} {
		for _, name := range names {
			members := `{"` + name + `":"` + word + `","scope":"read","client_id":"app","aud":"api"}`
			for _, header := range []string{plain, at} {
				if got := s.asJWT(t, header, members); got != "wrong_type" {
					t.Errorf("JWT %s %s: got %s", header, members, got)
				}
			}
			if got := s.asAnswer(t, members); got != "wrong_type" {
				t.Errorf("answer %s: got %s", members, got)
			}
		}
	}
}

func TestWordsOfAccessTokens(t *testing.T) {
	s := doors(t, validation.TypeCompatible, false)
	for _, name := range []string{"typ", "token_type", "token_use", "tokenType", "TokenType", "tokenName", "token_usage"} {
		for word, excuses := range map[string]bool{ // whether it says access, which excuses a nonce
			"Bearer": false, "bearer": false, "access_token": true, "access": true, "Access-Token": true,
			"AccessToken": true, "at+jwt": true, "urn:ietf:params:oauth:token-type:access_token": true,
		} {
			withNonce := "wrong_type"
			if excuses {
				withNonce = "ok"
			}
			for extra, want := range map[string]string{"": "ok", `,"nonce":"n"`: withNonce} {
				members := `{"` + name + `":"` + word + `"` + extra + `}`
				if got := s.asJWT(t, plain, members); got != want {
					t.Errorf("JWT %s: got %s, want %s", members, got, want)
				}
				if got := s.asAnswer(t, members); got != want {
					t.Errorf("answer %s: got %s, want %s", members, got, want)
				}
			}
		}
	}
}

// TestOtherWords are about words that begin like those of other tokens, and of
// values that are no words.
func TestOtherWords(t *testing.T) {
	s := doors(t, validation.TypeCompatible, false)
	for members, want := range map[string]struct{ jwt, answer string }{
		`{"typ":"idp"}`:                                {"ok", "ok"},
		`{"typ":"ideal"}`:                              {"ok", "ok"},
		`{"typ":"identifier"}`:                         {"ok", "ok"},
		`{"tokenType":"JWT"}`:                          {"ok", "ok"},
		`{"tokenName":""}`:                             {"ok", "ok"},
		`{"typ":5}`:                                    {"ok", "ok"},
		`{"typ":null}`:                                 {"ok", "ok"},
		`{"token_use":null}`:                           {"ok", "ok"},
		`{"token_use":"registration"}`:                 {"wrong_type", "wrong_type"},
		`{"token_use":5}`:                              {"wrong_type", "wrong_type"},
		`{"token_type":"N_A"}`:                         {"ok", "wrong_type"},
		`{"token_type":"mac"}`:                         {"ok", "wrong_type"},
		`{"token_type":"mac","cnf":{}}`:                {"wrong_binding", "wrong_type"},
		`{"token_type":5}`:                             {"ok", "malformed_token"},
		`{"token_type":["Bearer"]}`:                    {"ok", "malformed_token"},
		`{"token_type":null}`:                          {"ok", "ok"},
		`{"typ":"DPoP"}`:                               {"wrong_binding", "wrong_binding"}, // names no key
		`{"token_type":"dpop"}`:                        {"wrong_binding", "wrong_binding"},
		`{"typ":"DPoP","cnf":null}`:                    {"wrong_binding", "wrong_binding"},
		`{"typ":"DPoP","cnf":{"jkt":"k"},"nonce":"n"}`: {"wrong_binding", "wrong_binding"}, // for the room above
		`{"token_type":"DPoP","cnf":{"jkt":"k"}}`:      {"wrong_binding", "wrong_binding"},
		`{"token_type":"DPoP","cnf":"k"}`:              {"wrong_binding", "wrong_binding"},
		`{"cnf":"k"}`:                                  {"wrong_binding", "wrong_binding"},
		`{"cnf":[]}`:                                   {"wrong_binding", "wrong_binding"},
		`{"granted_scopes":"a"}`:                       {"wrong_type", "wrong_type"},
		`{"granted_scopes":"a","scope":null}`:          {"wrong_type", "wrong_type"},
		`{"granted_scopes":null}`:                      {"ok", "ok"},
		`{"granted_scopes":"a","scope":"a"}`:           {"ok", "ok"},
		`{"events":{},"scope":"a"}`:                    {"wrong_type", "wrong_type"},
		`{"token_introspection":{},"scope":"a"}`:       {"wrong_type", "wrong_type"},
	} {
		if got := s.asJWT(t, plain, members); got != want.jwt {
			t.Errorf("JWT %s: got %s, want %s", members, got, want.jwt)
		}
		if got := s.asAnswer(t, members); got != want.answer {
			t.Errorf("answer %s: got %s, want %s", members, got, want.answer)
		}
	}
	if got := s.asJWT(t, at, `{"granted_scopes":"a"}`); got != "wrong_type" {
		t.Errorf("at+jwt with granted_scopes: got %s", got)
	}
}

func TestWhatOnlyIDTokensCarry(t *testing.T) { // J-24
	ids := []string{`"nonce":"n"`, `"at_hash":"h"`, `"c_hash":"h"`, `"aud":"app","azp":"app"`, `"aud":["app"],"cid":"app"`,
		`"aud":["app","app"],"appid":"app"`, `"aud":"app","client_id":"app"`}
	excuses := map[string]struct{ jwt, answer string }{
		"":                            {"wrong_type", "wrong_type"},
		`,"scope":"a"`:                {"ok", "ok"},
		`,"scope":""`:                 {"ok", "ok"},
		`,"scope":null`:               {"wrong_type", "wrong_type"},
		`,"scp":["a"]`:                {"ok", "ok"},
		`,"azpacr":"1"`:               {"ok", "ok"},
		`,"appidacr":"1"`:             {"ok", "ok"},
		`,"gty":"client-credentials"`: {"ok", "ok"},
		`,"gty":null`:                 {"wrong_type", "wrong_type"},
		`,"token_use":"access"`:       {"ok", "ok"},
		`,"tokenType":"access-token"`: {"ok", "ok"},
		`,"token_type":"Bearer"`:      {"wrong_type", "wrong_type"},
		`,"SCOPE":"a"`:                {"wrong_type", "wrong_type"},
		`,"roles":["a"]`:              {"wrong_type", "wrong_type"},
	}
	s, anyType := doors(t, validation.TypeCompatible, false), doors(t, validation.TypeAny, false)
	for _, id := range ids {
		for excuse, want := range excuses {
			members := `{` + id + excuse + `}`
			if got := s.asJWT(t, plain, members); got != want.jwt {
				t.Errorf("JWT %s: got %s, want %s", members, got, want.jwt)
			}
			if got := s.asJWT(t, at, members); got != "ok" {
				t.Errorf("at+jwt %s: got %s, want ok", members, got)
			}
			if got := s.asAnswer(t, members); got != want.answer {
				t.Errorf("answer %s: got %s, want %s", members, got, want.answer)
			}
			if got := anyType.asJWT(t, plain, members); got != "ok" {
				t.Errorf("any, JWT %s: got %s, want ok", members, got)
			}
			if got := anyType.asAnswer(t, members); got != "ok" {
				t.Errorf("any, answer %s: got %s, want ok", members, got)
			}
		}
	}
	if got := anyType.asJWT(t, plain, `{"typ":"Refresh"}`); got != "wrong_type" {
		t.Errorf("any switches off the second half only: got %s", got)
	}
	if got := anyType.asAnswer(t, `{"events":{}}`); got != "wrong_type" {
		t.Errorf("any, logout token: got %s", got)
	}
}

// TestClientIDAsAnExcuse: a client_id shows an access token where aud names
// others than the client, in JWTs only.
func TestClientIDAsAnExcuse(t *testing.T) {
	s := doors(t, validation.TypeCompatible, false)
	for members, want := range map[string]string{
		`{"nonce":"n","client_id":"app","aud":"api"}`:          "ok",
		`{"nonce":"n","client_id":"app","aud":["api","more"]}`: "ok",
		`{"nonce":"n","client_id":"app","aud":["app","api"]}`:  "wrong_type", // as zitadel's ID tokens
		`{"nonce":"n","client_id":"app","aud":"app"}`:          "wrong_type",
		`{"nonce":"n","client_id":"app"}`:                      "wrong_type",
		`{"nonce":"n","client_id":"app","aud":[]}`:             "wrong_type",
		`{"nonce":"n","client_id":null,"aud":"api"}`:           "wrong_type",
		`{"nonce":"n","azp":"app","aud":"api"}`:                "wrong_type",
		`{"client_id":"app","aud":["app","api"]}`:              "ok",
		`{"client_id":"app","azp":"other","aud":"app"}`:        "wrong_type",
		`{"client_id":"app"}`:                                  "ok",
		`{"azp":"app","aud":"api"}`:                            "ok",
	} {
		if got := s.asJWT(t, plain, members); got != want {
			t.Errorf("JWT %s: got %s, want %s", members, got, want)
		}
		if strings.Contains(members, "nonce") {
			want = "wrong_type"
		}
		if got := s.asAnswer(t, members); got != want {
			t.Errorf("answer %s: got %s, want %s", members, got, want)
		}
	}
}

func TestRequireTokenType(t *testing.T) {
	s := doors(t, validation.TypeCompatible, true)
	for members, want := range map[string]string{
		`{"scope":"a"}`:                           "wrong_type",
		`{"scope":"a","token_type":null}`:         "wrong_type",
		`{"scope":"a","typ":"Bearer"}`:            "wrong_type",
		`{"scope":"a","token_type":""}`:           "wrong_type",
		`{"scope":"a","token_type":"N_A"}`:        "wrong_type",
		`{"scope":"a","token_type":5}`:            "malformed_token",
		`{"token_type":"Bearer"}`:                 "ok",
		`{"token_type":"bearer"}`:                 "ok",
		`{"token_type":"access_token"}`:           "ok",
		`{"token_type":"DPoP"}`:                   "wrong_binding",
		`{"token_type":"DPoP","cnf":{"jkt":"k"}}`: "wrong_binding",
		`{"cnf":{"jkt":"k"}}`:                     "wrong_type",
	} {
		if got := s.asAnswer(t, members); got != want {
			t.Errorf("%s: got %s, want %s", members, got, want)
		}
	}
	if got := s.asJWT(t, plain, `{"sub":"alice"}`); got != "ok" {
		t.Errorf("a JWT need not say token_type: got %s", got)
	}
}

// TestMembersThatCannotBeRead: a 200 answer is about its token, whatever is in
// it (docs/contract.md §4).
func TestMembersThatCannotBeRead(t *testing.T) {
	s := doors(t, validation.TypeCompatible, false)
	groups := `{"groups":["` + strings.Repeat(`g","`, 3000) + `g"]}`
	for members, want := range map[string]struct{ jwt, answer string }{
		`{"aud":[]}`:                          {"ok", "ok"},
		`{"aud":""}`:                          {"ok", "ok"},
		`{"aud":[""]}`:                        {"ok", "ok"},
		`{"aud":null}`:                        {"ok", "ok"},
		`{"sub":null}`:                        {"ok", "ok"},
		`{"exp":null}`:                        {"malformed_token", "ok"},
		`{"iss":null}`:                        {"wrong_issuer", "ok"},
		`{"iat":null,"nbf":null,"jti":null}`:  {"ok", "ok"},
		`{"nonce":null,"at_hash":null}`:       {"ok", "ok"},
		`{"scope":null,"scp":null}`:           {"ok", "ok"},
		`{"cnf":null}`:                        {"ok", "ok"},
		`{"events":null}`:                     {"ok", "ok"},
		`{"acr":1}`:                           {"ok", "ok"},
		`{"acr":null}`:                        {"ok", "ok"},
		`{"acr":["a"]}`:                       {"ok", "ok"},
		`{"auth_time":"2026-01-01T00:00:00"}`: {"ok", "ok"},
		`{"auth_time":true}`:                  {"ok", "ok"},
		`{"auth_time":-1}`:                    {"ok", "ok"},
		`{"scope":"a  b"}`:                    {"malformed_token", "malformed_token"},
		`{"scope":5}`:                         {"malformed_token", "malformed_token"},
		`{"exp":"123"}`:                       {"malformed_token", "malformed_token"},
		`{"exp":1e30}`:                        {"malformed_token", "malformed_token"},
		`{"exp":1764000600.5,"iat":1.7e9}`:    {"ok", "ok"},
		`{"iat":"now"}`:                       {"malformed_token", "malformed_token"},
		`{"sub":5}`:                           {"malformed_token", "malformed_token"},
		`{"jti":5}`:                           {"malformed_token", "malformed_token"},
		`{"iss":5}`:                           {"malformed_token", "malformed_token"},
		`{"client_id":5}`:                     {"malformed_token", "malformed_token"},
		`{"aud":{}}`:                          {"malformed_token", "malformed_token"},
		`{"aud":["a",5]}`:                     {"malformed_token", "malformed_token"},
		groups:                                {"ok", "ok"},
	} {
		if got := s.asJWT(t, plain, members); got != want.jwt {
			t.Errorf("JWT %.80s: got %s, want %s", members, got, want.jwt)
		}
		if got := s.asAnswer(t, members); got != want.answer {
			t.Errorf("answer %.80s: got %s, want %s", members, got, want.answer)
		}
	}
}

// TestAnswersThatAreNoStrictJSON: one boolean active makes an answer about the
// token; without it nothing was answered (I-03, I-04).
func TestAnswersThatAreNoStrictJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{"active":true,"sub":"a","sub":"b"}`:               "malformed_token",
		`{"sub":"a","sub":"b","active":true}`:               "malformed_token",
		`{"active":true,"x":{"a":1,"a":2}}`:                 "malformed_token",
		"{\"active\":true,\"sub\":\"\xff\"}":                "malformed_token",
		`{"active":false,"sub":"a","sub":"b"}`:              "inactive",
		`{"\u0061ctive":true,"sub":"a","sub":"b"}`:          "malformed_token",
		`{"active":false,"active":true}`:                    "unavailable",
		`{"active":true,"active":true}`:                     "unavailable",
		`{"active":true,"\u0061ctive":false}`:               "unavailable",
		`{"active":"true","sub":"a","sub":"b"}`:             "unavailable",
		`{"active":null,"sub":"a","sub":"b"}`:               "unavailable",
		`{"sub":"a","sub":"b"}`:                             "unavailable",
		`{"x":{"active":true},"sub":"a","sub":"b"}`:         "unavailable",
		`{"active":true,"sub":"a","sub":"b"`:                "unavailable",
		`{"active":true,"sub":"a","sub":"b"}{}`:             "unavailable",
		`{"active":true}x`:                                  "unavailable",
		`{"active":true,}`:                                  "unavailable",
		`[{"active":true,"sub":"a","sub":"b"}]`:             "unavailable",
		`"active"`:                                          "unavailable",
		`{"active":true,"x":` + strings.Repeat("[", 20_000): "unavailable",
	} {
		s := doors(t, validation.TypeCompatible, false)
		s.answer([]byte(body))
		if got := reasonOf(s.introspection.Validate(t.Context(), "token")); got != want {
			t.Errorf("%.80q: got %s, want %s", body, got, want)
		}
	}
}

// TestWhatCountsAsAbsentIsAbsent: nobody above sees a null, an empty aud, or a
// step-up claim of the wrong type.
func TestWhatCountsAsAbsentIsAbsent(t *testing.T) {
	s := doors(t, validation.TypeCompatible, false)
	s.answer([]byte(`{"active":true,"sub":null,"aud":[],"tenant":null,"acr":1,"auth_time":"yesterday","scope":"a"}`))
	token, err := s.introspection.Validate(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sub", "aud", "tenant"} {
		if _, ok := token.Claims.Map()[name]; ok {
			t.Errorf("%s is in the claims", name)
		}
	}
	if token.ACR != "" || !token.AuthTime.IsZero() || token.Audience != nil || token.Subject != "" {
		t.Errorf("got %+v", token)
	}
	s.answer([]byte(`{"active":true,"aud":""}`))
	token, err = s.introspection.Validate(t.Context(), "token")
	if err != nil || token.Audience != nil {
		t.Errorf("an aud without a value: got %+v, %v", token, err)
	}
	s.answer([]byte(`{"active":true,"acr":"gold","auth_time":1763999000}`))
	token, err = s.introspection.Validate(t.Context(), "token")
	if err != nil || token.ACR != "gold" || !token.AuthTime.Equal(time.Unix(1763999000, 0)) {
		t.Errorf("got %+v, %v", token, err)
	}
}

func TestTypesOfHeaders(t *testing.T) { // J-04
	s, strict := doors(t, validation.TypeCompatible, false), doors(t, validation.TypeRFC9068, false)
	full := `{"sub":"alice","aud":"api","client_id":"app","iat":1763999999,"jti":"j"}`
	for typ, want := range map[string]struct{ compatible, rfc9068 string }{
		`"JWT"`: {"ok", "wrong_type"}, `"jwt"`: {"ok", "wrong_type"}, `"Jwt"`: {"ok", "wrong_type"},
		`"application/JWT"`: {"ok", "wrong_type"},
		`"at+jwt"`:          {"ok", "ok"}, `"AT+JWT"`: {"ok", "ok"}, `"application/at+jwt"`: {"ok", "ok"},
		`"Application/AT+jwt"`: {"ok", "ok"},
		`""`:                   {"malformed_token", "malformed_token"}, `"application/"`: {"malformed_token", "malformed_token"},
		`5`: {"malformed_token", "malformed_token"}, `["JWT"]`: {"malformed_token", "malformed_token"},
	} {
		header := `{"alg":"ES256","typ":` + typ + `}`
		if got := s.asJWT(t, header, full); got != want.compatible {
			t.Errorf("typ %s: got %s, want %s", typ, got, want.compatible)
		}
		if got := strict.asJWT(t, header, full); got != want.rfc9068 {
			t.Errorf("rfc9068, typ %s: got %s, want %s", typ, got, want.rfc9068)
		}
	}
	if got := s.asJWT(t, `{"alg":"ES256"}`, full); got != "ok" {
		t.Errorf("no typ: got %s", got)
	}
	anyType := doors(t, validation.TypeAny, false)
	for _, typ := range []string{
		"dpop+jwt", "secevent+jwt", "logout+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "statuslist+jwt", "wit+jwt",
		"wimse-id+jwt",
		"token-introspection+jwt", "entity-statement+jwt", "oauth-authz-req+jwt", "client-authentication+jwt",
		"id_token+jwt", "rt+jwt",
		"kb+jwt", "dc+sd-jwt", "vc+jwt", "JWT+AT", "at+jwt2", "at-jwt", "atjwt", "at+jwt ", " JWT", "JWS", "JOSE", "JWE",
		"application/application/at+jwt", "text/at+jwt", "application/at", "at", "none",
	} {
		for name, issuer := range map[string]*shapes{"compatible": s, "any": anyType} {
			if got := issuer.asJWT(t, `{"alg":"ES256","typ":"`+typ+`"}`, full); got != "wrong_type" {
				t.Errorf("%s, typ %q: got %s", name, typ, got)
			}
		}
	}
}

// TestOneSpellingOfASignature: the last character of base64 has bits that mean
// nothing, and a token has no second spelling by them (J-02).
func TestOneSpellingOfASignature(t *testing.T) {
	s := doors(t, validation.TypeCompatible, false)
	for _, alg := range []string{"ES256", "RS256", "PS256", "EdDSA", "Ed25519"} {
		token := signRaw(t, []byte(`{"alg":"`+alg+`"}`), []byte(`{"iss":"`+testIssuer+`","exp":1764000600}`))
		if got := reasonOf(s.jwt.Validate(t.Context(), token)); got != "ok" {
			t.Fatalf("%s: got %s", alg, got)
		}
		other := otherSpelling(token)
		raw := func(s string) string {
			decoded, err := base64.RawURLEncoding.DecodeString(s[strings.LastIndexByte(s, '.')+1:])
			if err != nil {
				t.Fatal(err)
			}
			return string(decoded)
		}
		if other == token || raw(other) != raw(token) {
			t.Fatalf("%s: not another spelling of the same signature", alg)
		}
		for name, spelling := range map[string]string{
			"unused bits": other, "padding": token + "==", "line break": token + "\n",
			"inner line break":  token[:len(token)-9] + "\r\n" + token[len(token)-9:],
			"standard alphabet": token + "+", "space": token + " ",
		} {
			if got := reasonOf(s.jwt.Validate(t.Context(), spelling)); got != "malformed_token" {
				t.Errorf("%s, %s: got %s", alg, name, got)
			}
		}
	}
	// The header {"alg":"ES256" } and the payload ending in a blank leave bits over.
	for _, header := range []string{`{"alg":"ES256"}`, `{"alg":"ES256" }`, `{"alg":"ES256"  }`} {
		for _, blanks := range []string{"", " ", "  "} {
			token := signRaw(t, []byte(header), []byte(`{"iss":"`+testIssuer+`","exp":1764000600`+blanks+`}`))
			parts := strings.Split(token, ".")
			for n := range 2 {
				last := strings.IndexByte(alphabet, parts[n][len(parts[n])-1])
				if last%4 != 0 || len(parts[n])%4 == 0 {
					continue
				}
				spelling := strings.Replace(token, parts[n], otherSpelling(parts[n]), 1)
				if got := reasonOf(s.jwt.Validate(t.Context(), spelling)); got != "malformed_token" {
					t.Errorf("part %d of %s: got %s", n, spelling, got)
				}
			}
		}
	}
}

// TestSignedAnswersAreReadAlike: inside token_introspection the rules of plain
// answers hold; around it everything is the issuer's fault (RFC 9701, I-12).
func TestSignedAnswersAreReadAlike(t *testing.T) {
	for inner, want := range map[string]string{
		`{"active":true,"aud":[],"sub":null,"acr":1}`:  "ok",
		`{"active":true,"scope":"a  b"}`:               "malformed_token",
		`{"active":true,"exp":"123"}`:                  "malformed_token",
		`{"active":true,"token_type":"refresh_token"}`: "wrong_type",
		`{"active":true,"nonce":"n"}`:                  "wrong_type",
		`{"active":false,"exp":"123"}`:                 "inactive",
		`{"active":"true"}`:                            "unavailable",
		`null`:                                         "unavailable",
		`{"active":true,"sub":"a","sub":"b"}`:          "unavailable", // the payload as a whole is no strict JSON
	} {
		file := serverFile{Now: 1_764_000_000}
		file.Config.Issuer, file.Config.ClientID, file.Config.Response = testIssuer, "gate", validation.ResponseJWT
		s := newShapes(t, file)
		payload := `{"iss":"` + testIssuer + `","aud":"gate","iat":1764000000,"exp":null,"token_introspection":` + inner + `}`
		body := signRaw(t, []byte(`{"alg":"ES256","typ":"token-introspection+jwt"}`), []byte(payload))
		s.answer([]byte(body))
		if got := reasonOf(s.introspection.Validate(t.Context(), "token")); got != want {
			t.Errorf("%s: got %s, want %s", inner, got, want)
		}
		s.answer([]byte(otherSpelling(body)))
		if got := reasonOf(s.introspection.Validate(t.Context(), "another")); got != "unavailable" {
			t.Errorf("%s, with unused bits in the signature: got %s", inner, got)
		}
	}
}

// otherSpelling sets an unused bit of the last character.
func otherSpelling(token string) string {
	last := strings.IndexByte(alphabet, token[len(token)-1])
	return token[:len(token)-1] + alphabet[last|1:last|1+1]
}

func TestConfigOfMarks(t *testing.T) {
	base := validation.Config{
		Issuer: testIssuer, Strategy: validation.StrategyBoth, ClientAuthMethod: validation.AuthNone,
		IntrospectionResponse: validation.ResponseJSON, Algorithms: []string{"ES256"},
		RequestTimeout: time.Second, RequireTokenType: true,
	}
	for kind, ok := range map[string]bool{
		"compatible": true, "rfc9068": true, "any": true, "": false, "ANY": false, "all": false,
	} {
		base.AccessTokenType = kind
		if err := base.Validate(); (err == nil) != ok {
			t.Errorf("access_token_type %q: got %v", kind, err)
		}
	}
	base.AccessTokenType = "any"
	for prefix, ok := range map[string]bool{
		"": true, "ory_at_": true, "00D5f!": true, "~#$%&'()*;<>?@[]^`{|}": true,
		"a b": false, `a"`: false, "a,": false, `a\`: false, "a\x7f": false, "é": false, "a\n": false,
	} {
		base.OpaqueTokenPrefix = prefix
		if err := base.Validate(); (err == nil) != ok {
			t.Errorf("opaque_token_prefix %q: got %v", prefix, err)
		}
	}
}

func TestHeadersThatAreRefused(t *testing.T) { // J-05, J-06, J-07
	s := doors(t, validation.TypeCompatible, false)
	for _, member := range []string{
		`"crit":["exp"]`, `"crit":[]`, `"crit":null`, `"b64":true`, `"b64":false`, `"zip":"DEF"`, `"enc":"A128GCM"`,
		`"cty":"JWT"`, `"cty":"jwt"`, `"cty":5`, `"kid":""`, `"kid":5`, `"kid":null`, `"typ":null`,
	} {
		if got := s.asJWT(t, `{"alg":"ES256",`+member+`}`, `{}`); got != "malformed_token" {
			t.Errorf("%s: got %s", member, got)
		}
	}
	for _, member := range []string{`"cty":"json"`, `"kid":"k"`, `"jku":"https://evil.example"`, `"x5t":"t"`} {
		if got := s.asJWT(t, `{"alg":"ES256",`+member+`}`, `{}`); got != "ok" {
			t.Errorf("%s: got %s", member, got)
		}
	}
}

func TestDatesAtTheirBounds(t *testing.T) { // J-22; the clock skew is 30 s
	s := doors(t, validation.TypeCompatible, false)
	for members, want := range map[string]string{
		`{"exp":1763999971}`:       "ok",
		`{"exp":1763999970}`:       "expired",
		`{"nbf":1764000030}`:       "ok",
		`{"nbf":1764000031}`:       "not_yet_valid",
		`{"iat":1764000030}`:       "ok",
		`{"iat":1764000031}`:       "not_yet_valid",
		`{"exp":9007199254740992}`: "ok",
		`{"exp":9007199254740994}`: "malformed_token",
		`{"iat":0}`:                "ok",
		`{"iat":-1}`:               "malformed_token",
	} {
		if got := s.asJWT(t, plain, members); got != want {
			t.Errorf("JWT %s: got %s, want %s", members, got, want)
		}
		if got := s.asAnswer(t, members); got != want {
			t.Errorf("answer %s: got %s, want %s", members, got, want)
		}
	}
}

func TestSignedAnswerThatIsOver(t *testing.T) { // RFC 9701: the answer's own dates count
	file := serverFile{Now: 1_764_000_000}
	file.Config.Issuer, file.Config.ClientID, file.Config.Response = testIssuer, "gate", validation.ResponseJWT
	for dates, want := range map[string]string{
		`"iat":1763990000,"exp":1764000001`: "ok",
		`"iat":1763990000,"exp":1763990001`: "unavailable",
		`"iat":1764009999`:                  "unavailable",
		`"iat":null`:                        "unavailable",
	} {
		s := newShapes(t, file)
		payload := `{"iss":"` + testIssuer + `","aud":["gate"],` + dates + `,"token_introspection":{"active":true}}`
		s.answer([]byte(signRaw(t, []byte(`{"alg":"ES256","typ":"token-introspection+jwt"}`), []byte(payload))))
		if got := reasonOf(s.introspection.Validate(t.Context(), "token")); got != want {
			t.Errorf("%s: got %s, want %s", dates, got, want)
		}
	}
}
