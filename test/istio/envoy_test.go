package istio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

var envoyBinary = sync.OnceValues(func() (string, error) {
	out, err := exec.Command(root + "/test/tools/envoy.sh").Output()
	if err != nil {
		return "", fmt.Errorf("envoy.sh: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
})

func envoy(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := envoyBinary()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(binary, args...)
}

// TestEnvoyTakesWhatIstioMakes has a real Envoy read all that each proxy gets.
func TestEnvoyTakesWhatIstioMakes(t *testing.T) {
	own := input{mesh: load(t, sidecarFile).mesh, configs: []string{own, ownPolicy}}
	atGateway := withEnvoyFilter(t, input{mesh: own.mesh, configs: own.configs[:1]}, "GATEWAY", "ingress", "istio: ingressgateway")
	atSidecar := withEnvoyFilter(t, load(t, sidecarFile), "SIDECAR_INBOUND", "orders", "app.kubernetes.io/name: orders")
	for name, g := range map[string]generated{
		"sidecar":                 translate(t, load(t, sidecarFile), sidecar()),
		"gateway":                 translate(t, load(t, gatewayFile), ingress()),
		"workload behind gateway": translate(t, load(t, gatewayFile), sidecar()),
		"own gateway":             translate(t, own, router("ingress", ownIngress)),
		"EnvoyFilter, gateway":    translate(t, atGateway, router("ingress", ownIngress)),
		"EnvoyFilter, sidecar":    translate(t, atSidecar, sidecar()),
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, bootstrap(t, g))
			if out, err := envoy(t, "--mode", "validate", "-c", file).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// bootstrap is all that a proxy gets, as a file. istiod and the agent, which give
// the routes, endpoints and certificates, are clusters that nobody asks here.
func bootstrap(t *testing.T, g generated) *bootstrapv3.Bootstrap {
	t.Helper()
	ads := &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds-grpc"},
		}}},
	}
	b := &bootstrapv3.Bootstrap{
		Node:             &corev3.Node{Id: "proxy", Cluster: "proxy"},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: ads},
		StaticResources:  new(bootstrapv3.Bootstrap_StaticResources),
	}
	for _, name := range []string{"xds-grpc", "sds-grpc"} {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, &clusterv3.Cluster{
			Name: name, ConnectTimeout: durationpb.New(time.Second),
		})
	}
	for _, c := range g.clusters {
		c = proto.CloneOf(c)
		c.Filters = slices.DeleteFunc(c.Filters, func(f *clusterv3.Filter) bool { return ofIstio(f.GetName()) })
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, c)
	}
	for _, l := range g.listeners {
		l = proto.CloneOf(l)
		for i, c := range l.GetFilterChains() {
			l.FilterChains[i] = plain(t, c)
		}
		if l.GetDefaultFilterChain() != nil {
			l.DefaultFilterChain = plain(t, l.GetDefaultFilterChain())
		}
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, l)
	}
	return b
}

// ofIstio tells the filters that are built into Istio's proxy alone. They tell
// proxies of each other, and decide nothing.
func ofIstio(name string) bool { return name == "istio.metadata_exchange" || name == "istio.alpn" }

// plain is a filter chain without Istio's own filters.
func plain(t *testing.T, c *listenerv3.FilterChain) *listenerv3.FilterChain {
	t.Helper()
	c = proto.CloneOf(c)
	c.Filters = slices.DeleteFunc(c.Filters, func(f *listenerv3.Filter) bool { return ofIstio(f.GetName()) })
	changeManager(t, c, func(m *hcmv3.HttpConnectionManager) {
		m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return ofIstio(f.GetName()) })
	})
	return c
}

// changeManager changes the connection manager of a chain, if it has one.
func changeManager(t *testing.T, c *listenerv3.FilterChain, change func(*hcmv3.HttpConnectionManager)) {
	t.Helper()
	for _, f := range c.GetFilters() {
		m := new(hcmv3.HttpConnectionManager)
		if !f.GetTypedConfig().MessageIs(m) {
			continue
		}
		change(unpack(t, f.GetTypedConfig(), m))
		changed, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: changed}
	}
}

func write(t *testing.T, b *bootstrapv3.Bootstrap) string {
	t.Helper()
	content, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// stage is a real Envoy that runs one filter chain of Istio's in plain text,
// Bearergate, and an upstream.
type stage struct {
	address string
	asked   *gate
	seen    atomic.Pointer[http.Request] // by the upstream, last
}

// play runs a chain. Who it asks and where it leads are on this machine; all else
// is as Istio made it.
func play(t *testing.T, g generated, c chain) *stage {
	t.Helper()
	s := &stage{asked: demo(t), address: free(t)}
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.seen.Store(r.Clone(context.WithoutCancel(r.Context())))
	}))
	t.Cleanup(upstream.Close)
	only := plain(t, c.whole)
	only.FilterChainMatch, only.TransportSocket = nil, nil
	changeManager(t, only, func(m *hcmv3.HttpConnectionManager) {
		for _, r := range g.routes {
			if r.GetName() == m.GetRds().GetRouteConfigName() {
				m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: r}
			}
		}
	})
	b := &bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{
		Listeners: []*listenerv3.Listener{{
			Name: "listener", Address: address(t, s.address), FilterChains: []*listenerv3.FilterChain{only},
		}},
	}}
	for _, cluster := range g.clusters {
		to := upstream.Listener.Addr().String()
		if strings.HasPrefix(cluster.GetName(), "outbound|9191||") {
			to = s.asked.address
		}
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, local(t, cluster, to))
	}
	// Several run side by side: no shared memory.
	run(t, envoy(t, "--use-dynamic-base-id", "-l", "warning", "-c", write(t, b)), s.address)
	return s
}

// local is a cluster whose only endpoint is at that address, in plain text.
func local(t *testing.T, c *clusterv3.Cluster, to string) *clusterv3.Cluster {
	t.Helper()
	c = proto.CloneOf(c)
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.LbPolicy, c.LbConfig, c.EdsClusterConfig = clusterv3.Cluster_ROUND_ROBIN, nil, nil
	c.TransportSocket, c.TransportSocketMatches, c.UpstreamBindConfig, c.Filters = nil, nil, nil, nil
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: c.GetName(),
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(t, to)}},
		}}}},
	}
	return c
}

func address(t *testing.T, hostPort string) *corev3.Address {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", hostPort)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: tcp.IP.String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(tcp.Port)},
	}}}
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

// run starts a program, waits until it listens, and stops it with the test.
func run(t *testing.T, cmd *exec.Cmd, listens string) (stop func()) {
	t.Helper()
	log := new(strings.Builder)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ends is not what is tested
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(cmd.Path), log)
		}
	})
	t.Cleanup(stop)
	eventually(t, listens+" listens", func() bool {
		conn, err := net.DialTimeout("tcp", listens, time.Second)
		return err == nil && conn.Close() == nil
	})
	return stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// gate is a Bearergate beside the development authorization server.
type gate struct {
	address, token string
	stop           func()
}

var binary = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(root + "/.cache/bearergate")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

var (
	goodToken  = regexp.MustCompile(`(?s)# a JWT: 200.*?Bearer ([^']+)'`)
	answersOn  = regexp.MustCompile(`answers ext_authz on (\S+);`)
	noEnvoyEnv = []string{"PATH=", "ENVOY="}
)

// demo runs `bearergate demo` without an Envoy, which prints where Bearergate
// answers and a token that it takes.
func demo(t *testing.T) *gate {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "demo")
	cmd.Env = noEnvoyEnv
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := &gate{stop: sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // how it ends is not what is tested
	})}
	t.Cleanup(g.stop)
	text := new(strings.Builder)
	for lines := bufio.NewScanner(out); g.address == "" && lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if found := answersOn.FindStringSubmatch(lines.Text()); found != nil {
			g.address = found[1]
		}
	}
	found := goodToken.FindStringSubmatch(text.String())
	if g.address == "" || found == nil {
		t.Fatalf("got no address or no token of the demo:\n%s", text)
	}
	g.token = found[1]
	return g
}

// get asks for a path, and returns the status and what reached the upstream.
func (s *stage) get(t *testing.T, path string, header http.Header) (int, *http.Request) {
	t.Helper()
	s.seen.Store(nil)
	r, err := http.NewRequest(http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "api.example.com"
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "EOF") {
			return 0, s.seen.Load()
		}
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, s.seen.Load()
}

func (s *stage) bearer() http.Header {
	return http.Header{"Authorization": {"Bearer " + s.asked.token}}
}

// decides sends requests that Bearergate allows and refuses, stops it, and sends
// one more.
func (s *stage) decides(t *testing.T) {
	t.Helper()
	if status, seen := s.get(t, "/orders/1", nil); status != 401 || seen != nil {
		t.Errorf("no token: got %d, want 401 and nothing at the upstream", status)
	}
	if status, seen := s.get(t, "/orders/1", s.bearer()); status != 200 || seen == nil ||
		seen.Header.Get("X-Auth-Sub") != "alice" {
		t.Errorf("a good token: got %d, want 200 and the subject at the upstream: %v", status, seen)
	}
	s.asked.stop()
	if status, seen := s.get(t, "/orders/1", s.bearer()); status != 503 || seen != nil {
		t.Errorf("without Bearergate: got %d, want 503 and nothing at the upstream", status)
	}
}

// named finds a chain; Istio names those of known ports by port.
func named(t *testing.T, all []chain, name string) chain {
	t.Helper()
	for _, c := range all {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("no chain %s", name)
	return chain{}
}

func TestSidecarRuns(t *testing.T) {
	g := translate(t, load(t, sidecarFile), sidecar())
	play(t, g, named(t, g.chains(t, "virtualInbound"), "0.0.0.0_8080")).decides(t)
}

func TestGatewayRuns(t *testing.T) {
	g := translate(t, load(t, gatewayFile), ingress())
	play(t, g, g.chains(t, "0.0.0.0_443")[0]).decides(t)
}

func TestEnvoyFilterRuns(t *testing.T) {
	in := withEnvoyFilter(t, load(t, sidecarFile), "SIDECAR_INBOUND", "orders", "app.kubernetes.io/name: orders")
	g := translate(t, in, sidecar())
	s := play(t, g, named(t, g.chains(t, "virtualInbound"), "0.0.0.0_8080"))
	if status, _ := s.get(t, "/orders/1", nil); status != 401 {
		t.Errorf("no token: got %d, want 401", status)
	}
}

// TestConnectionsAreRefused: Istio asks about connections too, of which
// Bearergate knows no request and no token. Whoever speaks HTTP there, with a
// good token, gets nowhere.
func TestConnectionsAreRefused(t *testing.T) {
	g := translate(t, load(t, sidecarFile), sidecar())
	_, tcp := split(g.chains(t, "virtualInbound"))
	for _, c := range tcp {
		s := play(t, g, c)
		if status, seen := s.get(t, "/orders/1", s.bearer()); status != 0 || seen != nil {
			t.Errorf("%s: got %d, want a closed connection", c.name, status)
		}
	}
}

// TestConnectionsPassTheEnvoyFilter is why the documentation warns of it.
func TestConnectionsPassTheEnvoyFilter(t *testing.T) {
	in := withEnvoyFilter(t, load(t, sidecarFile), "SIDECAR_INBOUND", "orders", "app.kubernetes.io/name: orders")
	g := translate(t, in, sidecar())
	_, tcp := split(g.chains(t, "virtualInbound"))
	s := play(t, g, tcp[0])
	if status, seen := s.get(t, "/orders/1", nil); status != 200 || seen == nil {
		t.Errorf("got %d, want what the documentation warns of", status)
	}
}

// TestPathsWithoutPathNormalization: Istio leaves them, and Bearergate refuses
// them.
func TestPathsWithoutPathNormalization(t *testing.T) {
	for merge, want := range map[bool]int{true: 200, false: 400} {
		in := load(t, sidecarFile)
		if !merge {
			in.mesh.PathNormalization = meshOf(t, "{}").GetPathNormalization()
		}
		g := translate(t, in, sidecar())
		s := play(t, g, named(t, g.chains(t, "virtualInbound"), "0.0.0.0_8080"))
		if status, _ := s.get(t, "//orders//1", s.bearer()); status != want {
			t.Errorf("merge %v: got %d, want %d", merge, status, want)
		}
	}
}

// TestSpellingsOfIdentityHeaders is what the files' headers say of them.
func TestSpellingsOfIdentityHeaders(t *testing.T) {
	g := translate(t, load(t, sidecarFile), sidecar())
	s := play(t, g, named(t, g.chains(t, "virtualInbound"), "0.0.0.0_8080"))
	header := s.bearer()
	for _, name := range []string{"X-Auth-Sub", "X_Auth_Sub", "X.Auth.Sub"} {
		header[name] = []string{"mallory"}
	}
	status, seen := s.get(t, "/orders/1", header)
	if status != 200 || seen == nil {
		t.Fatalf("got %d, want 200", status)
	}
	for name, want := range map[string]bool{"X-Auth-Sub": false, "X_auth_sub": false, "X.auth.sub": true} {
		got := false
		for key, values := range seen.Header {
			got = got || strings.EqualFold(key, name) && slices.Contains(values, "mallory")
		}
		if got != want {
			t.Errorf("%s: got %v of the client's own at the upstream, want %v: %v", name, got, want, seen.Header)
		}
	}
}
