package validation

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/internal/revocation"
)

const (
	// maxRechecks is how many are under way at a time: a part of the calls to the
	// endpoint, so that those that somebody waits for find room.
	maxRechecks = maxCalls / 4
	// recheckRetry is how soon it is asked again, at most, after an outage.
	recheckRetry = 10 * time.Second

	recheckBytes  = 192 // of an entry, by estimate
	leastRechecks = 1000
)

// due is when a JWT is to be asked about again.
type due struct{ next int64 }

// Size implements lru.Sized.
func (due) Size() int64 { return recheckBytes }

// Marked implements lru.Sized.
func (due) Marked() bool { return false }

// rechecks are when verified JWTs are to be asked about.
type rechecks struct {
	due  lru.Shards[due]
	room chan struct{}
}

func newRechecks(entries int) *rechecks {
	entries = max(entries, leastRechecks)
	return &rechecks{
		due:  lru.New[due](entries, int64(entries)*recheckBytes),
		room: make(chan struct{}, maxRechecks),
	}
}

// claim returns true for one caller when it is time to ask about a token.
func (r *rechecks) claim(d digest, now, next time.Time) bool {
	if known, ok := r.due.Of(d).Get(d); ok && now.UnixNano() < known.next {
		return false
	}
	select {
	case r.room <- struct{}{}:
	default: // the next request that shows it tries again
		return false
	}
	claimed := false
	r.due.Of(d).Change(d, func(known due, there bool) (due, bool) {
		claimed = !there || now.UnixNano() >= known.next
		return due{next.UnixNano()}, claimed
	})
	if !claimed {
		<-r.room
	}
	return claimed
}

func (r *rechecks) put(d digest, next time.Time) {
	r.due.Of(d).Change(d, func(due, bool) (due, bool) { return due{next.UnixNano()}, true })
}

// recheck has the issuer asked about a JWT that was verified here, in the background,
// if the last answer is old: what it says is known at the next request.
func (v *Validator) recheck(d digest, token string, t *Token) {
	if v.rechecks == nil || !t.JWT {
		return
	}
	if v.cache == nil {
		d = revocation.TokenDigest(token)
	}
	now := v.now()
	if !v.rechecks.claim(d, now, now.Add(v.cfg.RecheckInterval)) {
		return
	}
	if !v.begin() {
		<-v.rechecks.room
		return
	}
	token = strings.Clone(token) // the call outlives the request that the token is a piece of
	go func() {
		defer v.calls.Done()
		defer func() { <-v.rechecks.room }()
		v.askAgain(d, token)
	}()
}

// askAgain asks about a verified JWT and revokes it if it is not active. While nobody
// answers it stays what it is: it was good without being asked about.
func (v *Validator) askAgain(d digest, token string) {
	ctx := context.Background()
	active, at, err := v.stillActive(ctx, d, token)
	switch {
	case err != nil:
		v.rechecks.put(d, v.now().Add(min(v.cfg.RecheckInterval, recheckRetry)))
		return
	case !active:
		_, _ = v.revocations.Add(ctx, revocation.Revocation{
			Issuer: v.cfg.Issuer, Kind: revocation.KindToken, Value: token, Source: revocation.SourceRecheck,
		}) // it has an issuer and a value
	}
	v.rechecks.put(d, at.Add(v.cfg.RecheckInterval))
}

// stillActive returns what the issuer said, and when: of late to any replica, or now.
func (v *Validator) stillActive(ctx context.Context, d digest, token string) (active bool, at time.Time, err error) {
	store := v.store()
	if store == nil {
		return v.askActive(ctx, token)
	}
	ctx, cancel := context.WithTimeout(ctx, 4*v.cfg.RequestTimeout)
	defer cancel()
	value, own, err := store.Once(ctx, spaceRecheck, d, v.bound(),
		func(ctx context.Context) ([]byte, time.Duration, error) {
			active, at, err := v.askActive(ctx, token)
			if err != nil {
				return nil, 0, err
			}
			return encodeActive(active, at), at.Add(v.cfg.RecheckInterval).Sub(v.now()), nil
		})
	if err != nil {
		return false, time.Time{}, err
	}
	active, at, ok := v.decodeActive(value)
	if !ok || !own && !v.now().Before(at.Add(v.cfg.RecheckInterval)) {
		return v.askActive(ctx, token)
	}
	return active, at, nil
}

// askActive asks the issuer. Only an answer that says so makes a JWT inactive: an
// endpoint that does not take JWTs, or finds something else in them, has not revoked it.
func (v *Validator) askActive(ctx context.Context, token string) (active bool, at time.Time, err error) {
	_, err = v.introspector.introspect(ctx, token, false)
	if errors.Is(err, ErrUnavailable) {
		return false, time.Time{}, err
	}
	return !errors.Is(err, ErrInactive) || errors.Is(err, errRejected), v.now(), nil
}

func encodeActive(active bool, at time.Time) []byte {
	letter := byte('i')
	if active {
		letter = letterActive
	}
	return binary.BigEndian.AppendUint64([]byte{letter}, uint64(at.UnixNano())) //nolint:gosec // after 1970
}

func (v *Validator) decodeActive(value []byte) (active bool, at time.Time, ok bool) {
	if len(value) != headerBytes {
		return false, time.Time{}, false
	}
	return value[0] == letterActive, v.timeOf(value), true
}
