package validation

import (
	"crypto/sha256"
	"time"

	"github.com/bearergate/bearergate/internal/bytesize"
	"github.com/bearergate/bearergate/internal/lru"
)

// digest identifies a token in a cache: a full hash over the issuer's
// configuration and the token, never the token itself (A-02, I-22).
type digest = lru.Key

const (
	negativeShare = 10   // one entry and byte in so many is for answers against a token
	onStack       = 2048 // bytes of a token that are hashed without allocating
	sweepInterval = 10 * time.Second
)

// negative is an answer against a token, or that there is none for now.
type negative struct {
	err   error
	until time.Time
}

// negativeBytes is what an answer against a token takes, its error included.
const negativeBytes = 512

func (negative) Size() int64 { return negativeBytes }

func (negative) Marked() bool { return false } // what is said against a JWT is not remembered

// cache remembers facts about tokens, never decisions. Answers against
// tokens live apart, so that random tokens evict nothing good (I-23). A nil
// *cache remembers nothing.
type cache struct {
	cfg       CacheConfig
	seed      digest
	positives lru.Shards[positive]
	negatives lru.Shards[negative]

	likenesses likenesses
}

func newCache(cfg CacheConfig, seed digest) *cache {
	if cfg.TTL <= 0 || cfg.MaxEntries < 1 {
		return nil
	}
	entries, bytes := cfg.shares()
	return &cache{
		cfg: cfg, seed: seed,
		positives: lru.New[positive](entries[0], bytes[0]), negatives: lru.New[negative](entries[1], bytes[1]),
	}
}

// shares splits the bounds between answers for and against tokens.
func (c CacheConfig) shares() (entries [2]int, bytes [2]int64) {
	against := max(1, c.MaxEntries/negativeShare)
	bytesAgainst := int64(c.MaxBytes) / negativeShare
	return [2]int{max(1, c.MaxEntries-against), against}, [2]int64{int64(c.MaxBytes) - bytesAgainst, bytesAgainst}
}

func (c *cache) digest(token string) digest {
	var buffer [sha256.Size + onStack]byte
	return sha256.Sum256(append(append(buffer[:0], c.seed[:]...), token...))
}

func (c *cache) positive(d digest) (p positive, ok bool) { return c.positives.Of(d).Get(d) }

// negative returns the answer against a token, or nil.
func (c *cache) negative(d digest, now time.Time) error {
	n, ok := c.negatives.Of(d).Get(d)
	if !ok || !now.Before(n.until) {
		return nil
	}
	return n.err
}

// add remembers a good token until it expires, and no longer than the TTL.
func (c *cache) add(d digest, t *Token, thumbprint string, now time.Time) {
	a, brought := c.likenesses.of(t, thumbprint)
	p := newPositive(t, a, brought, now)
	if !now.Before(c.fresh(&p)) {
		return
	}
	c.positives.Of(d).Add(d, p)
	c.negatives.Of(d).Remove(d)
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
		c.negatives.Of(d).Add(d, negative{err: err, until: now.Add(c.cfg.NegativeTTL)})
	}
}

func (c *cache) forget(d digest) { c.positives.Of(d).Remove(d) }

// sweep drops what nobody may believe any longer.
func (c *cache) sweep(now time.Time) {
	c.positives.Sweep(func(p positive) bool { return !now.Before(c.stale(&p)) })
	c.negatives.Sweep(func(n negative) bool { return !now.Before(n.until) })
}

func (c *cache) resize(maxEntries int, maxBytes int64) {
	entries, bytes := CacheConfig{MaxEntries: maxEntries, MaxBytes: bytesize.Size(maxBytes)}.shares()
	c.positives.Resize(entries[0], bytes[0])
	c.negatives.Resize(entries[1], bytes[1])
}

// entries counts what is remembered, by the label of the metric.
func (c *cache) entries() map[string]int {
	counts := map[string]int{cacheJWT: 0, cacheIntrospection: 0, cacheNegative: 0}
	for _, s := range c.positives {
		all, jwts := s.Count()
		counts[cacheJWT] += jwts
		counts[cacheIntrospection] += all - jwts
	}
	for _, s := range c.negatives {
		all, _ := s.Count()
		counts[cacheNegative] += all
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
