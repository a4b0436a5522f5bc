package validation

import "testing"

// TestMarksCostNothing: they are looked at for every new token.
func TestMarksCostNothing(t *testing.T) {
	c := Config{AccessTokenType: TypeCompatible}
	token := &Token{JWT: true, ClientID: "app", Audience: []string{"api"}}
	claims, err := parseObject([]byte(`{"iss":"https://as.example","sub":"alice","typ":"Bearer","token_use":"access_token",` +
		`"client_id":"app","scope":"read"}`))
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { err = c.checkMarks(token, claims, "jwt") }); n > 0 || err != nil {
		t.Errorf("got %v allocations and %v, want none", n, err)
	}
	if n := testing.AllocsPerRun(100, func() { err = c.checkTokenType(token, claims) }); n > 0 || err != nil {
		t.Errorf("token_type: got %v allocations and %v, want none", n, err)
	}
}

func FuzzKind(f *testing.F) {
	f.Add("Logout+JWT")
	f.Add("urn:ietf:params:oauth:token-type:refresh_token")
	f.Fuzz(func(t *testing.T, word string) {
		if kindOf(word) != kindOf("x:"+word) || kindOf(word+"-") != kindOf(word) && len(word) < maxKindBytes {
			t.Errorf("%q is read in two ways", word)
		}
	})
}
