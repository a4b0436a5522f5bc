package filter

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/validation"
)

// lookEvery is how often streams are held to what was revoked, if anything was.
const lookEvery = 500 * time.Millisecond

// streams are those that end with their token: of rules with stream_until_expiry.
type streams struct {
	mu   sync.Mutex
	open map[*filter]watched
	// fresh are those of open that were never looked at: what they were decided by may have
	// been out of date when they came.
	fresh map[*filter]struct{}
}

// watched is what a revocation is held to.
type watched struct {
	issuer, credential string
	token              *validation.Token
	later              *later
}

func (s *streams) add(f *filter, d *authz.Decision, credential string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[f] = watched{d.Issuer, credential, d.Token, f.later}
	s.fresh[f] = struct{}{}
}

func (s *streams) remove(f *filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, f)
	delete(s.fresh, f)
}

// look returns those that are to be looked at: all, or those that never were.
func (s *streams) look(all bool) map[*filter]watched {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.fresh
	s.fresh = map[*filter]struct{}{}
	if all {
		return maps.Clone(s.open)
	}
	some := make(map[*filter]watched, len(fresh))
	for f := range fresh {
		some[f] = s.open[f]
	}
	return some
}

// revokedBy says whether the token is revoked by now.
func (w *watched) revokedBy(is func(issuer, token string, t *validation.Token) bool) bool {
	_, token, _ := strings.Cut(strings.Trim(w.credential, " \t"), " ")
	return is(w.issuer, strings.Trim(token, " "), w.token)
}

// watch ends streams whose token is revoked, for as long as the process lives.
func (e *engine) watch() {
	var seen uint64
	for range time.Tick(lookEvery) {
		generation := e.inside.Revocations()
		for f, w := range e.streams.look(generation != seen) {
			if w.revokedBy(e.inside.Revoked) {
				w.later.schedule(func() { f.endAs(authz.Revoked) })
			}
		}
		seen = generation
	}
}
