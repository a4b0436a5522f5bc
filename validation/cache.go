package validation

import (
	"crypto/sha256"
	"time"

	"github.com/bearergate/bearergate/internal/lru"
)

// digest identifies a token in a cache: a full hash over the issuer's
// configuration and the token, never the token itself (A-02, I-22).
type digest = lru.Key

const (
	onStack       = 2048 // bytes of a token that are hashed without allocating
	sweepInterval = 10 * time.Second
)

// cache remembers facts about tokens, never decisions. Answers against
// tokens live apart, so that random tokens evict nothing good (I-23); what is said
// against a JWT is not remembered. A nil *cache remembers nothing.
type cache struct {
	cfg       CacheConfig
	seed      digest
	positives lru.Shards[positive]
	negatives lru.Refusals

	likenesses likenesses
}

func newCache(cfg CacheConfig, seed digest) *cache {
	if cfg.TTL <= 0 || cfg.MaxEntries < 1 {
		return nil
	}
	entries, bytes := lru.Split(cfg.MaxEntries, int64(cfg.MaxBytes))
	return &cache{
		cfg: cfg, seed: seed,
		positives: lru.New[positive](entries[0], bytes[0]), negatives: lru.NewRefusals(entries[1], bytes[1]),
	}
}

func (c *cache) digest(token string) digest {
	var buffer [sha256.Size + onStack]byte
	return sha256.Sum256(append(append(buffer[:0], c.seed[:]...), token...))
}

func (c *cache) positive(d digest) (p positive, ok bool) { return c.positives.Of(d).Get(d) }

// negative returns the answer against a token, or nil.
func (c *cache) negative(d digest, now time.Time) error { return c.negatives.Find(d, now) }

// add remembers a good token until it expires, and no longer than the TTL.
func (c *cache) add(d digest, t *Token, thumbprint string, now time.Time) {
	a, brought := c.likenesses.of(t, thumbprint)
	p := newPositive(t, a, brought, now)
	if !now.Before(c.fresh(&p)) {
		return
	}
	c.positives.Of(d).Add(d, p)
	c.negatives.Remove(d)
}

// fresh is until when p is believed; never past exp (I-20).
func (c *cache) fresh(p *positive) time.Time {
	return notPast(time.Unix(0, p.born).Add(c.cfg.TTL), p.expiry.time())
}

// stale is until when p is believed while the issuer is down; never past exp.
func (c *cache) stale(p *positive) time.Time {
	return notPast(time.Unix(0, p.born).Add(c.cfg.TTL+c.cfg.StaleIfError), p.expiry.time())
}

// refuse remembers an answer against a token and forgets what spoke for it.
func (c *cache) refuse(d digest, err error, now time.Time) {
	c.forget(d)
	c.postpone(d, err, now)
}

// postpone remembers that there is no answer about a token for now; what is known
// of it stays.
func (c *cache) postpone(d digest, err error, now time.Time) {
	if c.cfg.NegativeTTL > 0 {
		c.negatives.Add(d, err, now.Add(c.cfg.NegativeTTL))
	}
}

func (c *cache) forget(d digest) { c.positives.Of(d).Remove(d) }

// sweep drops what nobody may believe any longer.
func (c *cache) sweep(now time.Time) {
	c.positives.Sweep(func(p positive) bool { return !now.Before(c.stale(&p)) })
	c.negatives.Sweep(now)
}

func (c *cache) resize(maxEntries int, maxBytes int64) {
	entries, bytes := lru.Split(maxEntries, maxBytes)
	c.positives.Resize(entries[0], bytes[0])
	c.negatives.Resize(entries[1], bytes[1])
}

// entries counts what is remembered, by the label of the metric.
func (c *cache) entries() map[string]int {
	counts := map[string]int{cacheJWT: 0, cacheIntrospection: 0, cacheNegative: c.negatives.Len()}
	for _, s := range c.positives {
		all, jwts := s.Count()
		counts[cacheJWT] += jwts
		counts[cacheIntrospection] += all - jwts
	}
	return counts
}

// notPast returns t, but not more than expiry, if there is one.
func notPast(t, expiry time.Time) time.Time {
	if !expiry.IsZero() && expiry.Before(t) {
		return expiry
	}
	return t
}
