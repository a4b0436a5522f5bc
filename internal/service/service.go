// Package service puts the rooms together, leaf to root, and keeps them
// together while it runs: one unit per issuer, one policy above them, one
// Check server that answers by the policy in use. It decides nothing about
// tokens or requests.
package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/validation"
)

// retireAfter is how long a replaced unit still answers the requests that
// began under the configuration before; longer than any sensible deadline.
const retireAfter = 30 * time.Second

// Service is a running set of units and the policy above them.
type Service struct {
	log     *slog.Logger
	metrics *metrics.Metrics
	told    Observers
	checks  *envoy.Server
	slots   validation.Slots // of all issuers, those of a reload too
	inside  *Inside          // nil: the network and the time are real

	mu    sync.Mutex
	units []*unit
	inUse *config.Config // nil: none yet
	since time.Time      // when it was put in force
	// accepted remembers proofs, for as long as the process runs; nil: DPoP was never on.
	accepted *binding.Memory
	proofs   *proofs // nil: DPoP is off
	fleet    *fleet  // nil: nothing was built yet
	// waits is built and running, and takes over once it can be decided; or nil.
	waits  *waiting
	closed bool

	closing chan struct{}
	retired sync.WaitGroup
}

// New returns a service that denies everything until [Service.Apply]. Besides the
// metrics, it tells also of what it does.
func New(log *slog.Logger, m *metrics.Metrics, also ...Observers) *Service {
	told := together(append(also, Observers{
		Checks: m.Checks(), Discovery: m.Discovery(), Validation: m.Validation(), Proofs: m.Proof,
		Revocations: m.Revocations(), Shared: m.Shared(),
	}))
	return &Service{
		log: log, metrics: m, told: told, checks: envoy.NewServer(told.Checks, log),
		slots: validation.NewSlots(), closing: make(chan struct{}),
	}
}

// Inside is a world within the process, for whoever tries a policy: nothing in it
// listens or connects anywhere.
type Inside struct {
	// Issuers answers what is asked of the authorization servers, each by the name of
	// its issuer. Its error is that of a server that cannot be reached.
	Issuers func(issuer string) http.RoundTripper
	// Reachable returns nil for an issuer that can be connected to.
	Reachable func(issuer string) error

	Now func() time.Time
}

// NewInside is [New] in such a world.
func NewInside(world Inside, log *slog.Logger, m *metrics.Metrics) *Service {
	s := New(log, m)
	s.inside = &world
	return s
}

// Apply builds what cfg says and swaps it in between two requests. Units whose
// issuer is unchanged go on with their keys and caches. After an error the
// service is as it was before.
func (s *Service) Apply(cfg *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.build(cfg)
	if err != nil {
		return err
	}
	if err := s.fleet.useStore(cfg); err != nil {
		stopAll(c.fresh)
		return fmt.Errorf("shared: %w", err)
	}
	s.drop()
	startAll(c.fresh)
	s.use(c)
	return nil
}

// candidate is a configuration that is built whole and not in use.
type candidate struct {
	cfg    *config.Config
	units  []*unit
	fresh  []*unit // those of units that are not in use
	policy *authz.Policy
	proofs *proofs    // nil: DPoP is off
	takes  *receiving // nil: no events and logout tokens are taken
}

// build makes everything that cfg needs and starts none of it.
func (s *Service) build(cfg *config.Config) (*candidate, error) {
	if s.closed {
		return nil, errors.New("the service is closed")
	}
	if s.fleet == nil {
		s.fleet = newFleet(cfg, s.log, s.told, s.now())
	}
	units, err := s.assemble(cfg)
	if err != nil {
		return nil, err
	}
	c := &candidate{cfg: cfg, units: units, fresh: without(units, s.units)}
	if c.proofs, err = s.proofsFor(cfg.Authz.DPoP); err == nil {
		c.policy, err = s.policy(cfg, units)
	}
	if err == nil {
		if c.takes, err = s.fleet.newReceiver(cfg); err != nil {
			err = fmt.Errorf("revocation: %w", err)
		}
	}
	if err != nil {
		stopAll(c.fresh)
		return nil, err
	}
	if c.proofs != nil {
		c.policy.SetProofs(c.proofs.judge)
	}
	return c, nil
}

// use swaps in a candidate whose units run.
func (s *Service) use(c *candidate) {
	for i, u := range c.units {
		u.resize(c.cfg.Issuers[i].Validation.Cache)
	}
	s.useProofs(c.proofs)
	s.fleet.units.Store(&c.units)
	s.fleet.useReceiver(c.takes)
	s.checks.Use(c.policy)
	s.inUse, s.since = c.cfg, time.Now()
	gone := without(s.units, c.units)
	s.units = c.units
	s.retire(gone, retireAfter)
}

// assemble returns the units of cfg in order, those in use that it leaves as they
// are among them.
func (s *Service) assemble(cfg *config.Config) ([]*unit, error) {
	var units []*unit
	for _, i := range cfg.Issuers {
		u := s.running(i)
		if u == nil {
			var err error
			if u, err = s.newUnit(i); err != nil {
				stopAll(without(units, s.units))
				return nil, err
			}
		}
		units = append(units, u)
	}
	return units, nil
}

func (s *Service) running(i config.Issuer) *unit {
	for _, u := range s.units {
		if u.serves(i) {
			return u
		}
	}
	return nil
}

func (s *Service) policy(cfg *config.Config, units []*unit) (*authz.Policy, error) {
	issuers := make([]*validation.Validator, len(units))
	for i, u := range units {
		issuers[i] = u.issuer
	}
	set, err := validation.NewSet(issuers...)
	if err != nil {
		return nil, err
	}
	policy, err := authz.New(cfg.Authz, set)
	if err != nil {
		return nil, err
	}
	if now := s.now(); now != nil {
		policy.SetClock(now)
	}
	exchangers := map[string]authz.Exchanger{}
	for _, u := range units {
		if u.exchanger != nil {
			exchangers[u.discovery.Issuer] = u.exchanger
		}
	}
	policy.SetExchangers(exchangers)
	return policy, nil
}

// now is the clock of the rooms; nil: time.Now.
func (s *Service) now() func() time.Time {
	if s.inside == nil {
		return nil
	}
	return s.inside.Now
}

// retire stops units that no new request will meet, once those under way are
// through, and drops the metrics of issuers that are not configured.
func (s *Service) retire(units []*unit, after time.Duration) {
	if len(units) == 0 {
		return
	}
	s.retired.Go(func() {
		select {
		case <-time.After(after):
		case <-s.closing:
		}
		stopAll(units)
		configured := s.Issuers()
		for _, u := range units {
			if _, ok := configured[u.discovery.Issuer]; !ok {
				s.metrics.Forget(u.discovery.Issuer)
			}
		}
	})
}

// Issuers returns nil or the reason of each issuer that cannot be decided now.
func (s *Service) Issuers() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make(map[string]error, len(s.units))
	for _, u := range s.units {
		err := u.server.Ready()
		states[u.discovery.Issuer] = err
	}
	return states
}

// Ready returns nil when every issuer can be decided.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.units) == 0 {
		return errors.New("no configuration in use yet")
	}
	return errors.Join(s.fleet.set.Ready(), undecided(s.units))
}

// undecided says which of the units' issuers cannot be decided now, and why.
func undecided(units []*unit) error {
	var problems []error
	for _, u := range units {
		if err := u.server.Ready(); err != nil {
			problems = append(problems, fmt.Errorf("issuer %s: %w", u.discovery.Issuer, err))
		}
	}
	return errors.Join(problems...)
}

// Entries counts what the caches of all issuers hold, by cache.
func (s *Service) Entries() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]int{}
	for _, u := range s.units {
		for cache, n := range u.entries() {
			all[cache] += n
		}
	}
	return all
}

// Checks returns the Check server.
func (s *Service) Checks() *envoy.Server { return s.checks }

// Expire has no request wait any longer: what is undecided is answered 503. It
// is for the end of a drain.
func (s *Service) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.units {
		u.expire()
	}
}

// Close stops every unit, after the calls under way.
func (s *Service) Close() {
	s.mu.Lock()
	s.drop()
	s.closed = true
	s.mu.Unlock()
	close(s.closing)
	s.retired.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fleet != nil {
		s.fleet.close()
	}
	stopAll(s.units)
	s.units = nil
}

func startAll(units []*unit) {
	for _, u := range units {
		u.start()
	}
}

func stopAll(units []*unit) {
	for _, u := range units {
		u.stop()
	}
}

func without(units, keep []*unit) []*unit {
	var gone []*unit
	for _, u := range units {
		if !slices.Contains(keep, u) {
			gone = append(gone, u)
		}
	}
	return gone
}

// Check builds everything that cfg needs, without starting it, and returns
// what would keep [Service.Apply] from succeeding.
func (s *Service) Check(cfg *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.build(cfg)
	if err != nil {
		return err
	}
	stopAll(c.fresh)
	return nil
}
