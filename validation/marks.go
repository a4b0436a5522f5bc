package validation

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// kind is what a mark says that a token is.
type kind uint8

const (
	kindUnknown kind = iota // nothing that we know
	kindAccess              // access_token, access, at+jwt
	kindBearer
	kindDPoP
	kindOther // an ID, refresh, offline or logout token
)

// marks are the members by which servers tell their tokens apart: typ is
// Keycloak's, token_use that of Cognito and Hydra, tokenType Casdoor's,
// tokenName ForgeRock's.
var marks = [...]string{ //nolint:gochecknoglobals // never changed
	"typ", "token_type", "token_use", "tokenType", "TokenType", "tokenName", "token_usage",
}

// maxKindBytes is more than the longest word that is compared whole.
const maxKindBytes = 32

// kindOf reads a mark in any case, with dashes, underscores, spaces or none, as
// a media type (logout+jwt) or a URN of RFC 8693 §3. It allocates nothing.
func kindOf(value string) kind {
	value = value[strings.LastIndexAny(value, ":/")+1:]
	var buffer [maxKindBytes]byte
	word := buffer[:0]
	for n := 0; n < len(value) && len(word) < maxKindBytes; n++ {
		switch c := value[n]; {
		case c == '-' || c == '_' || c == ' ':
		case c >= 'A' && c <= 'Z':
			word = append(word, c|0x20)
		default:
			word = append(word, c)
		}
	}
	word = bytes.TrimSuffix(word, []byte("+jwt"))
	switch string(word) {
	case "access", "accesstoken", "at":
		return kindAccess
	case "bearer":
		return kindBearer
	case "dpop":
		return kindDPoP
	case "id", "idtoken", "identity", "identitytoken":
		return kindOther // whole words: an "idp" or an "identifier" is no ID token
	}
	for _, start := range [...]string{"refresh", "offline", "logout"} {
		if len(word) >= len(start) && string(word[:len(start)]) == start {
			return kindOther
		}
	}
	return kindUnknown
}

// checkMarks refuses whatever is not an access token, by what it carries, in a
// JWT and in an introspection answer alike (J-24, I-09, A-17). headerType is
// the typ of a JWT's header; an answer has none.
func (c Config) checkMarks(t *Token, claims members, headerType string) error {
	access, err := checkWords(t, claims)
	if err != nil {
		return err
	}
	if claims.has("granted_scopes") && !claims.has("scope") {
		return fmt.Errorf("%w: granted_scopes without scope is what refresh tokens have", ErrWrongType)
	}
	if headerType == atJWT {
		return nil
	}
	for _, name := range [...]string{"events", "token_introspection"} {
		if claims.has(name) {
			return fmt.Errorf("%w: %s is a claim of another kind of token", ErrWrongType, name)
		}
	}
	if access || c.AccessTokenType == TypeAny || saysAccess(t, claims) {
		return nil
	}
	return checkNotIDToken(t, claims)
}

// checkWords says whether a mark calls the token an access token, and refuses
// it when one calls it something else. token_use has no other purpose than
// this, so that there a word that we do not know is something else, too.
func checkWords(t *Token, claims members) (access bool, err error) {
	for _, name := range marks {
		value := claims.get(name)
		if value == "" {
			continue
		}
		word, _ := value.Text()
		switch kindOf(word) {
		case kindOther:
			return false, fmt.Errorf("%w: %s says that it is no access token", ErrWrongType, name)
		case kindAccess:
			access = true
		case kindDPoP:
			if t.Confirmation == nil || t.Confirmation.JKT == "" { // RFC 9449 §6: the key must be named
				return false, fmt.Errorf("%w: %s is DPoP, but cnf names no key (jkt)", ErrBinding, name)
			}
			access = true
		case kindUnknown:
			if name == "token_use" {
				return false, fmt.Errorf("%w: token_use does not say that it is an access token", ErrWrongType)
			}
		case kindBearer: // says how it is used, not what it is
		}
	}
	return access, nil
}

// saysAccess looks for the claims that only access tokens have. The client_id
// is one where aud does not name the client, as the aud of an ID token must
// (OpenID Connect Core 1.0 §2); introspection answers have it for every kind of
// token (RFC 7662 §2.2).
func saysAccess(t *Token, claims members) bool {
	for _, name := range [...]string{"scope", "scp", "azpacr", "appidacr", "gty"} {
		if claims.has(name) {
			return true
		}
	}
	return t.JWT && claims.has("client_id") && len(t.Audience) > 0 && !slices.Contains(t.Audience, t.ClientID)
}

// checkNotIDToken refuses what carries what only ID tokens carry, or is meant
// for its own client and nobody else.
func checkNotIDToken(t *Token, claims members) error {
	for _, name := range [...]string{"nonce", "at_hash", "c_hash"} {
		if claims.has(name) {
			return fmt.Errorf("%w: %s is a claim of ID tokens", ErrWrongType, name)
		}
	}
	if t.ClientID == "" || len(t.Audience) == 0 {
		return nil
	}
	for _, audience := range t.Audience {
		if audience != t.ClientID {
			return nil
		}
	}
	return fmt.Errorf("%w: meant for its client, as an ID token is", ErrWrongType)
}

// checkTokenType looks at the token_type of an introspection answer: an access
// token is a bearer token, or bound to a key (I-09), and never said to be both (RFC
// 9449 §6.2). That the key is proven is the business of the room above.
func (c Config) checkTokenType(t *Token, claims members) error {
	value := claims.get("token_type")
	if value == "" {
		if c.RequireTokenType {
			return fmt.Errorf("%w: no token_type, and require_token_type is true", ErrWrongType)
		}
		return nil
	}
	word, ok := value.Text()
	if !ok {
		return fmt.Errorf("%w: token_type is not a string", ErrMalformed)
	}
	switch kindOf(word) {
	case kindDPoP: // checkWords wants cnf
		return nil
	case kindBearer, kindAccess:
		if t.Confirmation != nil && t.Confirmation.JKT != "" {
			return fmt.Errorf("%w: token_type is Bearer, but cnf names a key (jkt)", ErrBinding)
		}
		return nil
	case kindOther, kindUnknown:
	}
	return fmt.Errorf("%w: token_type is not Bearer", ErrWrongType)
}
