package exchange

import (
	"errors"
	"fmt"

	"github.com/bearergate/bearergate/validation"
)

// Why there is no token for the upstream, beside [validation.ErrInactive], where the
// client's token is not good for one, and [validation.ErrUnavailable]; found by
// [errors.Is]. The texts are for logs.
var (
	ErrRefused       = errors.New("the authorization server gives no token for the upstream")
	ErrMisconfigured = errors.New("the exchange of tokens is not set up")
)

// errGrant is the ErrMisconfigured of a grant that is not for us.
var errGrant = fmt.Errorf("%w: the token endpoint refuses the grant", ErrMisconfigured)

// Results of the metrics (docs/contract.md §13).
const (
	resultSuccess       = "success"
	resultRefused       = "refused"
	resultInactive      = "inactive"
	resultMisconfigured = "misconfigured"
	resultError         = "error"
)

func resultOf(err error) string {
	switch {
	case err == nil:
		return resultSuccess
	case errors.Is(err, ErrRefused):
		return resultRefused
	case errors.Is(err, validation.ErrInactive):
		return resultInactive
	case errors.Is(err, ErrMisconfigured):
		return resultMisconfigured
	}
	return resultError
}

// errorOf maps the error codes of RFC 6749 §5.2, RFC 8693 §2.2.2 and RFC 8707 §2 to
// who has to mend what; nil: the code says nothing of that. Everything that is not
// known is an outage: a client must not throw a good token away (I-11).
func errorOf(code string) error {
	switch code {
	case "invalid_grant", "invalid_request":
		return fmt.Errorf("%w: the token endpoint answered %s", validation.ErrInactive, code)
	case "invalid_scope", "invalid_target", "access_denied":
		return fmt.Errorf("%w: it answered %s", ErrRefused, code)
	case "invalid_client":
		return fmt.Errorf("%w: the token endpoint answered %s", ErrMisconfigured, code)
	case "unauthorized_client", "unsupported_grant_type":
		return fmt.Errorf("%w: %s", errGrant, code)
	}
	return nil
}

func unavailable(format string, args ...any) error {
	return &validation.UnavailableError{Err: fmt.Errorf(format, args...)}
}

// alarm tells of what somebody has to mend here or at the authorization server.
func (e *Exchanger) alarm(err error) {
	if errors.Is(err, ErrMisconfigured) {
		e.log.Error("no tokens for upstreams can be had", "client_id", e.cfg.ClientID, "error", err.Error())
	}
}
