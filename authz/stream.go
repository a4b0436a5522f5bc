package authz

import (
	"strconv"
	"time"

	"github.com/bearergate/bearergate/validation"
)

// timeoutHeader tells Envoy's router how many milliseconds a response may take, from
// the end of its request. The router takes it before the timeout of its route, and
// does not hand it on. It has one spelling: nobody but Envoy reads it, and Envoy takes
// no _ for - (E-13).
const timeoutHeader = "x-envoy-upstream-rq-timeout-ms"

// The bounds of what the header says: 0 would be no timeout at all, and a number that
// Envoy could not hold would not count.
const (
	shortestStream = time.Millisecond
	longestStream  = 24 * time.Hour
)

// endWithToken has Envoy end the response when the token expires, where the rule wants
// that. Where there is nothing to go by, the header is removed: an internal client's
// own value never passes for ours.
func (e *evaluation) endWithToken(d *Decision) {
	if e.rule == nil || !e.rule.StreamUntilExpiry || d.Outcome() != Allow {
		return
	}
	if without := withoutEnd(d); without != "" {
		d.Remove = append(d.Remove, timeoutHeader) // the shared list is full, and stays as it is
		e.note("stream_until_expiry", func() string { return "no end is set: " + without })
		return
	}
	left := timeLeft(d.Token, e.policy.now())
	d.Lasts = left
	d.Set = append(d.Set, HeaderValue{timeoutHeader, strconv.FormatInt(left.Milliseconds(), 10)})
	e.note("stream_until_expiry", func() string {
		return "Envoy ends the response " + left.Truncate(time.Millisecond).String() + " after the request"
	})
}

// withoutEnd returns why the response has no end, or "".
func withoutEnd(d *Decision) string {
	switch {
	case d.Shadow:
		return "the rule is not enforced"
	case d.Token == nil:
		return "there is no token"
	case d.Token.Expiry.IsZero():
		return "the token has no exp"
	}
	return ""
}

// timeLeft is never more than until exp: what clock_skew grants to the authorization
// server's clock begins no stream.
func timeLeft(t *validation.Token, now time.Time) time.Duration {
	return min(max(t.Expiry.Sub(now), shortestStream), longestStream)
}
