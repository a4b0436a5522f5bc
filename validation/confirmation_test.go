package validation

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestConfirmation: whatever cnf is, a token that has one is bound, and only what
// is named in full can ever be proven (P-02).
func TestConfirmation(t *testing.T) {
	malformed := &Confirmation{Malformed: true}
	for payload, want := range map[string]*Confirmation{
		`{}`:                                 nil,
		`{"cnf":null}`:                       nil, // says nothing (docs/contract.md §4)
		`{"CNF":{"jkt":"k"}}`:                nil,
		`{"cnf":{"jkt":"k"}}`:                {JKT: "k"},
		`{"cnf":{"x5t#S256":"t"}}`:           {X5TS256: "t"},
		`{"cnf":{"jkt":"k","x5t#S256":"t"}}`: {JKT: "k", X5TS256: "t"},
		`{"cnf":{"jkt":"k","kid":"1"}}`:      {JKT: "k", Unknown: true},
		`{"cnf":{"jwk":{"kty":"EC"}}}`:       {Unknown: true},
		`{"cnf":{"JKT":"k"}}`:                {Unknown: true},
		`{"cnf":{"x5t#s256":"t"}}`:           {Unknown: true},
		`{"cnf":{"jkt":"k","jwk":null}}`:     {JKT: "k"},

		`{"cnf":{"jkt":"k","kc-jkt-type":"DPoP"}}`:               {JKT: "k"}, // Keycloak's
		`{"cnf":{"jkt":"k","kc-jkt-type":"Client-Attestation"}}`: {JKT: "k", Unknown: true},
		`{"cnf":{"jkt":"k","kc-jkt-type":["DPoP"]}}`:             {JKT: "k", Unknown: true},
		`{"cnf":{"kc-jkt-type":"DPoP"}}`:                         {Unknown: true},

		`{"cnf":{}}`:                        malformed,
		`{"cnf":{"jkt":null}}`:              malformed,
		`{"cnf":{"jkt":""}}`:                malformed,
		`{"cnf":{"jkt":5}}`:                 malformed,
		`{"cnf":{"jkt":["k"]}}`:             malformed,
		`{"cnf":{"jkt":"k","x5t#S256":5}}`:  malformed,
		`{"cnf":{"kid":"1","x5t#S256":{}}}`: malformed,
		`{"cnf":"k"}`:                       malformed,
		`{"cnf":""}`:                        malformed,
		`{"cnf":[]}`:                        malformed,
		`{"cnf":[{"jkt":"k"}]}`:             malformed,
		`{"cnf":true}`:                      malformed,
		`{"cnf":false}`:                     malformed,
		`{"cnf":0}`:                         malformed,
	} {
		for range 8 { // members come in any order
			claims, err := parseObject([]byte(payload))
			if err != nil {
				t.Fatal(err)
			}
			token, err := tokenFromClaims(claims)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, token.Confirmation); diff != "" {
				t.Fatalf("%s: %s", payload, diff)
			}
		}
	}
}

// TestTokenTypeAndKeyAgree (RFC 9449 §6): what is called a DPoP token names its key, and
// an introspection answer that names one does not call it a bearer token.
func TestTokenTypeAndKeyAgree(t *testing.T) {
	for payload, want := range map[string]struct{ jwt, answer bool }{
		`{"cnf":{"jkt":"k"}}`:                                      {true, true},
		`{"typ":"DPoP","cnf":{"jkt":"k"}}`:                         {true, true}, // Keycloak's
		`{"typ":"DPoP","nonce":"n","cnf":{"jkt":"k"}}`:             {true, true}, // an access token, not an ID token
		`{"token_type":"dPoP","cnf":{"jkt":"k"}}`:                  {true, true},
		`{"token_type":"DPoP","cnf":{"jkt":"k","x5t#S256":"t"}}`:   {true, true},
		`{"token_type":"Bearer","cnf":{"x5t#S256":"t"}}`:           {true, true},
		`{"token_type":"Bearer","cnf":{"jkt":"k"}}`:                {true, false},
		`{"token_type":"bearer","cnf":{"jkt":"k","x5t#S256":"t"}}`: {true, false},
		`{"token_type":"access_token","cnf":{"jkt":"k"}}`:          {true, false},
		`{"typ":"DPoP"}`:                                         {false, false},
		`{"typ":"DPoP","cnf":{"x5t#S256":"t"}}`:                  {false, false},
		`{"token_type":"DPoP","cnf":{"x5t#S256":"t"}}`:           {false, false},
		`{"token_type":"DPoP","cnf":{"jkt":5}}`:                  {false, false},
		`{"token_type":"DPoP","typ":"Bearer","cnf":{"jkt":"k"}}`: {true, true},
	} {
		claims, err := parseObject([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		token, err := tokenFromClaims(claims)
		if err != nil {
			t.Fatal(err)
		}
		c := Config{AccessTokenType: TypeCompatible}
		asJWT := c.checkMarks(token, claims, "jwt")
		asAnswer := errors.Join(c.checkMarks(token, claims, ""), c.checkTokenType(token, claims))
		for door, got := range map[string]struct {
			err error
			ok  bool
		}{"JWT": {asJWT, want.jwt}, "answer": {asAnswer, want.answer}} {
			if (got.err == nil) != got.ok || got.err != nil && !errors.Is(got.err, ErrBinding) {
				t.Errorf("%s %s: got %v, want ok %v", door, payload, got.err, got.ok)
			}
		}
	}
}
