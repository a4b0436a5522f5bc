package validation

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/internal/nowait"
	"github.com/bearergate/bearergate/internal/strictjws"
	"github.com/bearergate/bearergate/internal/walk"
)

// CacheShared is the label of look-ups in what all replicas share.
const CacheShared = "shared"

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

// Validator validates the tokens of one authorization server, with a cache and
// calls of its own: another issuer's trouble is not felt here. Its methods are
// safe for concurrent use.
type Validator struct {
	cfg    Config
	events Observer
	now    func() time.Time

	source       Source
	verifier     *verifier
	introspector *introspector // nil: strategy jwt
	cache        *cache        // nil: switched off

	revocations Revocations   // nil: nothing is ever revoked
	shared      func() Shared // nil, or returns nil: this replica is alone
	revoked     func(token string)
	sightings   lru.Shards[sighting]
	rechecks    *rechecks // nil: verified JWTs are not asked about

	flights singleflight.Group // introspection calls, by digest
	calls   sync.WaitGroup
	closing chan struct{} // nobody waits any longer
	once    sync.Once
	mu      sync.Mutex
	closed  bool // no call begins any longer
}

// Options are what a Validator works with.
type Options struct {
	Source Source
	Client *http.Client // of introspection
	Log    *slog.Logger
	Events Observer
	Slots  Slots            // for the signatures of JWTs; shared by all issuers
	Now    func() time.Time // nil: time.Now

	Revocations Revocations // nil: nothing is ever revoked
	// Shared returns what all replicas share; nil, or if it returns nil, this replica
	// is alone.
	Shared func() Shared
	// Revoked is told of a token that was good here before; nil: nobody is.
	Revoked func(token string)
}

// NewValidator returns a Validator that has read its key and secret files.
func NewValidator(cfg Config, o Options) (*Validator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Validator{
		cfg: cfg, events: o.Events, now: o.Now, source: o.Source,
		verifier: &verifier{cfg: cfg, source: o.Source, slots: o.Slots, now: o.Now},
		cache:    newCache(cfg.Cache, cfg.seed()),
		closing:  make(chan struct{}),

		revocations: o.Revocations, shared: o.Shared, revoked: o.Revoked,
	}
	if o.Revocations != nil {
		v.sightings = newSightings(cfg.Cache.MaxEntries)
		if cfg.rechecks() {
			v.rechecks = newRechecks(cfg.Cache.MaxEntries)
		}
	}
	if cfg.asks() {
		var err error
		if v.introspector, err = newIntrospector(cfg, o); err != nil {
			return nil, err
		}
	}
	if v.cache != nil {
		v.calls.Go(v.sweep)
	}
	return v, nil
}

// Inherit takes over the cache of before, if tokens are judged in the same way:
// what has been found out stays true when only the cache's bounds, the clock
// skew or a timeout change. It is called before the first Validate; the size is
// for Resize to change.
func (v *Validator) Inherit(before *Validator) {
	v.InheritSightings(before)
	if v.cache == nil || before.cache == nil || !v.cfg.judgesLike(before.cfg) {
		return
	}
	v.cache.positives, v.cache.negatives = before.cache.positives, before.cache.negatives
}

// InheritSightings takes over when tokens were first seen that do not say when they were
// issued, and nothing else: that holds whoever is trusted now. Without it they would be
// younger than what has revoked them.
func (v *Validator) InheritSightings(before *Validator) {
	if v.revocations != nil && before.revocations != nil && v.cfg.Issuer == before.cfg.Issuer {
		v.sightings = before.sightings
	}
}

func (c Config) judgesLike(d Config) bool {
	for _, each := range []*Config{&c, &d} {
		each.Cache, each.ClockSkew, each.RequestTimeout, each.RecheckInterval = CacheConfig{}, 0, 0, 0
	}
	return reflect.DeepEqual(c, d)
}

// seed keeps equal tokens of different configurations apart in every cache: a
// hash over length-prefixed parts.
func (c Config) seed() digest {
	sum := sha256.New()
	for _, part := range []string{
		c.Issuer, string(c.Strategy), c.ClientID, c.ClientAuthMethod,
		c.IntrospectionResponse, c.AccessTokenType, strconv.FormatBool(c.RequireTokenType),
	} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return digest(sum.Sum(nil))
}

// Name returns the issuer identifier.
func (v *Validator) Name() string { return v.cfg.Issuer }

// Validate returns what a genuine token of this issuer says. Every error is
// one of this package's sentinels to [errors.Is]; an outage, and a ctx that
// ends first, are [ErrUnavailable], never anything else (I-11, A-15).
func (v *Validator) Validate(ctx context.Context, token string) (*Token, error) {
	return v.validate(ctx, Candidate{token: token})
}

func (v *Validator) validate(ctx context.Context, c Candidate) (*Token, error) {
	w := walk.From(ctx)
	if len(c.token) > MaxTokenBytes {
		return nil, w.Err(room, "length", fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxTokenBytes))
	}
	if err := ctx.Err(); err != nil {
		return nil, w.Err(room, "deadline", &UnavailableError{Err: err})
	}
	if v.cache == nil {
		return v.admit(ctx, digest{}, c, nil)
	}
	d := v.cache.digest(c.token)
	known, ok := v.cache.positive(d)
	if !ok {
		return v.admit(ctx, d, c, nil)
	}
	if now := v.now(); now.Before(v.cache.fresh(&known)) && v.trusted(d, &known) {
		t, err := v.recall(ctx, &known, now)
		if v.revocations == nil || err != nil {
			return t, err
		}
		return v.readmit(ctx, d, c, &known, t)
	}
	return v.admit(ctx, d, c, &known)
}

// trusted says whether the key that verified the token is still published. If it
// is not, what is known is forgotten, and the token looked at again.
func (v *Validator) trusted(d digest, known *positive) bool {
	if known.alike.thumbprint == "" || v.source.Trusted(known.alike.thumbprint) == nil {
		return true
	}
	v.cache.forget(d)
	return false
}

// recall answers from the cache.
func (v *Validator) recall(ctx context.Context, known *positive, now time.Time) (*Token, error) {
	v.lookedUp(ctx, cacheOf(known.alike.jwt), hit)
	return v.remembered(ctx, known, hit, now)
}

// remembered returns what is known of a token that is still alive.
func (v *Validator) remembered(ctx context.Context, known *positive, result string, now time.Time) (*Token, error) {
	w := walk.From(ctx)
	w.Note(room, "cache", func() string { return result + " in " + cacheOf(known.alike.jwt) })
	t := known.token()
	if err := v.cfg.checkTimes(w, t, now); err != nil {
		return nil, err
	}
	return t, nil
}

// read returns what is to be verified locally, or why nothing could be; false: the
// token is the introspection endpoint's to judge.
func (v *Validator) read(c Candidate) (jws *strictjws.JWS, local bool, err error) {
	if v.cfg.Strategy == StrategyIntrospection {
		return nil, false, nil
	}
	if c.jws != nil && slices.Contains(v.cfg.Algorithms, c.jws.Header.Algorithm) {
		return c.jws, true, nil
	}
	jws, err = v.verifier.read(c.token)
	local = err == nil || v.cfg.Strategy == StrategyJWT || strictjws.Resembles(c.token)
	return jws, local, err
}

func (v *Validator) decide(ctx context.Context, d digest, c Candidate, known *positive) (*Token, error) {
	jws, local, err := v.read(c)
	v.noteWay(walk.From(ctx), local)
	if local {
		return v.verify(ctx, d, jws, err)
	}
	return v.introspect(ctx, d, c.token, known)
}

// introspect answers from what was said against the token of late, or asks.
func (v *Validator) introspect(ctx context.Context, d digest, token string, known *positive) (*Token, error) {
	if v.cache == nil {
		if nowait.Of(ctx) {
			return nil, nowait.Err
		}
		return v.ask(ctx, digest(sha256.Sum256([]byte(token))), token, false)
	}
	err := v.cache.negative(d, v.now())
	if err != nil {
		v.lookedUp(ctx, cacheNegative, hit)
		_ = walk.From(ctx).Err(room, "cache", err)
		if !errors.Is(err, ErrUnavailable) {
			return nil, err
		}
		return v.orStale(ctx, token, known, err)
	}
	if nowait.Of(ctx) {
		return nil, nowait.Err
	}
	if v.cfg.Cache.NegativeTTL > 0 {
		v.lookedUp(ctx, cacheNegative, miss)
	}
	v.lookedUp(ctx, cacheIntrospection, miss)
	t, err := v.ask(ctx, d, token, known != nil)
	if errors.Is(err, ErrUnavailable) {
		return v.orStale(ctx, token, known, err)
	}
	return t, err
}

// orStale answers with what was known before, if it may serve that long, else
// with why it cannot be known now.
func (v *Validator) orStale(ctx context.Context, token string, known *positive, why error) (*Token, error) {
	now := v.now()
	if known == nil || known.alike.thumbprint != "" || !now.Before(v.cache.stale(known)) {
		return nil, why
	}
	if v.outdated(token, known) { // what must be asked for again is not good for an outage
		return nil, why
	}
	v.lookedUp(ctx, cacheIntrospection, stale)
	return v.remembered(ctx, known, stale, now)
}

func (v *Validator) lookedUp(ctx context.Context, cache, result string) {
	v.events.End(ctx, Event{Operation: OperationCache, Issuer: v.cfg.Issuer, Cache: cache, Result: result})
}

// verify verifies jws, unless unreadable says why there is none.
func (v *Validator) verify(ctx context.Context, d digest, jws *strictjws.JWS, unreadable error) (*Token, error) {
	if unreadable == nil && nowait.Of(ctx) && v.verifier.passes(ctx, jws) {
		return nil, nowait.Err
	}
	if v.cache != nil {
		v.lookedUp(ctx, cacheJWT, miss)
	}
	if unreadable != nil {
		return nil, walk.From(ctx).Err(room, "header", jwsError(unreadable))
	}
	ctx = v.events.Start(ctx, OperationVerify)
	genuine, err := v.verifier.verify(ctx, jws)
	v.events.End(ctx, Event{Operation: OperationVerify, Issuer: v.cfg.Issuer, Result: verifiedAs(err)})
	if err == nil && v.cache != nil {
		v.cache.add(d, genuine.token, genuine.thumbprint, v.now())
	}
	return genuine.token, err
}

// verifiedAs is the result of a verification: an error is the issuer's, whose keys
// cannot be had, and not the token's.
func verifiedAs(err error) string {
	switch {
	case err == nil:
		return "verified"
	case errors.Is(err, ErrUnavailable):
		return resultError
	}
	return "refused"
}

// sweep has the cache drop what is expired until the issuer is closed.
func (v *Validator) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-v.closing:
			return
		case <-tick.C:
			v.cache.sweep(v.now())
		}
	}
}

// noteWay shows how a token is judged, and what the issuer publishes for that.
func (v *Validator) noteWay(w *walk.Walk, local bool) {
	w.Note(room, "strategy", func() string {
		if local {
			return fmt.Sprintf("%s: local verification, which is final", v.cfg.Strategy)
		}
		return fmt.Sprintf("%s: introspection", v.cfg.Strategy)
	})
	w.Note("discovery", "metadata", func() string {
		m, err := v.source.Metadata()
		if err != nil {
			return err.Error()
		}
		age := "configured, not fetched"
		if !m.Fetched.IsZero() {
			age = "fetched " + v.now().Sub(m.Fetched).Round(time.Second).String() + " ago"
		}
		keys := "jwks_uri " + m.JWKSURI
		if m.JWKSFile != "" {
			keys = "jwks_file " + m.JWKSFile
		}
		return fmt.Sprintf("%s: %s, introspection_endpoint %s", age, keys, m.IntrospectionEndpoint)
	})
}

// Entries counts what the caches hold: of jwt, introspection and negative.
func (v *Validator) Entries() map[string]int {
	if v.cache == nil {
		return nil
	}
	return v.cache.entries()
}

// Resize changes how many entries of how many bytes the caches may hold, and
// keeps what fits.
func (v *Validator) Resize(entries int, bytes int64) {
	if v.cache != nil {
		v.cache.resize(entries, bytes)
	}
}

// Expire has nobody wait for an answer any longer: what is not decided yet is
// [ErrUnavailable].
func (v *Validator) Expire() { v.once.Do(func() { close(v.closing) }) }

// Close waits for the calls under way, each of which ends within the request
// timeout. No Validate may begin after it.
func (v *Validator) Close() {
	v.Expire()
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.calls.Wait()
	if v.introspector != nil {
		v.introspector.guard.Close()
	}
}
