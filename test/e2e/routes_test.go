package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	chains "github.com/bearergate/bearergate/envoy/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// newRoutesStage has envoy/config/routes.yaml, and tokens of two issuers.
func newRoutesStage(t *testing.T, changes ...string) (s *stage, staff *devissuer.Issuer) {
	t.Helper()
	customers, staff, upstream := harness.Issuer(t), harness.Issuer(t), harness.Echo(t)
	a := chains.Addresses{
		Listener: harness.Free(t), Bearergate: harness.Free(t), Upstream: upstream.Address, Admin: harness.Free(t),
	}
	service := harness.ServeAt(t, a.Bearergate, harness.Free(t), fmt.Sprintf(`server: {grpc_address: "$GRPC", admin_address: "$ADMIN"}
issuers:
  - {issuer: %q, audience: api, insecure_http: true}
  - {issuer: %q, audience: api, insecure_http: true}
rules:
  - {name: open, match: {paths: [/nowhere]}, access: public}
`, customers.URL(), staff.URL())).Ready(t)
	changes = append([]string{"https://staff.example.com", staff.URL()}, changes...)
	s = &stage{issuer: customers, service: service, upstream: upstream}
	s.envoy = harness.StartEnvoy(t, "routes.yaml", a, changes...)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	return s, staff
}

func TestSixRoutes(t *testing.T) { // docs/contract.md §3
	s, staff := newRoutesStage(t)
	token := func(change claims) string {
		all := claims{"aud": "api", "scope": ""}
		for name, value := range change {
			all[name] = value
		}
		return s.issuer.JWT(all)
	}
	plain, read := token(nil), token(claims{"scope": "orders:read"})
	write, partner := token(claims{"scope": "orders:read orders:write"}), token(claims{"aud": "partners-api"})
	employee := staff.JWT(claims{"aud": "api"})
	for _, tc := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/public/x", "", 200}, {"GET", "/publicity", "", 401},
		{"GET", "/orders/1", "", 401}, {"GET", "/orders/1", plain, 403}, {"GET", "/orders/1", read, 200},
		{"POST", "/orders", read, 403}, {"POST", "/orders", write, 200},
		{"GET", "/partners/x", plain, 401}, {"GET", "/partners/x", partner, 200}, {"GET", "/other", partner, 401},
		{"GET", "/staff/x", plain, 401}, {"GET", "/staff/x", employee, 200},
		{"GET", "/legacy/x", "", 200},
		{"GET", "/other", plain, 200}, {"GET", "/other", employee, 200}, {"GET", "/other", "", 401},
	} {
		req, err := http.NewRequest(tc.method, s.envoy.URL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.token != "" {
			req.Header.Set("Authorization", "Bearer "+tc.token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tc.want {
			t.Errorf("%s %s: got %d %s, want %d", tc.method, tc.path, resp.StatusCode,
				resp.Header.Get("WWW-Authenticate"), tc.want)
		}
	}
}

// TestUnaskedRouteRefusesAmbiguousPaths has the chain alone keep what /legacy
// leads to apart from everything else: Bearergate is not asked there.
func TestUnaskedRouteRefusesAmbiguousPaths(t *testing.T) {
	harness.OnlyExtAuthz(t, "with the binary gone a module goes on")
	const escaped = "path_with_escaped_slashes_action: "
	for name, changes := range map[string][]string{
		"chain as shipped":     nil,
		"encoded slashes kept": {escaped + "REJECT_REQUEST", escaped + "KEEP_UNCHANGED"},
		"slashes kept":         {"merge_slashes: true", "merge_slashes: false"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newRoutesStage(t, changes...)
			s.service.Kill() // so that nobody but the chain answers
			s.upstream.Take()
			refused := []string{
				"/legacy/%2e%2e;/orders/1", "/legacy/%2e%2e;x=y/orders/1", "/legacy/x;y=z",
				"/legacy/..%3b/orders/1", "/legacy/x%3By", "/legacy/;/orders/1", ";/legacy",
				"/legacy/%252e%252e/x", "/legacy/%25%32%65%25%32%65/x", "/legacy/%2%65%2%65/x",
				"/legacy/%252%65/x", "/legacy/%25252e/x", "/legacy/x%2fy", "/legacy/x%2Fy", "/legacy/x%5cy",
				"/legacy/x%5Cy", "/legacy/x%252fy", "/legacy/x%00", "/legacy/x%0d%0ay", "/legacy/x%1f",
				"/legacy/x%7f", "/legacy/x\ty", "/legacy/x\x7f", "/legacy/x\x01", "/legacy/%", "/legacy/%2",
				"/legacy/%zz", "/legacy/%u002e", "/legacy/%c0%ae%c0%ae/x", "/legacy/%e0%80%ae/x",
				"/legacy/%f0%80%80%ae/x", "/legacy/%ff", "/legacy/%c2/x", "/legacy/%e2%82/x", "/legacy/x#y",
				"/legacy/x;?y",
			}
			if name == "slashes kept" {
				refused = append(refused, "//legacy/x", "/legacy//x", "/legacy/x//")
			}
			for _, path := range refused {
				if got := rawTo(t, s.envoy.URL, "api.example.com", path); got != 400 && (path[0] == '/' || got != 404) {
					t.Errorf("%q: got %d, want 400", path, got)
				}
			}
			for _, r := range s.upstream.Take() {
				t.Errorf("%q reached the upstream", r.RequestURI)
			}
			for _, path := range []string{
				"/legacy", "/legacy/", "/legacy/x/", "/legacy?", "/legacy/x?a=1;b=%2e%2e%2f..//\\%00%zz?",
				"/legacy/a%20b", "/legacy/%41%7e%3a%3c%23%3f", "/legacy/%c3%a9/%E2%82%AC/%f0%9f%98%80",
				"/legacy/.well-known/x..y/...", "/legacy/a/../b/./c", "/legacy/@me:80+(x)!*'~,=&$[]^|{}",
			} {
				if got := rawTo(t, s.envoy.URL, "api.example.com", path); got != 200 {
					t.Errorf("%q: got %d, want 200", path, got)
				}
			}
			if name != "slashes kept" {
				if got := rawTo(t, s.envoy.URL, "api.example.com", "/legacy//x"); got != 200 {
					t.Errorf("slashes that Envoy merges: got %d, want 200", got)
				}
			}
			// What Envoy resolves itself leads to a route that asks, or does not, by the path that the upstream gets.
			for _, path := range []string{
				"/", "/x", "/public/x", "/orders/1", "/legacy/../x", "/legacy/%2e./x", "/legacy/..;/orders/1",
			} {
				if got := rawTo(t, s.envoy.URL, "api.example.com", path); got != 503 {
					t.Errorf("%s: got %d, want 503: Bearergate is to be asked", path, got)
				}
			}
		})
	}
}

// TestRoutesForUpstreamsThatIgnoreCase has the chain say it, as its comment tells.
func TestRoutesForUpstreamsThatIgnoreCase(t *testing.T) {
	const staff = "{path_separated_prefix: /staff}"
	for settings, want := range map[string]int{staff: 200, "{path_separated_prefix: /staff, case_sensitive: false}": 401} {
		s, _ := newRoutesStage(t, staff, settings)
		for _, path := range []string{"/STAFF/x", "/Staff", "/sTAFF/"} {
			if resp, _ := s.get(t, path, bearer(s.jwt(nil))); resp.StatusCode != want {
				t.Errorf("%s with %s: got %d, want %d for a token of customers", path, settings, resp.StatusCode, want)
			}
		}
	}
}

// TestRequestsWithoutPath are no way around the first route either.
func TestRequestsWithoutPath(t *testing.T) {
	s, _ := newRoutesStage(t)
	s.upstream.Take()
	for _, line := range []string{
		"CONNECT legacy:80", "CONNECT api.example.com:443", "OPTIONS *",
		"GET http://api.example.com/legacy/..;/x", "GET legacy",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.envoy.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n", line)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 400 || len(s.upstream.Take()) != 0 {
			t.Errorf("%s: got %d, want a refusal", line, resp.StatusCode)
		}
	}
}

// lenient lets Envoy route what it would tidy up or refuse.
var lenient = [][]string{
	nil, // the chain as shipped
	{"normalize_path: true", "normalize_path: false"},
	{"merge_slashes: true", "merge_slashes: false"},
	{"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED"},
	{"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD"},
	{
		"normalize_path: true", "normalize_path: false", "merge_slashes: true", "merge_slashes: false",
		"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED",
	},
}

// tricky are paths that someone may read as something else.
func tricky() []string {
	paths := []string{
		"/public/x", "/public", "/public/", "/publicx", "/Public/x", "/x/public", "/public?x", "/%70ublic/x",
		"/publi%63/x",
	}
	for _, up := range []string{
		"..", "%2e%2e", "%2E.", ".%2e", "..;", "..;x=y", "%2e%2e;", "..%00", "..%20", "%252e%252e", "..%c0%af", "．．",
		"%ef%bc%8e%ef%bc%8e", "...",
	} {
		for _, slash := range []string{"/", "//", "%2f", "%2F", "%5c", "\\", "%252f", "/./", "/%2e/"} {
			paths = append(paths, "/public"+slash+up+slash+"admin", "/public/x"+slash+up+"/"+up+slash+"admin",
				slash+"public"+slash+"x", "/admin"+slash+up+slash+"public/x")
		}
	}
	return paths
}

// TestPathsMeanTheSameToEnvoyAndBearergate sends tricky paths without a token:
// what passes as public must be public as the upstream sees it too, however
// Envoy is set and the upstream normalises (E-10, A-13, A-14).
func TestPathsMeanTheSameToEnvoyAndBearergate(t *testing.T) {
	for n, changes := range lenient {
		t.Run(fmt.Sprint("setting ", n), func(t *testing.T) {
			s := newStage(t, changes...)
			passed := 0
			for _, path := range tricky() {
				raw(t, s.envoy.URL, path, "")
				for _, r := range s.upstream.Take() {
					passed++
					if got := normalised(r.RequestURI); got != "/public" && !strings.HasPrefix(got, "/public/") {
						t.Errorf("%s passed as public and reached the upstream as %s, which is %s", path, r.RequestURI, got)
					}
				}
			}
			if passed < 5 {
				t.Errorf("only %d public paths passed", passed)
			}
		})
	}
}

// normalised is what a careless upstream makes of a path: it decodes twice, cuts
// parameters off, takes \ for /, and resolves dots.
func normalised(target string) string {
	path, _, _ := strings.Cut(target, "?")
	for range 2 {
		path = decoded(path)
	}
	path = strings.ReplaceAll(path, `\`, "/")
	var out []string
	for _, segment := range strings.Split(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		segment = strings.TrimRight(segment, "\x00")
		switch segment {
		case "", ".":
		case "..":
			out = out[:max(0, len(out)-1)]
		default:
			out = append(out, segment)
		}
	}
	return "/" + strings.Join(out, "/")
}

func decoded(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		var b byte
		if s[i] == '%' && i+2 < len(s) {
			if n, err := fmt.Sscanf(s[i+1:i+3], "%02x", &b); n == 1 && err == nil {
				out.WriteByte(b)
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func TestCORSPreflight(t *testing.T) { // B-09
	s := newStage(t)
	preflight := func(path string) int {
		req, err := http.NewRequest(http.MethodOptions, s.envoy.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://browser.example")
		req.Header.Set("Access-Control-Request-Method", "POST")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if got := preflight("/x"); got != 401 {
		t.Errorf("got %d, want 401: a preflight is a request like any other", got)
	}
	if got := preflight("/public/x"); got != 200 {
		t.Errorf("got %d, want 200 where the operator exempts it", got)
	}
}

// behind returns a stage whose upstream is h.
func behind(t *testing.T, h http.Handler, changes ...string) *stage {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return behindAddress(t, server.Listener.Addr().String(), changes...)
}

func behindAddress(t *testing.T, address string, changes ...string) *stage {
	t.Helper()
	s := &stage{issuer: harness.Issuer(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+rules).Ready(t)
	s.envoy = harness.Gateway(t, s.service.GRPC, address, changes...)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	return s
}

func TestWebSocketUpgrade(t *testing.T) {
	s := behind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("X-Auth-Sub") != "alice" ||
			r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := buffer.ReadString('\n')
		_, _ = io.WriteString(conn, "echo "+line)
	}))
	dial := func(authorization string) (net.Conn, *bufio.Reader, *http.Response) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.envoy.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", authorization)
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, reader, resp
	}
	if _, _, resp := dial(""); resp.StatusCode != 401 {
		t.Errorf("no token: got %d, want 401", resp.StatusCode)
	}
	conn, reader, resp := dial("Authorization: Bearer " + s.jwt(nil) + "\r\n")
	if resp.StatusCode != 101 {
		t.Fatalf("got %d, want 101", resp.StatusCode)
	}
	_, _ = io.WriteString(conn, "hello\n")
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if line, err := reader.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestServerSentEvents(t *testing.T) {
	release := make(chan struct{})
	s := behind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: for %s\n\n", r.Header.Get("X-Auth-Sub"))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer close(release)
	req, err := http.NewRequest(http.MethodGet, s.envoy.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(s.jwt(nil))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "data: for alice\n" {
		t.Errorf("got %q, %v; want the first event while the stream is open", line, err)
	}
}

// http2Upstream changes the chain for an upstream that speaks gRPC.
var http2Upstream = []string{
	"    - name: upstream\n      type: STATIC\n", "    - name: upstream\n      type: STATIC\n      typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}\n",
}

func TestGRPCUpstream(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	s := behindAddress(t, lis.Addr().String(), http2Upstream...)
	conn, err := grpc.NewClient(strings.TrimPrefix(s.envoy.URL, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := healthv1.NewHealthClient(conn)
	for token, want := range map[string]codes.Code{
		"Bearer " + s.jwt(nil): codes.OK, "": codes.Unauthenticated, "Bearer " + s.jwt(claims{"aud": "x"}): codes.Unauthenticated,
	} {
		ctx := t.Context()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", token)
		}
		if _, err := client.Check(ctx, &healthv1.HealthCheckRequest{}); status.Code(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	s.issuer.Behave(devissuer.PathIntrospection, devissuer.Behaviour{Status: 500})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer opaque")
	if _, err := client.Check(ctx, &healthv1.HealthCheckRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("authorization server down: got %v, want Unavailable", err)
	}
}
