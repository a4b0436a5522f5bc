// Package istio asks Istio itself what it makes of our files: pilot's own
// discovery server translates them, with the objects of a small mesh around
// them, and a real Envoy reads and runs what comes out.
package istio

import (
	"os"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"sigs.k8s.io/yaml"
)

const root = "../.."

const (
	sidecarFile = root + "/envoy/config/istio-sidecar.yaml"
	gatewayFile = root + "/envoy/config/istio-gateway.yaml"
	// What the chart renders: test/kubernetes holds these files to the templates.
	goldens = root + "/test/kubernetes/testdata/"
)

// surroundings are what our files take for granted: the Services and Pods that
// they name, with a port that Istio takes for TCP, and the controller's class.
const surroundings = `
apiVersion: v1
kind: Namespace
metadata: {name: orders, labels: {kubernetes.io/metadata.name: orders}}
---
apiVersion: v1
kind: Namespace
metadata: {name: ingress, labels: {kubernetes.io/metadata.name: ingress}}
---
apiVersion: v1
kind: Service
metadata: {name: bearergate, namespace: bearergate}
spec:
  clusterIP: 10.0.0.1
  ports: [{name: grpc, port: 9191, targetPort: 9191, appProtocol: kubernetes.io/h2c}]
  selector: {app: bearergate}
---
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: orders}
spec:
  clusterIP: 10.0.0.2
  ports:
    - {name: http, port: 8080, targetPort: 8080}
    - {name: tcp-database, port: 5432, targetPort: 5432}
  selector: {app.kubernetes.io/name: orders}
---
apiVersion: v1
kind: Pod
metadata: {name: orders, namespace: orders, labels: {app.kubernetes.io/name: orders}}
spec: {serviceAccountName: orders, containers: [{name: orders, image: orders}]}
status: {podIP: 1.1.1.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: ingress-istio, namespace: ingress}
spec:
  clusterIP: 10.0.0.3
  ports: [{name: https, port: 443, targetPort: 443}]
  selector: {gateway.networking.k8s.io/gateway-name: ingress}
---
apiVersion: v1
kind: Pod
metadata:
  name: ingress-istio
  namespace: ingress
  labels: {gateway.networking.k8s.io/gateway-name: ingress}
spec: {serviceAccountName: ingress-istio, containers: [{name: proxy, image: proxy}]}
status: {podIP: 2.2.2.2, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio}
spec: {controllerName: istio.io/gateway-controller}
`

// input is what istiod reads.
type input struct {
	mesh    *meshconfig.MeshConfig
	configs []string // Istio's own kinds
	objects []string // Kubernetes' kinds, Gateway API's among them
}

// load takes apart a file as `kubectl apply` and istiod would.
func load(t *testing.T, file string) input {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in := input{mesh: mesh.DefaultMeshConfig()}
	in.add(t, string(content))
	return in
}

func (in *input) add(t *testing.T, documents string) {
	t.Helper()
	for _, document := range strings.Split(documents, "\n---\n") {
		var head struct {
			APIVersion, Kind string
			Data             map[string]string
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatal(err)
		}
		switch {
		case head.Data["mesh"] != "":
			in.mesh = meshOf(t, head.Data["mesh"])
		case strings.Contains(head.APIVersion, ".istio.io/"):
			in.configs = append(in.configs, document)
		case head.Kind == "Service", strings.HasPrefix(head.APIVersion, "gateway.networking.k8s.io/"):
			in.objects = append(in.objects, document)
		}
	}
}

// meshOf reads a MeshConfig as istiod does, which refuses a wrong one.
func meshOf(t *testing.T, text string) *meshconfig.MeshConfig {
	t.Helper()
	config, err := mesh.ApplyMeshConfigDefaults(text)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// replace changes the text of every object, as the files' headers ask of users.
func (in input) replace(pairs ...string) input {
	r := strings.NewReplacer(pairs...)
	out := input{mesh: in.mesh}
	for _, c := range in.configs {
		out.configs = append(out.configs, r.Replace(c))
	}
	for _, o := range in.objects {
		out.objects = append(out.objects, r.Replace(o))
	}
	return out
}

// generated is what a proxy gets.
type generated struct {
	listeners []*listenerv3.Listener
	clusters  []*clusterv3.Cluster
	routes    []*routev3.RouteConfiguration
}

func translate(t *testing.T, in input, proxy *model.Proxy) generated {
	t.Helper()
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		MeshConfig:   in.mesh,
		ConfigString: strings.Join(in.configs, "\n---\n"),
		// As objects of the cluster: the controller of Gateway API watches there, and
		// sees nothing of what the store of configurations has.
		KubernetesObjectString: strings.Join(append([]string{surroundings, secret(t)}, in.objects...), "\n---\n"),
	})
	proxy = server.SetupProxy(proxy)
	return generated{server.Listeners(proxy), server.Clusters(proxy), server.Routes(proxy)}
}

// sidecar is the proxy beside the workload orders.
func sidecar() *model.Proxy {
	return proxy(model.SidecarProxy, "orders", "1.1.1.1", map[string]string{"app.kubernetes.io/name": "orders"})
}

// router is a gateway with those labels.
func router(namespace string, labels map[string]string) *model.Proxy {
	return proxy(model.Router, namespace, "2.2.2.2", labels)
}

func ingress() *model.Proxy {
	return router("ingress", map[string]string{"gateway.networking.k8s.io/gateway-name": "ingress"})
}

func proxy(kind model.NodeType, namespace, address string, labels map[string]string) *model.Proxy {
	return &model.Proxy{
		Type: kind, ConfigNamespace: namespace, IPAddresses: []string{address}, Labels: labels,
		Metadata: &model.NodeMetadata{Namespace: namespace, Labels: labels, IstioVersion: "1.31.0"},
	}
}

// chain is one way through a listener.
type chain struct {
	name    string
	filters []*listenerv3.Filter
	http    *hcmv3.HttpConnectionManager // nil: TCP
	whole   *listenerv3.FilterChain
}

// chains returns the ways through a listener, but those that lead nowhere.
func (g generated) chains(t *testing.T, listener string) []chain {
	t.Helper()
	var all []chain
	for _, l := range g.listeners {
		if l.GetName() != listener {
			continue
		}
		for _, c := range l.GetFilterChains() {
			if !strings.HasSuffix(c.GetName(), "-blackhole") {
				all = append(all, newChain(t, c))
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("no filter chain of %s", listener)
	}
	return all
}

func newChain(t *testing.T, c *listenerv3.FilterChain) chain {
	t.Helper()
	out := chain{name: c.GetName(), filters: c.GetFilters(), whole: c}
	for _, f := range c.GetFilters() {
		manager := new(hcmv3.HttpConnectionManager)
		if f.GetTypedConfig().MessageIs(manager) {
			if err := f.GetTypedConfig().UnmarshalTo(manager); err != nil {
				t.Fatal(err)
			}
			out.http = manager
		}
	}
	return out
}

// split tells the chains of HTTP and of TCP apart.
func split(all []chain) (http, tcp []chain) {
	for _, c := range all {
		if c.http != nil {
			http = append(http, c)
		} else {
			tcp = append(tcp, c)
		}
	}
	return http, tcp
}
