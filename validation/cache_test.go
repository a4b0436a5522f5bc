package validation

import (
	"crypto/rand"
	"encoding/binary"
	stdjson "encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func id(n int) (d digest) {
	binary.BigEndian.PutUint64(d[:], uint64(n)*0x9E3779B97F4A7C15) //nolint:gosec // spreads over the shards
	return d
}

// tokenOf is a token of those claims.
func tokenOf(t *testing.T, members map[string]any) *Token {
	t.Helper()
	text, err := stdjson.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := parseObject(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokenFromClaims(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func heap() uint64 {
	runtime.GC() // what is pooled outlives one collection
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryIsBounded floods the cache with a million answers for and a million
// against tokens, and shows what an entry costs.
func TestMemoryIsBounded(t *testing.T) {
	const size, flood = 20_000, 1_000_000
	c := newCache(CacheConfig{MaxEntries: size, MaxBytes: 1 << 30, TTL: time.Hour, NegativeTTL: time.Hour}, digest{})
	now := time.Now()
	before := heap()
	for n := range size {
		c.add(id(n), tokenOf(t, map[string]any{
			"iss": "https://as.example.com", "sub": rand.Text(), "aud": []any{"api"}, "scope": "orders:read orders:write",
			"client_id": rand.Text(), "jti": rand.Text(),
		}), "", now)
	}
	filled := heap()
	positives := c.entries()[cacheIntrospection]
	bytes := (filled - before) / uint64(positives)              //nolint:gosec // not negative
	estimate := uint64(c.positives.Bytes()) / uint64(positives) //nolint:gosec // not negative
	t.Logf("%d bytes, by estimate %d, for each of %d positive entries of six claims", bytes, estimate, positives)
	if estimate < bytes || estimate > 2*bytes {
		t.Errorf("an entry takes %d bytes and is estimated at %d", bytes, estimate)
	}
	if bytes > 1024 {
		t.Errorf("an entry takes %d bytes, want at most 1024", bytes)
	}
	for n := range flood {
		c.refuse(id(size+n), ErrInactive, now)
	}
	entries := c.entries()
	if entries[cacheIntrospection] != positives {
		t.Errorf("a flood of answers against tokens evicted %d good ones (I-23)", positives-entries[cacheIntrospection])
	}
	if entries[cacheNegative] > size/10 || entries[cacheNegative]+positives > size {
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
		c := newCache(CacheConfig{MaxEntries: size, MaxBytes: 1 << 30, TTL: time.Hour, NegativeTTL: time.Hour}, digest{})
		for n := range 3 * size {
			c.add(id(n), &Token{}, "", time.Now())
			c.refuse(id(-n-1), ErrInactive, time.Now())
		}
		e := c.entries()
		if total := e[cacheIntrospection] + e[cacheNegative]; total > max(2, size) || total < size/2 {
			t.Errorf("size %d: got %v", size, e)
		}
		c.resize(max(1, size/2), 1<<30)
		e = c.entries()
		if total := e[cacheIntrospection] + e[cacheNegative]; total > max(2, size/2+2*len(c.positives)) {
			t.Errorf("size %d halved: got %v", size, e)
		}
	}
	if newCache(CacheConfig{MaxEntries: 10}, digest{}) != nil {
		t.Error("a TTL of zero does not switch the cache off")
	}
}

// TestBytesAreBounded fills the cache with tokens of 12 KB of claims, of three
// shapes: what they take stays below the bound, and the estimate is no fiction.
func TestBytesAreBounded(t *testing.T) {
	const bound = 32 << 20
	shapes := map[string]func() any{
		"groups": func() any {
			all := make([]any, 400)
			for i := range all {
				all[i] = rand.Text()
			}
			return all
		},
		"text": func() any { return strings.Repeat(rand.Text(), 12<<10/26) },
		"objects": func() any {
			all := map[string]any{}
			for range 150 {
				all[rand.Text()] = map[string]any{"n": stdjson.Number("1234567890"), "b": true}
			}
			return all
		},
	}
	for name, shape := range shapes {
		c := newCache(CacheConfig{MaxEntries: 100_000, MaxBytes: bound, TTL: time.Hour}, digest{})
		before := heap()
		for n := range 6_000 {
			c.add(id(n), tokenOf(t, map[string]any{"groups": shape()}), "", time.Now())
		}
		taken := heap() - before
		t.Logf("%s: %d entries take %d bytes, by estimate %d", name, c.entries()[cacheIntrospection], taken,
			c.positives.Bytes())
		if taken > bound || c.positives.Bytes() > bound {
			t.Errorf("%s: takes %d bytes, want at most %d", name, taken, bound)
		}
		if taken < bound/3 {
			t.Errorf("%s: takes %d bytes only of %d: the estimate is far too high", name, taken, bound)
		}
		c.resize(100_000, bound/4)
		if got := c.positives.Bytes(); got > bound/4 {
			t.Errorf("%s: %d bytes after the bound became %d", name, got, bound/4)
		}
		c.add(id(-1), tokenOf(t, map[string]any{"x": strings.Repeat("x", bound)}), "", time.Now())
		if _, ok := c.positive(id(-1)); ok {
			t.Errorf("%s: an entry larger than the bound is remembered", name)
		}
		runtime.KeepAlive(c)
	}
}

// TestAccountsBalance: whatever comes and goes, an empty cache holds no bytes.
func TestAccountsBalance(t *testing.T) {
	c := newCache(CacheConfig{MaxEntries: 200, MaxBytes: 1 << 20, TTL: time.Minute, NegativeTTL: time.Minute, StaleIfError: time.Minute}, digest{})
	now := time.Now()
	for n := range 1000 {
		c.add(id(n), &Token{Subject: "x"}, "", now)
		c.add(id(n), &Token{Subject: "y"}, "", now)
		c.refuse(id(n/2), ErrInactive, now)
		c.postpone(id(n/3), ErrUnavailable, now)
		c.forget(id(n / 5))
	}
	c.sweep(now.Add(time.Minute + time.Second))
	if c.entries()[cacheIntrospection] == 0 || c.entries()[cacheNegative] != 0 {
		t.Errorf("got %v: what may still serve while the issuer is down stays, answers against tokens go", c.entries())
	}
	c.sweep(now.Add(2 * time.Minute))
	if e := c.entries(); e[cacheIntrospection] != 0 || c.positives.Bytes() != 0 || c.negatives.Bytes() != 0 {
		t.Errorf("got %v and %d, %d bytes, want nothing", e, c.positives.Bytes(), c.negatives.Bytes())
	}
}

func TestDigestsDiffer(t *testing.T) {
	seen := map[digest]string{}
	for _, cfg := range []Config{{}, {Issuer: "b"}, {Issuer: "a", ClientID: "bc"}, {Issuer: "ab", ClientID: "c"}, {Issuer: "a"}, {Issuer: "a", ClientID: "bc", Strategy: StrategyBoth}} {
		for _, token := range []string{"t", "tt", ""} {
			c := newCache(CacheConfig{MaxEntries: 1, MaxBytes: 1 << 20, TTL: 1}, cfg.seed())
			name := fmt.Sprintf("%+v %s", cfg, token)
			if other, ok := seen[c.digest(token)]; ok {
				t.Errorf("%s and %s share a digest", name, other)
			}
			seen[c.digest(token)] = name
		}
	}
}

// TestStaleEndsWithTheToken: what may serve while the issuer is down serves no
// longer than the token lives (I-20).
func TestStaleEndsWithTheToken(t *testing.T) {
	c := newCache(CacheConfig{MaxEntries: 1, MaxBytes: 1 << 20, TTL: time.Minute, StaleIfError: time.Hour}, digest{})
	now := time.Now().Truncate(time.Second) // the dates of tokens are kept to the millisecond
	for _, lifetime := range []time.Duration{30 * time.Second, 10 * time.Minute, 2 * time.Hour} {
		p := newPositive(&Token{Expiry: now.Add(lifetime)}, &alike{}, 0, now)
		if got, want := c.stale(&p).Sub(now), min(lifetime, time.Hour+time.Minute); got != want {
			t.Errorf("a token that lives for %s serves for %s, want %s", lifetime, got, want)
		}
		if got, want := c.fresh(&p).Sub(now), min(lifetime, time.Minute); got != want {
			t.Errorf("a token that lives for %s is fresh for %s, want %s", lifetime, got, want)
		}
	}
}

// TestOnlyTheSameJudgeInherits: a cache goes on under another configuration only
// if that one judges tokens in the same way.
func TestOnlyTheSameJudgeInherits(t *testing.T) {
	base := Config{
		Issuer: "https://as.example.com", Strategy: StrategyBoth, ClientID: "gate", ClientSecret: "s",
		ClientAuthMethod: AuthBasic, IntrospectionResponse: ResponseJSON, Algorithms: []string{"ES256"},
		AccessTokenType: TypeCompatible, RequestTimeout: time.Second,
		Cache: CacheConfig{MaxEntries: 10, MaxBytes: 1 << 20, TTL: time.Minute},
	}
	inherits := func(change func(*Config)) bool {
		after := base
		change(&after)
		before, err := NewValidator(base, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		next, err := NewValidator(after, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		before.cache.add(id(1), &Token{}, "", time.Now())
		next.Inherit(before)
		_, ok := next.cache.positive(id(1))
		return ok
	}
	for name, change := range map[string]func(*Config){
		"nothing":         func(*Config) {},
		"clock_skew":      func(c *Config) { c.ClockSkew = time.Second },
		"request_timeout": func(c *Config) { c.RequestTimeout = time.Minute },
		"cache":           func(c *Config) { c.Cache.TTL = time.Hour },
	} {
		if !inherits(change) {
			t.Errorf("%s changed: the cache is lost", name)
		}
	}
	for name, change := range map[string]func(*Config){
		"issuer":                 func(c *Config) { c.Issuer = "https://other.example.com" },
		"token_validation":       func(c *Config) { c.Strategy = StrategyIntrospection },
		"client_id":              func(c *Config) { c.ClientID = "other" },
		"client_secret":          func(c *Config) { c.ClientSecret = "other" },
		"client_auth_method":     func(c *Config) { c.ClientAuthMethod = AuthPost },
		"introspection_response": func(c *Config) { c.IntrospectionResponse = ResponseJWT },
		"algorithms":             func(c *Config) { c.Algorithms = []string{"RS256"} },
		"require_token_type":     func(c *Config) { c.RequireTokenType = true },
		"access_token_type":      func(c *Config) { c.AccessTokenType = TypeRFC9068 },
		"opaque_token_prefix":    func(c *Config) { c.OpaqueTokenPrefix = "x" },
		"ca_file":                func(c *Config) { c.CAFile = "/other" },
		"insecure_http":          func(c *Config) { c.InsecureHTTP = true },
		"client_scopes":          func(c *Config) { c.ClientScopes = []string{"x"} },
	} {
		if inherits(change) {
			t.Errorf("%s changed: answers given before still serve", name)
		}
	}
}

// TestExpiredEntriesLeaveByThemselves: within 20 s, and nobody has to ask for them.
func TestExpiredEntriesLeaveByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, err := NewValidator(Config{
			Issuer: "https://as.example.com", Strategy: StrategyJWT, Algorithms: []string{"ES256"},
			AccessTokenType: TypeCompatible, ClientAuthMethod: AuthBasic, IntrospectionResponse: ResponseJSON,
			RequestTimeout: time.Second,
			Cache:          CacheConfig{MaxEntries: 10, MaxBytes: 1 << 20, TTL: time.Minute, NegativeTTL: time.Minute},
		}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		v.cache.add(id(1), &Token{JWT: true}, "", time.Now())
		v.cache.refuse(id(2), ErrInactive, time.Now())
		time.Sleep(time.Minute - time.Second)
		if e := v.Entries(); e[cacheJWT] != 1 || e[cacheNegative] != 1 {
			t.Errorf("before the end of the ttl: got %v", e)
		}
		time.Sleep(time.Second + 20*time.Second)
		if e := v.Entries(); e[cacheJWT] != 0 || e[cacheNegative] != 0 {
			t.Errorf("20 s after it: got %v", e)
		}
	})
}
