package istio

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	tcpauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

const (
	httpAsks = "envoy.filters.http.ext_authz"
	tcpAsks  = "envoy.filters.network.ext_authz"
	service  = "bearergate.bearergate.svc.cluster.local"
	released = "gate-bearergate.security.svc.cluster.local" // of the chart's goldens
)

func unpack[M proto.Message](t *testing.T, a *anypb.Any, m M) M {
	t.Helper()
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// names are those of a chain's filters for connections.
func (c chain) names() []string {
	var all []string
	for _, f := range c.filters {
		all = append(all, f.GetName())
	}
	return all
}

// position is where the only HTTP filter of that name stands, or -1.
func (c chain) position(t *testing.T, name string) int {
	t.Helper()
	at := -1
	for i, f := range c.http.GetHttpFilters() {
		if f.GetName() == name {
			if at >= 0 {
				t.Errorf("%s: %s: got two", c.name, name)
			}
			at = i
		}
	}
	return at
}

// filter returns Bearergate's, which must stand before the router.
func (c chain) filter(t *testing.T) *extauthzv3.ExtAuthz {
	t.Helper()
	at, last := c.position(t, httpAsks), c.position(t, "envoy.filters.http.router")
	if at < 0 || last != len(c.http.GetHttpFilters())-1 || at > last {
		t.Fatalf("%s: got %s at %d and the router at %d, want one before the other", c.name, httpAsks, at, last)
	}
	return unpack(t, c.http.GetHttpFilters()[at].GetTypedConfig(), new(extauthzv3.ExtAuthz))
}

// failsClosed checks what holds whoever made the filter.
func failsClosed(t *testing.T, f *extauthzv3.ExtAuthz, host string) {
	t.Helper()
	grpc := f.GetGrpcService()
	if got, want := grpc.GetEnvoyGrpc().GetClusterName(), "outbound|9191||"+host; got != want {
		t.Errorf("got cluster %q, want %q", got, want)
	}
	if got := grpc.GetTimeout().AsDuration(); got != time.Second {
		t.Errorf("got a timeout of %s, want 1s", got)
	}
	if f.GetFailureModeAllow() || f.GetStatusOnError().GetCode() != 503 || f.GetClearRouteCache() ||
		f.GetFilterEnabled() != nil {
		t.Errorf("got %v, want one that fails closed with 503, always, and chooses no route anew", f)
	}
}

// provided checks a chain that MeshConfig's provider and a policy of every
// request made.
func provided(t *testing.T, c chain, host string) {
	t.Helper()
	f := c.filter(t)
	failsClosed(t, f, host)
	before := c.http.GetHttpFilters()[c.position(t, httpAsks)-1]
	rules := unpack(t, before.GetTypedConfig(), new(rbacv3.RBAC)).GetShadowRules()
	prefix := f.GetFilterEnabledMetadata().GetValue().GetStringMatch().GetPrefix()
	if prefix != "istio-ext-authz-bearergate" || !everything(rules, prefix) {
		t.Errorf("%s: got the rules %v for %q, want every request asked about", c.name, rules, prefix)
	}
	// What the files' headers say that a provider does not offer.
	if f.GetEncodeRawHeaders() || f.GetValidateMutations() || f.GetDecoderHeaderMutationRules() != nil ||
		f.GetAllowedHeaders() != nil || c.http.GetStripAnyHostPort() || c.http.GetStripTrailingHostDot() ||
		c.http.GetEarlyHeaderMutationExtensions() != nil {
		t.Errorf("%s: Istio's provider offers more than the documentation says: %v", c.name, f)
	}
}

// everything says whether the rules name a policy so for each request.
func everything(rules *rbacconfigv3.RBAC, prefix string) bool {
	for name, policy := range rules.GetPolicies() {
		if strings.HasPrefix(name, prefix) && len(policy.GetPermissions()) == 1 && len(policy.GetPrincipals()) == 1 {
			permissions := policy.GetPermissions()[0].GetAndRules().GetRules()
			principals := policy.GetPrincipals()[0].GetAndIds().GetIds()
			return len(permissions) == 1 && permissions[0].GetAny() && len(principals) == 1 && principals[0].GetAny()
		}
	}
	return false
}

// normalizes checks that each path has one spelling, with the slashes merged
// where MeshConfig says so, and that encoded slashes are Bearergate's to refuse.
func normalizes(t *testing.T, c chain, merge bool) {
	t.Helper()
	if !c.http.GetNormalizePath().GetValue() || c.http.GetMergeSlashes() != merge ||
		c.http.GetPathWithEscapedSlashesAction() != hcmv3.HttpConnectionManager_KEEP_UNCHANGED {
		t.Errorf("%s: got normalize_path %v, merge_slashes %v and %v for encoded slashes", c.name,
			c.http.GetNormalizePath().GetValue(), c.http.GetMergeSlashes(), c.http.GetPathWithEscapedSlashesAction())
	}
}

// asksAboutConnections checks that a chain of TCP asks about the connection, and
// fails closed.
func asksAboutConnections(t *testing.T, c chain, host string) {
	t.Helper()
	at := slices.Index(c.names(), tcpAsks)
	if at < 0 || at > slices.Index(c.names(), "envoy.filters.network.tcp_proxy") {
		t.Fatalf("%s: got %v, want %s before the proxy", c.name, c.names(), tcpAsks)
	}
	f := unpack(t, c.filters[at].GetTypedConfig(), new(tcpauthzv3.ExtAuthz))
	if got, want := f.GetGrpcService().GetEnvoyGrpc().GetClusterName(), "outbound|9191||"+host; got != want ||
		f.GetFailureModeAllow() {
		t.Errorf("%s: got cluster %q and failure_mode_allow %v, want %q and false", c.name, got, f.GetFailureModeAllow(), want)
	}
}

func TestSidecarAsks(t *testing.T) {
	g := translate(t, load(t, sidecarFile), sidecar())
	http, tcp := split(g.chains(t, "virtualInbound"))
	if len(http) < 2 || len(tcp) < 2 {
		t.Fatalf("got %d chains of HTTP and %d of TCP, want those of the ports and those of all other ports", len(http), len(tcp))
	}
	for _, c := range http {
		provided(t, c, service)
		normalizes(t, c, true)
	}
	// A connection has no token: Bearergate refuses it, as TestConnectionsAreRefused proves.
	for _, c := range tcp {
		asksAboutConnections(t, c, service)
	}
	for _, c := range append(http, tcp...) {
		if c.whole.GetTransportSocket() == nil {
			t.Errorf("%s: takes plain text, want mutual TLS alone", c.name)
		}
	}
}

// TestSidecarDoesNotAskOnTheWayOut: a policy is for what a workload receives.
func TestSidecarDoesNotAskOnTheWayOut(t *testing.T) {
	g := translate(t, load(t, sidecarFile), sidecar())
	for _, l := range g.listeners {
		if l.GetName() != "virtualInbound" && strings.Contains(l.String(), "ext_authz") {
			t.Errorf("%s asks", l.GetName())
		}
	}
}

// TestPlainTextIsAskedAboutToo leaves the PeerAuthentication out: what speaks
// HTTP to a port that no Service names is found by looking, and asked about.
func TestPlainTextIsAskedAboutToo(t *testing.T) {
	in := load(t, sidecarFile)
	in.configs = slices.DeleteFunc(in.configs, func(c string) bool { return strings.Contains(c, "PeerAuthentication") })
	http, tcp := split(translate(t, in, sidecar()).chains(t, "virtualInbound"))
	plain := 0
	for _, c := range http {
		provided(t, c, service)
		if c.whole.GetTransportSocket() == nil {
			plain++
		}
	}
	for _, c := range tcp {
		asksAboutConnections(t, c, service)
	}
	if plain < 2 {
		t.Errorf("got %d chains of plain HTTP, want that of the port and that of all other ports", plain)
	}
}

// TestWithoutPathNormalization: `//admin` is another path than `/admin`.
func TestWithoutPathNormalization(t *testing.T) {
	in := load(t, sidecarFile)
	in.mesh.PathNormalization = meshOf(t, "{}").GetPathNormalization()
	http, _ := split(translate(t, in, sidecar()).chains(t, "virtualInbound"))
	for _, c := range http {
		normalizes(t, c, false)
	}
}

// TestWorkloadsWithoutAPolicy are asked about by nobody.
func TestWorkloadsWithoutAPolicy(t *testing.T) {
	in := load(t, sidecarFile).replace("app.kubernetes.io/name: orders", "app.kubernetes.io/name: others")
	for _, c := range translate(t, in, sidecar()).chains(t, "virtualInbound") {
		if strings.Contains(c.whole.String(), "ext_authz") {
			t.Errorf("%s asks", c.name)
		}
	}
}

// TestOperations: what they leave out is asked about by nobody where it is HTTP.
// Istio drops from a rule what it cannot know of a connection, so that all of
// these are asked about.
func TestOperations(t *testing.T) {
	in := load(t, sidecarFile).replace("    - {}", `    - to: [{operation: {hosts: [api.example.com], notPaths: [/healthz]}}]`)
	http, tcp := split(translate(t, in, sidecar()).chains(t, "virtualInbound"))
	for _, c := range http {
		failsClosed(t, c.filter(t), service)
		before := c.http.GetHttpFilters()[c.position(t, httpAsks)-1]
		rules := unpack(t, before.GetTypedConfig(), new(rbacv3.RBAC)).GetShadowRules()
		if everything(rules, "istio-ext-authz-bearergate") || !strings.Contains(rules.String(), "/healthz") {
			t.Errorf("%s: got %v, want all but an exception", c.name, rules)
		}
	}
	for _, c := range tcp {
		asksAboutConnections(t, c, service)
	}
}

// TestUnknownProvider: a policy whose provider is not in MeshConfig denies.
func TestUnknownProvider(t *testing.T) {
	in := load(t, sidecarFile)
	in.mesh.ExtensionProviders = nil
	for _, c := range translate(t, in, sidecar()).chains(t, "virtualInbound") {
		if !strings.Contains(c.whole.String(), "DENY") && !denies(t, c) {
			t.Errorf("%s passes what nobody decided", c.name)
		}
	}
}

// denies says whether a chain of HTTP refuses every request.
func denies(t *testing.T, c chain) bool {
	t.Helper()
	if c.http == nil {
		return strings.Contains(c.whole.String(), "deny-due-to-bad-CUSTOM-action")
	}
	at := c.position(t, "envoy.filters.http.rbac")
	if at < 0 {
		return false
	}
	rules := unpack(t, c.http.GetHttpFilters()[at].GetTypedConfig(), new(rbacv3.RBAC)).GetRules()
	return rules.GetAction() == rbacconfigv3.RBAC_DENY && everything(rules, "istio-ext-authz-")
}

// TestProviderNames holds the chart's pattern to Istio's own, which is no regular
// expression and not exported: what it refuses, it denies every request for.
func TestProviderNames(t *testing.T) {
	content, err := os.ReadFile(root + "/helm/bearergate/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Istio struct {
				Properties struct{ Provider struct{ Pattern string } }
			}
		}
	}
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(schema.Properties.Istio.Properties.Provider.Pattern)
	for name, want := range map[string]bool{
		"bearergate": true, "b": true, "7": true, "bearer-gate-2": true, "b--g": true, strings.Repeat("b", 63): true,
		"": false, "-bearergate": false, "bearergate-": false, "-": false, "Bearergate": false, "bearer.gate": false,
		"bearer_gate": false, "bearer gate": false, "bearergäte": false, "bearergate\n": false, "a/b": false,
		strings.Repeat("b", 64): false,
	} {
		if got := pattern.MatchString(name); got != want {
			t.Errorf("%q: got %v of the chart, want %v", name, got, want)
		}
		if name == "" {
			continue // refused before any translation
		}
		if got := asksProvider(t, name); got != want {
			t.Errorf("%q: got %v of Istio, want %v", name, got, want)
		}
	}
}

// asksProvider says whether a provider of that name is asked. Else all is denied.
func asksProvider(t *testing.T, name string) bool {
	t.Helper()
	quoted, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	in := load(t, sidecarFile).replace("    name: bearergate\n  rules", "    name: "+string(quoted)+"\n  rules")
	in.mesh.ExtensionProviders = slices.DeleteFunc(in.mesh.GetExtensionProviders(),
		func(p *meshconfig.MeshConfig_ExtensionProvider) bool { return p.GetEnvoyExtAuthzGrpc() == nil })
	in.mesh.ExtensionProviders[0].Name = name
	http, _ := split(translate(t, in, sidecar()).chains(t, "virtualInbound"))
	asks := http[0].position(t, httpAsks) >= 0
	if !asks && !denies(t, http[0]) {
		t.Errorf("%q: nobody is asked and nothing denied", name)
	}
	return asks
}

// TestPortsLeftOut is how a database stays reachable beside an API.
func TestPortsLeftOut(t *testing.T) {
	in := load(t, sidecarFile).replace("    - {}", `    - to: [{operation: {notPorts: ["5432"]}}]`)
	g := translate(t, in, sidecar())
	all := g.chains(t, "virtualInbound")
	for _, c := range []chain{named(t, all, "0.0.0.0_5432"), named(t, all, "virtualInbound")} {
		asksAboutConnections(t, c, service)
		rules := c.whole.String()
		if !strings.Contains(rules, "destination_port:5432") {
			t.Errorf("%s: got %s, want the port left out", c.name, rules)
		}
	}
}

// TestRefusingTheOtherPorts is what the documentation advises where connections
// pass unasked.
func TestRefusingTheOtherPorts(t *testing.T) {
	in := withEnvoyFilter(t, load(t, sidecarFile), "SIDECAR_INBOUND", "orders", "app.kubernetes.io/name: orders")
	in.configs = append(in.configs, `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: known-ports, namespace: orders}
spec:
  action: DENY
  rules: [{to: [{operation: {notPorts: ["8080"]}}]}]
`)
	_, tcp := split(translate(t, in, sidecar()).chains(t, "virtualInbound"))
	for _, c := range tcp {
		if rules := c.whole.String(); !strings.Contains(rules, "DENY") || !strings.Contains(rules, "destination_port:8080") {
			t.Errorf("%s: got %s, want all but the known port refused", c.name, rules)
		}
	}
}
