package attack

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// many calls f n times, from w goroutines.
func many(n, w int, f func(i int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range w {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				f(int(i))
			}
		})
	}
	workers.Wait()
}

func TestOneCallForOneToken(t *testing.T) { // I-24
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t)
	client := service.Client(t)
	token := issuer.Opaque("", claims{"aud": "api", "sub": "alice"})
	issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Delay: 200 * time.Millisecond})
	var right atomic.Int64
	many(500, 500, func(int) {
		_, response, err := harness.Ask(t.Context(), client, "/", "Bearer "+token)
		if err == nil && response.GetDynamicMetadata().GetFields()["sub"].GetStringValue() == "alice" &&
			harness.Allowed(response) {
			right.Add(1)
		}
	})
	if calls := issuer.Calls(devissuer.PathIntrospection); calls != 1 || right.Load() != 500 {
		t.Errorf("got %d introspection calls and %d right answers, want 1 and 500", calls, right.Load())
	}
}

func TestFloodOfJunkTokens(t *testing.T) { // J-27, L-05
	const n = 10_000
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t)
	client := service.Client(t)
	key := issuer.Key()
	good := issuer.JWT(claims{"aud": "api"})
	forged := good[:len(good)-12]
	began := time.Now()
	many(2*n, 32, func(i int) {
		token, want := forged+rand.Text()[:12], "bad_signature"
		if i%2 == 1 {
			want = "unknown_key"
			token = devissuer.Sign(key, map[string]any{"kid": fmt.Sprint("random-", i)}, claims{
				"iss": issuer.URL(), "aud": "api", "exp": time.Now().Unix() + 60,
			})
		}
		if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+token); err != nil ||
			reason != want && reason != "malformed_token" {
			t.Errorf("got %s, %v; want %s", reason, err, want)
		}
		if i%100 == 0 {
			if reason, _, err := harness.Ask(t.Context(), client, "/", "Bearer "+issuer.JWT(claims{"aud": "api"})); err != nil || reason != "allowed" {
				t.Errorf("a good token meanwhile: got %s, %v", reason, err)
			}
		}
	})
	// The first fetch was at the start; unknown key IDs cause three at once, and
	// then one in min_refresh_interval, which is 15 s.
	allowed := 1 + 3 + int(time.Since(began)/(15*time.Second))
	if calls := issuer.Calls(devissuer.PathJWKS); calls > allowed {
		t.Errorf("%d junk tokens caused %d fetches of the keys, want at most %d", 2*n, calls, allowed)
	}
}
