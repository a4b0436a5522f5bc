package service

import (
	"context"
	"errors"
	"net/http"
	"reflect"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/revocation"
)

// receiving is a receiver that runs.
type receiving struct {
	*revocation.Receiver

	config  *revocation.Config
	issuers []revocation.Issuer
	cancel  context.CancelFunc
	ended   chan struct{}
}

// newReceiver returns what takes events and logout tokens as cfg says: the one that
// runs, if that is the same; nil: none are taken.
func (f *fleet) newReceiver(cfg *config.Config) (*receiving, error) {
	c, issuers := cfg.Revocation, cfg.RevocationIssuers()
	if c == nil || len(c.Events) == 0 && len(c.BackchannelLogout) == 0 {
		return nil, nil //nolint:nilnil // nobody sends anything
	}
	if r := f.receiver.Load(); r != nil && reflect.DeepEqual(r.config, c) && reflect.DeepEqual(r.issuers, issuers) {
		return r, nil
	}
	r, err := revocation.NewReceiver(*c, revocation.ReceiverOptions{
		Set: f.set, Issuers: issuers, Keys: f.keysOf, Log: f.log, Events: f.told.Revocations, Fetches: f.told.Discovery,
		Now: f.now, Transport: f.told.Transport,
	})
	if err != nil {
		return nil, err
	}
	if before := f.receiver.Load(); before != nil {
		r.Inherit(before.Receiver)
	}
	return &receiving{Receiver: r, config: c, issuers: issuers}, nil
}

// useReceiver has r take events, and poll for them, in place of another one.
func (f *fleet) useReceiver(r *receiving) {
	before := f.receiver.Load()
	if r == before {
		return
	}
	if r != nil {
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel, r.ended = cancel, make(chan struct{})
		go func() {
			defer close(r.ended)
			r.Run(ctx)
		}()
	}
	f.receiver.Store(r)
	before.close()
}

func (r *receiving) close() {
	if r == nil {
		return
	}
	r.cancel()
	<-r.ended
}

// Errors of [Service.Revoke].
var (
	ErrRevocationOff = errors.New("revocation is switched off: the configuration has no section revocation")
	ErrUnknownIssuer = errors.New("is not a configured issuer")
)

// Revoke has tokens refused from now on, by every replica that shares the store. The
// error is [ErrRevocationOff], [ErrUnknownIssuer], or says what is missing.
func (s *Service) Revoke(ctx context.Context, r revocation.Revocation) (shared bool, err error) {
	s.mu.Lock()
	f, known := s.fleet, s.unitOf(r.Issuer) != nil
	on := s.inUse != nil && s.inUse.Revocation != nil
	s.mu.Unlock()
	switch {
	case !on:
		return false, ErrRevocationOff
	case !known:
		return false, ErrUnknownIssuer
	}
	return f.set.Add(ctx, r)
}

// unitOf returns the unit of an issuer, for those who hold the lock, or nil.
func (s *Service) unitOf(issuer string) *unit {
	for _, u := range s.units {
		if u.discovery.Issuer == issuer {
			return u
		}
	}
	return nil
}

// keysOf returns the keys of an issuer; nil: there are none yet. It takes no lock, since
// who holds one may wait for the caller.
func (f *fleet) keysOf(issuer string) revocation.Keys {
	if all := f.units.Load(); all != nil {
		for _, u := range *all {
			if u.discovery.Issuer == issuer {
				return u.server
			}
		}
	}
	return nil
}

// Receiver takes the events and logout tokens that are sent.
func (s *Service) Receiver() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		f := s.fleet
		s.mu.Unlock()
		if f != nil {
			if taker := f.receiver.Load(); taker != nil {
				taker.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, "nothing is taken here", http.StatusNotFound)
	})
}
