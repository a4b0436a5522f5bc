package kubernetes

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	gatewayv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
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
var chains = []string{root + "/envoy/config/istio-sidecar.yaml", root + "/envoy/config/istio-gateway.yaml", root + "/envoy/config/envoy-gateway.yaml"}

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
	keys := regexp.MustCompile(`(?m)^[ -]*(failOpen|statusOnError|timeout|clearRouteCache|recomputeRoute|headersToExtAuth|contextExtensions|pathNormalization|action|targetRefs|tls|escapedSlashesAction|disableMergeSlashes|withUnderscoresAction):`)
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
	if grpc.GetFailOpen() || grpc.GetClearRouteCache() || grpc.GetStatusOnError() != "503" || grpc.GetTimeout().AsDuration() > 5e9 || grpc.GetTimeout().AsDuration() == 0 {
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
			if p, ok := i.Spec.message.(*security.AuthorizationPolicy); ok && p.GetAction() == security.AuthorizationPolicy_CUSTOM {
				return p
			}
		}
	}
	t.Fatal("no AuthorizationPolicy with action CUSTOM")
	return nil
}

// TestEnvoyFilter decodes what the API of Istio leaves open: Envoy's own
// filter, strictly, with Envoy's own rules.
func TestEnvoyFilter(t *testing.T) {
	var patch *networking.EnvoyFilter_EnvoyConfigObjectPatch
	for _, o := range objects(t, "istio-envoy-filter") {
		if i, ok := o.(*istioObject); ok {
			patch = i.Spec.message.(*networking.EnvoyFilter).GetConfigPatches()[0]
		}
	}
	value, err := protojson.Marshal(patch.GetPatch().GetValue())
	if err != nil {
		t.Fatal(err)
	}
	filter := extAuthz(t, string(value))
	if got, want := filter.GetGrpcService().GetEnvoyGrpc().GetClusterName(), "outbound|9191||gate-bearergate.security.svc.cluster.local"; got != want {
		t.Errorf("got cluster %q, want %q", got, want)
	}
	rules := filter.GetDecoderHeaderMutationRules()
	changes := regexp.MustCompile(rules.GetAllowExpression().GetRegex())
	for name, want := range map[string]bool{
		"authorization": true, "x-user": true, "x_user": true, "x-tenant": true, "x_tenant": true,
		"x-auth-sub": false, "host": false, "x-user-id": false, ":path": false,
	} {
		if got := changes.MatchString(name); got != want || !rules.GetDisallowAll().GetValue() {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
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
	if config.GetFailureModeAllow() || config.GetStatusOnError().GetCode() != 503 || !config.GetEncodeRawHeaders() || !config.GetValidateMutations() {
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
		snippets := snippets(t, "minimal", 2)
		extAuthz(t, element(t, snippets[0]))
		cluster := new(clusterv3.Cluster)
		fromYAML(t, element(t, snippets[1]), cluster)
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
		all, err := decode(snippets(t, "envoy-gateway-notes", 1)[0])
		if err != nil {
			t.Fatal(err)
		}
		auth := find[gatewayv1alpha1.SecurityPolicy](t, all).Spec.ExtAuth
		if auth.FailOpen == nil || *auth.FailOpen || *auth.StatusOnError != 503 {
			t.Errorf("got %+v, want one that fails closed", auth)
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
