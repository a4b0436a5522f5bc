package service

import (
	"errors"
	"slices"
	"time"

	"github.com/bearergate/bearergate/internal/config"
)

const (
	// waitInterval is how often it is looked whether what waits can take over.
	waitInterval = 100 * time.Millisecond
	// waitUntold is for how long a wait is not worth a line in the log, unless
	// something failed: an issuer that answers does so sooner.
	waitUntold = time.Second
)

// waiting is a configuration that would refuse good tokens if it were used now:
// an issuer of it that is new or changed cannot be decided yet. Its units run, so
// that it can be some time; the configuration in use serves on.
type waiting struct {
	*candidate

	since time.Time
	told  bool
}

// Pending returns which issuers a new configuration waits for, and why; nil when
// none waits.
func (s *Service) Pending() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		return nil
	}
	if err := undecided(s.waits.fresh); err != nil {
		return err
	}
	return errDecidable
}

// errDecidable is for the moment between the end of a wait and its being seen.
var errDecidable = errors.New("nothing: it is used within a second")

// propose has cfg wait, in place of what waited before. After an error nothing
// waits: what did is no longer what the file says.
func (s *Service) propose(cfg *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	c, err := s.build(cfg)
	if err != nil {
		return err
	}
	startAll(c.fresh)
	s.waits = &waiting{candidate: c, since: time.Now()}
	return nil
}

// withdraw has nothing wait.
func (s *Service) withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// drop is withdraw for those who hold the lock.
func (s *Service) drop() {
	if s.waits == nil {
		return
	}
	if s.waits.told {
		s.log.Warn("the configuration that waited for its issuers is dropped, keeping the one in use")
	}
	s.retire(s.waits.fresh, 0)
	s.waits = nil
}

// promote uses what waits, and returns it, once it can be decided or has waited
// for long enough. Else it returns nil.
func (s *Service) promote() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits
	if w == nil {
		return nil
	}
	grace, waited := w.cfg.Server.Envoy.ReloadGrace, time.Since(w.since)
	problem := undecided(w.fresh)
	switch {
	case problem != nil && waited < grace:
		s.tell(w, problem, waited)
		return nil
	case problem != nil && grace > 0:
		s.log.Error("changed configuration is used although its issuers cannot be decided",
			"error", problem, "waited", grace.String())
	}
	if err := s.fleet.useStore(w.cfg); err != nil {
		s.log.Error("the changed shared store cannot be used, keeping what was in use", "error", err)
	}
	s.use(w.candidate)
	s.waits = nil
	return w.cfg
}

// tell logs once what w waits for, when more is known than that it has begun.
func (s *Service) tell(w *waiting, problem error, waited time.Duration) {
	failing := slices.ContainsFunc(w.fresh, func(u *unit) bool { return u.server.Failing() })
	if w.told || !failing && waited < waitUntold {
		return
	}
	w.told = true
	s.log.Warn("changed configuration waits for its issuers, keeping the one in use",
		"error", problem, "at_most", w.cfg.Server.Envoy.ReloadGrace.String())
}

// isWaiting says whether a configuration waits.
func (s *Service) isWaiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waits != nil
}
