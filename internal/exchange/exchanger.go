package exchange

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/bearergate/bearergate/internal/clientauth"
	"github.com/bearergate/bearergate/internal/guard"
	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/internal/nowait"
	"github.com/bearergate/bearergate/internal/recovered"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/internal/walk"
	"github.com/bearergate/bearergate/validation"
)

const (
	room = "exchange"

	maxCalls   = 64   // at a time, to one token endpoint
	maxWaiting = 1024 // more wait, up to the request timeout

	hit, miss = "hit", "miss"
)

// Cache is the label of the cache metrics.
const Cache = "exchange"

// Operation is what a [validation.Event] of a call is about.
const Operation = "token_exchange"

// Exchanger gets tokens of one authorization server. It is safe for concurrent use.
type Exchanger struct {
	cfg    validation.Config
	source validation.Source
	client *http.Client
	auth   clientauth.Method
	guard  *guard.Guard
	log    *slog.Logger
	events validation.Observer
	now    func() time.Time
	seed   lru.Key
	cache  *cache // nil: switched off
	shared func() validation.Shared

	flights singleflight.Group // calls, by key
	calls   sync.WaitGroup
	closing chan struct{} // nobody waits any longer
	once    sync.Once
	drops   atomic.Uint64 // what was asked for before one is not remembered
	failure atomic.Pointer[validation.Failure]

	mu      sync.Mutex
	closed  bool // no call begins any longer
	targets map[lru.Key]*Target
}

// New returns the Exchanger of an issuer, whose cache is bounded as cfg says.
func New(cfg validation.Config, o validation.Options) (*Exchanger, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	auth, err := validation.NewClientAuth(cfg, o)
	if err != nil {
		return nil, err
	}
	e := &Exchanger{
		cfg: cfg, source: o.Source, client: o.Client, auth: auth, log: o.Log, events: o.Events, now: o.Now,
		seed: digestOf([]string{cfg.Issuer, cfg.ClientID, cfg.ClientAuthMethod}), cache: newCache(cfg.Cache),
		shared: o.Shared, closing: make(chan struct{}), targets: map[lru.Key]*Target{},
	}
	e.guard = guard.New(guard.Options{
		Slots: maxCalls, Waiting: maxWaiting, Timeout: cfg.RequestTimeout, Probe: e.probe,
	})
	if e.cache != nil {
		e.calls.Go(e.sweep)
	}
	return e, nil
}

// Inherit takes over what before remembers, if it asked in the same name. It is called
// before the first Token.
func (e *Exchanger) Inherit(before *Exchanger) {
	if e.cache == nil || before == nil || before.cache == nil || e.seed != before.seed {
		return
	}
	e.cache.tokens, e.cache.refusals = before.cache.tokens, before.cache.refusals
	before.mu.Lock()
	defer before.mu.Unlock()
	for key, t := range before.targets {
		e.targets[key] = t
	}
}

// Value is a token for an upstream.
type Value struct{ credential string }

// Bare is the token itself.
func (v Value) Bare() string { return strings.TrimPrefix(v.credential, scheme) }

// Credential is the token as an Authorization header has it (RFC 6750 §2.1).
func (v Value) Credential() string { return v.credential }

// Token returns a token for t: in place of the client's, which expires then, if ever.
// It waits no longer than ctx lasts; the call goes on under its own deadline and fills
// the cache for the next try (I-24, E-08). The errors are [validation.ErrInactive],
// [ErrRefused], [ErrMisconfigured], and [validation.ErrUnavailable] for all others.
func (e *Exchanger) Token(ctx context.Context, t *Target, token string, expiry time.Time) (Value, error) {
	if err := ctx.Err(); err != nil {
		return Value{}, &validation.UnavailableError{Err: err}
	}
	key := e.keyOf(t, token)
	if value, err := e.known(key); value != "" || err != nil {
		e.lookedUp(ctx, hit)
		return Value{value}, err
	}
	if nowait.Of(ctx) { // it was known a moment ago
		return Value{}, nowait.Err
	}
	if e.cache != nil {
		e.lookedUp(ctx, miss)
	}
	value, err := e.ask(ctx, key, t, token, expiry)
	return Value{value}, err
}

// Knows says whether [Exchanger.Token] would answer without asking.
func (e *Exchanger) Knows(t *Target, token string) bool {
	value, err := e.known(e.keyOf(t, token))
	return value != "" || err != nil
}

// known returns what was answered of late.
func (e *Exchanger) known(key lru.Key) (string, error) {
	if e.cache == nil {
		return "", nil
	}
	now := e.now()
	if value := e.cache.token(key, now); value != "" {
		return value, nil
	}
	return "", e.cache.refusals.Find(key, now)
}

func (e *Exchanger) lookedUp(ctx context.Context, result string) {
	walk.From(ctx).Note(room, "cache", func() string { return result })
	e.events.End(ctx, validation.Event{
		Operation: validation.OperationCache, Issuer: e.cfg.Issuer, Cache: Cache, Result: result,
	})
}

// ask has one call made for all who want the same.
func (e *Exchanger) ask(ctx context.Context, key lru.Key, t *Target, token string, expiry time.Time) (string, error) {
	token = strings.Clone(token) // the call may outlive the request that the token is a piece of
	answers := e.flights.DoChan(string(key[:]), func() (any, error) {
		if value, err := e.known(key); value != "" || err != nil { // another call ended just now
			return value, err
		}
		if !e.begin(t) {
			return "", unavailable("shutting down")
		}
		defer e.calls.Done()
		drops := e.drops.Load()
		a := e.find(context.WithoutCancel(ctx), key, t, token, t.until(expiry))
		if drops == e.drops.Load() {
			e.remember(key, a, t.until(expiry))
		}
		return a.got.value, a.err
	})
	select {
	case <-ctx.Done():
		return "", unavailable("the exchange takes longer than the gateway waits: %w", ctx.Err())
	case <-e.closing:
		return "", unavailable("shutting down")
	case answer := <-answers:
		value, _ := answer.Val.(string)
		if answer.Err == nil && value == "" {
			return "", unavailable("no token and no error")
		}
		return value, answer.Err
	}
}

// until is when a token for t has to be forgotten: those of our own outlive that of
// the client.
func (t *Target) until(expiry time.Time) time.Time {
	if t.ofClient() {
		return expiry
	}
	return time.Time{}
}

// begin counts a call that Close waits for, unless it is too late.
func (e *Exchanger) begin(t *Target) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.targets[t.digest] = t
	e.calls.Add(1)
	return true
}

func (e *Exchanger) remember(key lru.Key, a answer, expiry time.Time) {
	switch {
	case e.cache == nil:
	case a.err == nil:
		e.cache.add(key, a.got, a.at, expiry, e.now())
	case errors.Is(a.err, ErrRefused), errors.Is(a.err, validation.ErrInactive):
		e.cache.refuse(key, a.err, a.at)
	}
}

// guarded makes one call, when its turn comes.
func (e *Exchanger) guarded(ctx context.Context, t *Target, token string) (got issued, err error) {
	if _, err := e.endpoint(); err != nil { // no call, and no failure of one
		e.failed(err)
		e.alarm(err)
		return issued{}, err
	}
	kept := e.guard.Do(ctx, false, func(ctx context.Context) guard.Verdict {
		got, err = e.observed(ctx, t, token)
		return verdict(err)
	})
	if kept != nil {
		got, err = issued{}, &validation.UnavailableError{Err: kept}
	}
	var failed *validation.UnavailableError
	if errors.As(err, &failed) {
		failed.RetryAfter = max(failed.RetryAfter, e.guard.RetryAfter())
	}
	return got, err
}

// endpoint says where to ask.
func (e *Exchanger) endpoint() (string, error) {
	metadata, err := e.source.Metadata()
	switch {
	case err != nil:
		return "", &validation.UnavailableError{Err: err}
	case metadata.TokenEndpoint == "":
		return "", fmt.Errorf("%w: no token_endpoint is configured, and none discovered", ErrMisconfigured)
	}
	return metadata.TokenEndpoint, nil
}

// verdict is what the guard learns from a call: an answer against a token is an answer,
// or else junk tokens could open the breaker (I-10).
func verdict(err error) guard.Verdict {
	var failed *validation.UnavailableError
	if errors.As(err, &failed) && !errors.Is(failed.Err, safehttp.ErrTooLarge) {
		return guard.Verdict{RetryAfter: failed.RetryAfter}
	}
	return guard.Verdict{Answered: true}
}

// probe shows whether the endpoint is up, by a token that nobody was given: no client
// can choose one that the endpoint chokes on, and none is issued for it.
func (e *Exchanger) probe(ctx context.Context) guard.Verdict {
	_, err := e.observed(ctx, e.probing(), "probe"+rand.Text())
	return verdict(err)
}

// probing is what a probe asks for: by a grant of the rules, since a server may know no
// other. Where all of them get tokens of our own, which a probe would be issued, it asks
// by another one all the same, and that it is not taken says nothing.
func (e *Exchanger) probing() *Target {
	for _, grant := range []string{TokenExchange, OnBehalfOf} {
		if slices.Contains(e.cfg.Exchanges, grant) {
			return NewTarget(Config{Grant: grant})
		}
	}
	t := NewTarget(Config{Grant: TokenExchange})
	t.unwanted = true
	return t
}

// Probe tries our credentials with a token that nobody was given, so that nothing is
// issued. Its errors are those of [Exchanger.Token]; that the token is not taken is none.
func (e *Exchanger) Probe(ctx context.Context) error {
	_, err := e.guarded(ctx, e.probing(), "probe"+rand.Text())
	if errors.Is(err, ErrMisconfigured) || errors.Is(err, validation.ErrUnavailable) {
		return err
	}
	return nil
}

// observed makes one call and tells of it.
func (e *Exchanger) observed(ctx context.Context, t *Target, token string) (issued, error) {
	began := e.now()
	ctx = e.events.Start(ctx, Operation)
	got, err := e.answered(ctx, t, token)
	e.failed(err)
	e.events.End(ctx, validation.Event{
		Operation: Operation, Issuer: e.cfg.Issuer, Result: resultOf(err), Took: e.now().Sub(began),
	})
	e.alarm(err)
	return got, err
}

// answered makes one call; a panic in it is an outage of ours.
func (e *Exchanger) answered(ctx context.Context, t *Target, token string) (issued, error) {
	got, err := recovered.Call(func() (issued, error) { return e.call(ctx, t, token) })
	var panicked *recovered.Error
	if errors.As(err, &panicked) {
		return issued{}, &validation.UnavailableError{Err: panicked}
	}
	return got, err
}

func (e *Exchanger) call(ctx context.Context, t *Target, token string) (issued, error) {
	endpoint, err := e.endpoint()
	if err != nil {
		return issued{}, err
	}
	req, err := e.request(ctx, endpoint, form(t, token))
	if err != nil {
		return issued{}, &validation.UnavailableError{Err: err}
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return issued{}, unavailable("token endpoint: %w", safehttp.Short(err, e.cfg.RequestTimeout))
	}
	body, unread := safehttp.Read(resp, maxAnswerBytes)
	got, err := open(t.Grant, resp, body, unread, e.now())
	if resp.StatusCode == http.StatusUnauthorized {
		e.auth.Rejected()
	}
	if t.unwanted && errors.Is(err, errGrant) {
		return issued{}, fmt.Errorf("%w: the grant is none that a rule has", validation.ErrInactive)
	}
	if err == nil && t.ofClient() && got.value == scheme+token {
		return issued{}, unavailable("token endpoint: answered with the very token that was to be exchanged")
	}
	return got, err
}

// Drop forgets what was got in place of a client's token: it was revoked.
func (e *Exchanger) Drop(token string) {
	e.drops.Add(1) // what is under way is for those who wait, and for nobody after them
	if e.cache == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.targets {
		if !t.ofClient() {
			continue
		}
		key := e.keyOf(t, token)
		e.flights.Forget(string(key[:]))
		e.cache.tokens.Of(key).Remove(key)
		e.cache.refusals.Remove(key)
		e.dropShared(key)
	}
}

// Entries counts what is remembered, refusals included.
func (e *Exchanger) Entries() int {
	if e.cache == nil {
		return 0
	}
	return e.cache.tokens.Len() + e.cache.refusals.Len()
}

// Resize changes how many entries of how many bytes are remembered, and keeps what
// fits.
func (e *Exchanger) Resize(entries int, bytes int64) {
	if e.cache != nil {
		e.cache.resize(entries, bytes)
	}
}

// Expire has nobody wait any longer: what is not answered yet is
// [validation.ErrUnavailable].
func (e *Exchanger) Expire() { e.once.Do(func() { close(e.closing) }) }

// Close waits for the calls under way, each of which ends within the request timeout.
// No Token may begin after it.
func (e *Exchanger) Close() {
	e.Expire()
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.calls.Wait()
	e.guard.Close()
}

// sweep has the cache drop what is over until the issuer is closed.
func (e *Exchanger) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-e.closing:
			return
		case <-tick.C:
			e.cache.sweep(e.now())
		}
	}
}
