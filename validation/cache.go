package validation

import (
	"crypto/sha256"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// digest identifies a token in a cache: a full hash over the issuer's
// configuration and the token, never the token itself (A-02, I-22).
type digest [sha256.Size]byte

const (
	maxShards       = 32
	minShardEntries = 64   // fewer, and an uneven spread would evict too early
	negativeShare   = 10   // one entry in so many is for answers against a token
	onStack         = 2048 // bytes of a token that are hashed without allocating
)

// positive is a token that was good.
type positive struct {
	token      *Token
	thumbprint string    // of the key that signed a JWT; empty: introspected
	born       time.Time // when it was found out
}

// negative is an answer against a token.
type negative struct {
	err   error
	until time.Time
}

// cache remembers facts about tokens, never decisions. Answers against
// tokens live apart, so that random tokens evict nothing good (I-23). A nil
// *cache remembers nothing.
type cache struct {
	cfg       CacheConfig
	seed      digest
	positives []*lru.Cache[digest, *positive]
	negatives []*lru.Cache[digest, negative]
}

func newCache(cfg CacheConfig, seed digest) *cache {
	if cfg.TTL <= 0 || cfg.MaxEntries < 1 {
		return nil
	}
	p, n := split(cfg.MaxEntries)
	return &cache{cfg: cfg, seed: seed, positives: shards[*positive](p), negatives: shards[negative](n)}
}

// split shares entries out between answers for and against tokens.
func split(entries int) (positives, negatives int) {
	negatives = max(1, entries/negativeShare)
	return max(1, entries-negatives), negatives
}

func shards[V any](entries int) []*lru.Cache[digest, V] {
	count := min(maxShards, max(1, entries/minShardEntries))
	all := make([]*lru.Cache[digest, V], count)
	for i := range all {
		all[i], _ = lru.New[digest, V](entries / count) // fails for sizes below 1 only
	}
	return all
}

func shard[V any](all []*lru.Cache[digest, V], d digest) *lru.Cache[digest, V] {
	return all[int(d[0])%len(all)]
}

func (c *cache) digest(token string) digest {
	var buffer [sha256.Size + onStack]byte
	return sha256.Sum256(append(append(buffer[:0], c.seed[:]...), token...))
}

func (c *cache) positive(d digest) *positive {
	p, _ := shard(c.positives, d).Get(d)
	return p
}

// negative returns the answer against a token, or nil.
func (c *cache) negative(d digest, now time.Time) error {
	n, ok := shard(c.negatives, d).Get(d)
	if !ok || !now.Before(n.until) {
		return nil
	}
	return n.err
}

// add remembers a good token until it expires, and no longer than the TTL.
func (c *cache) add(d digest, t *Token, thumbprint string, now time.Time) {
	p := &positive{token: t, thumbprint: thumbprint, born: now}
	if !now.Before(c.fresh(p)) {
		return
	}
	shard(c.positives, d).Add(d, p)
	shard(c.negatives, d).Remove(d)
}

// fresh is until when p is believed; never past exp (I-20).
func (c *cache) fresh(p *positive) time.Time {
	return notPast(p.born.Add(c.cfg.TTL), p.token.Expiry)
}

// stale is until when p is believed while the issuer is down; never past exp.
func (c *cache) stale(p *positive) time.Time {
	return notPast(p.born.Add(c.cfg.TTL+c.cfg.StaleIfError), p.token.Expiry)
}

// refuse remembers an answer against a token and forgets what spoke for it.
func (c *cache) refuse(d digest, err error, now time.Time) {
	c.forget(d)
	if c.cfg.NegativeTTL > 0 {
		shard(c.negatives, d).Add(d, negative{err: err, until: now.Add(c.cfg.NegativeTTL)})
	}
}

func (c *cache) forget(d digest) { shard(c.positives, d).Remove(d) }

func (c *cache) resize(entries int) {
	p, n := split(entries)
	resize(c.positives, p)
	resize(c.negatives, n)
}

func resize[V any](all []*lru.Cache[digest, V], entries int) {
	for _, s := range all {
		s.Resize(max(1, entries/len(all)))
	}
}

// entries counts what is remembered, by the label of the metric.
func (c *cache) entries() map[string]int {
	counts := map[string]int{cacheJWT: 0, cacheIntrospection: 0, cacheNegative: 0}
	for _, s := range c.positives {
		for _, p := range s.Values() {
			counts[cacheOf(p.token.JWT)]++
		}
	}
	for _, s := range c.negatives {
		counts[cacheNegative] += s.Len()
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
