package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/shared"
	"github.com/bearergate/bearergate/test/harness"
)

// TestManyRevocations starts a replica where very much is revoked, and prints what that
// costs: REVOCATIONS=long has as many as are kept.
func TestManyRevocations(t *testing.T) {
	many := 10_000
	if long() {
		many = revocation.MaxEntries
	}
	issuer, redis := harness.Issuer(t), harness.StartRedis(t)
	o := harness.FleetOptions{
		Replicas: 1, Store: redis, Release: true, Config: fleetConfig(issuer) + sharedConfig + "revocation: {}\n",
	}
	fleet := harness.StartFleet(t, o)
	replica := fleet.Replicas[0]
	token := issuer.JWT(claims{"sub": "alice", "sid": "s", "jti": "j", "email": "alice@example.com", "client_id": "app", "aud": "api"})
	t.Logf("0 revocations: %s of memory, %s a Check (p50)", memory(t, replica), checks(t, replica, token))

	began := time.Now()
	fill(t, redis, filepath.Join(fleet.Folder(), "key"), issuer.URL(), many)
	t.Logf("%d revocations written in %s", many, time.Since(began).Round(time.Second))
	harness.Eventually(t, "the replica has learnt all", func() bool {
		return replica.Metric(t, "bearergate_revocation_entries") == float64(many)
	})
	t.Logf("learnt %s after the first one was written", time.Since(began).Round(time.Second))
	t.Logf("%d revocations: %s of memory, %s a Check (p50)", many, memory(t, replica), checks(t, replica, token))

	began = time.Now()
	replica.Restart(t)
	up := time.Since(began)
	replica.Ready(t)
	t.Logf("restarted: listens after %s, ready after %s, %s of memory", up.Round(time.Millisecond),
		time.Since(began).Round(time.Millisecond), memory(t, replica))
	t.Logf("%s a Check (p50)", checks(t, replica, token))
	if n := replica.Metric(t, "bearergate_revocation_entries"); n != float64(many) {
		t.Errorf("got %v revocations after the restart, want %d", n, many)
	}
	used, _ := redis.Do(t, "MEMORY", "USAGE", "bearergate:revocations").(int64)
	t.Logf("the store: %d bytes an entry", used/int64(many))
	for _, sub := range []string{"user-0", fmt.Sprint("user-", many-1)} {
		reason, _, err := harness.Ask(t.Context(), replica.Client(t), "/", "Bearer "+issuer.JWT(claims{
			"sub": sub, "aud": "api", "iat": time.Now().Add(-time.Hour).Unix(),
		}))
		if err != nil || reason != "revoked" {
			t.Errorf("%s: got %s, %v; want revoked", sub, reason, err)
		}
	}
}

// fill revokes that many users as another replica would.
func fill(t *testing.T, redis *harness.Redis, key, issuer string, many int) {
	t.Helper()
	store, err := shared.Open(shared.Config{
		Address: []string{"redis://" + redis.Address}, KeyFile: key, Prefix: "bearergate:", Timeout: 5 * time.Second,
	}, shared.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	harness.Eventually(t, "the store is there", store.Up)
	set := revocation.NewSet(revocation.Options{Shared: store})
	var all sync.WaitGroup
	const writers = 64
	for w := range writers {
		all.Go(func() {
			for i := w; i < many; i += writers {
				r := revocation.Revocation{
					Issuer: issuer, Kind: revocation.KindSub, Value: fmt.Sprint("user-", i), Source: revocation.SourceAdmin,
				}
				if shared, err := set.Add(context.Background(), r); err != nil || !shared {
					t.Errorf("revocation %d: got shared %v, %v", i, shared, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func memory(t *testing.T, r *harness.Replica) string {
	t.Helper()
	return fmt.Sprintf("%.0f MB", r.Metric(t, "process_resident_memory_bytes")/1e6)
}

// checks asks about a token that is known, one at a time.
func checks(t *testing.T, r *harness.Replica, token string) time.Duration {
	t.Helper()
	client := r.Client(t)
	times := make([]time.Duration, 2000)
	for i := range times {
		began := time.Now()
		reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+token)
		if times[i] = time.Since(began); err != nil || reason != "allowed" {
			t.Fatalf("got %s, %v; want allowed", reason, err)
		}
	}
	slices.Sort(times)
	return times[len(times)/2].Round(time.Microsecond)
}
