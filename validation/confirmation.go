package validation

// Confirmation is what cnf says that the sender of a token has to hold (RFC 7800
// §3). It is a fact, like all of a [Token]: whether it was proven is the business
// of the room above, which must refuse a token with a Confirmation of which it
// cannot prove everything (P-02).
type Confirmation struct {
	JKT     string // thumbprint of the key of a DPoP proof (RFC 9449 §6.1); empty: none
	X5TS256 string // thumbprint of a client certificate, x5t#S256 (RFC 8705 §3.1); empty: none

	Unknown bool // it has members besides, and nobody here knows how to prove these
	// Malformed: cnf is no object, says nothing, or has one of the above as something
	// else than text. The other fields are zero then: there is nothing to prove, and
	// the token is bound all the same.
	Malformed bool
}

// confirmationFromClaims returns nil where there is no cnf, and only there: what
// cannot be read binds the token as well. A member that is null says nothing, in a
// cnf as elsewhere (docs/contract.md §4).
func confirmationFromClaims(claims members) *Confirmation {
	cnf := claims.get("cnf")
	if cnf == "" {
		return nil
	}
	members, _ := cnf.Any().(map[string]any)
	c := new(Confirmation)
	for name, value := range members {
		if value == nil {
			continue
		}
		text, ok := value.(string)
		switch name {
		case "jkt":
			c.JKT = text
		case "x5t#S256":
			c.X5TS256 = text
		case "kc-jkt-type":
			// Keycloak says beside jkt how its key is proven. That is no binding of its own,
			// unless it is another way than ours, such as Client-Attestation.
			c.Unknown = c.Unknown || text != "DPoP" || members["jkt"] == nil
			continue
		default:
			c.Unknown = true
			continue
		}
		if !ok || text == "" {
			return &Confirmation{Malformed: true}
		}
	}
	if *c == (Confirmation{}) {
		c.Malformed = true
	}
	return c
}
