package config

import (
	"strings"
	"testing"
)

// TestTokenTypeKeys: what the file says about kinds of tokens arrives where
// tokens are judged.
func TestTokenTypeKeys(t *testing.T) {
	const file = "auth: {issuer: https://as.example, audience: api, access_token_type: KIND, require_token_type: REQUIRE}\n"
	c, err := load(t, "a.yaml", strings.NewReplacer("KIND", "any", "REQUIRE", "true").Replace(file))
	if err != nil {
		t.Fatal(err)
	}
	if v := c.Issuers[0].Validation; v.AccessTokenType != "any" || !v.RequireTokenType {
		t.Errorf("got %q and %v, want any and true", v.AccessTokenType, v.RequireTokenType)
	}
	if c, err = load(t, "a.yaml", "auth: {issuer: https://as.example, audience: api}\n"); err != nil ||
		c.Issuers[0].Validation.RequireTokenType {
		t.Errorf("got %v, want require_token_type false by default", err)
	}
	for kind, require := range map[string]string{"all": "true", "any": "1"} {
		if _, err := load(t, "a.yaml", strings.NewReplacer("KIND", kind, "REQUIRE", require).Replace(file)); err == nil {
			t.Errorf("access_token_type %s, require_token_type %s: accepted", kind, require)
		}
	}
}
