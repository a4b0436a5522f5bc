package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/bearergate/bearergate/internal/exchange"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/headername"
)

// Exchanger gets tokens for upstreams at one authorization server.
type Exchanger interface {
	// Token returns a token for t, in place of the client's, which expires then; zero:
	// nobody knows when. Its errors are those of packages exchange and validation.
	Token(ctx context.Context, t *exchange.Target, token string, expiry time.Time) (exchange.Value, error)
	// Knows says whether Token would answer at once.
	Knows(t *exchange.Target, token string) bool
}

// SetExchangers says who gets the tokens of rules with upstream_token, by the names of
// the issuers. It is called before the first Decide.
func (p *Policy) SetExchangers(byIssuer map[string]Exchanger) { p.exchangers = byIssuer }

// upstreamStep is the name of the exchange in an explanation.
const upstreamStep = "upstream_token"

var errNoExchanger = fmt.Errorf("%w at this issuer", exchange.ErrMisconfigured)

// getUpstreamToken has the issuer of the client's token give the upstream one of its own.
// It comes last: what is refused anyway costs the authorization server nothing.
func (e *evaluation) getUpstreamToken(ctx context.Context) *refusal {
	if e.rule == nil || e.rule.upstream == nil || e.token == nil {
		return nil
	}
	value, err := exchange.Value{}, errNoExchanger
	if exchanger := e.policy.exchangers[e.issuer]; exchanger != nil {
		value, err = exchanger.Token(ctx, e.rule.upstream, e.bearer, e.token.Expiry)
	}
	e.upstream = value
	e.walk.Conceal(e.rule.upstream.Header)
	reason := Allowed
	if err != nil {
		reason = upstreamReasonOf(err)
	}
	return e.check(upstreamStep, err == nil, reason, err, func() (want, got string) {
		if want = e.describeUpstream(); err != nil {
			return want, err.Error()
		}
		return want, fmt.Sprintf("one of %d bytes, in %s", len(value.Bare()), e.rule.upstream.Header)
	})
}

func upstreamReasonOf(err error) Reason {
	switch {
	case errors.Is(err, exchange.ErrRefused):
		return ExchangeRefused
	case errors.Is(err, exchange.ErrMisconfigured):
		return Misconfigured
	}
	return reasonOf(err)
}

// describeUpstream says what is asked for, and shows no token.
func (e *evaluation) describeUpstream() string {
	t := e.rule.upstream
	text := "a token by " + t.Grant
	for _, list := range []struct {
		name  string
		items []string
	}{{"audience", t.Audience}, {"resource", t.Resource}, {"scopes", t.Scopes}} {
		if len(list.items) > 0 {
			text += ", " + list.name + " " + strings.Join(list.items, " ")
		}
	}
	return text
}

// upstreamHeader returns the header that carries the upstream's token; the zero
// HeaderValue: there is none.
func (e *evaluation) upstreamHeader() HeaderValue {
	switch {
	case e.upstream == exchange.Value{}:
		return HeaderValue{}
	case e.rule.upstream.Header == exchange.Authorization:
		return HeaderValue{exchange.Authorization, e.upstream.Credential()}
	}
	return HeaderValue{e.rule.upstream.Header, e.upstream.Bare()}
}

// injector makes the header changes of an allow by this rule, or by none: where the
// upstream gets a token of its own, it never gets the client's, whatever
// forward_token says.
func (e *evaluation) injector() *injector {
	if e.rule != nil && e.rule.upstream != nil {
		return e.policy.withholding
	}
	return e.policy.injector
}

// upstreamHeaders returns the names of all headers that carry tokens for upstreams: on
// every allow each is set by us, or removed.
func (c Config) upstreamHeaders() []string {
	var names []string
	for _, r := range c.Rules {
		if r.UpstreamToken != nil {
			names = append(names, strings.ToLower(r.UpstreamToken.Header))
		}
	}
	sort.Strings(names)
	return slices.Compact(names)
}

// compileUpstream refuses what would never be looked at, and headers that somebody
// else sets.
func (p *Policy) compileUpstream(r Rule) (*exchange.Target, error) {
	if r.UpstreamToken == nil {
		return nil, nil
	}
	const at = "upstream_token"
	cfg := *r.UpstreamToken
	cfg.Header = strings.ToLower(cfg.Header)
	errs := []error{field.Under(at, cfg.Validate()), p.checkUpstreamHeader(cfg.Header)}
	if r.Access == accessPublic || r.Access == accessDeny {
		errs = append(errs, field.Errorf(at, "is never looked at: access is %s", r.Access))
	}
	if r.shadowed() {
		errs = append(errs, field.Errorf(at, "enforce is false: what passes unjudged gets no token for the upstream"))
	}
	return exchange.NewTarget(cfg), errors.Join(errs...)
}

func (p *Policy) checkUpstreamHeader(name string) error {
	const at = "upstream_token.header"
	if name == exchange.Authorization {
		return nil
	}
	if err := headername.Check(name); err != nil {
		return field.Errorf(at, "got %q: %w", name, err)
	}
	for other := range p.cfg.Headers {
		if headername.Dashed(other) == headername.Dashed(name) {
			return field.Errorf(at, "got %q, which headers.%s sets", name, other)
		}
	}
	for _, other := range p.cfg.upstreamHeaders() {
		if other != name && headername.Dashed(other) == headername.Dashed(name) {
			return field.Errorf(at, "got %q, another spelling of %s: upstreams may take them for one", name, other)
		}
	}
	if mtls := p.cfg.MTLS; mtls != nil && headername.Dashed(mtls.Header()) == headername.Dashed(name) {
		return field.Errorf(at, "got %q, which is mtls.client_certificate_header", name)
	}
	return nil
}
