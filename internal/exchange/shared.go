package exchange

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/validation"
)

const (
	// space is that of what replicas share. Whoever changes what is written there
	// changes its name, too: while replicas are updated, two versions share a store.
	space = "exchange"
	// tries is how often what is found is dropped and looked for again, if it is too old.
	tries = 2
	// dropTime bounds how long a store is told of what it is to forget.
	dropTime = 5 * time.Second
)

// answer is a token, or why there is none, and when it was asked for, or refused.
type answer struct {
	got issued
	err error
	at  time.Time
}

// store returns what replicas share, or nil.
func (e *Exchanger) store() validation.Shared {
	if e.shared == nil || e.cache == nil {
		return nil
	}
	return e.shared()
}

// bound is what a shared token must have been got for: this client of the issuer, at
// this place.
func (e *Exchanger) bound() []byte {
	m, _ := e.source.Metadata()
	return append(bytes.Clone(e.seed[:]), m.TokenEndpoint...)
}

// find returns what the fleet has got for a token, or asks.
func (e *Exchanger) find(ctx context.Context, key lru.Key, t *Target, token string, expiry time.Time) answer {
	store := e.store()
	if store == nil {
		return e.make(ctx, t, token)
	}
	for range tries {
		a, usable := e.findIn(ctx, store, key, t, token, expiry)
		if usable {
			return a
		}
		_ = store.Drop(ctx, space, key) // whoever cannot be told finds it too old, too
	}
	return e.make(ctx, t, token)
}

// make asks for a token.
func (e *Exchanger) make(ctx context.Context, t *Target, token string) answer {
	asked := e.now()
	got, err := e.guarded(ctx, t, token)
	if err != nil {
		asked = e.now()
	}
	return answer{got, err, asked}
}

// findIn asks the store, which has a replica ask the issuer; false: what it has is too
// old to be used.
func (e *Exchanger) findIn(
	ctx context.Context, store validation.Shared, key lru.Key, t *Target, token string, expiry time.Time,
) (found answer, usable bool) {
	// As long as a call may take, its wait for a slot included, and somebody else's that
	// is waited for before it.
	ctx, cancel := context.WithTimeout(ctx, 4*e.cfg.RequestTimeout)
	defer cancel()
	var made *answer
	up := store.Up()
	value, own, err := store.Once(ctx, space, key, e.bound(),
		func(ctx context.Context) ([]byte, time.Duration, error) {
			a := e.make(ctx, t, token)
			made = &a
			value := encode(a)
			if value == nil {
				return nil, 0, a.err
			}
			return value, e.worth(a, expiry), nil
		})
	switch {
	case made != nil && (own || err != nil):
		e.lookedUpShared(ctx, up, miss)
		return *made, true
	case err != nil:
		return answer{err: outage(err), at: e.now()}, true
	}
	a, ok := e.decode(value)
	usable = ok && e.worth(a, expiry) > 0
	e.lookedUpShared(ctx, up && usable, hit)
	return a, usable
}

func (e *Exchanger) lookedUpShared(ctx context.Context, looked bool, result string) {
	if !looked {
		return
	}
	e.events.End(ctx, validation.Event{
		Operation: validation.OperationCache, Issuer: e.cfg.Issuer, Cache: validation.CacheShared, Result: result,
	})
}

// outage keeps an error that says what is the matter, and makes an outage of all others.
func outage(err error) error {
	if errors.Is(err, validation.ErrUnavailable) || errors.Is(err, ErrMisconfigured) {
		return err
	}
	return &validation.UnavailableError{Err: err}
}

// worth is for how long an answer is good from now on, on whichever replica.
func (e *Exchanger) worth(a answer, expiry time.Time) time.Duration {
	if a.err != nil {
		return a.at.Add(e.cache.cfg.NegativeTTL).Sub(e.now())
	}
	return e.cache.until(a.got, a.at, expiry).Sub(e.now())
}

// A value in the store is a letter, a time, the life of the token, and the token.
const (
	letterToken    = 't'
	letterRefused  = 'r'
	letterInactive = 'i'

	headerBytes = 1 + 8 + 8
)

// encode returns what is written of an answer; nil: it is one of which others have to
// make their own experience.
func encode(a answer) []byte {
	letter := byte(letterToken)
	switch {
	case a.err == nil:
	case errors.Is(a.err, ErrRefused):
		letter = letterRefused
	case errors.Is(a.err, validation.ErrInactive):
		letter = letterInactive
	default:
		return nil
	}
	value := binary.BigEndian.AppendUint64([]byte{letter}, uint64(a.at.UnixNano())) //nolint:gosec // after 1970
	value = binary.BigEndian.AppendUint64(value, uint64(a.got.life))                //nolint:gosec // read as it is written
	return append(value, a.got.value...)
}

// decode reads what encode wrote; false: it is nothing that this version writes.
func (e *Exchanger) decode(value []byte) (answer, bool) {
	if len(value) < headerBytes {
		return answer{}, false
	}
	at := time.Unix(0, int64(binary.BigEndian.Uint64(value[1:9]))) //nolint:gosec // as it was written
	if now := e.now(); at.After(now) {                             // by a clock that is ahead of ours
		at = now
	}
	switch value[0] {
	case letterRefused:
		return answer{err: ErrRefused, at: at}, true
	case letterInactive:
		return answer{err: validation.ErrInactive, at: at}, true
	case letterToken:
	default:
		return answer{}, false
	}
	got := issued{
		value: string(value[headerBytes:]),
		life:  time.Duration(binary.BigEndian.Uint64(value[9:headerBytes])), //nolint:gosec // as it was written
	}
	bare, ok := strings.CutPrefix(got.value, scheme)
	return answer{got: got, at: at}, ok && bare != "" && checkToken(bare) == nil
}

// dropShared has the fleet forget what was got, in the background: nobody waits for
// that, and nobody would be given it. Who calls holds the lock.
func (e *Exchanger) dropShared(key lru.Key) {
	store := e.store()
	if store == nil || e.closed {
		return
	}
	e.calls.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), dropTime)
		defer cancel()
		_ = store.Drop(ctx, space, key)
	})
}
