package kubernetes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	gatewayv1alpha1 "github.com/envoyproxy/gateway/api/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwapiv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"
)

// types are the published Go types, by API version and kind.
var types = map[string]func() any{
	"v1 ConfigMap":                                       func() any { return new(corev1.ConfigMap) },
	"v1 Pod":                                             func() any { return new(corev1.Pod) },
	"v1 Service":                                         func() any { return new(corev1.Service) },
	"v1 ServiceAccount":                                  func() any { return new(corev1.ServiceAccount) },
	"apps/v1 Deployment":                                 func() any { return new(appsv1.Deployment) },
	"autoscaling/v2 HorizontalPodAutoscaler":             func() any { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"batch/v1 Job":                                       func() any { return new(batchv1.Job) },
	"networking.k8s.io/v1 NetworkPolicy":                 func() any { return new(networkingv1.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":                      func() any { return new(policyv1.PodDisruptionBudget) },
	"cert-manager.io/v1 Certificate":                     func() any { return new(certmanagerv1.Certificate) },
	"monitoring.coreos.com/v1 ServiceMonitor":            func() any { return new(monitoringv1.ServiceMonitor) },
	"monitoring.coreos.com/v1 PodMonitor":                func() any { return new(monitoringv1.PodMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule":            func() any { return new(monitoringv1.PrometheusRule) },
	"gateway.networking.k8s.io/v1 Gateway":               func() any { return new(gwapiv1.Gateway) },
	"gateway.networking.k8s.io/v1 GatewayClass":          func() any { return new(gwapiv1.GatewayClass) },
	"gateway.networking.k8s.io/v1 HTTPRoute":             func() any { return new(gwapiv1.HTTPRoute) },
	"gateway.networking.k8s.io/v1beta1 ReferenceGrant":   func() any { return new(gwapiv1beta1.ReferenceGrant) },
	"gateway.envoyproxy.io/v1alpha1 SecurityPolicy":      func() any { return new(gatewayv1alpha1.SecurityPolicy) },
	"gateway.envoyproxy.io/v1alpha1 ClientTrafficPolicy": func() any { return new(gatewayv1alpha1.ClientTrafficPolicy) },
	"gateway.envoyproxy.io/v1alpha1 HTTPRouteFilter":     func() any { return new(gatewayv1alpha1.HTTPRouteFilter) },
	"security.istio.io/v1 AuthorizationPolicy":           istio(func() proto.Message { return new(security.AuthorizationPolicy) }),
	"security.istio.io/v1 PeerAuthentication":            istio(func() proto.Message { return new(security.PeerAuthentication) }),
	"networking.istio.io/v1 DestinationRule":             istio(func() proto.Message { return new(networking.DestinationRule) }),
	"networking.istio.io/v1alpha3 EnvoyFilter":           istio(func() proto.Message { return new(networking.EnvoyFilter) }),
}

// istioObject is an object of Istio. Its own client ignores unknown fields, so
// that the specification is decoded here, by protojson, which does not.
type istioObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              istioSpec `json:"spec,omitempty"`
}

type istioSpec struct{ message proto.Message }

func (s *istioSpec) UnmarshalJSON(content []byte) error {
	return protojson.Unmarshal(content, s.message)
}

func istio(spec func() proto.Message) func() any {
	return func() any { return &istioObject{Spec: istioSpec{spec()}} }
}

// decode returns every object of a manifest in its Go type. A field that the
// type does not have, or has twice, is an error.
func decode(manifest string) ([]any, error) {
	var objects []any
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, err := decodeOne(document)
		if err != nil {
			return nil, err
		}
		if object != nil {
			objects = append(objects, object)
		}
	}
}

func decodeOne(document []byte) (any, error) {
	var meta struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(document, &meta); err != nil {
		return nil, err
	}
	if meta.Kind == "" && len(bytes.TrimSpace(withoutComments(document))) == 0 {
		return nil, nil //nolint:nilnil // an empty document is none
	}
	key := meta.APIVersion + " " + meta.Kind
	newObject, ok := types[key]
	if !ok {
		return nil, fmt.Errorf("%s: no type known", key)
	}
	object := newObject()
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return nil, fmt.Errorf("%s %s: %w", key, meta.Metadata.Name, err)
	}
	return object, nil
}

func withoutComments(document []byte) []byte {
	var lines [][]byte
	for line := range bytes.Lines(document) {
		if !bytes.HasPrefix(line, []byte("#")) && !bytes.HasPrefix(line, []byte("---")) {
			lines = append(lines, line)
		}
	}
	return bytes.Join(lines, nil)
}

// find returns the only object of type T.
func find[T any](t *testing.T, objects []any) *T {
	t.Helper()
	var found []*T
	for _, o := range objects {
		if v, ok := o.(*T); ok {
			found = append(found, v)
		}
	}
	if len(found) != 1 {
		t.Fatalf("got %d of %T, want 1", len(found), *new(T))
	}
	return found[0]
}

// objects decodes a value set.
func objects(t *testing.T, name string) []any {
	t.Helper()
	all, err := decode(rendered(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryObjectDecodesStrictly(t *testing.T) {
	kinds := map[string]bool{}
	for _, name := range cases(t) {
		t.Run(name, func(t *testing.T) {
			all := objects(t, name)
			if len(all) < 3 {
				t.Errorf("got %d objects, want at least 3", len(all))
			}
			for _, o := range all {
				content, err := json.Marshal(o)
				if err != nil && !strings.Contains(fmt.Sprintf("%T", o), "istioObject") {
					t.Error(err)
				}
				var meta metav1.TypeMeta
				_ = json.Unmarshal(content, &meta)
				kinds[meta.Kind] = true
			}
		})
	}
	for _, kind := range []string{
		"Certificate", "PrometheusRule", "SecurityPolicy", "NetworkPolicy", "HorizontalPodAutoscaler",
	} {
		if !kinds[kind] {
			t.Errorf("%s: rendered by no value set", kind)
		}
	}
}

// TestDecodeIsStrict shows that the test above can fail, for each family of
// types.
func TestDecodeIsStrict(t *testing.T) {
	for name, manifest := range map[string]string{
		"kubernetes":    "apiVersion: v1\nkind: Pod\nspec: {container: []}",
		"deep":          "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, livenessProbe: {httpGet: {paths: /}}}]}",
		"twice":         "apiVersion: v1\nkind: ConfigMap\ndata: {a: b, a: c}",
		"istio":         "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nspec: {actions: CUSTOM}",
		"envoy gateway": "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nspec: {extAuth: {failClosed: true}}",
		"cert-manager":  "apiVersion: cert-manager.io/v1\nkind: Certificate\nspec: {secret: a}",
		"prometheus":    "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec: {groups: [{rules: [{alerts: a}]}]}",
		"gateway api":   "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nspec: {hostname: a}",
		"unknown kind":  "apiVersion: v1\nkind: Pot",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := decode(manifest); err == nil {
				t.Errorf("got %v, want an error", got)
			}
		})
	}
}
