package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gatewayv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// chains are the files for Kubernetes in envoy/config.
var chains = []string{
	root + "/envoy/config/istio-sidecar.yaml", root + "/envoy/config/istio-gateway.yaml",
	root + "/envoy/config/envoy-gateway.yaml",
}

func TestChainsDecodeStrictly(t *testing.T) {
	for _, file := range chains {
		t.Run(file, func(t *testing.T) {
			all, err := decode(read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			if len(all) < 3 {
				t.Errorf("got %d objects, want at least 3", len(all))
			}
		})
	}
}

// TestChainsExplainThemselves wants every security-relevant key in the header.
func TestChainsExplainThemselves(t *testing.T) {
	keys := regexp.MustCompile(`(?m)^[ -]*(failOpen|statusOnError|timeout|clearRouteCache|recomputeRoute|headersToExtAuth|contextExtensions|pathNormalization|action|targetRefs|tls|escapedSlashesAction|disableMergeSlashes|withUnderscoresAction|stripTrailingHostDot|removeOnMatch|directResponse):`)
	for _, file := range chains {
		header, body, _ := strings.Cut(read(t, file), "\napiVersion:")
		for _, found := range keys.FindAllStringSubmatch(body, -1) {
			if !strings.Contains(header, found[1]) {
				t.Errorf("%s: %s: the header does not say what it does", file, found[1])
			}
		}
	}
}

// TestIstioChainsAskBearergate follows the policies to the provider they name.
func TestIstioChainsAskBearergate(t *testing.T) {
	for _, file := range chains[:2] {
		t.Run(file, func(t *testing.T) {
			all, err := decode(read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			provider := meshProvider(t, find[corev1.ConfigMap](t, all).Data["mesh"])
			policy := customPolicy(t, all)
			if policy.GetProvider().GetName() != provider {
				t.Errorf("got provider %q, want %q", policy.GetProvider().GetName(), provider)
			}
			if len(policy.GetRules()) != 1 || len(policy.GetRules()[0].GetTo()) != 0 {
				t.Errorf("got rules %v, want every request", policy.GetRules())
			}
		})
	}
}

// meshProvider checks the extension provider of a MeshConfig, and returns its name.
func meshProvider(t *testing.T, text string) string {
	t.Helper()
	config := new(mesh.MeshConfig)
	fromYAML(t, text, config)
	if len(config.GetExtensionProviders()) != 1 {
		t.Fatalf("got %d providers, want 1", len(config.GetExtensionProviders()))
	}
	provider := config.GetExtensionProviders()[0]
	grpc := provider.GetEnvoyExtAuthzGrpc()
	if grpc.GetFailOpen() || grpc.GetClearRouteCache() || grpc.GetStatusOnError() != "503" ||
		grpc.GetTimeout().AsDuration() > 5e9 || grpc.GetTimeout().AsDuration() == 0 {
		t.Errorf("got %v, want one that fails closed, soon, with 503", grpc)
	}
	if grpc.GetPort() != 9191 || !strings.Contains(grpc.GetService(), "bearergate.") {
		t.Errorf("got %s:%d, want Bearergate", grpc.GetService(), grpc.GetPort())
	}
	if config.GetPathNormalization().GetNormalization() != mesh.MeshConfig_ProxyPathNormalization_MERGE_SLASHES {
		t.Errorf("got path normalization %v", config.GetPathNormalization())
	}
	return provider.GetName()
}

func customPolicy(t *testing.T, all []any) *security.AuthorizationPolicy {
	t.Helper()
	for _, o := range all {
		if i, ok := o.(*istioObject); ok {
			if p, ok := i.Spec.message.(*security.AuthorizationPolicy); ok &&
				p.GetAction() == security.AuthorizationPolicy_CUSTOM {
				return p
			}
		}
	}
	t.Fatal("no AuthorizationPolicy with action CUSTOM")
	return nil
}

// TestProviderOfDigits is a name to Istio, and would be a number to YAML.
func TestProviderOfDigits(t *testing.T) {
	out, errs, err := template("--values", values("istio"), "--set-string", "istio.provider=7")
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	all, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := customPolicy(t, all).GetProvider().GetName(); got != "7" {
		t.Errorf("got provider %q, want 7", got)
	}
}

// TestEnvoyFilter decodes what the API of Istio leaves open: Envoy's own
// filter, strictly, with Envoy's own rules.
func TestEnvoyFilter(t *testing.T) {
	var patches []string
	for _, o := range objects(t, "istio-envoy-filter") {
		if i, ok := o.(*istioObject); ok {
			for _, patch := range i.Spec.message.(*networking.EnvoyFilter).GetConfigPatches() {
				value, err := protojson.Marshal(patch.GetPatch().GetValue())
				if err != nil {
					t.Fatal(err)
				}
				patches = append(patches, string(value))
			}
		}
	}
	if len(patches) != 2 {
		t.Fatalf("got %d patches, want one of the filters and one of the connection manager", len(patches))
	}
	filter := extAuthz(t, patches[0])
	if got, want := filter.GetGrpcService().GetEnvoyGrpc().GetClusterName(), "outbound|9191||gate-bearergate.security.svc.cluster.local"; got != want {
		t.Errorf("got cluster %q, want %q", got, want)
	}
	rules := filter.GetDecoderHeaderMutationRules()
	changes := regexp.MustCompile(rules.GetAllowExpression().GetRegex())
	for name, want := range map[string]bool{
		"authorization": true, "x-user": true, "x_user": true, "x-tenant": true, "x_tenant": true,
		"x-envoy-upstream-rq-timeout-ms": true, "x-envoy-retry-on": false,
		"x-auth-sub": false, "host": false, "x-user-id": false, ":path": false,
	} {
		if got := changes.MatchString(name); got != want || !rules.GetDisallowAll().GetValue() {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	var merged struct {
		TypedConfig map[string]any `json:"typed_config"`
	}
	if err := yaml.Unmarshal([]byte(patches[1]), &merged); err != nil {
		t.Fatal(err)
	}
	removed := removals(t, merged.TypedConfig)
	for name, want := range map[string]bool{
		"x-user": true, "x.user": true, "x_tenant": true, "x~tenant": true,
		"x-auth-sub": false, "x-user-id": false, "authorization": false,
	} {
		if got := removed.MatchString(name); got != want {
			t.Errorf("removed %s: got %v, want %v", name, got, want)
		}
	}
	validate(t, merged.TypedConfig, patches[0], filter.GetGrpcService().GetEnvoyGrpc().GetClusterName())
}

// TestBoundTokens: Envoy tells what tokens are bound to, and lets be changed what goes
// upstream in other headers than identities do.
func TestBoundTokens(t *testing.T) {
	var filter *extauthzv3.ExtAuthz
	for _, o := range objects(t, "bound-tokens-envoy") {
		if i, ok := o.(*istioObject); ok {
			value, err := protojson.Marshal(i.Spec.message.(*networking.EnvoyFilter).GetConfigPatches()[0].GetPatch().GetValue())
			if err != nil {
				t.Fatal(err)
			}
			filter = extAuthz(t, string(value))
		}
	}
	if !filter.GetIncludePeerCertificate() {
		t.Error("istio: the certificate is not told")
	}
	changes := regexp.MustCompile(filter.GetDecoderHeaderMutationRules().GetAllowExpression().GetRegex())
	for name, want := range map[string]bool{
		"x-upstream-token": true, "x_upstream_token": true, "x-auth-sub": true, "dpop": true, "client-cert": false,
	} {
		if got := changes.MatchString(name); got != want {
			t.Errorf("istio: %s: got %v, want %v", name, got, want)
		}
	}
	auth := find[gatewayv1alpha1.SecurityPolicy](t, objects(t, "bound-tokens")).Spec.ExtAuth
	for _, name := range []string{"authorization", "dpop", "client-cert"} {
		if !slices.Contains(auth.HeadersToExtAuth, name) {
			t.Errorf("envoy gateway: %s is not told", name)
		}
	}
	const mtls = "auth: {issuer: https://auth.example.com, audience: api}\nmtls: "
	for content, want := range map[string]string{
		"envoy {}":         "include_peer_certificate: true",
		"envoy-gateway {}": "EnvoyPatchPolicy",
		"envoy {client_certificate_header: Client_Cert}":         "- {exact: client-cert, ignore_case: true}",
		"envoy-gateway {client_certificate_header: client-cert}": "",
	} {
		mesh, section, _ := strings.Cut(content, " ")
		file := filepath.Join(t.TempDir(), "values.yaml")
		write(t, file, "mesh: "+mesh+"\nconfig: |\n  "+strings.ReplaceAll(mtls+section, "\n", "\n  ")+"\n")
		got := notesOf(t, "--values", file)
		if !strings.Contains(got, want) || strings.Contains(section, "header") &&
			(strings.Contains(got, "include_peer_certificate") || strings.Contains(got, "EnvoyPatchPolicy")) {
			t.Errorf("%s: got notes %s", content, got)
		}
		if mesh == "envoy" && !strings.Contains(got, "- {exact: dpop, ignore_case: true}") {
			t.Errorf("%s: proofs are not told", content)
		}
	}
}

// removals checks the settings of a connection manager that the chart wants, and
// returns what matches the whole names of the headers that never are the client's.
func removals(t *testing.T, manager map[string]any) *regexp.Regexp {
	t.Helper()
	if manager["strip_any_host_port"] != true || manager["strip_trailing_host_dot"] != true {
		t.Errorf("got %v, want one spelling of each host", manager)
	}
	var found string
	walk("", manager, func(_ string, node map[string]any) {
		if regex, ok := node["regex"].(string); ok {
			found = regex
		}
	})
	if found == "" {
		t.Fatal("no header is removed")
	}
	return regexp.MustCompile("^(?:" + found + ")$")
}

// validate has a real Envoy read a bootstrap with settings of the connection
// manager, with filter in place of Bearergate's, and with its cluster named so.
func validate(t *testing.T, manager map[string]any, filter, cluster string) {
	t.Helper()
	var bootstrap, first map[string]any
	text := strings.ReplaceAll(read(t, root+"/envoy/config/envoy.yaml"), "- name: bearergate\n", "- name: "+cluster+"\n")
	if err := errors.Join(yaml.Unmarshal([]byte(text), &bootstrap), yaml.Unmarshal([]byte(filter), &first)); err != nil {
		t.Fatal(err)
	}
	walk("", bootstrap, func(_ string, node map[string]any) {
		if filters, ok := node["http_filters"].([]any); ok {
			maps.Copy(node, manager)
			filters[0] = first
		}
	})
	content, err := json.Marshal(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	write(t, file, string(content))
	if out, errs, err := execute(envoyBinary(t), "--mode", "validate", "-c", file); err != nil {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

// extAuthz decodes an HTTP filter of Envoy that must be ext_authz failing closed.
func extAuthz(t *testing.T, text string) *extauthzv3.ExtAuthz {
	t.Helper()
	filter, config := new(hcmv3.HttpFilter), new(extauthzv3.ExtAuthz)
	fromYAML(t, text, filter)
	if err := filter.GetTypedConfig().UnmarshalTo(config); err != nil {
		t.Fatal(err)
	}
	if err := config.ValidateAll(); err != nil {
		t.Error(err)
	}
	if rules := config.GetDecoderHeaderMutationRules(); rules != nil && !rules.GetDisallowIsError().GetValue() {
		t.Error("a change that is not allowed is passed over, and the client's header with it")
	}
	if patterns := config.GetAllowedHeaders().GetPatterns(); len(patterns) != 6 ||
		patterns[0].GetExact() != "authorization" || patterns[1].GetExact() != "dpop" {
		t.Errorf("got allowed headers %v", patterns)
	}
	if config.GetFailureModeAllow() || config.GetStatusOnError().GetCode() != 503 ||
		!config.GetEncodeRawHeaders() || !config.GetValidateMutations() {
		t.Errorf("got %v, want one that fails closed", config)
	}
	return config
}

// fromYAML decodes text into m, and fails on a field that m does not have.
func fromYAML(t *testing.T, text string, m proto.Message) {
	t.Helper()
	content, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(content, m); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

// TestNotes decodes what the notes tell a user to write.
func TestNotes(t *testing.T) {
	t.Run("envoy", func(t *testing.T) {
		snippets := snippets(t, "minimal", 3)
		filter := element(t, snippets[0])
		extAuthz(t, filter)
		var manager map[string]any
		if err := yaml.Unmarshal([]byte(snippets[1]), &manager); err != nil {
			t.Fatal(err)
		}
		removed := removals(t, manager)
		if !removed.MatchString("x.auth.client-id") || removed.MatchString("x-auth-client-ids") {
			t.Errorf("removed: got %s, want every spelling of the identity headers", removed)
		}
		validate(t, manager, filter, "bearergate")
		cluster := new(clusterv3.Cluster)
		fromYAML(t, element(t, snippets[2]), cluster)
		if err := cluster.ValidateAll(); err != nil {
			t.Error(err)
		}
	})
	t.Run("istio", func(t *testing.T) {
		snippets := snippets(t, "istio-notes", 2)
		provider := meshProvider(t, snippets[0])
		all, err := decode(snippets[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := customPolicy(t, all).GetProvider().GetName(); got != provider {
			t.Errorf("got provider %q, want %q", got, provider)
		}
	})
	t.Run("envoy gateway", func(t *testing.T) {
		all, err := decode(strings.Join(snippets(t, "envoy-gateway-notes", 2), "---\n"))
		if err != nil {
			t.Fatal(err)
		}
		auth := find[gatewayv1alpha1.SecurityPolicy](t, all).Spec.ExtAuth
		if auth.FailOpen == nil || *auth.FailOpen || *auth.StatusOnError != 503 {
			t.Errorf("got %+v, want one that fails closed", auth)
		}
		headers := find[gatewayv1alpha1.ClientTrafficPolicy](t, all).Spec.Headers
		if !*headers.Host.StripTrailingHostDot || len(headers.EarlyRequestHeaders.RemoveOnMatch) != 1 {
			t.Errorf("got %+v, want one spelling of hosts and identity headers", headers)
		}
	})
}

// snippets are the blocks of the notes that are indented by five spaces.
func snippets(t *testing.T, name string, want int) []string {
	t.Helper()
	var blocks []string
	inside := false
	for line := range strings.Lines(notes(t, name)) {
		text, ok := strings.CutPrefix(line, "     ")
		switch {
		case ok && inside:
			blocks[len(blocks)-1] += text
		case ok:
			blocks = append(blocks, text)
		}
		inside = ok
	}
	if len(blocks) != want {
		t.Fatalf("got %d snippets, want %d: %q", len(blocks), want, blocks)
	}
	return blocks
}

// element is the only one of a list.
func element(t *testing.T, list string) string {
	t.Helper()
	var all []json.RawMessage
	if err := yaml.Unmarshal([]byte(list), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 {
		t.Fatal(fmt.Errorf("got %d elements, want 1", len(all)))
	}
	return string(all[0])
}
