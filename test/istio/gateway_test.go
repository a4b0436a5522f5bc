package istio

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
)

// own is a gateway in Istio's own words, with the policy that the chart's notes
// show, and a port where TLS passes through to the workload.
const own = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress, namespace: ingress}
spec:
  selector: {istio: ingressgateway}
  servers:
    - port: {number: 443, name: https, protocol: HTTPS}
      hosts: [api.example.com]
      tls: {mode: SIMPLE, credentialName: api-example-com}
    - port: {number: 8443, name: tls, protocol: TLS}
      hosts: [raw.example.com]
      tls: {mode: PASSTHROUGH}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: orders}
spec:
  hosts: [api.example.com]
  gateways: [ingress/ingress]
  http: [{route: [{destination: {host: orders.orders.svc.cluster.local, port: {number: 8080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: raw, namespace: orders}
spec:
  hosts: [raw.example.com]
  gateways: [ingress/ingress]
  tls:
    - match: [{port: 8443, sniHosts: [raw.example.com]}]
      route: [{destination: {host: orders.orders.svc.cluster.local, port: {number: 5432}}}]
`

const ownPolicy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: bearergate, namespace: ingress}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: CUSTOM
  provider: {name: bearergate}
  rules: [{}]
`

// ownIngress is the proxy of that gateway.
var ownIngress = map[string]string{"istio": "ingressgateway"}

func TestGatewayAsks(t *testing.T) {
	g := translate(t, load(t, gatewayFile), ingress())
	http, tcp := split(g.chains(t, "0.0.0.0_443"))
	if len(http) != 1 || len(tcp) != 0 {
		t.Fatalf("got %d chains of HTTP and %d of TCP, want the listener of the file", len(http), len(tcp))
	}
	provided(t, http[0], service)
	normalizes(t, http[0], true)
	if http[0].whole.GetTransportSocket() == nil {
		t.Error("the gateway takes plain text")
	}
}

// TestOnlyTheGatewayMayCall is the file's second policy, at the workload.
func TestOnlyTheGatewayMayCall(t *testing.T) {
	http, tcp := split(translate(t, load(t, gatewayFile), sidecar()).chains(t, "virtualInbound"))
	for _, c := range http {
		at := c.position(t, "envoy.filters.http.rbac")
		if at < 0 || c.position(t, httpAsks) >= 0 {
			t.Fatalf("%s: got %d, want a rule and no question", c.name, at)
		}
		rules := unpack(t, c.http.GetHttpFilters()[at].GetTypedConfig(), new(rbacv3.RBAC)).GetRules().String()
		if !strings.Contains(rules, "/ns/ingress/sa/ingress-istio") {
			t.Errorf("%s: got %s, want the gateway's principal", c.name, rules)
		}
	}
	for _, c := range tcp {
		if !slices.Contains(c.names(), "envoy.filters.network.rbac") {
			t.Errorf("%s: got %v, want a rule", c.name, c.names())
		}
	}
}

func TestOwnGatewayAsks(t *testing.T) {
	in := load(t, sidecarFile) // for its MeshConfig
	in.configs = []string{own, ownPolicy}
	g := translate(t, in, router("ingress", ownIngress))
	http, _ := split(g.chains(t, "0.0.0.0_443"))
	provided(t, http[0], service)
	normalizes(t, http[0], true)
	_, through := split(g.chains(t, "0.0.0.0_8443"))
	asksAboutConnections(t, through[0], service)
}

// TestChartPolicy translates the policy and the DestinationRule that the chart
// renders, with the MeshConfig that its notes ask for.
func TestChartPolicy(t *testing.T) {
	in := load(t, gatewayFile)
	in.mesh.GetExtensionProviders()[len(in.mesh.GetExtensionProviders())-1].GetEnvoyExtAuthzGrpc().Service = released
	in.configs = nil
	golden := load(t, goldens+"istio/golden.yaml")
	in.configs = append(in.configs, golden.configs...)
	in.objects = append(in.objects, golden.objects...)
	http, _ := split(translate(t, in, ingress()).chains(t, "0.0.0.0_443"))
	provided(t, http[0], released)
}

func TestChartDestinationRule(t *testing.T) {
	in := load(t, goldens+"istio-sidecar-tls/golden.yaml")
	g := translate(t, in, ingress())
	for _, c := range g.clusters {
		if c.GetName() == "outbound|9191||"+released {
			tls := c.GetTransportSocket().String() + c.String()
			for _, want := range []string{"UpstreamTlsContext", "bearergate-client", released} {
				if !strings.Contains(tls, want) {
					t.Errorf("got %s, want %s in it", tls, want)
				}
			}
			return
		}
	}
	t.Error("no cluster of Bearergate")
}

// withEnvoyFilter is the chart's last resort in that context, around base.
func withEnvoyFilter(t *testing.T, base input, context, namespace, selector string) input {
	t.Helper()
	golden := load(t, goldens+"istio-envoy-filter/golden.yaml").replace(
		"context: GATEWAY", "context: "+context, "namespace: istio-ingress", "namespace: "+namespace,
		"istio: ingressgateway", selector)
	base.configs = slices.DeleteFunc(base.configs, func(c string) bool { return strings.Contains(c, "AuthorizationPolicy") })
	base.configs = append(base.configs, golden.configs...)
	base.objects = append(base.objects, golden.objects...)
	return base
}

func TestChartEnvoyFilterAtAGateway(t *testing.T) {
	in := load(t, sidecarFile)
	in.configs = []string{own}
	in = withEnvoyFilter(t, in, "GATEWAY", "ingress", "istio: ingressgateway")
	g := translate(t, in, router("ingress", ownIngress))
	http, _ := split(g.chains(t, "0.0.0.0_443"))
	filtered(t, http[0])
	_, tcp := split(g.chains(t, "0.0.0.0_8443"))
	passesBy(t, tcp)
}

func TestChartEnvoyFilterAtASidecar(t *testing.T) {
	in := withEnvoyFilter(t, load(t, sidecarFile), "SIDECAR_INBOUND", "orders", "app.kubernetes.io/name: orders")
	http, tcp := split(translate(t, in, sidecar()).chains(t, "virtualInbound"))
	for _, c := range http {
		filtered(t, c)
	}
	passesBy(t, tcp)
}

// passesBy is what the documentation warns of: the EnvoyFilter is about HTTP.
func passesBy(t *testing.T, tcp []chain) {
	t.Helper()
	for _, c := range tcp {
		if strings.Contains(c.whole.String(), "ext_authz") {
			t.Errorf("%s asks: the documentation says that it passes by", c.name)
		}
	}
	if len(tcp) == 0 {
		t.Error("no chain of TCP")
	}
}

// filtered checks a chain that the chart's EnvoyFilter changed: every promise of
// its comments.
func filtered(t *testing.T, c chain) {
	t.Helper()
	f := c.filter(t)
	failsClosed(t, f, released)
	if at := c.position(t, httpAsks); at != 0 {
		t.Errorf("%s: asks at position %d, want first", c.name, at)
	}
	rules := f.GetDecoderHeaderMutationRules()
	changes := regexp.MustCompile(rules.GetAllowExpression().GetRegex())
	if !f.GetEncodeRawHeaders() || !f.GetValidateMutations() || len(f.GetAllowedHeaders().GetPatterns()) != 6 ||
		!rules.GetDisallowAll().GetValue() || !rules.GetDisallowIsError().GetValue() ||
		!changes.MatchString("x-user") || !changes.MatchString("x-envoy-upstream-rq-timeout-ms") ||
		changes.MatchString("host") || f.GetFilterEnabledMetadata() != nil {
		t.Errorf("%s: got %v", c.name, f)
	}
	if got := f.GetGrpcService().GetRetryPolicy().GetNumRetries().GetValue(); got != 2 {
		t.Errorf("%s: got %d retries, want 2", c.name, got)
	}
	if !c.http.GetStripAnyHostPort() || !c.http.GetStripTrailingHostDot() ||
		len(c.http.GetEarlyHeaderMutationExtensions()) != 1 {
		t.Errorf("%s: got hosts and headers of several spellings", c.name)
	}
	normalizes(t, c, true)
}

// secret has the certificate of the gateway, without which Istio makes no listener.
func secret(t *testing.T) string {
	t.Helper()
	text, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var certificate = sync.OnceValues(func() (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"api.example.com"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	encoded := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: api-example-com, namespace: ingress}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}`, encoded("CERTIFICATE", der), encoded("PRIVATE KEY", private)), nil
})
