package chaos

import (
	"context"
	"testing"
	"time"
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
	for n := 0; ctx.Err() == nil; n++ {
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
}
