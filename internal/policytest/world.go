package policytest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
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

	own, other sender // the client to which tokens are bound, and another

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
	if err := w.makeSenders(); err != nil {
		return nil, err
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
		t, err := w.bind(t)
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", name, err)
		}
		issued, err := w.issuers[t.Issuer].issue(t, prefixes[t.Issuer])
		if err != nil {
			return nil, fmt.Errorf("token %s: %w", name, err)
		}
		w.issued[name] = issued
	}
	return w, nil
}

// makeSenders makes the clients with keys that proofs may be signed with.
func (w *world) makeSenders() error {
	algorithm := "ES256"
	var err error
	if dpop := w.cfg.Authz.DPoP; dpop != nil {
		if algorithm, err = algorithmOf(dpop.Algorithms); err != nil {
			return fmt.Errorf("dpop: %w", err)
		}
	}
	if w.own, err = newSender(algorithm); err != nil {
		return err
	}
	w.other, err = newSender(algorithm)
	return err
}

// bind has t say to whom it is bound.
func (w *world) bind(t token) (token, error) {
	if len(t.Bound) == 0 {
		return t, nil
	}
	cnf, err := w.own.confirmation(t.Bound)
	if err != nil {
		return t, err
	}
	claims := map[string]any{"cnf": cnf}
	maps.Copy(claims, t.Claims)
	t.Claims = claims
	return t, nil
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
	to := explain.Request{
		Method: r.Method, Host: r.Host, Path: r.Path, Headers: maps.Clone(r.Headers),
		Token: w.issued[r.Token], Extensions: r.Extensions, Issuers: w.names,
		Reveal: true,
	}
	proof := w.sends(r, &to)
	got, err := w.send(ctx, svc, r, &to, proof, "")
	if err == nil && proof != "" && proof != proofWithoutNonce && got.wantsNonce() != "" { // as libraries do
		got, err = w.send(ctx, svc, r, &to, proof, got.wantsNonce())
	}
	if err == nil && proof == proofReplayed {
		return judge(ctx, svc, to)
	}
	return got, err
}

// send sends the request with a new proof of that kind; empty: with none.
func (w *world) send(
	ctx context.Context, svc *service.Service, r request, to *explain.Request, proof, nonce string,
) (*outcome, error) {
	if proof != "" {
		var err error
		if to.Proof, err = w.prove(proof, r, to.Token, nonce); err != nil {
			return nil, err
		}
	}
	return judge(ctx, svc, *to)
}

func judge(ctx context.Context, svc *service.Service, r explain.Request) (*outcome, error) {
	walk, err := explain.Run(ctx, svc.Checks(), r)
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
