// Package store measures what Bearergate needs of a real Redis: the figures that
// docs/operations.md tells operators to reckon with.
package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
	"github.com/bearergate/bearergate/test/harness"
)

const (
	prefix  = "bearergate:"
	entries = 20_000
	issuer  = "https://auth.example.com"
)

// replica opens the store as a replica does.
func replica(t *testing.T, r *harness.Redis) *shared.Store {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := shared.Open(shared.Config{
		Address: []string{"redis://" + r.Address}, KeyFile: key, Prefix: prefix, Timeout: 5 * time.Second,
	}, shared.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	harness.Eventually(t, "the store is there", s.Up)
	return s
}

// used is what Redis has taken, its tables of names included.
func used(t *testing.T, r *harness.Redis) int64 {
	t.Helper()
	info, _ := r.Do(t, "INFO", "memory").(string)
	found := regexp.MustCompile(`(?m)^used_memory:(\d+)`).FindStringSubmatch(info)
	if found == nil {
		t.Fatalf("got %q, want used_memory", info)
	}
	n, err := strconv.ParseInt(found[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func digest(n int) [32]byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // not below zero
	return sha256.Sum256(b[:])
}

// TestBytesOfAnAnswer: the claims of a token, as the authorization server has written
// them, take at most 320 bytes and a seventh more than their own length: Redis rounds up.
func TestBytesOfAnAnswer(t *testing.T) {
	for _, claims := range []int{0, 300, 500, 1000, 4000} {
		t.Run(fmt.Sprint(claims), func(t *testing.T) {
			r := harness.StartRedis(t)
			s := replica(t, r)
			before := used(t, r)
			value := make([]byte, 9+claims) // a letter and a time before the claims
			for n := range entries {
				_, _, err := s.Once(t.Context(), "introspection", digest(n), make([]byte, 64),
					func(context.Context) ([]byte, time.Duration, error) { return value, time.Hour, nil })
				if err != nil {
					t.Fatal(err)
				}
			}
			each := float64(used(t, r)-before) / entries
			name := slices.DeleteFunc(r.Keys(t), func(name string) bool { return !strings.HasPrefix(name, prefix+"{") })[0]
			t.Logf("claims of %d bytes: %.0f bytes, %v by MEMORY USAGE", claims, each, r.Do(t, "MEMORY", "USAGE", name))
			if most := 320 + 1.15*float64(claims); each > most {
				t.Errorf("got %.0f bytes, want at most %.0f", each, most)
			}
		})
	}
}

// TestBytesOfAProof: a DPoP proof that was accepted takes at most 200 bytes.
func TestBytesOfAProof(t *testing.T) {
	r := harness.StartRedis(t)
	s := replica(t, r)
	before := used(t, r)
	for n := range entries {
		if first, err := s.Claim(t.Context(), digest(n), time.Now().Add(time.Hour)); !first || err != nil {
			t.Fatalf("got %t, %v, want the first claim", first, err)
		}
	}
	each := float64(used(t, r)-before) / entries
	t.Logf("a proof: %.0f bytes", each)
	if each > 200 {
		t.Errorf("got %.0f bytes, want at most 200", each)
	}
}

// TestBytesOfARevocation: at most 200 bytes in the store.
func TestBytesOfARevocation(t *testing.T) {
	r := harness.StartRedis(t)
	set := revocation.NewSet(revocation.Options{Shared: replica(t, r)})
	before := used(t, r)
	for n := range entries {
		told, err := set.Add(t.Context(), revocation.Revocation{
			Issuer: issuer, Kind: revocation.KindSub, Value: fmt.Sprint("user-", n), Source: revocation.SourceAdmin,
		})
		if !told || err != nil {
			t.Fatalf("got %t, %v, want it told to all", told, err)
		}
	}
	each := float64(used(t, r)-before) / entries
	t.Logf("a revocation: %.0f bytes; the stream by MEMORY USAGE: %v", each,
		r.Do(t, "MEMORY", "USAGE", prefix+"revocations", "SAMPLES", "0"))
	if each > 200 {
		t.Errorf("got %.0f bytes, want at most 200", each)
	}
}

// TestCommandsOfANewToken: five where it is asked about, one where that is known.
func TestCommandsOfANewToken(t *testing.T) {
	r := harness.StartRedis(t)
	first, second := replica(t, r), replica(t, r)
	ask := func(s *shared.Store, n int) {
		_, _, err := s.Once(t.Context(), "introspection", digest(n), nil,
			func(context.Context) ([]byte, time.Duration, error) { return make([]byte, 400), time.Hour, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	const tokens = 1000
	for _, c := range []struct {
		name string
		by   *shared.Store
		want map[string]float64
	}{
		{"asked about", first, map[string]float64{"get": 2, "set": 2, "del": 1}},
		{"known", second, map[string]float64{"get": 1}},
	} {
		r.Do(t, "CONFIG", "RESETSTAT")
		began := time.Now()
		for n := range tokens {
			ask(c.by, n)
		}
		each := time.Since(began) / tokens
		got := map[string]float64{}
		for name, calls := range commands(t, r) {
			got[name] = calls / tokens
		}
		for _, name := range slices.Sorted(maps.Keys(c.want)) {
			if diff := got[name] - c.want[name]; diff < 0 || diff > 0.1 { // of the probes
				t.Errorf("%s: %s: got %.3f a token, want %.0f", c.name, name, got[name], c.want[name])
			}
		}
		t.Logf("%s: %s a token, %v", c.name, each.Round(time.Microsecond), got)
	}
}

// TestCommandsOfAnIdleReplica: a handful a second, whatever is stored.
func TestCommandsOfAnIdleReplica(t *testing.T) {
	r := harness.StartRedis(t)
	s := replica(t, r)
	caught := make(chan struct{})
	go s.Follow(t.Context(), shared.Follower{
		Took: func([]byte, time.Time) {}, CaughtUp: func(bool) { close(caught) },
	})
	<-caught
	r.Do(t, "CONFIG", "RESETSTAT")
	const seconds = 5
	time.Sleep(seconds * time.Second)
	var sum float64
	all := commands(t, r)
	for name, calls := range all {
		if name != "info" && name != "config|resetstat" {
			sum += calls
		}
	}
	t.Logf("%.1f commands a second: %v", sum/seconds, all)
	if sum/seconds > 6 {
		t.Errorf("got %.1f commands a second, want at most 6", sum/seconds)
	}
}

// commands are the calls by name since the last CONFIG RESETSTAT.
func commands(t *testing.T, r *harness.Redis) map[string]float64 {
	t.Helper()
	info, _ := r.Do(t, "INFO", "commandstats").(string)
	all := map[string]float64{}
	for _, found := range regexp.MustCompile(`cmdstat_(\S+?):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
		calls, err := strconv.ParseFloat(found[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		all[found[1]] = calls
	}
	return all
}
