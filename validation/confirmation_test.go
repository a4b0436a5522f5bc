package validation

import (
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
		`{"cnf":{}}`:                         malformed,
		`{"cnf":{"jkt":null}}`:               malformed,
		`{"cnf":{"jkt":""}}`:                 malformed,
		`{"cnf":{"jkt":5}}`:                  malformed,
		`{"cnf":{"jkt":["k"]}}`:              malformed,
		`{"cnf":{"jkt":"k","x5t#S256":5}}`:   malformed,
		`{"cnf":{"kid":"1","x5t#S256":{}}}`:  malformed,
		`{"cnf":"k"}`:                        malformed,
		`{"cnf":""}`:                         malformed,
		`{"cnf":[]}`:                         malformed,
		`{"cnf":[{"jkt":"k"}]}`:              malformed,
		`{"cnf":true}`:                       malformed,
		`{"cnf":false}`:                      malformed,
		`{"cnf":0}`:                          malformed,
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
