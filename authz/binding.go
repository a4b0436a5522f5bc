package authz

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bearergate/bearergate/internal/binding"
	"github.com/bearergate/bearergate/internal/field"
	"github.com/bearergate/bearergate/internal/headername"
	"github.com/bearergate/bearergate/validation"
)

// Proofs judges DPoP proofs; *binding.Proofs is one.
type Proofs interface {
	// Accept returns nil once for each proof that is good. A next that is not empty is
	// the nonce that the client should go on with.
	Accept(ctx context.Context, p binding.Proof) (next string, err error)
	// Nonce returns a fresh one.
	Nonce() string
}

// The values of token_binding.
const (
	bindingAccept   = "accept"
	bindingRequired = "required"
	bindingDPoP     = "dpop"
	bindingMTLS     = "mtls"
)

// dpopHeader carries a proof (RFC 9449 §4.1).
const dpopHeader = "dpop"

var (
	errUnreadableBinding = errors.New("cnf cannot be read")
	errUnknownBinding    = errors.New("cnf has a member that is not known")
	errDPoPOff           = errors.New("cnf has jkt, and dpop is off")
	errMTLSOff           = errors.New("cnf has x5t#S256, and mtls is off")
	errBearer            = errors.New("a token that is bound to a key came as a bearer token")
	errUnbound           = errors.New("a token that is not bound to a key came with the scheme DPoP")
	errNotBound          = errors.New("the token is not bound as token_binding demands")
	errNoCertificate     = errors.New("the token is bound to a client certificate, and there is none")
	errOtherCertificate  = errors.New("the token is bound to another client certificate")
	errNoProofs          = fmt.Errorf("%w: nobody judges proofs", binding.ErrUnavailable)
)

// checkBinding holds a token to its cnf: whoever sends it has to have the key or the
// certificate that it is bound to, both where it names both. What the token is comes
// before the proof, which is judged only where it could help.
func (e *evaluation) checkBinding(ctx context.Context) *refusal {
	cnf := e.token.Confirmation
	if cnf == nil && !e.policy.dpop() && e.policy.cfg.MTLS == nil {
		return nil
	}
	err := e.bindingMistake(cnf)
	refused := e.check("cnf", err == nil, WrongBinding, err, func() (string, string) {
		return e.bindingWanted(), describeBinding(cnf, e.scheme)
	})
	if refused != nil || cnf == nil {
		return refused
	}
	if cnf.X5TS256 != "" {
		if refused := e.checkCertificate(cnf.X5TS256); refused != nil {
			return refused
		}
	}
	if cnf.JKT != "" {
		return e.checkProof(ctx, cnf.JKT)
	}
	return nil
}

// bindingMistake says what of cnf cannot be proven here, or is not as it is demanded.
// What nobody can prove binds all the same, and must not pass (P-02).
func (e *evaluation) bindingMistake(cnf *validation.Confirmation) error {
	if cnf == nil {
		cnf = new(validation.Confirmation)
	}
	switch {
	case cnf.Malformed:
		return errUnreadableBinding
	case cnf.Unknown:
		return errUnknownBinding
	case cnf.JKT != "" && !e.policy.dpop():
		return errDPoPOff
	case cnf.X5TS256 != "" && e.policy.cfg.MTLS == nil:
		return errMTLSOff
	case cnf.JKT != "" && e.scheme != dpopScheme: // RFC 9449 §7.2 (P-11)
		return errBearer
	case cnf.JKT == "" && e.scheme == dpopScheme:
		return errUnbound
	}
	switch e.tokenBinding() {
	case bindingRequired:
		if cnf.JKT == "" && cnf.X5TS256 == "" {
			return errNotBound
		}
	case bindingDPoP:
		if cnf.JKT == "" {
			return errNotBound
		}
	case bindingMTLS:
		if cnf.X5TS256 == "" {
			return errNotBound
		}
	}
	return nil
}

// tokenBinding: the rule's, else the issuer's.
func (e *evaluation) tokenBinding() string {
	if e.rule != nil && e.rule.TokenBinding != "" {
		return e.rule.TokenBinding
	}
	return e.policy.issuers[e.issuer].TokenBinding
}

// checkCertificate wants the client to have shown the certificate that the token is
// bound to (RFC 8705 §3, P-01).
func (e *evaluation) checkCertificate(thumbprint string) *refusal {
	got, err := e.certificate()
	if err == nil && subtle.ConstantTimeCompare([]byte(got), []byte(thumbprint)) == 0 {
		err = errOtherCertificate
	}
	return e.check("certificate", err == nil, WrongBinding, err, func() (string, string) {
		if got == "" {
			return thumbprint, err.Error()
		}
		return thumbprint, got
	})
}

// certificate returns the thumbprint of the client's certificate. Where the header of
// a terminator in front is configured, the gateway has seen the terminator's only, and
// nothing but the header counts.
func (e *evaluation) certificate() (thumbprint string, err error) {
	if name := e.policy.cfg.MTLS.Header(); name != "" {
		value := e.header(name)
		if value == "" {
			return "", errNoCertificate
		}
		return binding.ThumbprintOfHeader(value)
	}
	if thumbprint := e.request.PeerThumbprint; thumbprint != "" {
		return thumbprint, nil
	}
	if e.request.PeerCertificate == "" {
		return "", errNoCertificate
	}
	return binding.ThumbprintOfPeer(e.request.PeerCertificate)
}

func (e *evaluation) header(name string) string {
	if e.request.Header == nil {
		return ""
	}
	value, _ := e.request.Header(name)
	return value
}

// checkProof has the DPoP proof of the request judged. It is good for this request
// alone, and nothing of it is cached.
func (e *evaluation) checkProof(ctx context.Context, jkt string) *refusal {
	proofs := e.policy.proofs
	if proofs == nil {
		return e.check("proof", false, Unavailable, errNoProofs, func() (string, string) { return "", errNoProofs.Error() })
	}
	next, err := proofs.Accept(ctx, binding.Proof{
		Field: e.header(dpopHeader), Method: e.request.Method,
		Scheme: e.request.Scheme, Host: e.request.Host, Path: e.request.Path,
		Token: e.bearer, JKT: jkt, ClockSkew: e.policy.issuers[e.issuer].ClockSkew,
	})
	e.nonce = next
	if err == nil { // it records its own steps
		return nil
	}
	reason := reasonOf(err)
	if reason == UseNonce {
		e.nonce = proofs.Nonce()
	}
	return &refusal{reason, err}
}

func (e *evaluation) bindingWanted() string {
	var kinds []string
	if e.policy.dpop() {
		kinds = append(kinds, "jkt with the scheme DPoP")
	}
	if e.policy.cfg.MTLS != nil {
		kinds = append(kinds, "x5t#S256")
	}
	switch e.tokenBinding() {
	case bindingRequired:
		return strings.Join(kinds, " or ")
	case bindingDPoP:
		return "jkt with the scheme DPoP"
	case bindingMTLS:
		return "x5t#S256"
	}
	return strings.Join(append([]string{"none"}, kinds...), ", or ")
}

func describeBinding(cnf *validation.Confirmation, presented scheme) string {
	switch {
	case cnf == nil:
		return "none, with the scheme " + presented.String()
	case cnf.Malformed:
		return errUnreadableBinding.Error()
	}
	var members []string
	if cnf.JKT != "" {
		members = append(members, "jkt")
	}
	if cnf.X5TS256 != "" {
		members = append(members, "x5t#S256")
	}
	if cnf.Unknown {
		members = append(members, "a member that is not known")
	}
	return strings.Join(members, " and ") + ", with the scheme " + presented.String()
}

// dpop says whether the scheme DPoP counts.
func (p *Policy) dpop() bool { return p.cfg.DPoP != nil }

// usedScheme is that of the request, one that cannot be read included.
func (e *evaluation) usedScheme() scheme { return e.policy.credentials.used(e.request.Authorization) }

// offeredSchemes are those with which the request could pass, where DPoP is on.
func (e *evaluation) offeredSchemes() []scheme {
	if e.policy.needsDPoP(e.rule, e.candidates()) {
		return []scheme{dpopScheme}
	}
	return []scheme{bearerScheme, dpopScheme}
}

// candidates are the issuers whose tokens could pass: that of the token which came,
// else that of the route; nil leaves it to the rule.
func (e *evaluation) candidates() []string {
	switch {
	case e.issuer != "":
		return []string{e.issuer}
	case e.request.Route.HasIssuer:
		return []string{e.request.Route.Issuer}
	}
	return nil
}

// needsDPoP says whether no token passes the rule but one that is bound to a key.
// Without issuers those of the rule count, or all; a rule of nil is the default.
func (p *Policy) needsDPoP(r *rule, issuers []string) bool {
	if r != nil && r.TokenBinding != "" {
		return p.cfg.isDPoPOnly(r.TokenBinding)
	}
	if len(issuers) == 0 && r != nil {
		issuers = r.Issuers
	}
	lacks := func(i IssuerConfig) bool {
		return (len(issuers) == 0 || slices.Contains(issuers, i.Issuer)) && !p.cfg.isDPoPOnly(i.TokenBinding)
	}
	return !slices.ContainsFunc(p.cfg.Issuers, lacks)
}

// isDPoPOnly says whether that token_binding leaves nothing but DPoP.
func (c Config) isDPoPOnly(tokenBinding string) bool {
	return c.DPoP != nil && (tokenBinding == bindingDPoP || tokenBinding == bindingRequired && c.MTLS == nil)
}

// boundHeaders are those of proofs and certificates, which are for us: an upstream that
// had a proof and its token could not use them, but knew more than it needs, and a
// certificate would be believed there that nobody else has looked at.
func (c Config) boundHeaders(forwardToken bool) []string {
	var all []string
	if c.DPoP != nil && !forwardToken {
		all = append(all, dpopHeader)
	}
	if c.MTLS != nil && c.MTLS.Header() != "" {
		all = append(all, headername.Spellings(c.MTLS.Header())...)
	}
	return all
}

// checkBindings wants each token_binding to be one that a token can meet.
func (c Config) checkBindings() error {
	errs := []error{c.checkSections()}
	for n, i := range c.Issuers {
		at := fmt.Sprintf("issuers[%d]", n)
		errs = append(errs, field.Under(at, errors.Join(field.Check(i), c.checkBinding(i.TokenBinding))))
	}
	for n, r := range c.Rules {
		errs = append(errs, field.Under(fmt.Sprintf("rules[%d]", n), c.checkBinding(r.TokenBinding)))
	}
	return errors.Join(errs...)
}

func (c Config) checkSections() error {
	var errs []error
	if c.DPoP != nil {
		errs = append(errs, field.Under("dpop", c.DPoP.Validate()))
	}
	if c.MTLS == nil {
		return errors.Join(errs...)
	}
	errs = append(errs, field.Under("mtls", c.MTLS.Validate()))
	name := headername.Dashed(c.MTLS.ClientCertificateHeader)
	for other := range c.Headers {
		if headername.Dashed(other) == name {
			errs = append(errs, field.Errorf("mtls.client_certificate_header",
				"is headers.%s too: it comes from in front, and never goes upstream", other))
		}
	}
	return errors.Join(errs...)
}

func (c Config) checkBinding(tokenBinding string) error {
	switch {
	case tokenBinding == bindingDPoP && c.DPoP == nil:
		return field.Errorf("token_binding", "is dpop, and there is no section dpop")
	case tokenBinding == bindingMTLS && c.MTLS == nil:
		return field.Errorf("token_binding", "is mtls, and there is no section mtls")
	case tokenBinding == bindingRequired && c.DPoP == nil && c.MTLS == nil:
		return field.Errorf("token_binding", "is required, and there is neither a section dpop nor mtls: no token would pass")
	}
	return nil
}

// bindingStrength orders what token_binding asks for.
func (r *rule) bindingStrength() int {
	switch r.TokenBinding {
	case bindingRequired:
		return 1
	case bindingDPoP, bindingMTLS:
		return 2
	}
	return 0
}
