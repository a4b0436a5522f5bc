package shared_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/shared"
)

// Whoever reads every byte of the store finds nothing of what was put there.
func TestStoreTellsNothing(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	r := f.following()
	words := []string{"alice@example.com", "orders:read", "eyJhbGciOi", "introspection", "issuer.example.com", "sid-4711"}
	value := strings.Join(words, " ")
	for i := range 50 {
		var key [32]byte
		copy(key[:], words[i%len(words)])
		key[31] = byte(i)
		_, _, err := r.Once(t.Context(), "introspection", key, []byte("issuer.example.com"),
			func(context.Context) ([]byte, time.Duration, error) {
				if i == 0 {
					readAll(t, redis, words) // while the lock is there
				}
				return []byte(value), time.Hour, nil
			})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Claim(t.Context(), key, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.revoke(fmt.Sprint(value, i))
	}
	readAll(t, redis, append(words, read(t, f.cfg.KeyFile)))
	names := strings.Split(redis.cli("keys", "*"), "\n")
	if len(names) != 102 { // values, claims, the log and the probe
		t.Errorf("got %d keys: %v", len(names), names)
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "bearergate:") {
			t.Errorf("key %q without the prefix", name)
		}
		if ttl := redis.cli("pttl", name); ttl == "-1" && name != "bearergate:revocations" {
			t.Errorf("key %q never ends", name)
		}
	}
}

// readAll looks at a dump of the whole store, as somebody with its disk would, and at
// every key as somebody with its password would.
func readAll(t *testing.T, redis *server, words []string) {
	t.Helper()
	redis.cli("config", "set", "rdbcompression", "no")
	redis.cli("save")
	dump, err := os.ReadFile(filepath.Join(redis.dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	all := string(dump)
	for _, name := range strings.Split(redis.cli("keys", "*"), "\n") {
		all += name
		switch redis.cli("type", name) {
		case "string":
			all += redis.cli("get", name)
		case "stream":
			all += redis.cli("xrange", name, "-", "+")
		default:
			t.Errorf("key %q is of another type", name)
		}
	}
	for _, word := range words {
		if strings.Contains(all, word) {
			t.Errorf("%q is in the store", word)
		}
	}
	if !strings.Contains(all, "bearergate:") {
		t.Error("read nothing")
	}
}

// Whoever writes the store makes nobody believe anything.
func TestForeignEntries(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	var told events
	s := f.up(watched(&told))
	stranger := newFleet(t, redis.address).up() // with another key
	allow := func(context.Context) ([]byte, time.Duration, error) { return []byte("allow"), time.Hour, nil }
	deny := func(context.Context) ([]byte, time.Duration, error) { return []byte("deny"), time.Hour, nil }
	once := func(s *shared.Store, key int, produce func(context.Context) ([]byte, time.Duration, error)) string {
		value, _, err := s.Once(t.Context(), "s", keyOf(key), nil, produce)
		if err != nil {
			t.Fatal(err)
		}
		return string(value)
	}
	keys := func() map[string]bool {
		all := make(map[string]bool)
		for _, name := range strings.Split(redis.cli("keys", "bearergate:{*"), "\n") {
			all[name] = true
		}
		return all
	}
	once(s, 1, allow)
	var good string
	for name := range keys() {
		good = name
	}
	once(s, 2, deny)
	var bad string
	for name := range keys() {
		if name != good {
			bad = name
		}
	}
	once(stranger, 3, allow)
	var foreign string
	for name := range keys() {
		if name != good && name != bad {
			foreign = name
		}
	}
	for name, forge := range map[string]func(){
		"garbage":      func() { redis.cli("set", bad, "allow") },
		"nothing":      func() { redis.cli("set", bad, "") },
		"another type": func() { redis.cli("del", bad); redis.cli("rpush", bad, "allow") },
		"a stream":     func() { redis.cli("del", bad); redis.cli("xadd", bad, "*", "e", "allow") },
		"replayed":     func() { redis.cli("copy", good, bad, "replace") },
		"foreign":      func() { redis.cli("copy", foreign, bad, "replace") },
		"changed":      func() { redis.cli("setrange", bad, "30", "x") },
		"longer":       func() { redis.cli("append", bad, "x") },
	} {
		forge()
		before := told.of(shared.Get, shared.Unreadable)
		if got := once(s, 2, deny); got != "deny" {
			t.Errorf("%s: got %q", name, got)
		}
		if told.of(shared.Get, shared.Unreadable) != before+1 {
			t.Errorf("%s: not counted as unreadable", name)
		}
		redis.cli("del", bad)
		once(s, 2, deny)
	}
	if !s.Up() {
		t.Error("garbage has closed the store")
	}

	r := f.following(watched(&told))
	redis.cli("xadd", "bearergate:revocations", "*", "e", "x", "f", "y")
	redis.cli("xadd", "bearergate:revocations", "*", "other", "x")
	newFleetOn(t, redis).up().Append(t.Context(), []byte("foreign"))
	r.revoke("own")
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) != 1 {
		t.Errorf("got %v", r.known)
	}
}

func newFleetOn(t testing.TB, s *server) *fleet { return newFleet(t, s.address) }

// An old value that is put back under its own name has ended all the same.
func TestOldValuePutBack(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	s := f.up()
	for round := range 2 {
		value, _, err := s.Once(t.Context(), "s", keyOf(1), nil, func(context.Context) ([]byte, time.Duration, error) {
			return fmt.Append(nil, round), 300 * time.Millisecond, nil
		})
		if err != nil || string(value) != fmt.Sprint(round) {
			t.Errorf("got %q, %v, want that of round %d", value, err, round)
		}
		name := redis.cli("keys", "bearergate:{*")
		redis.cli("persist", name)
		time.Sleep(350 * time.Millisecond)
	}
}

// A rotation: replicas see the new key one after another, and one is started anew. No
// value is wrong, no revocation is lost, and no claim is made twice.
func TestKeyRotation(t *testing.T) {
	redis := startRedis(t)
	f := newFleet(t, redis.address)
	late := newFleet(t, redis.address)
	late.log = f.log
	write(t, late.cfg.KeyFile, read(t, f.cfg.KeyFile))
	a, b := f.following(), late.following()
	var count int64
	var mu sync.Mutex
	until := time.Now().Add(time.Hour)
	if _, _, err := a.Once(t.Context(), "s", keyOf(1), nil, making(&count, &mu, "v")); err != nil {
		t.Fatal(err)
	}
	if first, _ := a.Claim(t.Context(), keyOf(1), until); !first {
		t.Error("not the first")
	}
	a.revoke("before")
	f.rotate(t)
	within(t, 8*time.Second, "new key in use", func() bool {
		a.Append(t.Context(), []byte("tick"))
		return strings.Contains(f.log.String(), "new content in use")
	})
	if first, err := a.Claim(t.Context(), keyOf(1), until); first || err != nil {
		t.Errorf("claimed again with the new key: %t, %v", first, err)
	}
	if first, _ := a.Claim(t.Context(), keyOf(2), until); !first {
		t.Error("not the first")
	}
	if first, _ := b.Claim(t.Context(), keyOf(2), until); first {
		t.Error("claimed again with the key before")
	}
	if _, own, _ := a.Once(t.Context(), "s", keyOf(1), nil, making(&count, &mu, "w")); own {
		t.Error("what was sealed under the key before does not open")
	}
	a.revoke("by the new key")
	b.revoke("by the old key")
	within(t, time.Second, "known to those with the key before", func() bool { return b.has("by the new key") })
	within(t, 2*time.Second, "old entries open", func() bool { return a.has("by the old key") })
	// One that knows the new key only.
	within(t, 8*time.Second, "written again under the new key", func() bool {
		c := f.following()
		return c.has("before", "by the new key")
	})
	c := f.up()
	if first, _ := c.Claim(t.Context(), keyOf(3), until); !first {
		t.Error("not the first")
	}
	if first, _ := a.Claim(t.Context(), keyOf(3), until); first {
		t.Error("claimed again by one who knows both keys")
	}
	write(t, late.cfg.KeyFile, read(t, f.cfg.KeyFile))
	within(t, 8*time.Second, "written again", func() bool { return f.following().has("by the old key") })
}
