package exchange

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/validation"
)

const (
	maxAnswerBytes = 64 << 10
	maxTokenBytes  = 16 << 10

	longestRetryWait = 15 * time.Second // that a Retry-After is passed on

	// longestLife is what expires_in is cut to: some servers say "never" by a number
	// that no duration can hold.
	longestLife = 365 * 24 * time.Hour

	mediaJSON = "application/json"
	scheme    = "Bearer "
)

// issued is a token as it was answered.
type issued struct {
	value string        // with the scheme before it, so that either form is a part of it
	life  time.Duration // from when it was asked for; negative: the answer does not say
}

// open takes an answer for a token, or for the reason that there is none. What is
// neither is an outage: of the client's token it says nothing.
func open(grant string, resp *http.Response, body []byte, unread error, now time.Time) (issued, error) {
	switch status := resp.StatusCode; status {
	case http.StatusOK:
		if unread != nil {
			return issued{}, &validation.UnavailableError{Err: unread}
		}
		if kind := safehttp.MediaType(resp.Header); kind != mediaJSON {
			return issued{}, unavailable("token endpoint: got content type %q, want %s", kind, mediaJSON)
		}
		token, err := read(grant, body)
		if err != nil {
			return issued{}, unavailable("token endpoint: malformed answer: %w", err)
		}
		return token, nil
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		if err := errorOf(codeOf(body)); unread == nil && err != nil {
			return issued{}, err
		}
		return issued{}, unavailable("token endpoint: got status %d without an error code that is known", status)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return issued{}, &validation.UnavailableError{
			Err:        fmt.Errorf("token endpoint: got status %d", status),
			RetryAfter: min(safehttp.RetryAfter(resp.Header, now), longestRetryWait),
		}
	default:
		return issued{}, unavailable("token endpoint: got status %d, want 200", status)
	}
}

// codeOf returns the error code of a refusal (RFC 6749 §5.2), or "".
func codeOf(body []byte) string {
	members, err := strictjws.ParseObject(body)
	if err != nil {
		return ""
	}
	code, _ := members.Get("error").Text()
	return code
}

// read holds an answer to RFC 6749 §5.1, and of an exchange to RFC 8693 §2.2.1. Its
// errors quote nothing: any member may be the token.
func read(grant string, body []byte) (issued, error) {
	members, err := strictjws.ParseObject(body)
	if err != nil {
		return issued{}, err
	}
	token, ok := members.Get("access_token").Text()
	if !ok || token == "" {
		return issued{}, errors.New("access_token is missing or no text")
	}
	if err := checkToken(token); err != nil {
		return issued{}, err
	}
	// N_A (RFC 8693 §2.2.1) and DPoP are tokens that the upstream could not use so.
	if kind, ok := members.Get("token_type").Text(); !ok || !strings.EqualFold(kind, "Bearer") {
		return issued{}, errors.New("token_type is not Bearer")
	}
	if grant == TokenExchange {
		if kind, _ := members.Get("issued_token_type").Text(); kind != typeAccessToken && kind != typeJWT {
			return issued{}, errors.New("issued_token_type is neither access_token nor jwt")
		}
	}
	life, err := lifeOf(members.Get("expires_in"))
	return issued{value: scheme + token, life: life}, err
}

// checkToken wants what can stand in a header field without changing it.
func checkToken(token string) error {
	if len(token) > maxTokenBytes {
		return fmt.Errorf("access_token has more than %d bytes", maxTokenBytes)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return errors.New("access_token is not visible ASCII")
		}
	}
	return nil
}

// lifeOf reads expires_in; null counts as absent.
func lifeOf(v strictjws.Value) (time.Duration, error) {
	if v == "" || v.IsNull() {
		return -1, nil
	}
	digits, ok := v.Number()
	if !ok {
		return 0, errors.New("expires_in is no number")
	}
	seconds, err := strconv.ParseFloat(digits, 64)
	if err != nil || seconds < 0 || math.IsInf(seconds, 0) {
		return 0, errors.New("expires_in is no number of seconds")
	}
	return time.Duration(min(seconds, longestLife.Seconds()) * float64(time.Second)), nil
}
