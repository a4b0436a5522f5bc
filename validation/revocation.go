package validation

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/walk"
)

// Revocations know which genuine tokens must not pass, and of which what was found out
// is out of date; *revocation.Set is such.
type Revocations interface {
	// Generation changes when a verdict may have; 0: nothing was ever revoked.
	Generation() uint64
	Judge(t revocation.Subject) revocation.Verdict
	Add(ctx context.Context, r revocation.Revocation) (shared bool, err error)
	// Ready returns why nothing can be judged yet.
	Ready() error
}

// condemned stands for the generation of what is known of a token that is revoked:
// whoever is to be told of that was told. It is judged each time.
const condemned = math.MaxUint64

// readmit lets a token pass that is known to be good, unless something was revoked
// since that was last looked at. While nothing was, that costs the load of one number.
func (v *Validator) readmit(ctx context.Context, d digest, c Candidate, known *positive, t *Token) (*Token, error) {
	generation := v.revocations.Generation()
	if known.judged != generation {
		verdict := v.judge(c.token, t)
		if verdict == revocation.Outdated {
			v.cache.forget(d)
			v.flights.Forget(string(d[:])) // who began to ask before the facts changed may bring the old ones
			return v.admit(ctx, d, c, nil)
		}
		if err := v.conclude(ctx, d, c.token, verdict, generation); err != nil {
			return nil, err
		}
	}
	v.recheck(d, c.token, t)
	return t, nil
}

// admit decides about a token, and lets it pass unless it is revoked: before anybody
// asks what it is good for. What was asked for just now is not out of date, whatever
// the clocks say.
func (v *Validator) admit(ctx context.Context, d digest, c Candidate, known *positive) (*Token, error) {
	if v.revocations == nil {
		return v.decide(ctx, d, c, known)
	}
	if err := v.revocations.Ready(); err != nil { // nothing is cached before it is
		return nil, walk.From(ctx).Err(room, "revocation", &UnavailableError{Err: err})
	}
	generation := v.revocations.Generation()
	t, err := v.decide(ctx, d, c, known)
	if err != nil {
		return nil, err
	}
	if t.IssuedAt.IsZero() {
		v.firstSeen(c.token, t)
	}
	if generation != 0 || v.revocations.Generation() != 0 {
		if err := v.conclude(ctx, d, c.token, v.judge(c.token, t), generation); err != nil {
			return nil, err
		}
	}
	v.recheck(d, c.token, t)
	return t, nil
}

// Revoked says whether a token that was good when t was learnt of it is covered by a
// revocation now. Nobody is told of the question.
func (v *Validator) Revoked(token string, t *Token) bool {
	return v.revocations != nil && v.revocations.Generation() != 0 && v.judge(token, t) == revocation.Revoked
}

// conclude acts on a verdict that was reached at that generation, or later.
func (v *Validator) conclude(
	ctx context.Context, d digest, token string, verdict revocation.Verdict, generation uint64,
) error {
	w := walk.From(ctx)
	if verdict != revocation.Revoked {
		v.note(d, generation)
		w.Note(room, "revocation", func() string { return "nothing is revoked that covers the token" })
		return nil
	}
	if v.note(d, condemned) && v.revoked != nil {
		v.revoked(token)
	}
	return w.Err(room, "revocation", fmt.Errorf("%w: a revocation covers it", ErrRevoked))
}

// note has the cache know when the token was last judged; true: it did not know that.
func (v *Validator) note(d digest, generation uint64) (news bool) {
	if v.cache == nil {
		return false
	}
	v.cache.positives.Of(d).Change(d, func(p positive, there bool) (positive, bool) {
		news = there && p.judged != generation
		p.judged = generation
		return p, news
	})
	return news
}

// judge looks at what of a token revocations may name. Its claims are read for that,
// which takes longer than the judgement.
func (v *Validator) judge(token string, t *Token) revocation.Verdict {
	s := revocation.Subject{
		Issuer: v.cfg.Issuer, Sub: t.Subject, ClientID: t.ClientID, Token: revocation.TokenDigest(token),
		IssuedAt: t.IssuedAt, Learnt: time.Unix(0, t.learnt(v.now())),
	}
	t.Claims.each(func(m member) {
		switch m.Name {
		case "sid":
			s.SID, _ = m.Value.Text()
		case "jti":
			s.JTI, _ = m.Value.Text()
		case "email":
			s.Email, _ = m.Value.Text()
		}
	})
	if s.IssuedAt.IsZero() {
		s.Seen = v.firstSeen(token, t)
	}
	return v.revocations.Judge(s)
}

// outdated says whether what is known must not serve any longer.
func (v *Validator) outdated(token string, known *positive) bool {
	if v.revocations == nil || known.judged == v.revocations.Generation() {
		return false
	}
	return v.outdatedToken(token, known.token())
}

func (v *Validator) outdatedToken(token string, t *Token) bool {
	return v.judge(token, t) == revocation.Outdated
}

// sighting is when a token was seen first that does not say when it was issued.
type sighting struct{ at int64 }

const (
	sightingBytes  = 192 // of an entry, by estimate
	leastSightings = 1000
)

// Size implements lru.Sized.
func (sighting) Size() int64 { return sightingBytes }

// Marked implements lru.Sized.
func (sighting) Marked() bool { return false }

func newSightings(entries int) lru.Shards[sighting] {
	entries = max(entries, leastSightings)
	return lru.New[sighting](entries, int64(entries)*sightingBytes)
}

// firstSeen returns when the token was first seen here. That outlives what is known of
// it, since a JWT that came back would else have been issued after any revocation.
func (v *Validator) firstSeen(token string, t *Token) time.Time {
	d := lru.Key(revocation.TokenDigest(token))
	first := sighting{t.learnt(v.now())}
	v.sightings.Of(d).Change(d, func(s sighting, there bool) (sighting, bool) {
		if there {
			first = s
		}
		return first, true // the latest used from now on
	})
	return time.Unix(0, first.at)
}
