package validation

import (
	"context"
	"errors"
	"slices"

	"github.com/bearergate/bearergate/internal/strictjws"
)

// introspectionJWT is the typ of a signed answer, without "application/".
const introspectionJWT = "token-introspection+jwt"

// openSigned verifies a signed introspection answer and returns its member
// token_introspection (RFC 9701 §5, I-12). The claims around it are about the
// answer and never about the token.
func (i *introspector) openSigned(ctx context.Context, raw string) (map[string]any, error) {
	jws, err := strictjws.Parse(raw, strictjws.Options{Algorithms: i.cfg.Algorithms})
	if err != nil {
		return nil, malformed(err)
	}
	if jws.Header.Type != introspectionJWT {
		return nil, malformed(errors.New("typ is not " + introspectionJWT))
	}
	if err := i.checkAnswer(jws.Claims); err != nil {
		return nil, malformed(err)
	}
	key, err := i.source.Key(ctx, jws.Header.KeyID, jws.Header.Algorithm)
	if err != nil {
		return nil, malformed(err)
	}
	if err := jws.Verify(key.Public); err != nil {
		return nil, malformed(err)
	}
	return jws.Claims["token_introspection"].(map[string]any), nil
}

// checkAnswer looks at the claims around the answer.
func (i *introspector) checkAnswer(claims map[string]any) error {
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
	if _, ok := claims["token_introspection"].(map[string]any); !ok {
		return errors.New("token_introspection is not an object")
	}
	return i.cfg.checkTimes(nil, answer, i.now())
}
