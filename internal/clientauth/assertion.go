package clientauth

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/bearergate/bearergate/internal/livefile"
)

const (
	//nolint:gosec // RFC 7523 §2.2, no secret
	assertionType     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLifetime = time.Minute
)

// assertion is private_key_jwt (RFC 7523 §2.2): a new one for each call.
type assertion struct {
	cfg Config
	key *livefile.File[privateKey]
	now func() time.Time
}

func (a assertion) Authenticate(_ context.Context, _ http.Header, form url.Values) error {
	key := a.key.Value()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if a.cfg.KeyID != "" {
		options = options.WithHeader("kid", a.cfg.KeyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.algorithm, Key: key.Signer}, options)
	if err != nil {
		return err
	}
	now := a.now()
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: a.cfg.ClientID, Subject: a.cfg.ClientID, Audience: jwt.Audience{a.cfg.Audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLifetime)),
	}).Serialize()
	if err != nil {
		return err
	}
	form.Set("client_id", a.cfg.ClientID)
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", signed)
	return nil
}

func (assertion) Rejected() {}
