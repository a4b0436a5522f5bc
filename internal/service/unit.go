package service

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"

	"github.com/bearergate/bearergate/discovery"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/safehttp"
	"github.com/bearergate/bearergate/validation"
)

// unit is everything that belongs to one issuer: what it publishes, its keys,
// its cache, its connections. A unit never changes; a reload keeps it or
// replaces it whole, so one issuer's trouble stays its own.
type unit struct {
	discovery  discovery.Config
	validation validation.Config

	client *http.Client
	server *discovery.Issuer
	issuer *validation.Validator
	// exchanger gets the tokens of upstreams; nil: no rule wants any.
	exchanger *exchange.Exchanger

	cancel context.CancelFunc
	done   chan struct{}
}

// newUnit builds the unit of an issuer.
func (s *Service) newUnit(i config.Issuer) (*unit, error) {
	u := &unit{discovery: i.Discovery, validation: i.Validation, done: make(chan struct{})}
	log := s.log.With("issuer", u.discovery.Issuer)
	var err error
	if u.client, err = s.client(u, log); err != nil {
		return nil, fmt.Errorf("issuer %s: %w", u.discovery.Issuer, err)
	}
	if s.told.Transport != nil {
		u.client.Transport = s.told.Transport(u.client.Transport)
	}
	u.server, err = discovery.New(u.discovery, discovery.Options{
		Client: u.client, Log: log, Events: s.told.Discovery, Now: s.now(), Reach: s.reach(u.discovery.Issuer),
	})
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %w", u.discovery.Issuer, err)
	}
	u.issuer, err = validation.NewValidator(u.validation, validation.Options{
		Source: u.server, Client: u.client, Log: log, Events: s.told.Validation, Now: s.now(), Slots: s.slots,
		Revocations: s.fleet.set, Shared: s.fleet.shared, Revoked: u.revoked,
	})
	if err != nil {
		return nil, fmt.Errorf("issuer %s: %w", u.discovery.Issuer, err)
	}
	if len(u.validation.Exchanges) > 0 {
		u.exchanger, err = exchange.New(u.validation, validation.Options{
			Source: u.server, Client: u.client, Log: log, Events: s.told.Validation, Now: s.now(),
			Shared: s.fleet.shared,
		})
		if err != nil {
			u.issuer.Close()
			return nil, fmt.Errorf("issuer %s: %w", u.discovery.Issuer, err)
		}
	}
	u.inherit(s.units)
	return u, nil
}

// revoked drops what was got for a token.
func (u *unit) revoked(token string) {
	if u.exchanger != nil {
		u.exchanger.Drop(token)
	}
}

// client makes the connections of a unit.
func (s *Service) client(u *unit, log *slog.Logger) (*http.Client, error) {
	if s.inside != nil {
		return &http.Client{Transport: s.inside.Issuers(u.discovery.Issuer)}, nil
	}
	certificate, err := validation.ClientCertificate(u.validation, log)
	if err != nil {
		return nil, err
	}
	return safehttp.New(safehttp.Options{
		Timeout:           u.validation.RequestTimeout,
		CAFile:            u.discovery.CAFile,
		InsecureHTTP:      u.validation.InsecureHTTP,
		ClientCertificate: certificate,
		Log:               log,
	})
}

// reach says whether an issuer can be connected to; nil: by trying.
func (s *Service) reach(issuer string) func(context.Context, string) error {
	if s.inside == nil {
		return nil
	}
	return func(context.Context, string) error { return s.inside.Reachable(issuer) }
}

// inherit takes over what the unit of the same issuer has found out, unless
// something changed that decides whom we trust: then neither its keys nor its
// answers count any longer.
func (u *unit) inherit(units []*unit) {
	for _, before := range units {
		u.issuer.InheritSightings(before.issuer)
		if u.discovery.SameTrust(before.discovery) {
			u.server.Inherit(before.server)
			u.issuer.Inherit(before.issuer)
			if u.exchanger != nil {
				u.exchanger.Inherit(before.exchanger)
			}
		}
	}
}

// start runs the unit's background work until stop.
func (u *unit) start() {
	ctx, cancel := context.WithCancel(context.Background())
	u.cancel = cancel
	go func() {
		defer close(u.done)
		u.server.Run(ctx)
	}()
}

func (u *unit) stop() {
	if u.cancel != nil {
		u.cancel()
		<-u.done
	}
	u.issuer.Close()
	if u.exchanger != nil {
		u.exchanger.Close()
	}
	u.client.CloseIdleConnections()
}

// serves says whether the unit is what i wants, the size of its cache aside:
// that can change without losing what is in it.
func (u *unit) serves(i config.Issuer) bool {
	want := i.Validation
	want.Cache.MaxEntries, want.Cache.MaxBytes = u.validation.Cache.MaxEntries, u.validation.Cache.MaxBytes
	return reflect.DeepEqual(u.discovery, i.Discovery) && reflect.DeepEqual(u.validation, want)
}

// expire has no request wait any longer.
func (u *unit) expire() {
	u.issuer.Expire()
	if u.exchanger != nil {
		u.exchanger.Expire()
	}
}

// resize gives the caches their share.
func (u *unit) resize(c validation.CacheConfig) {
	u.issuer.Resize(c.MaxEntries, int64(c.MaxBytes))
	if u.exchanger != nil {
		u.exchanger.Resize(c.MaxEntries, int64(c.MaxBytes))
	}
}

// entries counts what the caches hold.
func (u *unit) entries() map[string]int {
	all := u.issuer.Entries()
	if u.exchanger != nil && all != nil {
		all[exchange.Cache] = u.exchanger.Entries()
	}
	return all
}
