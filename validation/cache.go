package validation

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/bearergate/bearergate/internal/bytesize"
)

// digest identifies a token in a cache: a full hash over the issuer's
// configuration and the token, never the token itself (A-02, I-22).
type digest [sha256.Size]byte

const (
	maxShards       = 32
	minShardEntries = 64      // fewer, and an uneven spread would evict too early
	minShardBytes   = 1 << 20 // likewise
	negativeShare   = 10      // one entry and byte in so many is for answers against a token
	onStack         = 2048    // bytes of a token that are hashed without allocating
	sweepInterval   = 10 * time.Second
)

// negative is an answer against a token, or that there is none for now.
type negative struct {
	err   error
	until time.Time
}

// negativeBytes is what an answer against a token takes, its error included.
const negativeBytes = 512

func (negative) size() int64 { return negativeBytes }

func (negative) isJWT() bool { return false } // what is said against a JWT is not remembered

// cache remembers facts about tokens, never decisions. Answers against
// tokens live apart, so that random tokens evict nothing good (I-23). A nil
// *cache remembers nothing.
type cache struct {
	cfg       CacheConfig
	seed      digest
	positives shards[positive]
	negatives shards[negative]

	likenesses likenesses
}

func newCache(cfg CacheConfig, seed digest) *cache {
	if cfg.TTL <= 0 || cfg.MaxEntries < 1 {
		return nil
	}
	entries, bytes := cfg.shares()
	return &cache{
		cfg: cfg, seed: seed,
		positives: newShards[positive](entries[0], bytes[0]), negatives: newShards[negative](entries[1], bytes[1]),
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

func (c *cache) positive(d digest) (p positive, ok bool) { return c.positives.of(d).get(d) }

// negative returns the answer against a token, or nil.
func (c *cache) negative(d digest, now time.Time) error {
	n, ok := c.negatives.of(d).get(d)
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
	c.positives.of(d).add(d, p)
	c.negatives.of(d).remove(d)
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
		c.negatives.of(d).add(d, negative{err: err, until: now.Add(c.cfg.NegativeTTL)})
	}
}

func (c *cache) forget(d digest) { c.positives.of(d).remove(d) }

// sweep drops what nobody may believe any longer.
func (c *cache) sweep(now time.Time) {
	c.positives.sweep(func(p positive) bool { return !now.Before(c.stale(&p)) })
	c.negatives.sweep(func(n negative) bool { return !now.Before(n.until) })
}

func (c *cache) resize(maxEntries int, maxBytes int64) {
	entries, bytes := CacheConfig{MaxEntries: maxEntries, MaxBytes: bytesize.Size(maxBytes)}.shares()
	c.positives.resize(entries[0], bytes[0])
	c.negatives.resize(entries[1], bytes[1])
}

// entries counts what is remembered, by the label of the metric.
func (c *cache) entries() map[string]int {
	counts := map[string]int{cacheJWT: 0, cacheIntrospection: 0, cacheNegative: 0}
	for _, s := range c.positives {
		all, jwts := s.count()
		counts[cacheJWT] += jwts
		counts[cacheIntrospection] += all - jwts
	}
	for _, s := range c.negatives {
		all, _ := s.count()
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

// sized is what a shard can hold.
type sized interface {
	size() int64
	isJWT() bool
}

// shards spread entries by the first byte of their digest, so that requests
// seldom wait for each other's lock.
type shards[V sized] []*shard[V]

func newShards[V sized](entries int, bytes int64) shards[V] {
	count := min(maxShards, max(1, entries/minShardEntries))
	count = min(count, max(1, int(bytes/minShardBytes)))
	all := make(shards[V], count)
	for i := range all {
		s := &shard[V]{maxBytes: bytes / int64(count)}
		// It fails for sizes below 1 only.
		s.lru, _ = simplelru.NewLRU(entries/count, func(_ digest, v V) { s.account(v, -1) })
		all[i] = s
	}
	return all
}

func (all shards[V]) of(d digest) *shard[V] { return all[int(d[0])%len(all)] }

func (all shards[V]) sweep(gone func(V) bool) {
	for _, s := range all {
		s.sweep(gone)
	}
}

func (all shards[V]) resize(entries int, bytes int64) {
	for _, s := range all {
		s.resize(max(1, entries/len(all)), bytes/int64(len(all)))
	}
}

// shard is an LRU bounded by entries and by bytes.
type shard[V sized] struct {
	mu       sync.Mutex
	lru      *simplelru.LRU[digest, V]
	bytes    int64
	maxBytes int64
	jwts     int // how many of them there are
}

// account counts an entry that comes, or with -1 one that goes.
func (s *shard[V]) account(v V, sign int) {
	s.bytes += int64(sign) * v.size()
	if v.isJWT() {
		s.jwts += sign
	}
}

func (s *shard[V]) get(d digest) (V, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Get(d)
}

// add remembers v, unless it alone is more than the shard may hold.
func (s *shard[V]) add(d digest, v V) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(d) // Add would replace the value without a word
	if v.size() > s.maxBytes {
		return
	}
	s.account(v, 1)
	s.lru.Add(d, v)
	s.shrink()
}

func (s *shard[V]) shrink() {
	for s.bytes > s.maxBytes {
		s.lru.RemoveOldest()
	}
}

func (s *shard[V]) remove(d digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lru.Remove(d)
}

func (s *shard[V]) resize(entries int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxBytes = bytes
	s.lru.Resize(entries)
	s.shrink()
}

// sweep takes the lock for each entry anew: requests go between.
func (s *shard[V]) sweep(gone func(V) bool) {
	s.mu.Lock()
	keys := s.lru.Keys()
	s.mu.Unlock()
	for _, d := range keys {
		s.mu.Lock()
		if v, ok := s.lru.Peek(d); ok && gone(v) {
			s.lru.Remove(d)
		}
		s.mu.Unlock()
	}
}

func (s *shard[V]) count() (all, jwts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lru.Len(), s.jwts
}
