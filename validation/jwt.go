package validation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/nowait"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

// atJWT is the media type of RFC 9068 §4, without "application/".
const atJWT = "at+jwt"

// verifier validates JWTs of one issuer with the issuer's keys.
type verifier struct {
	cfg    Config
	source Source
	slots  Slots
	now    func() time.Time
}

// verified is a JWT that its issuer signed.
type verified struct {
	token      *Token
	thumbprint string // of the key; [Source.Trusted] says whether it still counts
}

// read reads raw, once for everybody who looks at it from here on.
func (v *verifier) read(raw string) (*strictjws.JWS, error) {
	return strictjws.Parse(raw, strictjws.Options{Algorithms: v.cfg.Algorithms})
}

// verify judges what was read. All that can be refused without a key is refused
// first (J-27); then go-oidc verifies; then decisions are taken from the strictly
// parsed payload only, since go-oidc's own reading is lenient (J-20).
func (v *verifier) verify(ctx context.Context, jws *strictjws.JWS) (verified, error) {
	token, err := v.inspect(ctx, jws)
	if err != nil {
		return verified{}, err
	}
	keys := &keySet{verifier: v, jws: jws, asked: jws.Detached()}
	_, err = oidc.NewVerifier(v.cfg.Issuer, keys, &oidc.Config{
		SupportedSigningAlgs: v.cfg.Algorithms,
		SkipClientIDCheck:    true, // the audience is the business of the room above
		SkipExpiryCheck:      true, // checkTimes does it with the configured clock skew
	}).Verify(ctx, keys.asked)
	switch {
	case keys.err != nil:
		return verified{}, keys.err // typed, unlike what go-oidc makes of it (L-04)
	case err != nil:
		return verified{}, fmt.Errorf("%w: refused by the JWT library", ErrMalformed)
	case !keys.verified:
		return verified{}, fmt.Errorf("%w: the JWT library asked for no key", ErrMalformed)
	}
	return verified{token, keys.key.Thumbprint}, nil
}

// inspect judges by everything that needs no key.
func (v *verifier) inspect(ctx context.Context, jws *strictjws.JWS) (*Token, error) {
	w := walk.From(ctx)
	h := jws.Header
	w.Note(room, "header", func() string { return fmt.Sprintf("alg %s, typ %q, kid %q", h.Algorithm, h.Type, h.KeyID) })
	claims := members{jws.Claims}
	token, err := tokenFromClaims(claims)
	if err != nil {
		return nil, w.Err(room, "claims", err)
	}
	token.JWT = true
	return token, v.check(w, h, token, claims)
}

// passes says whether nothing but a key can still speak against a JWT.
func (v *verifier) passes(ctx context.Context, jws *strictjws.JWS) bool {
	_, err := v.inspect(ctx, jws)
	return err == nil
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

func (v *verifier) check(w *walk.Walk, h strictjws.Header, t *Token, claims members) error {
	if err := w.Err(room, "type", v.checkType(h.Type, t, claims)); err != nil {
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
func (v *verifier) checkType(typ string, t *Token, claims members) error {
	if typ != atJWT && (v.cfg.AccessTokenType == TypeRFC9068 || typ != "" && typ != "jwt") {
		return fmt.Errorf("%w: typ is not that of an access token", ErrWrongType)
	}
	if err := v.cfg.checkMarks(t, claims, typ); err != nil {
		return err
	}
	if v.cfg.AccessTokenType != TypeRFC9068 {
		return nil
	}
	for _, name := range [...]string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		if !claims.has(name) {
			return fmt.Errorf("%w: no %s (RFC 9068 §2.2)", ErrMalformed, name)
		}
	}
	return nil
}

// keySet is the oidc.KeySet of one verification. It asks the issuer's source
// for one key, and keeps the error that go-oidc would turn into text (L-07).
type keySet struct {
	verifier *verifier
	jws      *strictjws.JWS
	asked    string // how go-oidc knows the token
	key      discovery.Key
	verified bool
	err      error
}

// VerifySignature implements oidc.KeySet. What is verified is what was read, content
// included: the token is not decoded again. go-oidc judges header, signature and issuer.
// The first two it gets as they came, with the content detached, and of the content
// what is returned here: the issuer as it stands there. The rest it would read once
// more, leniently, to no purpose: it was checked strictly before.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	if raw != k.asked {
		k.err = fmt.Errorf("%w: what is to be verified is not what was read", ErrMalformed)
		return nil, k.err
	}
	if k.err = k.verify(ctx); k.err != nil {
		return nil, k.err
	}
	k.verified = true
	return []byte(`{"iss":` + string(k.jws.Claims.Get("iss")) + `}`), nil
}

func (k *keySet) verify(ctx context.Context) error {
	if nowait.Of(ctx) { // it expired, or began to be valid, since it was looked at
		return nowait.Err
	}
	w := walk.From(ctx)
	v := k.verifier
	key, err := v.source.Key(ctx, k.jws.Header.KeyID, k.jws.Header.Algorithm)
	if err != nil {
		return w.Err(room, "key", keyError(err))
	}
	k.key = key
	if err := v.slots.acquire(ctx); err != nil {
		return w.Err(room, "signature", &UnavailableError{Err: err})
	}
	err = k.jws.Verify(key.Public)
	v.slots.release()
	ok := w.Check(room, "signature", err == nil, func() (string, string) {
		age := v.now().Sub(key.Fetched).Round(time.Second)
		return "by key " + key.ID, fmt.Sprintf("%s, keys %s %s ago", k.jws.Header.Algorithm, obtained(key), age)
	})
	if !ok {
		return jwsError(err)
	}
	return nil
}

// obtained says where a key came from, for people; of what was fetched the metadata
// says it.
func obtained(key discovery.Key) string {
	if key.File != "" {
		return "read from " + key.File
	}
	return "fetched"
}

func keyError(err error) error {
	if errors.Is(err, discovery.ErrUnknownKey) {
		return fmt.Errorf("%w: the issuer publishes no such key", ErrUnknownKey)
	}
	return &UnavailableError{Err: err}
}
