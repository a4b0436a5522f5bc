package filter

import (
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
}

func (s *streams) remove(f *filter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, f)
}

// revoked returns those whose token is revoked by now.
func (s *streams) revoked(is func(issuer, token string, t *validation.Token) bool) map[*filter]watched {
	s.mu.Lock()
	all := make(map[*filter]watched, len(s.open))
	for f, w := range s.open {
		all[f] = w
	}
	s.mu.Unlock()
	for f, w := range all {
		_, token, _ := strings.Cut(strings.Trim(w.credential, " \t"), " ")
		if !is(w.issuer, strings.Trim(token, " "), w.token) {
			delete(all, f)
		}
	}
	return all
}

// watch ends streams whose token is revoked, for as long as the process lives.
func (e *engine) watch() {
	var seen uint64
	for range time.Tick(lookEvery) {
		generation := e.inside.Revocations()
		if generation == seen {
			continue
		}
		seen = generation
		for f, w := range e.streams.revoked(e.inside.Revoked) {
			w.later.schedule(func() { f.endAs(authz.Revoked) })
		}
	}
}
