package exchange

import (
	"crypto/sha256"
	"time"

	"github.com/bearergate/bearergate/internal/lru"
	"github.com/bearergate/bearergate/validation"
)

const (
	onStack       = 2048 // bytes of a token that are hashed without allocating
	sweepInterval = 10 * time.Second

	entryBytes = 256 // of an entry, its token aside
)

// entry is a token for an upstream.
type entry struct {
	value string
	until time.Time
}

// Size implements lru.Sized.
func (e entry) Size() int64 { return int64(len(e.value)) + entryBytes }

// Marked implements lru.Sized.
func (entry) Marked() bool { return false }

// cache remembers what was answered. Refusals live apart, so that junk evicts nothing
// good (I-23). A nil *cache remembers nothing.
type cache struct {
	cfg      validation.CacheConfig
	tokens   lru.Shards[entry]
	refusals lru.Refusals
}

func newCache(cfg validation.CacheConfig) *cache {
	if cfg.TTL <= 0 || cfg.MaxEntries < 1 {
		return nil
	}
	entries, bytes := lru.Split(cfg.MaxEntries, int64(cfg.MaxBytes))
	return &cache{
		cfg: cfg, tokens: lru.New[entry](entries[0], bytes[0]), refusals: lru.NewRefusals(entries[1], bytes[1]),
	}
}

// keyOf finds what was got of this server, by this client, for t in place of the
// client's token. All parts but the last are hashes, so that no two ways to put them
// together are alike.
func (e *Exchanger) keyOf(t *Target, token string) lru.Key {
	if !t.ofClient() {
		token = ""
	}
	var buffer [2*sha256.Size + onStack]byte
	parts := append(append(buffer[:0], e.seed[:]...), t.digest[:]...)
	return sha256.Sum256(append(parts, token...))
}

// token returns what is remembered and still good, or "".
func (c *cache) token(key lru.Key, now time.Time) string {
	known, ok := c.tokens.Of(key).Get(key)
	if !ok || !now.Before(known.until) {
		return ""
	}
	return known.value
}

// add remembers a token until a tenth before it expires, and no longer than the
// client's: asked is when it was asked for, which is before it was issued.
func (c *cache) add(key lru.Key, token issued, asked, expiry, now time.Time) {
	until := c.until(token, asked, expiry)
	c.refusals.Remove(key)
	if now.Before(until) {
		c.tokens.Of(key).Add(key, entry{token.value, until})
	}
}

// until is when a token has to be forgotten.
func (c *cache) until(token issued, asked, expiry time.Time) time.Time {
	until := asked.Add(token.life - token.life/10)
	if token.life < 0 {
		until = asked.Add(c.cfg.TTL)
	}
	if !expiry.IsZero() && expiry.Before(until) {
		until = expiry
	}
	return until
}

// refuse remembers an answer against a token; an outage is none.
func (c *cache) refuse(key lru.Key, err error, at time.Time) {
	c.tokens.Of(key).Remove(key)
	if c.cfg.NegativeTTL > 0 {
		c.refusals.Add(key, err, at.Add(c.cfg.NegativeTTL))
	}
}

func (c *cache) sweep(now time.Time) {
	c.tokens.Sweep(func(e entry) bool { return !now.Before(e.until) })
	c.refusals.Sweep(now)
}

func (c *cache) resize(maxEntries int, maxBytes int64) {
	entries, bytes := lru.Split(maxEntries, maxBytes)
	c.tokens.Resize(entries[0], bytes[0])
	c.refusals.Resize(entries[1], bytes[1])
}
