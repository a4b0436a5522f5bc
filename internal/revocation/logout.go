package revocation

import (
	"context"
	"time"

	"github.com/bearergate/bearergate/internal/strictjws"
)

const (
	// eventLogout is what a logout token has among its events (OpenID Connect
	// Back-Channel Logout 1.0 §2.4).
	eventLogout = "http://schemas.openid.net/event/backchannel-logout"
	// maxLogoutAge is how old a logout token may be.
	maxLogoutAge = 5 * time.Minute
)

// logoutReader reads the logout tokens of one issuer.
type logoutReader struct {
	issuer Issuer
	keys   func() Keys
	now    func() time.Time
}

// logout is a logout token that was found genuine.
type logout struct {
	jti     string
	revokes Revocation
}

// read judges a token by OpenID Connect Back-Channel Logout 1.0 §2.6.
func (l *logoutReader) read(ctx context.Context, raw string) (logout, error) {
	jws, err := parse(raw, l.issuer.Algorithms)
	if err != nil {
		return logout{}, err
	}
	// ID tokens are signed by the same keys, and carry JWT as some logout tokens do:
	// those have no events, and these no nonce.
	if typ := jws.Header.Type; typ != "logout+jwt" && typ != "jwt" {
		return logout{}, refused(codeRequest, "typ is neither logout+jwt nor JWT")
	}
	if issuer, ok := jws.Claims.Get("iss").Text(); !ok || issuer != l.issuer.Issuer {
		return logout{}, refused(codeIssuer, "iss is not this issuer")
	}
	if jws.Claims.Get("nonce") != "" {
		return logout{}, refused(codeRequest, "nonce must not be there")
	}
	if err := verify(ctx, jws, l.keys()); err != nil {
		return logout{}, err
	}
	if err := checkAudience(jws.Claims, l.issuer.ClientID); err != nil {
		return logout{}, err
	}
	if err := checkLogoutEvent(jws.Claims); err != nil {
		return logout{}, err
	}
	issued, err := l.checkTimes(jws.Claims)
	if err != nil {
		return logout{}, err
	}
	return l.readSubject(jws.Claims, issued)
}

func checkLogoutEvent(claims strictjws.Object) error {
	events, err := object("events", claims.Get("events"))
	if err != nil {
		return err
	}
	_, err = object("the logout event", events.Get(eventLogout))
	return err
}

// checkTimes bounds how long a token that somebody has got hold of can be used: where
// it says no exp, by its age.
func (l *logoutReader) checkTimes(claims strictjws.Object) (issued time.Time, err error) {
	if issued, err = date(claims, "iat"); err != nil {
		return issued, err
	}
	now := l.now()
	switch {
	case now.Sub(issued) > maxLogoutAge:
		return issued, refused(codeRequest, "iat is too long ago")
	case issued.Sub(now) > l.issuer.ClockSkew:
		return issued, refused(codeRequest, "iat lies ahead")
	}
	if claims.Get("exp") == "" {
		return issued, nil
	}
	expiry, err := date(claims, "exp")
	if err == nil && !now.Before(expiry.Add(l.issuer.ClockSkew)) {
		err = refused(codeRequest, "expired")
	}
	return issued, err
}

func (l *logoutReader) readSubject(claims strictjws.Object, issued time.Time) (logout, error) {
	jti, err := text(claims, "jti")
	if err != nil {
		return logout{}, err
	}
	r := Revocation{Issuer: l.issuer.Issuer, Before: issued, Source: SourceLogout}
	var sub, sid string
	if claims.Get("sub") != "" {
		if sub, err = text(claims, "sub"); err != nil {
			return logout{}, err
		}
	}
	if claims.Get("sid") != "" {
		if sid, err = text(claims, "sid"); err != nil {
			return logout{}, err
		}
	}
	switch {
	case sub != "" && sid != "":
		r.Kind, r.Value, r.And = KindSession, sid, sub
	case sid != "":
		r.Kind, r.Value = KindSID, sid
	case sub != "":
		r.Kind, r.Value = KindSub, sub
	default:
		return logout{}, refused(codeRequest, "neither sub nor sid")
	}
	return logout{jti, r}, nil
}
