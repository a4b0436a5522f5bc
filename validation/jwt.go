package validation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

// atJWT is the media type of RFC 9068 §4, without "application/".
const atJWT = "at+jwt"

// verifier validates JWTs of one issuer with the issuer's keys.
type verifier struct {
	cfg    Config
	source Source
	now    func() time.Time
}

// candidate is a JWT that was read, and not yet verified.
type candidate struct {
	jws   *strictjws.JWS
	token *Token
}

// verified is a JWT that its issuer signed.
type verified struct {
	token      *Token
	thumbprint string // of the key; [Source.Trusted] says whether it still counts
}

// verify judges raw. All that can be refused without a key is refused first
// (J-27); then go-oidc verifies; then decisions are taken from the strictly parsed
// payload only, since go-oidc's own reading is lenient (J-20).
func (v *verifier) verify(ctx context.Context, raw string) (verified, error) {
	c, err := v.inspect(ctx, raw)
	if err != nil {
		return verified{}, err
	}
	keys := &keySet{source: v.source, jws: c.jws, now: v.now}
	err = v.library(ctx, keys, c)
	switch {
	case keys.err != nil:
		return verified{}, keys.err // typed, unlike what go-oidc makes of it (L-04)
	case err != nil:
		return verified{}, fmt.Errorf("%w: refused by the JWT library", ErrMalformed)
	case !keys.verified:
		return verified{}, fmt.Errorf("%w: the JWT library asked for no key", ErrMalformed)
	}
	return verified{c.token, keys.key.Thumbprint}, nil
}

// library has go-oidc verify c by keys. It takes a null iat for a mistake,
// which counts as absent here (docs/contract.md §4): a token without iat is verified
// by keys alone, and loses no check, since inspect made all others before.
func (v *verifier) library(ctx context.Context, keys *keySet, c *candidate) error {
	if !has(c.token, "iat") {
		_, err := keys.VerifySignature(ctx, c.jws.Raw())
		return err
	}
	_, err := oidc.NewVerifier(v.cfg.Issuer, keys, &oidc.Config{
		SupportedSigningAlgs: v.cfg.Algorithms,
		SkipClientIDCheck:    true, // the audience is the business of the room above
		SkipExpiryCheck:      true, // checkTimes does it with the configured clock skew
	}).Verify(ctx, c.jws.Raw())
	return err
}

// inspect reads the token without a key.
func (v *verifier) inspect(ctx context.Context, raw string) (*candidate, error) {
	w := walk.From(ctx)
	jws, err := strictjws.Parse(raw, strictjws.Options{Algorithms: v.cfg.Algorithms})
	if err != nil {
		return nil, w.Err(room, "header", jwsError(err))
	}
	h := jws.Header
	w.Note(room, "header", func() string { return fmt.Sprintf("alg %s, typ %q, kid %q", h.Algorithm, h.Type, h.KeyID) })
	token, err := tokenFromClaims(jws.Claims)
	if err != nil {
		return nil, w.Err(room, "claims", err)
	}
	token.JWT = true
	return &candidate{jws, token}, v.check(w, h, token)
}

// jwsError makes one of this package's errors of one that says what is wrong with
// a JWS.
func jwsError(err error) error {
	var e *strictjws.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	kind := ErrMalformed
	switch {
	case errors.Is(err, strictjws.ErrAlgorithm):
		kind = ErrUnsupportedAlgorithm
	case errors.Is(err, strictjws.ErrSignature):
		kind = ErrSignature
	}
	if e.Detail == "" {
		return kind
	}
	return fmt.Errorf("%w: %s", kind, e.Detail)
}

func (v *verifier) check(w *walk.Walk, h strictjws.Header, t *Token) error {
	if err := w.Err(room, "type", v.checkType(h.Type, t)); err != nil {
		return err
	}
	if err := v.cfg.checkIssuer(w, t.Issuer); err != nil {
		return err
	}
	// Nothing else ends a JWT: nobody is asked whether it was revoked (J-22).
	if t.Expiry.IsZero() {
		return w.Err(room, "exp", fmt.Errorf("%w: no exp", ErrMalformed))
	}
	return v.cfg.checkTimes(w, t, v.now())
}

// checkType refuses whatever is not an access token: ID and logout tokens are
// signed by the same keys, and clients hand them around more freely (J-04, J-24,
// Only rfc9068 promises certain claims, and is held to them (J-23).
func (v *verifier) checkType(typ string, t *Token) error {
	if typ != atJWT && (v.cfg.AccessTokenType == TypeRFC9068 || typ != "" && typ != "jwt") {
		return fmt.Errorf("%w: typ is not that of an access token", ErrWrongType)
	}
	if err := v.cfg.checkMarks(t, typ); err != nil {
		return err
	}
	if v.cfg.AccessTokenType != TypeRFC9068 {
		return nil
	}
	for _, name := range [...]string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		if !has(t, name) {
			return fmt.Errorf("%w: no %s (RFC 9068 §2.2)", ErrMalformed, name)
		}
	}
	return nil
}

// keySet is the oidc.KeySet of one verification. It asks the issuer's source
// for one key, and keeps the error that go-oidc would turn into text (L-07).
type keySet struct {
	source   Source
	jws      *strictjws.JWS
	now      func() time.Time
	key      discovery.Key
	verified bool
	err      error
}

// VerifySignature implements oidc.KeySet. What is verified is what was read: the
// token is not decoded again.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	if raw != k.jws.Raw() {
		k.err = fmt.Errorf("%w: what is to be verified is not what was read", ErrMalformed)
		return nil, k.err
	}
	if k.err = k.verify(ctx); k.err != nil {
		return nil, k.err
	}
	k.verified = true
	return k.jws.Payload, nil
}

func (k *keySet) verify(ctx context.Context) error {
	w := walk.From(ctx)
	key, err := k.source.Key(ctx, k.jws.Header.KeyID, k.jws.Header.Algorithm)
	if err != nil {
		return w.Err(room, "key", keyError(err))
	}
	k.key = key
	err = k.jws.Verify(key.Public)
	ok := w.Check(room, "signature", err == nil, func() (string, string) {
		age := k.now().Sub(key.Fetched).Round(time.Second)
		return "by key " + key.ID, fmt.Sprintf("%s, keys fetched %s ago", k.jws.Header.Algorithm, age)
	})
	if !ok {
		return jwsError(err)
	}
	return nil
}

func keyError(err error) error {
	if errors.Is(err, discovery.ErrUnknownKey) {
		return fmt.Errorf("%w: the issuer publishes no such key", ErrUnknownKey)
	}
	return &UnavailableError{Err: err}
}
