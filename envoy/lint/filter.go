package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/bearergate/bearergate/internal/headername"
)

// checkFilter looks at one ext_authz filter. matches says that some route matches an
// identity header.
func (l *linter) checkFilter(n *node, f *extauthzv3.ExtAuthz, matches bool) {
	l.checked.add("ext_authz filter")
	if f.GetHttpService() != nil {
		l.add("BG013", Error, n.near("http_service"), "http_service")
		return
	}
	l.checkOpenings(n, f)
	l.checkSharing(n, f)
	if f.GetTransportApiVersion() != corev3.ApiVersion_V3 {
		l.add("BG014", Error, n.near("transport_api_version"),
			"transport_api_version is "+f.GetTransportApiVersion().String())
	}
	if f.GetClearRouteCache() && !matches {
		l.add("BG008", Warning, n.get("clear_route_cache"), "clear_route_cache is on")
	}
	if !f.GetValidateMutations() {
		l.add("BG019", Warning, n.near("validate_mutations"), "validate_mutations is off")
	}
	l.checkGRPC(n.near("grpc_service"), f.GetGrpcService())
	l.checkMutations(n.get("decoder_header_mutation_rules"), f.GetDecoderHeaderMutationRules())
}

// checkOpenings looks for what lets requests pass that Bearergate did not allow.
func (l *linter) checkOpenings(n *node, f *extauthzv3.ExtAuthz) {
	status := f.GetStatusOnError().GetCode()
	switch {
	case f.GetFailureModeAllow():
		what := "failure_mode_allow is on"
		if f.GetFailureModeAllowHeaderAdd() {
			what += "; the header that failure_mode_allow_header_add adds keeps no upstream from answering"
		}
		l.add("BG001", Error, n.get("failure_mode_allow"), what)
	case status != 0 && status < 400:
		l.add("BG001", Warning, n.get("status_on_error"),
			fmt.Sprintf("status_on_error is %d, which tells clients of success", status))
	case status == 0:
		l.add("BG001", Info, n, "status_on_error is not set: while Bearergate cannot be asked, requests are refused with 403",
			"Set status_on_error: {code: ServiceUnavailable}.", "403 says that the token is bad; 503 says that nobody can tell.")
	}
	if f.GetShadowMode() {
		l.add("BG002", Error, n.get("shadow_mode"), "shadow_mode is on: refusals are written down, and pass")
	}
	l.checkFraction(n, f)
	if m := f.GetFilterEnabledMetadata(); m != nil {
		l.checkEnabledMetadata(n.get("filter_enabled_metadata"), m)
	}
}

// checkFraction looks at filter_enabled and deny_at_disable.
func (l *linter) checkFraction(n *node, f *extauthzv3.ExtAuthz) {
	deny := f.GetDenyAtDisable().GetDefaultValue().GetValue()
	enabled := f.GetFilterEnabled()
	at := n.get("filter_enabled")
	share := enabled.GetDefaultValue()
	switch {
	case enabled == nil && f.GetDenyAtDisable() != nil:
		l.add("BG002", Warning, n.get("deny_at_disable"), "deny_at_disable without filter_enabled has nothing to deny",
			"Remove it.", "Whoever reads it may think that the filter can be off.")
	case enabled == nil:
	case share.GetNumerator() < denominator(share) && deny:
		l.add("BG002", Warning, at,
			"filter_enabled is below 100 %: deny_at_disable refuses the others, whatever token they have")
	case share.GetNumerator() < denominator(share):
		l.add("BG002", Error, at, "filter_enabled is below 100 %: the others pass without being asked about")
	case enabled.GetRuntimeKey() != "":
		l.add("BG002", Warning, at,
			fmt.Sprintf("whoever may set the runtime key %s can switch the filter off", enabled.GetRuntimeKey()))
	}
}

func denominator(p *typev3.FractionalPercent) uint32 {
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return 10_000
	case typev3.FractionalPercent_MILLION:
		return 1_000_000
	}
	return 100
}

// checkEnabledMetadata knows how Istio has the filter ask about what an
// AuthorizationPolicy selects.
func (l *linter) checkEnabledMetadata(n *node, m *matcherv3.MetadataMatcher) {
	if m.GetFilter() == "envoy.filters.http.rbac" && len(m.GetPath()) > 0 &&
		strings.HasPrefix(m.GetPath()[0].GetKey(), "istio-ext-authz-") {
		l.add("BG002", Info, n, "Istio asks about what its AuthorizationPolicy selects", "Give the AuthorizationPolicy too.")
		return
	}
	l.add("BG002", Error, n, "filter_enabled_metadata: requests without that metadata pass without being asked about")
}

// checkSharing looks at what of a request reaches Bearergate.
func (l *linter) checkSharing(n *node, f *extauthzv3.ExtAuthz) {
	allowed, disallowed := f.GetAllowedHeaders().GetPatterns(), f.GetDisallowedHeaders().GetPatterns()
	sent := func(name string) bool {
		return (len(allowed) == 0 || matchAny(allowed, name)) && !matchAny(disallowed, name)
	}
	at := n.near("allowed_headers")
	if len(allowed) == 0 {
		at = n.near("disallowed_headers")
	}
	l.checkHeaders(at, sent)
	if !f.GetEncodeRawHeaders() {
		l.add("BG005", Warning, n.near("encode_raw_headers"), "encode_raw_headers is off")
	}
	if l.policy != nil && l.policy.PeerCertificate && !f.GetIncludePeerCertificate() {
		l.add("BG016", Error, n.near("include_peer_certificate"),
			"include_peer_certificate is off, and client certificates bind tokens")
	}
	if f.GetWithRequestBody() != nil {
		l.add("BG017", Warning, n.get("with_request_body"), "with_request_body is set")
	}
}

// checkHeaders tells of the headers that Bearergate needs and does not get.
func (l *linter) checkHeaders(at *node, sent func(name string) bool) {
	if !sent("authorization") {
		l.add("BG004", Error, at, "authorization is not sent to Bearergate")
	}
	if l.policy == nil {
		return
	}
	if l.policy.DPoP && !sent("dpop") {
		l.add("BG016", Error, at, "dpop is not sent to Bearergate, and proofs bind tokens")
	}
	for _, name := range l.policy.RequestHeaders {
		if !sent(strings.ToLower(name)) {
			l.add("BG004", Warning, at, fmt.Sprintf("%s is not sent to Bearergate, and its configuration reads it", name))
		}
	}
}

func matchAny(patterns []*matcherv3.StringMatcher, name string) bool {
	return slices.ContainsFunc(patterns, func(p *matcherv3.StringMatcher) bool { return matchString(p, name) })
}

// matchString does what Envoy's StringMatcher does.
func matchString(p *matcherv3.StringMatcher, text string) bool {
	fold := func(s string) string {
		if p.GetIgnoreCase() {
			return strings.ToLower(s)
		}
		return s
	}
	switch m := p.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(text) == fold(m.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(text), fold(m.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(text), fold(m.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(text), fold(m.Contains))
	case *matcherv3.StringMatcher_SafeRegex:
		return fullMatch(m.SafeRegex.GetRegex(), text)
	}
	return false
}

// fullMatch says whether all of text fits, as Envoy's regular expressions have it.
func fullMatch(expression, text string) bool {
	// RE2 has \C for any byte, which Go does not know.
	re, err := regexp.Compile("^(?:" + strings.ReplaceAll(expression, `\C`, `(?s:.)`) + ")$")
	return err == nil && re.MatchString(text)
}

// The bounds of a timeout. Envoy's own default, 200 ms, is less than what one call
// across a city and back may take.
const (
	defaultTimeout = 200 * time.Millisecond
	longestTimeout = 10 * time.Second
)

// checkGRPC looks at the call, and keeps whom it asks for later.
func (l *linter) checkGRPC(at *node, s *corev3.GrpcService) {
	if s == nil {
		l.add("BG013", Error, at, "grpc_service is missing")
		return
	}
	timeout, where := defaultTimeout, at
	if d := s.GetTimeout(); d != nil {
		timeout, where = d.AsDuration(), at.near("timeout")
	}
	l.checkTimeout(where, timeout, s.GetTimeout() == nil)
	l.services = append(l.services, service{at: at, message: s})
}

// checkTimeout judges how long the answer is waited for; unset says that it is a
// default.
func (l *linter) checkTimeout(at *node, timeout time.Duration, unset bool) {
	what := fmt.Sprintf("the timeout is %s", timeout)
	if unset {
		what += ", by default"
	}
	switch {
	case timeout <= 0:
		l.add("BG011", Warning, at, "the timeout is 0: a hung Bearergate holds every request")
	case timeout > longestTimeout:
		l.add("BG011", Warning, at, what+", want at most 10 s")
	case l.policy != nil && timeout < l.policy.Introspection:
		l.add("BG011", Warning, at, fmt.Sprintf("%s, and the authorization server may take %s", what, l.policy.Introspection),
			fmt.Sprintf("Set the timeout to more than %s, or request_timeout of the issuer below %s.",
				l.policy.Introspection, timeout))
	case l.policy == nil && unset && timeout < time.Second:
		l.add("BG011", Warning, at, what+", want 1 s or more")
	}
}

// checkMutations tries each change that Bearergate makes to a request against the
// rules. Unset rules refuse nothing.
func (l *linter) checkMutations(n *node, rules *mutationv3.HeaderMutationRules) {
	if rules == nil {
		return
	}
	var refused []string
	for _, name := range l.changed() {
		if !mayChange(rules, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) == 0 {
		return
	}
	at := n
	if e := n.get("allow_expression"); e != nil {
		at = e
	}
	if !l.names.known && l.onlyDefaultNames(refused, rules) {
		l.add("BG021", Info, at, "none of the default identity headers may be changed: right where `headers` names others",
			"Give --config.")
		return
	}
	severity := Error
	if !l.names.known && slices.Equal(refused, []string{"authorization"}) {
		severity = Warning // forward_token may be on
	}
	l.add("BG021", severity, at, "refused: "+strings.Join(refused, ", "))
}

// changed lists every header of a request that Bearergate sets or removes.
func (l *linter) changed() []string {
	var all []string
	for _, name := range l.names.names {
		all = append(all, headername.Spellings(name)...)
	}
	if l.policy == nil {
		return append(all, "authorization")
	}
	for _, name := range l.policy.Removed {
		all = append(all, headername.Spellings(dashed(name))...)
	}
	if !l.policy.ForwardToken {
		all = append(all, "authorization")
		if l.policy.DPoP {
			all = append(all, "dpop")
		}
	}
	if l.policy.StreamUntilExpiry {
		all = append(all, "x-envoy-upstream-rq-timeout-ms")
	}
	return all
}

// onlyDefaultNames says that Authorization may be changed, and no identity header.
func (l *linter) onlyDefaultNames(refused []string, rules *mutationv3.HeaderMutationRules) bool {
	return len(refused) == len(l.changed())-1 && mayChange(rules, "authorization")
}

// mayChange decides as Envoy's mutation rules do: an expression that forbids comes
// first, one that allows second, and the switches last.
func mayChange(rules *mutationv3.HeaderMutationRules, name string) bool {
	switch {
	case rules.GetDisallowExpression() != nil && fullMatch(rules.GetDisallowExpression().GetRegex(), name):
		return false
	case rules.GetAllowExpression() != nil && fullMatch(rules.GetAllowExpression().GetRegex(), name):
		return true
	case rules.GetDisallowAll().GetValue():
		return false
	case strings.HasPrefix(name, "x-envoy"):
		return rules.GetAllowEnvoy().GetValue()
	}
	return true
}
