package validation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bearergate/bearergate/internal/clientauth"
	"github.com/bearergate/bearergate/internal/guard"
	"github.com/bearergate/bearergate/internal/recovered"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/internal/walk"
)

const (
	maxAnswerBytes = 64 << 10

	maxCalls   = 64   // at a time, to one introspection endpoint
	maxWaiting = 1024 // more wait, up to the request timeout

	longestRetryWait = 15 * time.Second // that a Retry-After is passed on

	mediaJSON = "application/json"
	mediaJWT  = "application/token-introspection+jwt" // RFC 9701 §5
)

// Results of the introspection metrics (docs/contract.md §7).
const (
	resultActive   = "active"
	resultInactive = "inactive"
	resultRejected = "rejected"
	resultError    = "error"
)

// errRejected is a 400 of the endpoint: an answer against the token, since
// nothing but the token differs from call to call (I-10).
var errRejected = fmt.Errorf("%w: rejected by the introspection endpoint", ErrInactive)

// introspector asks one introspection endpoint (RFC 7662).
type introspector struct {
	cfg    Config
	source Source
	client *http.Client
	auth   clientauth.Method
	guard  *guard.Guard
	log    *slog.Logger
	events Observer
	now    func() time.Time

	failure atomic.Pointer[Failure] // the last one
	alarmed atomic.Bool             // that there is nowhere to ask
}

func newIntrospector(cfg Config, o Options) (*introspector, error) {
	auth, err := NewClientAuth(cfg, o)
	if err != nil {
		return nil, err
	}
	i := &introspector{cfg: cfg, source: o.Source, client: o.Client, auth: auth, log: o.Log, events: o.Events, now: o.Now}
	i.guard = guard.New(guard.Options{
		Slots: maxCalls, Waiting: maxWaiting, Timeout: cfg.RequestTimeout, Probe: i.probe,
		Changed: func(down bool) {
			o.Events.End(context.Background(), Event{Operation: OperationBreaker, Issuer: cfg.Issuer, Down: down})
		},
	})
	return i, nil
}

// introspect makes one call, when its turn comes. Its errors are
// [ErrUnavailable] for everything that is not an answer, and the other
// sentinels for answers against the token.
func (i *introspector) introspect(ctx context.Context, token string, urgent bool) (t *Token, err error) {
	if err := i.reachable(); err != nil { // no call, and no failure of one
		return nil, &UnavailableError{Err: err}
	}
	kept := i.guard.Do(ctx, urgent, func(ctx context.Context) guard.Verdict {
		t, err = i.observed(ctx, token)
		return verdict(err)
	})
	if kept != nil {
		t, err = nil, &UnavailableError{Err: kept}
	}
	var failed *UnavailableError
	if errors.As(err, &failed) {
		failed.RetryAfter = max(failed.RetryAfter, i.guard.RetryAfter())
	}
	return t, err
}

// reachable says whether it is known where to ask. Where JWTs are only asked about
// again, nobody needs the endpoint, and there may be none.
func (i *introspector) reachable() error {
	m, err := i.source.Metadata()
	if err != nil || m.IntrospectionEndpoint != "" || i.cfg.Strategy.introspects() {
		return err
	}
	err = errors.New("no introspection_endpoint is configured, and none discovered")
	i.failure.Store(&Failure{Err: err, At: i.now()})
	if i.alarmed.CompareAndSwap(false, true) {
		i.log.Error("verified JWTs cannot be asked about again", "error", err)
	}
	return err
}

// probe shows whether the endpoint is up, by a token that nobody was given: no
// client can choose one that the endpoint chokes on.
func (i *introspector) probe(ctx context.Context) guard.Verdict {
	_, err := i.observed(ctx, i.cfg.OpaqueTokenPrefix+"probe"+rand.Text())
	return verdict(err)
}

// verdict is what the guard learns from a call: an answer against a token is an
// answer, or else junk tokens could open the breaker (I-10).
func verdict(err error) guard.Verdict {
	var failed *UnavailableError
	if errors.As(err, &failed) && !errors.Is(failed.Err, safehttp.ErrTooLarge) {
		return guard.Verdict{RetryAfter: failed.RetryAfter}
	}
	return guard.Verdict{Answered: true}
}

// observed makes one call and tells of it.
func (i *introspector) observed(ctx context.Context, token string) (*Token, error) {
	began := i.now()
	ctx = i.events.Start(ctx, OperationIntrospection)
	t, err := i.answered(ctx, token)
	if errors.Is(err, ErrUnavailable) {
		i.failure.Store(&Failure{Err: err, At: i.now()})
	}
	i.events.End(ctx, Event{
		Operation: OperationIntrospection, Issuer: i.cfg.Issuer, Result: resultOf(err), Took: i.now().Sub(began),
	})
	return t, err
}

// answered makes one call; a panic in it is an outage of ours.
func (i *introspector) answered(ctx context.Context, token string) (*Token, error) {
	t, err := recovered.Call(func() (*Token, error) { return i.call(ctx, token) })
	var panicked *recovered.Error
	if errors.As(err, &panicked) {
		return nil, &UnavailableError{Err: panicked}
	}
	return t, err
}

func resultOf(err error) string {
	switch {
	case errors.Is(err, ErrUnavailable):
		return resultError
	case errors.Is(err, errRejected):
		return resultRejected
	case errors.Is(err, ErrInactive):
		return resultInactive
	}
	return resultActive // what is wrong with the token was found out by us
}

func (i *introspector) call(ctx context.Context, token string) (*Token, error) {
	metadata, err := i.source.Metadata()
	if err != nil {
		return nil, &UnavailableError{Err: err}
	}
	req, err := i.request(ctx, metadata.IntrospectionEndpoint, token)
	if err != nil {
		return nil, &UnavailableError{Err: err}
	}
	resp, err := i.client.Do(req)
	if err != nil {
		return nil, &UnavailableError{Err: fmt.Errorf("introspection: %w", safehttp.Short(err, i.cfg.RequestTimeout))}
	}
	body, err := safehttp.Read(resp, maxAnswerBytes)
	// These two statuses mean nothing without a body that says what they are about.
	if err != nil && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusBadRequest) {
		return nil, &UnavailableError{Err: err, ofToken: errors.Is(err, safehttp.ErrTooLarge)}
	}
	if err := i.checkStatus(resp, body); err != nil {
		return nil, err
	}
	claims, err := i.members(ctx, resp.Header, body)
	if err != nil {
		return nil, err
	}
	return i.judge(walk.From(ctx), claims)
}

// request is a POST with the token in its body, never in a URL (I-01).
func (i *introspector) request(ctx context.Context, endpoint, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {mediaJSON}}
	if i.cfg.IntrospectionResponse == ResponseJWT {
		header.Set("Accept", mediaJWT)
	}
	if err := i.auth.Authenticate(ctx, header, form); err != nil {
		return nil, fmt.Errorf("client authentication: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	// Asking twice does no harm: net/http may repeat the call when the server
	// has just closed a connection. A nil value is not sent.
	req.Header["Idempotency-Key"] = nil
	return req, nil
}

// checkStatus tells what a status is about. A 400 is about the token, so that junk
// tokens are no outage; 401 and 403 are about our credentials, and everything else
// about the server: with these nobody can tell anything of the token, and the
// client must not be told to throw it away (I-10).
func (i *introspector) checkStatus(resp *http.Response, body []byte) error {
	switch status := resp.StatusCode; status {
	case http.StatusOK:
		return nil
	case http.StatusBadRequest:
		if againstToken(body) {
			return errRejected
		}
		return i.refused(status)
	case http.StatusUnauthorized, http.StatusForbidden:
		return i.refused(status)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		pause := min(safehttp.RetryAfter(resp.Header, i.now()), longestRetryWait)
		return &UnavailableError{Err: fmt.Errorf("introspection: got status %d", status), RetryAfter: pause}
	default:
		return &UnavailableError{Err: fmt.Errorf("introspection: got status %d, want 200", status)}
	}
}

// againstToken says whether a 400 is about the token: errors such as
// invalid_client or temporarily_unavailable are not.
func againstToken(body []byte) bool {
	members, err := parseObject(body)
	if err != nil {
		return true
	}
	if members.Get("error") == "" {
		return true
	}
	code, _ := members.Get("error").Text()
	return code == "invalid_request" || code == "invalid_token" || code == "unsupported_token_type"
}

// refused is an outage of ours, and an alarm: no token is to blame.
func (i *introspector) refused(status int) error {
	i.auth.Rejected()
	i.log.Error("the introspection endpoint refuses our own credentials", "status", status, "client_id", i.cfg.ClientID)
	return &UnavailableError{Err: fmt.Errorf("introspection: got status %d: our credentials are refused", status)}
}

// members returns the members of an answer, plain or signed as configured.
// Anything that is not such an answer is the issuer's fault, not the token's.
func (i *introspector) members(ctx context.Context, header http.Header, body []byte) (members, error) {
	kind := safehttp.MediaType(header)
	if i.cfg.IntrospectionResponse == ResponseJWT {
		if kind != mediaJWT {
			return members{}, malformed(fmt.Errorf("got content type %q, want %s", kind, mediaJWT))
		}
		return i.openSigned(ctx, string(body))
	}
	if kind != mediaJSON {
		return members{}, malformed(fmt.Errorf("got content type %q, want %s", kind, mediaJSON))
	}
	claims, err := parseObject(body)
	if err != nil {
		return members{}, unreadable(body, err)
	}
	return claims, nil
}

func malformed(err error) error {
	return &UnavailableError{Err: fmt.Errorf("malformed introspection answer: %w", err)}
}

// judge takes active for what it is: necessary, not sufficient. What is active may
// be a refresh token, a token of another issuer that the same endpoint knows, or one
// whose exp our clock has passed and the server's has not (I-03, I-05, I-09).
func (i *introspector) judge(w *walk.Walk, claims members) (*Token, error) {
	switch claims.get("active") {
	case "true":
	case "false":
		return nil, ErrInactive
	default:
		return nil, malformed(errors.New("active is not a boolean"))
	}
	t, err := tokenFromClaims(claims)
	if err != nil {
		return nil, w.Err(room, "claims", err) // the endpoint did answer: it is about this token only
	}
	if t.Issuer == "" { // the endpoint speaks for itself
		t.Issuer = i.cfg.Issuer
	}
	if i.cfg.checkIssuer(w, t.Issuer) != nil {
		return nil, fmt.Errorf("%w: the answer is about another issuer's token", ErrIssuer)
	}
	if err := w.Err(room, "type", i.checkType(t, claims)); err != nil {
		return nil, err
	}
	if err := i.cfg.checkTimes(w, t, i.now()); err != nil {
		return nil, err
	}
	return t, nil
}

// checkType refuses whatever is not an access token: servers introspect
// refresh tokens too, and one of these would open the API for as long as it lives,
// which may be months (I-09, J-24).
func (i *introspector) checkType(t *Token, claims members) error {
	if err := i.cfg.checkMarks(t, claims, ""); err != nil {
		return err
	}
	return i.cfg.checkTokenType(t, claims)
}
