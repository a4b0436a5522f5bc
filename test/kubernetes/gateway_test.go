package kubernetes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/bearergate/bearergate/internal/devissuer"
)

// surroundings are what envoy-gateway.yaml expects to be there. The addresses
// stand for the upstream and for Bearergate.
const surroundings = `
---
{apiVersion: v1, kind: Namespace, metadata: {name: ingress}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: bearergate}}
---
{apiVersion: v1, kind: Secret, metadata: {name: api-example-com, namespace: ingress}, type: kubernetes.io/tls, data: {tls.crt: %s, tls.key: %s}}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: ingress}, spec: {clusterIP: 192.0.2.1, ports: [{name: http, port: 8080, targetPort: 8080}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: bearergate, namespace: bearergate}, spec: {clusterIP: 192.0.2.2, ports: [{name: grpc, port: 9191, targetPort: 9191, appProtocol: kubernetes.io/h2c}]}}
`

// TestEnvoyGateway has Envoy Gateway translate envoy-gateway.yaml, and sends
// requests to a real Envoy that runs the result, with the real binary behind it.
func TestEnvoyGateway(t *testing.T) {
	certificate, key := pair(t, "api.example.com")
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	translated := translate(t, read(t, chains[2])+fmt.Sprintf(surroundings, encode(certificate), encode(key)))
	checkStatus(t, translated, 8)

	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "sub=%s authorization=%s ", r.Header.Values("x-auth-sub"), r.Header.Values("authorization"))
		fmt.Fprintf(w, "dots=%s", r.Header.Values("x.auth.sub"))
		for r.URL.Path == "/orders/stream" && r.Context().Err() == nil {
			fmt.Fprint(w, "\ndata: event")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	}))
	t.Cleanup(upstream.Close)
	issuer := serveIssuer(t)
	service, stop := serveBearergate(t, issuer.URL())
	listener := free(t)
	bootstrap := static(t, translated, certificate, key, listener, map[string]string{
		"192.0.2.1": upstream.Listener.Addr().String(), "192.0.2.2": service,
	})
	start(t, envoyBinary(t), "--config-path", bootstrap, "--base-id", fmt.Sprint(os.Getpid()), "--log-level", "warn")
	client := client(t, certificate, listener)

	claims := func(more devissuer.Claims) string {
		all := devissuer.Claims{"sub": "alice", "aud": "orders-api", "client_id": "web", "scope": "orders:read"}
		maps.Copy(all, more)
		return "Bearer " + issuer.JWT(all)
	}
	good, admin := claims(nil), claims(devissuer.Claims{"scope": "orders:admin"})
	tests := []struct {
		name, path string
		header     http.Header
		status     int
		body       string
	}{
		{"no token", "/orders", nil, 401, `"error"`},
		{"token", "/orders", http.Header{"Authorization": {good}}, 200, "sub=[alice] authorization=[]"},
		{"forged identity", "/orders", http.Header{"Authorization": {good}, "X-Auth-Sub": {"root"}}, 200, "sub=[alice] authorization=[]"},
		{"forged identity with underscores", "/orders", http.Header{"Authorization": {good}, "x_auth_sub": {"root"}}, 400, ""},
		{"forged identity with dots", "/orders", http.Header{"Authorization": {good}, "X.Auth.Sub": {"root"}}, 200, "sub=[alice] authorization=[] dots=[]"},
		{"port", "/admin", http.Header{"Authorization": {good}, "Host": {"api.example.com:1"}}, 403, "insufficient_scope"},
		{"trailing dot", "/admin", http.Header{"Authorization": {good}, "Host": {"api.example.com."}}, 403, "insufficient_scope"},
		{"for another service", "/orders", http.Header{"Authorization": {claims(devissuer.Claims{"aud": "billing"})}}, 401, "invalid_token"},
		{"two tokens", "/orders", http.Header{"Authorization": {good, good}}, 400, "invalid_request"},
		{"encoded slash", "/orders%2Fadmin", http.Header{"Authorization": {good}}, 400, ""},
		{"route that wants more", "/admin", http.Header{"Authorization": {good}}, 403, "insufficient_scope"},
		{"route that wants more, below", "/admin/x", http.Header{"Authorization": {good}}, 403, "insufficient_scope"},
		{"route that wants more, by dots", "/orders/../admin", http.Header{"Authorization": {good}}, 403, "insufficient_scope"},
		{"semicolon", "/admin;x", http.Header{"Authorization": {admin}}, 400, ""},
		{"encoded semicolon", "/admin%3Bx", http.Header{"Authorization": {admin}}, 400, ""},
		{"encoded dots", "/orders/%2e%2e;/admin", http.Header{"Authorization": {admin}}, 400, ""},
		{"twice encoded dots", "/orders/%252e%252e/admin", http.Header{"Authorization": {admin}}, 400, ""},
		{"backslash", "/orders%5Cadmin", http.Header{"Authorization": {admin}}, 400, ""},
		{"control character", "/orders/%0a", http.Header{"Authorization": {admin}}, 400, ""},
		{"overlong UTF-8", "/orders/%c0%ae", http.Header{"Authorization": {admin}}, 400, ""},
		{"semicolon in the query", "/orders/x%20y/%C3%A9?a;b=%2e%2f", http.Header{"Authorization": {good}}, 200, "sub=[alice]"},
		{"route that gets more", "/admin", http.Header{"Authorization": {admin}}, 200, "sub=[alice]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if status, body := client(test.path, test.header); status != test.status || !strings.Contains(body, test.body) {
				t.Errorf("got %d %q, want %d %q", status, body, test.status, test.body)
			}
		})
	}
	t.Run("a stream ends with its token", func(t *testing.T) {
		exp := time.Unix(time.Now().Unix()+3, 0)
		header := http.Header{
			"Authorization": {claims(devissuer.Claims{"exp": exp.Unix()})}, "X-Envoy-Upstream-Rq-Timeout-Ms": {"60000"},
		}
		status, body := client("/orders/stream", header)
		// Envoy Gateway leaves it at a second until the connection is closed.
		if late := time.Since(exp); status != 200 || !strings.HasSuffix(body, "unexpected EOF") || late < 0 || late > 2*time.Second {
			t.Errorf("got %d, and the end %s after exp: %.200q", status, late, body)
		}
	})
	stop()
	if status, body := client("/orders", http.Header{"Authorization": {good}}); status != 503 {
		t.Errorf("without Bearergate: got %d %q, want 503", status, body)
	}
}

// gateway is what the policies of the chart point at.
const gateway = `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: envoy}, spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: ingress, namespace: %[1]s}, spec: {gatewayClassName: envoy, listeners: [{name: http, protocol: HTTP, port: 80}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: orders, namespace: %[1]s}, spec: {parentRefs: [{name: ingress}], rules: [{backendRefs: [{name: orders, port: 8080}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: orders, namespace: %[1]s}, spec: {clusterIP: 192.0.2.1, ports: [{name: http, port: 8080, targetPort: 8080}]}}
`

// TestEnvoyGatewayAcceptsTheChart translates the policies that the chart makes.
func TestEnvoyGatewayAcceptsTheChart(t *testing.T) {
	for name, namespace := range map[string]string{"envoy-gateway": "ingress", "envoy-gateway-route": "security"} {
		t.Run(name, func(t *testing.T) {
			var used strings.Builder
			for document := range strings.SplitSeq(rendered(t, name), "\n---\n") {
				for _, kind := range []string{"SecurityPolicy", "ReferenceGrant", "Service"} {
					if strings.Contains(document, "\nkind: "+kind+"\n") && !strings.Contains(document, "clusterIP: None") {
						used.WriteString("\n---\n" + strings.Replace(document, "type: ClusterIP", "clusterIP: 192.0.2.2", 1))
					}
				}
			}
			translated := translate(t, fmt.Sprintf(gateway, namespace)+used.String())
			checkStatus(t, translated, 4)
			asked := false
			walk("", translated["xds"], func(_ string, node map[string]any) {
				asked = asked || node["@type"] == "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" && node["failureModeAllow"] == nil
			})
			if !asked {
				t.Error("no ext_authz filter")
			}
		})
	}
}

// translate returns what Envoy Gateway makes of manifests.
func translate(t *testing.T, manifests string) map[string]any {
	t.Helper()
	program, err := egctl()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gateway.yaml")
	write(t, file, manifests)
	out, errs, err := execute(program, "experimental", "translate", "--from", "gateway-api", "--to",
		"gateway-api,xds", "--type", "all", "--output", "yaml", "--file", file)
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	var all map[string]any
	if err := yaml.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// checkStatus wants every object accepted, and so many of them.
func checkStatus(t *testing.T, translated map[string]any, want int) {
	t.Helper()
	accepted := 0
	walk("", translated, func(path string, node map[string]any) {
		switch {
		case node["type"] == "Accepted" && node["status"] == "True":
			accepted++
		case node["reason"] != nil && node["status"] == "False":
			t.Errorf("%s: %v: %v", path, node["reason"], node["message"])
		}
	})
	if accepted < want {
		t.Errorf("got %d accepted objects, want %d", accepted, want)
	}
}

// static turns the dump of xDS into a bootstrap that needs no control plane,
// with the addresses moved, and returns the file.
func static(t *testing.T, translated map[string]any, certificate, key, listener string, moved map[string]string) string {
	t.Helper()
	dump := translated["xds"].(map[string]any)["ingress/ingress"].(map[string]any)["configs"]
	found := map[string]map[string]any{} // by what it is and its name
	walk("", dump, func(_ string, node map[string]any) {
		kind, _ := node["@type"].(string)
		for _, field := range []string{"name", "clusterName"} {
			if name, ok := node[field].(string); ok && kind != "" {
				found[kind[strings.LastIndex(kind, ".")+1:]+" "+name] = node
			}
		}
	})
	var clusters []any
	for name, node := range found {
		kind, cluster, _ := strings.Cut(name, " ")
		if kind == "Cluster" {
			node["type"], node["loadAssignment"] = "STATIC", found["ClusterLoadAssignment "+cluster]
			delete(node, "edsClusterConfig")
			clusters = append(clusters, node)
		}
	}
	routes := found["RouteConfiguration ingress/ingress/https"]
	ingress := found["Listener ingress/ingress/https"]
	ingress["address"] = map[string]any{"socketAddress": socket(t, listener)}
	walk("", ingress, func(_ string, node map[string]any) {
		if node["rds"] != nil {
			delete(node, "rds")
			node["routeConfig"] = routes
		}
		delete(node, "sdsConfig") // then it is the secret below
		delete(node, "accessLog")
	})
	walk("", clusters, func(_ string, node map[string]any) {
		if address, ok := node["socketAddress"].(map[string]any); ok {
			node["socketAddress"] = socket(t, moved[address["address"].(string)])
		}
	})
	for _, node := range found {
		delete(node, "@type")
	}
	content, err := json.Marshal(map[string]any{"staticResources": map[string]any{
		"listeners": []any{ingress}, "clusters": clusters,
		"secrets": []any{map[string]any{"name": "ingress/api-example-com", "tlsCertificate": map[string]any{
			"certificateChain": map[string]any{"inlineString": certificate}, "privateKey": map[string]any{"inlineString": key},
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	write(t, file, string(content))
	return file
}

func socket(t *testing.T, address string) map[string]any {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"address": host, "portValue": json.Number(port)}
}

// client returns a function that asks the listener for a path, once it answers.
func client(t *testing.T, certificate, listener string) func(path string, header http.Header) (int, string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certificate))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", listener)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	wait(t, listener)
	c := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	return func(path string, header http.Header) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example.com"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header, r.Host = header.Clone(), header.Get("Host")
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(response.Body); err != nil {
			body.WriteString(err.Error()) // of a stream that is cut off
		}
		return response.StatusCode, body.String()
	}
}

func serveIssuer(t *testing.T) *devissuer.Issuer {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer := devissuer.New("http://"+server.Listener.Addr().String(), nil)
	server.Config.Handler = issuer
	server.Start()
	t.Cleanup(server.Close)
	return issuer
}

// serveBearergate runs the binary, and returns its gRPC address once it is ready.
func serveBearergate(t *testing.T, issuer string) (address string, stop func()) {
	t.Helper()
	address = free(t)
	file := filepath.Join(t.TempDir(), "bearergate.yaml")
	write(t, file, fmt.Sprintf("server: {grpc_address: %q, admin_address: %q}\nauth: {issuer: %q, audience: orders-api, insecure_http: true}\n"+
		"rules: [{name: stream, match: {paths: [/orders/stream]}, stream_until_expiry: true}]\n", address, free(t), issuer))
	stop = start(t, filepath.Join(binaries, "bearergate"), "serve", "--config", file)
	for range 100 {
		if _, _, err := execute(filepath.Join(binaries, "bearergate"), "health", "--address", address); err == nil {
			return address, stop
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("bearergate is not ready")
	return "", nil
}

// start runs a program until stop or the end of the test.
func start(t *testing.T, program string, args ...string) (stop func()) {
	t.Helper()
	var output bytes.Buffer
	cmd := exec.Command(program, args...) //nolint:gosec // the tests name the program
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(program), output.String())
		}
	})
	return stop
}

// envoyBinary is the Envoy that the end-to-end tests run too.
func envoyBinary(t *testing.T) string {
	t.Helper()
	out, errs, err := execute(root + "/test/tools/envoy.sh")
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	return strings.TrimSpace(out)
}

func free(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// wait returns when somebody listens.
func wait(t *testing.T, address string) {
	t.Helper()
	for range 300 {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("nobody listens on %s", address)
}
