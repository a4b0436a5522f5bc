package policytest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/explain"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/revocation"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/validation"
)

// settle bounds the wait for issuers that answer at once.
const settle = 10 * time.Second

// world is where the cases of one file happen: their issuers, their tokens, and the
// one moment that it is.
type world struct {
	cfg     *config.Config
	now     time.Time
	names   []string // of the issuers
	issuers map[string]*issuer
	tokens  map[string]token
	issued  map[string]string // by the name of the token

	services map[string]*service.Service // by the issuer that cannot be reached; "": all can
}

func newWorld(cfg *config.Config, s *suite) (*world, error) {
	w := &world{
		cfg: offline(cfg), now: s.Now, issuers: map[string]*issuer{}, tokens: s.Tokens,
		issued: map[string]string{}, services: map[string]*service.Service{},
	}
	if w.now.IsZero() {
		w.now = time.Now()
	}
	prefixes := map[string]string{}
	for _, c := range w.cfg.Issuers {
		i, err := newIssuer(c, w.now)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", c.Discovery.Issuer, err)
		}
		w.issuers[i.name], prefixes[i.name] = i, c.Validation.OpaqueTokenPrefix
		w.names = append(w.names, i.name)
	}
	for name, t := range s.Tokens {
		issued, err := w.issuers[t.Issuer].issue(t, prefixes[t.Issuer])
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", name, err)
		}
		w.issued[name] = issued
	}
	return w, nil
}

// keysOf is where the keys are that a configuration has in a file. It is no address
// of anybody (RFC 6761 §6.4).
const keysOf = "https://keys.invalid/jwks"

// offline is cfg without what belongs to the machine that serves: our credentials
// at the issuers, keys in files, the store that replicas share, and whoever tells of
// revocations. Nothing is remembered from one case to the next, so that none
// depends on those before it.
func offline(cfg *config.Config) *config.Config {
	c := *cfg
	c.Issuers = slices.Clone(cfg.Issuers)
	for n := range c.Issuers {
		d, v := &c.Issuers[n].Discovery, &c.Issuers[n].Validation
		v.ClientAuthMethod = validation.AuthNone
		d.NeedToken, d.MutualTLS, d.ClientCertFile, d.ClientKeyFile = false, false, "", ""
		if d.JWKSFile != "" {
			d.JWKSFile, d.JWKSURI = "", keysOf
		}
		v.Cache.TTL, v.RecheckInterval = 0, 0
		d.WantIntrospection = false
	}
	c.Shared, c.Revocation = nil, &revocation.Config{Keep: 24 * time.Hour}
	if cfg.Authz.DPoP != nil {
		dpop := *cfg.Authz.DPoP
		dpop.NonceKeyFile = ""
		c.Authz.DPoP = &dpop
	}
	return &c
}

// decide has the service decide a request.
func (w *world) decide(ctx context.Context, r request) (*outcome, error) {
	t := w.tokens[r.Token]
	down := ""
	if t.Break == breakOutage {
		down = t.Issuer
	}
	svc, err := w.service(ctx, down)
	if err != nil {
		return nil, err
	}
	walk, err := explain.Run(ctx, svc.Checks(), explain.Request{
		Method: r.Method, Host: r.Host, Path: r.Path, Headers: r.Headers,
		Token: w.issued[r.Token], Extensions: r.Extensions, Issuers: w.names,
	})
	if err != nil {
		return nil, err
	}
	return newOutcome(walk)
}

// service returns the service in whose world the issuer of that name cannot be
// reached. An outage is felt by the whole service, so that one which feels it must
// not decide the other cases.
func (w *world) service(ctx context.Context, down string) (*service.Service, error) {
	if svc, ok := w.services[down]; ok {
		return svc, nil
	}
	svc := service.NewInside(service.Inside{
		Issuers: func(name string) http.RoundTripper {
			if name == down {
				return unreachable{w.issuers[name]}
			}
			return w.issuers[name]
		},
		Reachable: func(name string) error {
			if name == down {
				return errOutage
			}
			return nil
		},
		Now: func() time.Time { return w.now },
	}, slog.New(slog.DiscardHandler), metrics.New("test", ""))
	w.services[down] = svc
	if err := svc.Apply(w.cfg); err != nil {
		return nil, err
	}
	svc.Settle(ctx, settle)
	return svc, w.revoke(ctx, svc)
}

// revoke tells the service of the tokens that the file calls revoked.
func (w *world) revoke(ctx context.Context, svc *service.Service) error {
	for name, t := range w.tokens {
		if t.Break != breakRevoked {
			continue
		}
		_, err := svc.Revoke(ctx, revocation.Revocation{
			Issuer: t.Issuer, Kind: revocation.KindToken, Value: w.issued[name], Source: revocation.SourceAdmin,
		})
		if err != nil {
			return fmt.Errorf("token %s: %w", name, err)
		}
	}
	return nil
}

func (w *world) close() {
	for _, svc := range w.services {
		svc.Close()
	}
}
