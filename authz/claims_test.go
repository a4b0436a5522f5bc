package authz

import (
	"encoding/json"

	"github.com/bearergate/bearergate/validation"
)

// claimsOf are members as a token carries them.
func claimsOf(members map[string]any) validation.Claims {
	text, err := json.Marshal(members)
	if err != nil {
		panic(err) // members that are no JSON are the test's mistake
	}
	return validation.ClaimsOf(string(text))
}
