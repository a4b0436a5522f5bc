package chaos

import (
	"context"
	"testing"
	"time"

	"github.com/bearergate/bearergate/test/harness"
)

// TestKeyOfStoreRotates changes the key of the store under load, at one replica some
// seconds before the other: no answer is wrong, nothing is taken twice, and what is
// revoked meanwhile is known to both.
func TestKeyOfStoreRotates(t *testing.T) {
	s := newStoreSite(t)
	var c storeTally
	ctx, cancel := context.WithTimeout(t.Context(), duration(10*time.Second, 30*time.Second))
	defer cancel()
	all := s.load(ctx, &c)
	var victims []string
	for n := 0; ctx.Err() == nil; n++ {
		victims = append(victims, s.revoked...)
		if n == 1 {
			s.fleet.Put(t, "key", "the next key of the store, longer than 32 bytes, too")
		}
		known := s.revoked
		s.revokeSome(t)
		for _, token := range known { // for good
			for replica := range s.clients {
				if got := s.ask(replica, token, "Bearer", ""); got != "revoked" {
					t.Errorf("replica %d: got %s for a token that was revoked", replica, got)
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	all.Wait()
	for _, wrong := range append(c.bearer.wrong, c.proven.wrong...) {
		t.Error(wrong)
	}
	t.Logf("%d requests and %d with DPoP, %d and %d times 503", c.bearer.requests.Load(), c.proven.requests.Load(),
		c.bearer.unavailable.Load(), c.proven.unavailable.Load())
	if c.bearer.unavailable.Load() > 0 || c.bearer.requests.Load() == 0 {
		t.Errorf("got %d of %d times 503, want none of some", c.bearer.unavailable.Load(), c.bearer.requests.Load())
	}
	// A replica that has never seen the key before knows all, too.
	s.clients = append(s.clients, s.fleet.Add(t).Ready(t).Client(t))
	for _, token := range victims {
		harness.Eventually(t, "a new replica knows what is revoked", func() bool {
			return s.ask(len(s.clients)-1, token, "Bearer", "") == "revoked"
		})
	}
	t.Logf("a new replica knows %d tokens that were revoked", len(victims))
}
