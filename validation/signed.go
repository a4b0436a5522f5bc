package validation

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bearergate/bearergate/internal/strictjws"
)

// introspectionJWT is the typ of a signed answer, without "application/".
const introspectionJWT = "token-introspection+jwt"

// openSigned verifies a signed introspection answer and returns its member
// token_introspection (RFC 9701 §5, I-12). The claims around it are about the
// answer and never about the token.
func (i *introspector) openSigned(ctx context.Context, raw string) (members, error) {
	jws, err := strictjws.Parse(raw, strictjws.Options{Algorithms: i.cfg.Algorithms})
	if err != nil {
		return members{}, malformed(err)
	}
	if jws.Header.Type != introspectionJWT {
		return members{}, malformed(errors.New("typ is not " + introspectionJWT))
	}
	claims := members{jws.Claims}
	if err := i.checkAnswer(claims); err != nil {
		return members{}, malformed(err)
	}
	key, err := i.source.Key(ctx, jws.Header.KeyID, jws.Header.Algorithm)
	if err != nil {
		return members{}, malformed(err)
	}
	if err := jws.Verify(key.Public); err != nil {
		return members{}, malformed(err)
	}
	return parseObject([]byte(claims.get("token_introspection")))
}

// checkAnswer looks at the claims around the answer.
func (i *introspector) checkAnswer(claims members) error {
	answer, err := tokenFromClaims(claims)
	if err != nil {
		return err
	}
	switch {
	case answer.Issuer != i.cfg.Issuer:
		return errors.New("iss is not the configured issuer")
	case !slices.Contains(answer.Audience, i.cfg.ClientID):
		return errors.New("aud is not our client_id")
	case answer.IssuedAt.IsZero():
		return errors.New("no iat")
	}
	if !strings.HasPrefix(string(claims.get("token_introspection")), "{") {
		return errors.New("token_introspection is not an object")
	}
	return i.cfg.checkTimes(nil, answer, i.now())
}
