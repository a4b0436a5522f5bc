package validation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

// Labels of the cache metrics (docs/contract.md §7).
const (
	cacheJWT           = "jwt"
	cacheIntrospection = "introspection"
	cacheNegative      = "negative"

	hit, miss, stale = "hit", "miss", "stale"
)

func cacheOf(jwt bool) string {
	if jwt {
		return cacheJWT
	}
	return cacheIntrospection
}

// Issuer validates the tokens of one authorization server, with a cache and
// calls of its own: another issuer's trouble is not felt here. Its methods are
// safe for concurrent use.
type Issuer struct {
	cfg    Config
	events Observer
	now    func() time.Time

	source       Source
	verifier     *verifier
	introspector *introspector // nil: strategy jwt
	cache        *cache        // nil: switched off

	flights singleflight.Group // introspection calls, by digest
	calls   sync.WaitGroup
	closing chan struct{} // nobody waits any longer
	once    sync.Once
}

// Options are what an Issuer works with.
type Options struct {
	Source Source
	Client *http.Client // of introspection
	Log    *slog.Logger
	Events Observer
	Now    func() time.Time // nil: time.Now
}

// NewIssuer returns an Issuer that has read its key and secret files.
func NewIssuer(cfg Config, o Options) (*Issuer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	i := &Issuer{
		cfg: cfg, events: o.Events, now: o.Now, source: o.Source,
		verifier: &verifier{cfg: cfg, source: o.Source, now: o.Now},
		cache:    newCache(cfg.Cache, cfg.seed()),
		closing:  make(chan struct{}),
	}
	if cfg.Strategy.introspects() {
		var err error
		if i.introspector, err = newIntrospector(cfg, o); err != nil {
			return nil, err
		}
	}
	if i.cache != nil {
		i.calls.Go(i.sweep)
	}
	return i, nil
}

// Inherit takes over the cache of before, if tokens are judged in the same way:
// what has been found out stays true when only the cache's bounds, the clock
// skew or a timeout change. It is called before the first Validate; the size is
// for Resize to change.
func (i *Issuer) Inherit(before *Issuer) {
	if i.cache == nil || before.cache == nil || !i.cfg.judgesLike(before.cfg) {
		return
	}
	i.cache.positives, i.cache.negatives = before.cache.positives, before.cache.negatives
}

func (c Config) judgesLike(d Config) bool {
	for _, each := range []*Config{&c, &d} {
		each.Cache, each.ClockSkew, each.RequestTimeout = CacheConfig{}, 0, 0
	}
	return reflect.DeepEqual(c, d)
}

// seed keeps equal tokens of different configurations apart in every cache: a
// hash over length-prefixed parts.
func (c Config) seed() digest {
	sum := sha256.New()
	for _, part := range []string{c.Issuer, string(c.Strategy), c.ClientID, c.ClientAuthMethod, c.IntrospectionResponse, c.AccessTokenType, strconv.FormatBool(c.RequireTokenType)} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return digest(sum.Sum(nil))
}

// Name returns the issuer identifier.
func (i *Issuer) Name() string { return i.cfg.Issuer }

// Validate returns what a genuine token of this issuer says. Every error is
// one of this package's sentinels to [errors.Is]; an outage, and a ctx that
// ends first, are [ErrUnavailable], never anything else (I-11, A-15).
func (i *Issuer) Validate(ctx context.Context, token string) (*Token, error) {
	w := walk.From(ctx)
	if len(token) > MaxTokenBytes {
		return nil, w.Err(room, "length", fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenBytes))
	}
	if err := ctx.Err(); err != nil {
		return nil, w.Err(room, "deadline", &UnavailableError{Err: err})
	}
	if i.cache == nil {
		return i.decide(ctx, digest{}, token, nil)
	}
	d := i.cache.digest(token)
	known := i.cache.positive(d)
	if known != nil && i.now().Before(i.cache.fresh(known)) && i.trusted(d, known) {
		return i.recall(ctx, known)
	}
	return i.decide(ctx, d, token, known)
}

// trusted says whether the key that verified the token is still published. If it
// is not, what is known is forgotten, and the token looked at again.
func (i *Issuer) trusted(d digest, known *positive) bool {
	if known.thumbprint == "" || i.source.Trusted(known.thumbprint) == nil {
		return true
	}
	i.cache.forget(d)
	return false
}

// recall answers from the cache.
func (i *Issuer) recall(ctx context.Context, known *positive) (*Token, error) {
	i.lookedUp(ctx, cacheOf(known.token.JWT), hit)
	return i.remembered(ctx, known, hit)
}

// remembered returns what is known of a token that is still alive.
func (i *Issuer) remembered(ctx context.Context, known *positive, result string) (*Token, error) {
	w := walk.From(ctx)
	w.Note(room, "cache", func() string { return result + " in " + cacheOf(known.token.JWT) })
	if err := i.cfg.checkTimes(w, known.token, i.now()); err != nil {
		return nil, err
	}
	return known.token, nil
}

func (i *Issuer) decide(ctx context.Context, d digest, token string, known *positive) (*Token, error) {
	local := i.cfg.Strategy == StrategyJWT || i.cfg.Strategy == StrategyBoth && strictjws.Resembles(token)
	i.noteWay(walk.From(ctx), local)
	if local {
		return i.verify(ctx, d, token)
	}
	if i.cache == nil {
		return i.ask(ctx, digest(sha256.Sum256([]byte(token))), token, false)
	}
	err := i.cache.negative(d, i.now())
	if err != nil {
		i.lookedUp(ctx, cacheNegative, hit)
		_ = walk.From(ctx).Err(room, "cache", err)
		if !errors.Is(err, ErrUnavailable) {
			return nil, err
		}
		return i.orStale(ctx, known, err)
	}
	if i.cfg.Cache.NegativeTTL > 0 {
		i.lookedUp(ctx, cacheNegative, miss)
	}
	i.lookedUp(ctx, cacheIntrospection, miss)
	t, err := i.ask(ctx, d, token, known != nil)
	if errors.Is(err, ErrUnavailable) {
		return i.orStale(ctx, known, err)
	}
	return t, err
}

// orStale answers with what was known before, if it may serve that long, else
// with why it cannot be known now.
func (i *Issuer) orStale(ctx context.Context, known *positive, why error) (*Token, error) {
	if known == nil || known.thumbprint != "" || !i.now().Before(i.cache.stale(known)) {
		return nil, why
	}
	i.lookedUp(ctx, cacheIntrospection, stale)
	return i.remembered(ctx, known, stale)
}

func (i *Issuer) lookedUp(ctx context.Context, cache, result string) {
	i.events.End(ctx, Event{Operation: OperationCache, Issuer: i.cfg.Issuer, Cache: cache, Result: result})
}

func (i *Issuer) verify(ctx context.Context, d digest, token string) (*Token, error) {
	if i.cache != nil {
		i.lookedUp(ctx, cacheJWT, miss)
	}
	v, err := i.verifier.verify(ctx, token)
	if err == nil && i.cache != nil {
		i.cache.add(d, v.token, v.thumbprint, i.now())
	}
	return v.token, err
}

// ask has one call made for all who want to know of the same token; tokens that
// were good before go first. Whoever cannot wait leaves; the call goes on under
// its own deadline and fills the cache for the next try (I-24, E-08).
func (i *Issuer) ask(ctx context.Context, d digest, token string, seenGood bool) (*Token, error) {
	answers := i.flights.DoChan(string(d[:]), func() (any, error) {
		i.calls.Add(1)
		defer i.calls.Done()
		t, err := i.introspector.introspect(context.WithoutCancel(ctx), token, seenGood)
		i.remember(d, t, err)
		return t, err
	})
	t, err := i.await(ctx, answers)
	step := walk.Step{Package: room, Name: "introspection", Result: walk.Noted, Detail: resultOf(err)}
	if step.Detail != resultActive {
		step.Result = walk.Failed
	}
	walk.From(ctx).Add(step)
	return t, err
}

// await waits for the answer, as long as somebody wants to know.
func (i *Issuer) await(ctx context.Context, answers <-chan singleflight.Result) (*Token, error) {
	select {
	case <-ctx.Done():
		return nil, &UnavailableError{Err: fmt.Errorf("introspection takes longer than the gateway waits: %w", ctx.Err())}
	case <-i.closing:
		return nil, &UnavailableError{Err: errors.New("shutting down")}
	case answer := <-answers:
		if answer.Err != nil {
			return nil, answer.Err
		}
		return answer.Val.(*Token), nil
	}
}

// remember keeps what an answer said, and which token's answer is too large. An
// outage is never remembered.
func (i *Issuer) remember(d digest, t *Token, err error) {
	var unavailable *UnavailableError
	switch {
	case i.cache == nil:
	case errors.As(err, &unavailable):
		if unavailable.ofToken {
			i.cache.postpone(d, err, i.now())
		}
	case err != nil:
		i.cache.refuse(d, err, i.now())
	default:
		i.cache.add(d, t, "", i.now())
	}
}

// sweep has the cache drop what is expired until the issuer is closed.
func (i *Issuer) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-i.closing:
			return
		case <-tick.C:
			i.cache.sweep(i.now())
		}
	}
}

// noteWay shows how a token is judged, and what the issuer publishes for that.
func (i *Issuer) noteWay(w *walk.Walk, local bool) {
	w.Note(room, "strategy", func() string {
		if local {
			return fmt.Sprintf("%s: local verification, which is final", i.cfg.Strategy)
		}
		return fmt.Sprintf("%s: introspection", i.cfg.Strategy)
	})
	w.Note("discovery", "metadata", func() string {
		m, err := i.source.Metadata()
		if err != nil {
			return err.Error()
		}
		age := "configured, not fetched"
		if !m.Fetched.IsZero() {
			age = "fetched " + i.now().Sub(m.Fetched).Round(time.Second).String() + " ago"
		}
		return fmt.Sprintf("%s: jwks_uri %s, introspection_endpoint %s", age, m.JWKSURI, m.IntrospectionEndpoint)
	})
}

// Entries counts what the caches hold: of jwt, introspection and negative.
func (i *Issuer) Entries() map[string]int {
	if i.cache == nil {
		return nil
	}
	return i.cache.entries()
}

// Resize changes how many entries of how many bytes the caches may hold, and
// keeps what fits.
func (i *Issuer) Resize(entries int, bytes int64) {
	if i.cache != nil {
		i.cache.resize(entries, bytes)
	}
}

// Expire has nobody wait for an answer any longer: what is not decided yet is
// [ErrUnavailable].
func (i *Issuer) Expire() { i.once.Do(func() { close(i.closing) }) }

// Close waits for the calls under way, each of which ends within the request
// timeout. No Validate may begin after it.
func (i *Issuer) Close() {
	i.Expire()
	i.calls.Wait()
	if i.introspector != nil {
		i.introspector.guard.Close()
	}
}
