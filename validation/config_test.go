package validation

import (
	"strings"
	"testing"

	"github.com/bearergate/bearergate/internal/field"
)

// TestMethodIsNeededWhereTheIssuerIsAsked: a Config made by hand may leave out
// how to ask an issuer, but only if it is not asked.
func TestMethodIsNeededWhereTheIssuerIsAsked(t *testing.T) {
	c := Config{
		Strategy: StrategyJWT, Algorithms: Algorithms(), AccessTokenType: TypeCompatible, RequestTimeout: 1, ClientID: "gate",
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	c.Strategy = StrategyBoth
	var got []string
	for _, e := range field.List(c.Validate()) {
		got = append(got, e.Error())
	}
	want := []string{
		`introspection_response: got "", want one of json, jwt`,
		`client_auth_method: got "", want one of client_secret_basic, `,
	}
	if len(got) != len(want) || !strings.HasPrefix(got[0], want[0]) || !strings.HasPrefix(got[1], want[1]) {
		t.Errorf("got %q, want %q", got, want)
	}
	c.Strategy, c.ClientAuthMethod = StrategyJWT, "basic"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `client_auth_method: got "basic", want one of`) {
		t.Errorf("got %v, want an unknown method refused, asked or not", err)
	}
}
