package validation

import (
	"errors"
	"time"
)

// What can be wrong with a token, and the one thing that is not the token's
// fault. Every error of this package is found by [errors.Is] as one of these;
// the text around them is for logs and never for clients.
var (
	ErrMalformed            = errors.New("malformed token")
	ErrUnsupportedAlgorithm = errors.New("unsupported algorithm")
	ErrWrongType            = errors.New("wrong type of token")
	ErrUnknownKey           = errors.New("unknown key")
	ErrSignature            = errors.New("bad signature")
	ErrIssuer               = errors.New("wrong issuer")
	ErrExpired              = errors.New("token expired")
	ErrNotYetValid          = errors.New("token not yet valid")
	ErrInactive             = errors.New("token inactive")
	ErrRevoked              = errors.New("token revoked")
	ErrBinding              = errors.New("wrong binding of token")
	ErrUnavailable          = errors.New("cannot decide")
)

// UnavailableError says that the token could not be judged: keys or the
// introspection endpoint are out of reach, or time ran out. It is
// [ErrUnavailable] to [errors.Is], whatever Err is, so that an outage never
// looks like a bad token (I-11).
type UnavailableError struct {
	Err        error         // the cause; for logs
	RetryAfter time.Duration // when a retry may help; zero: not known

	// ofToken: the answer about this token is one that cannot be read, and will be
	// no better at once.
	ofToken bool
}

func (e *UnavailableError) Error() string {
	if e.Err == nil {
		return ErrUnavailable.Error()
	}
	return ErrUnavailable.Error() + ": " + e.Err.Error()
}

// Is makes the error nothing but ErrUnavailable: there is no Unwrap, lest the
// cause be taken for a judgement on the token.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }
