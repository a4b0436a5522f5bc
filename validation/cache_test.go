package validation

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"
)

func id(n int) (d digest) {
	binary.BigEndian.PutUint64(d[:], uint64(n)*0x9E3779B97F4A7C15) //nolint:gosec // spreads over the shards
	return d
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryIsBounded floods the cache with a million answers for and a million
// against tokens, and shows what an entry costs.
func TestMemoryIsBounded(t *testing.T) {
	const size, flood = 20_000, 1_000_000
	c := newCache(CacheConfig{MaxEntries: size, TTL: time.Hour, NegativeTTL: time.Hour}, digest{})
	now := time.Now()
	before := heap()
	for n := range size {
		token, err := tokenFromClaims(map[string]any{
			"iss": "https://as.example.com", "sub": rand.Text(), "aud": []any{"api"}, "scope": "orders:read orders:write",
			"client_id": rand.Text(), "jti": rand.Text(),
		})
		if err != nil {
			t.Fatal(err)
		}
		c.add(id(n), token, "", now)
	}
	filled := heap()
	positives := c.entries()[cacheIntrospection]
	bytes := (filled - before) / uint64(positives) //nolint:gosec // not negative
	t.Logf("%d bytes for each of %d positive entries of six claims", bytes, positives)
	if bytes > 4096 {
		t.Errorf("an entry takes %d bytes, want at most 4096", bytes)
	}
	for n := range flood {
		c.refuse(id(size+n), ErrInactive, now)
	}
	entries := c.entries()
	if entries[cacheIntrospection] != positives {
		t.Errorf("a flood of answers against tokens evicted %d good ones (I-23)", positives-entries[cacheIntrospection])
	}
	if entries[cacheNegative] > size/negativeShare || entries[cacheNegative]+positives > size {
		t.Errorf("got %v, want at most %d together", entries, size)
	}
	for n := range flood {
		c.add(id(n), &Token{Subject: "x"}, "", now)
	}
	if entries := c.entries(); entries[cacheIntrospection]+entries[cacheNegative] > size {
		t.Errorf("got %v, want at most %d together", entries, size)
	}
	if after := heap(); after > filled+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes under the flood", filled, after)
	}
	runtime.KeepAlive(c)
}

func TestCacheSizes(t *testing.T) {
	for _, size := range []int{1, 2, 10, 63, 64, 1000, 100_000} {
		c := newCache(CacheConfig{MaxEntries: size, TTL: time.Hour, NegativeTTL: time.Hour}, digest{})
		for n := range 3 * size {
			c.add(id(n), &Token{}, "", time.Now())
			c.refuse(id(-n-1), ErrInactive, time.Now())
		}
		e := c.entries()
		if total := e[cacheIntrospection] + e[cacheNegative]; total > max(2, size) || total < size/2 {
			t.Errorf("size %d: got %v", size, e)
		}
		c.resize(max(1, size/2))
		e = c.entries()
		if total := e[cacheIntrospection] + e[cacheNegative]; total > max(2, size/2+2*len(c.positives)) {
			t.Errorf("size %d halved: got %v", size, e)
		}
	}
	if newCache(CacheConfig{MaxEntries: 10}, digest{}) != nil {
		t.Error("a TTL of zero does not switch the cache off")
	}
}

func TestDigestsDiffer(t *testing.T) {
	seen := map[digest]string{}
	for _, cfg := range []Config{{Issuer: "a", ClientID: "bc"}, {Issuer: "ab", ClientID: "c"}, {Issuer: "a"}, {Issuer: "a", ClientID: "bc", Strategy: StrategyBoth}} {
		for _, token := range []string{"t", "tt", ""} {
			c := newCache(CacheConfig{MaxEntries: 1, TTL: 1}, cfg.seed())
			name := fmt.Sprintf("%+v %s", cfg, token)
			if other, ok := seen[c.digest(token)]; ok {
				t.Errorf("%s and %s share a digest", name, other)
			}
			seen[c.digest(token)] = name
		}
	}
}
