package validation

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/internal/walk"
)

// Shared is one memory for all replicas; *shared.Store is such. See there.
type Shared interface {
	Up() bool
	Once(ctx context.Context, space string, key [32]byte, bound []byte,
		ask func(ctx context.Context) (value []byte, ttl time.Duration, err error)) (value []byte, own bool, err error)
	Drop(ctx context.Context, space string, key [32]byte) error
}

// The spaces of what replicas share. Whoever changes what is written into one changes
// its name, too: while replicas are updated, two versions share a store.
const (
	spaceIntrospection = "introspection"
	spaceRecheck       = "recheck"
)

// tries is how often what is found is dropped and looked for again, if it is too old.
const tries = 2

// answer is what is found out about a token, or why it cannot be, and when.
type answer struct {
	token *Token
	err   error
	at    time.Time
}

// store returns what replicas share, or nil.
func (v *Validator) store() Shared {
	if v.shared == nil || v.cache == nil {
		return nil
	}
	return v.shared()
}

// bound is what a shared answer must have been made for: this configuration of the
// issuer, asked at this place.
func (v *Validator) bound() []byte {
	m, _ := v.source.Metadata()
	return append(bytes.Clone(v.cache.seed[:]), m.IntrospectionEndpoint...)
}

// find returns what the fleet knows about a token, or asks.
func (v *Validator) find(ctx context.Context, d digest, token string, seenGood bool) answer {
	store := v.store()
	if store == nil {
		return v.call(ctx, token, seenGood)
	}
	for range tries {
		a, usable := v.findIn(ctx, store, d, token, seenGood)
		if usable {
			return a
		}
		_ = store.Drop(ctx, spaceIntrospection, d) // whoever cannot be told finds it too old, too
	}
	return v.call(ctx, token, seenGood)
}

// findIn asks the store, which has a replica ask the issuer; false: what it has is too
// old to be used.
func (v *Validator) findIn(
	ctx context.Context, store Shared, d digest, token string, seenGood bool,
) (found answer, usable bool) {
	// As long as a call may take, its wait for a slot included, and somebody else's that
	// is waited for before it.
	ctx, cancel := context.WithTimeout(ctx, 4*v.cfg.RequestTimeout)
	defer cancel()
	var made *answer
	up := store.Up()
	value, own, err := store.Once(ctx, spaceIntrospection, d, v.bound(),
		func(ctx context.Context) ([]byte, time.Duration, error) {
			a := v.call(ctx, token, seenGood)
			made = &a
			value := encode(a)
			if value == nil {
				return nil, 0, a.err
			}
			return value, v.worth(a), nil
		})
	switch {
	case made != nil && (own || err != nil):
		if up {
			v.lookedUp(ctx, CacheShared, miss)
		}
		return *made, true
	case err != nil:
		return answer{err: outage(err), at: v.now()}, true
	}
	a, ok := v.decode(ctx, value)
	usable = ok && v.worth(a) > 0 && !v.learntTooSoon(token, a.token)
	if up && usable {
		v.lookedUp(ctx, CacheShared, hit)
	}
	return a, usable
}

// outage keeps an outage what it is, and makes one of everything else that a store or
// another caller's call may end with.
func outage(err error) error {
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) {
		return unavailable
	}
	return &UnavailableError{Err: err}
}

// call asks the issuer.
func (v *Validator) call(ctx context.Context, token string, seenGood bool) answer {
	t, err := v.introspector.introspect(ctx, token, seenGood)
	a := answer{token: t, err: err, at: v.now()}
	if t != nil {
		t.born = a.at.UnixNano()
	}
	return a
}

// worth is for how long an answer is believed from now on: on every replica it counts
// from when the issuer gave it.
func (v *Validator) worth(a answer) time.Duration {
	until := a.at.Add(v.cfg.Cache.NegativeTTL)
	if a.err == nil {
		until = notPast(a.at.Add(v.cfg.Cache.TTL), a.token.Expiry)
	}
	return until.Sub(v.now())
}

// learntTooSoon says whether the facts of a token have changed since the answer.
func (v *Validator) learntTooSoon(token string, t *Token) bool {
	if t == nil || v.revocations == nil || v.revocations.Generation() == 0 {
		return false
	}
	return v.outdatedToken(token, t)
}

// A value in the store is a letter, the time of the answer, and for a good token the
// members of the answer, which are judged anew by whoever reads them.
const (
	letterActive   = 'a'
	letterTooLarge = 'l'

	headerBytes = 1 + 8
)

// against are the answers against a token, by their letters. The error that is found
// first is written.
func against() []struct {
	letter byte
	err    error
} {
	return []struct {
		letter byte
		err    error
	}{
		{'r', errRejected}, {'i', ErrInactive}, {'m', ErrMalformed}, {'t', ErrWrongType}, {'s', ErrIssuer},
		{'e', ErrExpired}, {'n', ErrNotYetValid}, {'b', ErrBinding},
	}
}

// encode returns what is written of an answer; nil: it is an outage, of which others
// have to make their own experience.
func encode(a answer) []byte {
	letter := letterOf(a.err)
	if letter == 0 {
		return nil
	}
	value := binary.BigEndian.AppendUint64([]byte{letter}, uint64(a.at.UnixNano())) //nolint:gosec // after 1970
	if a.err == nil {
		value = append(value, a.token.Claims.own...)
	}
	return value
}

func letterOf(err error) byte {
	var unavailable *UnavailableError
	switch {
	case err == nil:
		return letterActive
	case errors.As(err, &unavailable):
		if unavailable.ofToken {
			return letterTooLarge
		}
		return 0
	}
	for _, kind := range against() {
		if errors.Is(err, kind.err) {
			return kind.letter
		}
	}
	return 0
}

// timeOf reads when the answer was given, which is not later than now, whatever the
// clock of the replica says that wrote it.
func (v *Validator) timeOf(value []byte) time.Time {
	at := time.Unix(0, int64(binary.BigEndian.Uint64(value[1:headerBytes]))) //nolint:gosec // as it was written
	if now := v.now(); at.After(now) {
		return now
	}
	return at
}

// decode reads what encode wrote; false: it is nothing that this version writes.
func (v *Validator) decode(ctx context.Context, value []byte) (answer, bool) {
	if len(value) < headerBytes {
		return answer{}, false
	}
	at := v.timeOf(value)
	switch letter := value[0]; letter {
	case letterActive:
		claims, err := parseObject(value[headerBytes:])
		if err != nil {
			return answer{}, false
		}
		t, err := v.introspector.judge(walk.From(ctx), claims)
		if t != nil {
			t.born = at.UnixNano()
		}
		return answer{t, err, at}, !errors.Is(err, ErrUnavailable)
	case letterTooLarge:
		return answer{err: &UnavailableError{Err: safehttp.ErrTooLarge, ofToken: true}, at: at}, true
	default:
		for _, kind := range against() {
			if kind.letter == letter {
				return answer{err: kind.err, at: at}, true
			}
		}
	}
	return answer{}, false
}
