package validation

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // PS256
	_ "crypto/sha512" // PS384, PS512
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/trace"
)

// atJWT is the media type of RFC 9068 §4, without "application/".
const atJWT = "at+jwt"

// verifier validates JWTs of one issuer with the issuer's keys.
type verifier struct {
	cfg    Config
	source Source
	now    func() time.Time
}

// verify returns the token and the thumbprint of the key that signed it. All
// that can be refused without a key is refused first (J-27); then go-oidc
// verifies; then decisions are taken from the strictly parsed payload only,
// since go-oidc's own reading is lenient (J-20).
func (v *verifier) verify(ctx context.Context, raw string) (*Token, string, error) {
	h, payload, token, err := v.inspect(ctx, raw)
	if err != nil {
		return nil, "", err
	}
	keys := &keySet{source: v.source, header: h}
	err = v.library(ctx, raw, keys, token)
	switch {
	case keys.err != nil:
		return nil, "", keys.err // typed, unlike what go-oidc makes of it (L-04)
	case err != nil:
		return nil, "", fmt.Errorf("%w: refused by the JWT library", ErrMalformed)
	case !bytes.Equal(keys.payload, payload):
		return nil, "", fmt.Errorf("%w: what was verified is not what was read", ErrMalformed)
	}
	if t := trace.From(ctx); t != nil {
		t.Check("validation", "signature", true, "by key "+keys.key.ID, fmt.Sprintf("%s, keys fetched %s ago", h.Algorithm, v.now().Sub(keys.key.Fetched).Round(time.Second)))
	}
	return token, keys.key.Thumbprint, nil
}

// library has go-oidc verify raw by keys. It takes a null iat for a mistake,
// which counts as absent here (docs/contract.md §4): a token without iat is verified
// by keys alone, and loses no check, since inspect made all others before.
func (v *verifier) library(ctx context.Context, raw string, keys *keySet, t *Token) error {
	if !has(t, "iat") {
		_, err := keys.VerifySignature(ctx, raw)
		return err
	}
	_, err := oidc.NewVerifier(v.cfg.Issuer, keys, &oidc.Config{
		SupportedSigningAlgs: v.cfg.Algorithms,
		SkipClientIDCheck:    true, // the audience is the business of the room above
		SkipExpiryCheck:      true, // checkTimes does it with the configured clock skew
	}).Verify(ctx, raw)
	return err
}

// inspect reads the token without a key.
func (v *verifier) inspect(ctx context.Context, raw string) (header, []byte, *Token, error) {
	h, claims, payload, err := readJWS(raw, v.cfg.Algorithms)
	if err != nil {
		return h, nil, nil, err
	}
	token, err := tokenFromClaims(claims)
	if err != nil {
		return h, nil, nil, err
	}
	token.JWT = true
	if t := trace.From(ctx); t != nil {
		v.cfg.traceClaims(t, token, v.now())
		t.Add(trace.Step{Room: "validation", Name: "header", Result: trace.Noted, Detail: fmt.Sprintf("alg %s, typ %q, kid %q", h.Algorithm, h.Type, h.KeyID)})
	}
	return h, payload, token, v.check(h, token)
}

func (v *verifier) check(h header, t *Token) error {
	if err := v.checkType(h.Type, t); err != nil {
		return err
	}
	if t.Issuer != v.cfg.Issuer { // J-21: byte for byte
		return fmt.Errorf("%w: iss is not the configured issuer", ErrIssuer)
	}
	if t.Expiry.IsZero() {
		return fmt.Errorf("%w: no exp", ErrMalformed) // J-22
	}
	return v.cfg.checkTimes(t, v.now())
}

// checkType refuses whatever is not an access token (J-04, J-23, J-24, A-17).
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

// traceClaims shows what check looks at.
func (c Config) traceClaims(t *trace.Trace, token *Token, now time.Time) {
	t.Check("validation", "iss", token.Issuer == c.Issuer, c.Issuer, token.Issuer)
	date := func(name string, got time.Time, ok bool, want string) {
		if !got.IsZero() {
			t.Check("validation", name, ok, want+" "+stamp(now)+" (clock skew "+c.ClockSkew.String()+")", stamp(got))
		}
	}
	latest := now.Add(c.ClockSkew)
	date("exp", token.Expiry, now.Before(token.Expiry.Add(c.ClockSkew)), "after")
	date("nbf", token.NotBefore, !token.NotBefore.After(latest), "not after")
	date("iat", token.IssuedAt, !token.IssuedAt.After(latest), "not after")
}

// keySet is the oidc.KeySet of one verification. It asks the issuer's source
// for one key, and keeps the error that go-oidc would turn into text (L-07).
type keySet struct {
	source  Source
	header  header
	key     discovery.Key
	payload []byte
	err     error
}

// VerifySignature implements oidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	k.payload, k.err = k.verify(ctx, raw)
	return k.payload, k.err
}

func (k *keySet) verify(ctx context.Context, raw string) ([]byte, error) {
	key, err := k.source.Key(ctx, k.header.KeyID, k.header.Algorithm)
	if err != nil {
		return nil, keyError(err)
	}
	k.key = key
	return verifySignature(raw, k.header.Algorithm, key.Public)
}

func keyError(err error) error {
	if errors.Is(err, discovery.ErrUnknownKey) {
		return fmt.Errorf("%w: the issuer publishes no such key", ErrUnknownKey)
	}
	return &UnavailableError{Err: err}
}

// verifySignature returns the payload of a compact JWS that public signed.
func verifySignature(raw, alg string, public crypto.PublicKey) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return nil, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	payload, err := jws.Verify(public)
	if err != nil {
		return nil, ErrSignature
	}
	if strings.HasPrefix(alg, "PS") && !saltIsHashLong(raw, alg, public) {
		return nil, fmt.Errorf("%w: salt is not as long as the hash", ErrSignature)
	}
	return payload, nil
}

// saltIsHashLong holds RSASSA-PSS to RFC 7518 §3.5; go-jose takes any salt (J-12).
func saltIsHashLong(raw, alg string, public crypto.PublicKey) bool {
	hash := map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512}[alg]
	key, ok := public.(*rsa.PublicKey)
	if !ok || hash == 0 {
		return false
	}
	last := strings.LastIndexByte(raw, '.')
	signature, err := strictBase64.DecodeString(raw[last+1:])
	if err != nil {
		return false
	}
	sum := hash.New()
	sum.Write([]byte(raw[:last]))
	return rsa.VerifyPSS(key, hash, sum.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}
