package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/bearergate/bearergate/test/harness"
)

const (
	timeoutHeader  = "x-envoy-upstream-rq-timeout-ms"
	expectedHeader = "X-Envoy-Expected-Rq-Timeout-Ms"
)

const streamRules = `rules:
  - {name: stream, match: {paths: ["/stream/**"]}, stream_until_expiry: true}
  - {name: maybe, match: {paths: ["/maybe/**"]}, access: optional, stream_until_expiry: true}
  - {name: shadow, match: {paths: ["/shadow/**"]}, stream_until_expiry: true, enforce: false}
  - {name: plain, match: {paths: ["/plain/**"]}}
  - {name: watch, match: {paths: [/grpc.health.v1.Health/Watch]}, stream_until_expiry: true}
`

// Changes to the chain.
var (
	internalClients = []string{"use_remote_address: true", "use_remote_address: true\n" +
		"                internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"}
	noEnvoyHeaders = []string{"http.router.v3.Router", "http.router.v3.Router\n" +
		"                      suppress_envoy_headers: true"}
	expectedCounts = []string{"http.router.v3.Router", "http.router.v3.Router\n" +
		"                      respect_expected_rq_timeout: true"}
)

// routesFor has a route of each kind of limit before the one for everything.
func routesFor() []string {
	const all = "                        - match: {prefix: /}\n                          route: {cluster: upstream}"
	routes := ""
	for path, limit := range map[string]string{
		"short": "timeout: 1s", "off": "timeout: 0s", "bounded": "max_stream_duration: {max_stream_duration: 1s}",
	} {
		routes += fmt.Sprintf("                        - match: {path: /stream/%s}\n"+
			"                          route: {cluster: upstream, %s}\n", path, limit)
	}
	return []string{all, routes + all}
}

// events is an upstream that sends one event after another until nobody listens.
type events struct {
	mu    sync.Mutex
	seen  map[string]http.Header // by query
	ended map[string]time.Time
}

func (e *events) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.seen[r.URL.RawQuery] = r.Header.Clone()
	e.mu.Unlock()
	out := http.NewResponseController(w)
	_ = out.EnableFullDuplex()
	if r.URL.Path == "/stream/silent" {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for n := 0; r.Context().Err() == nil; n++ {
		_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
		_ = out.Flush()
		time.Sleep(50 * time.Millisecond)
	}
	e.mu.Lock()
	e.ended[r.URL.RawQuery] = time.Now()
	e.mu.Unlock()
}

func (e *events) header(query, name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[query].Get(name)
}

// upstreamEnd waits for the end, of which the upstream hears after the client.
func (e *events) upstreamEnd(query string) time.Time {
	for range 200 {
		e.mu.Lock()
		at := e.ended[query]
		e.mu.Unlock()
		if !at.IsZero() {
			return at
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Time{}
}

type streamStage struct {
	*stage
	*events
}

func newStreamStage(t *testing.T, changes ...string) *streamStage {
	t.Helper()
	s := &streamStage{&stage{issuer: harness.Issuer(t)}, &events{seen: map[string]http.Header{}, ended: map[string]time.Time{}}}
	upstream := httptest.NewServer(s.events)
	t.Cleanup(upstream.Close)
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+streamRules).Ready(t)
	s.envoy = harness.Gateway(t, s.service.GRPC, upstream.Listener.Addr().String(), changes...)
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/stream/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	return s
}

// streamed is what became of a response.
type streamed struct {
	status       int
	events       int
	last, closed time.Time // the last event, and the end that the client sees
	err          error
}

// stream reads a response to its end, or to the end of ctx.
func stream(ctx context.Context, client *http.Client, method, url string, header http.Header) streamed {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return streamed{err: err}
	}
	if method == http.MethodPost {
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	}
	req.Header = header
	return read(client, req)
}

// read reads the events of the response.
func read(client *http.Client, req *http.Request) streamed {
	resp, err := client.Do(req)
	if err != nil {
		return streamed{err: err}
	}
	defer resp.Body.Close()
	got := streamed{status: resp.StatusCode}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			got.events++
			got.last = time.Now()
		}
	}
	got.err, got.closed = lines.Err(), time.Now()
	return got
}

// delayedClose is how long Envoy waits for an HTTP/1.1 client to close a connection on
// which nothing comes any more (delayed_close_timeout).
const delayedClose = 500 * time.Millisecond

// endsAt says whether the stream was cut off at that time, within a second.
func (s streamed) endsAt(at time.Time) bool {
	return s.status == 200 && s.events > 0 && s.err != nil && !errors.Is(s.err, context.DeadlineExceeded) &&
		s.last.After(at.Add(-300*time.Millisecond)) && s.last.Before(at.Add(700*time.Millisecond)) &&
		s.closed.Before(at.Add(time.Second))
}

func (s streamed) String() string {
	return fmt.Sprintf("%d, %d events, the last one at %s, closed at %s: %v", s.status, s.events,
		s.last.Format(time.StampMilli), s.closed.Format(time.StampMilli), s.err)
}

// lives says whether nobody but the client ended it.
func (s streamed) lives() bool { return s.status == 200 && errors.Is(s.err, context.DeadlineExceeded) }

// TestStreamsEndWithTheirToken, through the chain as shipped and others: whatever the
// client says, and whatever the timeout of the route.
func TestStreamsEndWithTheirToken(t *testing.T) { // docs/contract.md §13, M-17, E-13
	const at, lives = "ends with the token", "lives on"
	long, brief := http.Header{timeoutHeader: {"60000"}}, http.Header{timeoutHeader: {"300"}}
	type want map[string]string // by the name of a case; else: ends with the token
	for chain, tc := range map[string]struct {
		changes []string
		want    want
		told    bool // the upstream is, when to expect the end
	}{
		"as shipped": {nil, want{}, true},
		// Envoy takes internal clients at their word, where the rule has nothing to say.
		"internal clients":        {internalClients, want{"plain, brief": "300ms"}, true},
		"without Envoy's headers": {noEnvoyHeaders, want{}, false},
	} {
		t.Run(chain, func(t *testing.T) {
			t.Parallel()
			s := newStreamStage(t, append(routesFor(), tc.changes...)...)
			exp := time.Unix(time.Now().Unix()+4, 0)
			token := s.jwt(claims{"exp": exp.Unix()})
			endless := s.issuer.Opaque("", claims{"aud": "api", "sub": "alice", "exp": nil})
			h2 := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
			h2.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
			cases := map[string]struct {
				method, path, token string
				header              http.Header
				client              *http.Client
				want                string
			}{
				"server-sent events":   {"GET", "/stream/x", token, nil, nil, at},
				"answer to a POST":     {"POST", "/stream/x", token, nil, nil, at},
				"HTTP/2":               {"GET", "/stream/x", token, nil, h2, at},
				"client wants more":    {"GET", "/stream/x", token, long, nil, at},
				"client wants less":    {"GET", "/stream/x", token, brief, nil, at},
				"client says it twice": {"GET", "/stream/x", token, http.Header{timeoutHeader: {"60000", "60000"}}, nil, at},
				"client wants none":    {"GET", "/stream/x", token, http.Header{timeoutHeader: {"0"}}, nil, at},
				"another spelling":     {"GET", "/stream/x", token, http.Header{"X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms": {"300"}, "X-Envoy-Expected-Rq-Timeout-Ms": {"60000"}}, nil, at},
				"optional":             {"GET", "/maybe/x", token, long, nil, at},
				// A timeout of the route does not count beside the token's.
				"longer than the route":   {"GET", "/stream/short", token, nil, nil, at},
				"route without a timeout": {"GET", "/stream/off", token, nil, nil, at},
				// max_stream_duration does, whichever is shorter.
				"stream duration": {"GET", "/stream/bounded", token, nil, nil, "1s"},
				// Nothing to go by.
				"no exp":            {"GET", "/stream/x", endless, brief, nil, lives},
				"optional, nothing": {"GET", "/maybe/x", "", brief, nil, lives},
				"shadow":            {"GET", "/shadow/x", token, brief, nil, lives},
				"plain":             {"GET", "/plain/x", token, nil, nil, lives},
				"plain, brief":      {"GET", "/plain/x", token, brief, nil, lives},
			}
			ctx, cancel := context.WithDeadline(t.Context(), exp.Add(3*time.Second))
			defer cancel()
			var wg sync.WaitGroup
			for name, c := range cases {
				header := c.header.Clone()
				if header == nil {
					header = http.Header{}
				}
				if c.token != "" {
					header.Set("Authorization", "Bearer "+c.token)
				}
				client := c.client
				if client == nil {
					client = http.DefaultClient
				}
				query := strings.NewReplacer(" ", "-", ",", "", "/", "").Replace(name)
				wg.Go(func() {
					began := time.Now()
					got := stream(ctx, client, c.method, s.envoy.URL+c.path+"?"+query, header)
					want := c.want
					if other, ok := tc.want[name]; ok {
						want = other
					}
					ok := want == lives && got.lives() || want == at && got.endsAt(exp)
					if limit, err := time.ParseDuration(want); err == nil {
						ok = got.endsAt(began.Add(limit))
					}
					if !ok {
						t.Errorf("%s: got %s; want: %s (exp is %s)", name, got, want, exp.Format(time.StampMilli))
					}
					if late := s.upstreamEnd(query).Sub(exp); want == at && (late < -100*time.Millisecond || late > time.Second) {
						t.Errorf("%s: the upstream's part ended %s after exp", name, late)
					}
					if s.header(query, timeoutHeader) != "" || want == at && (s.header(query, expectedHeader) != "") != tc.told {
						t.Errorf("%s: the upstream got %v", name, s.seen[query])
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestExpectedTimeoutOfAnInternalClient: what a router that goes by another header
// makes of ours.
func TestExpectedTimeoutOfAnInternalClient(t *testing.T) {
	harness.OnlyExtAuthz(t, "a module ends what ext_authz cannot")
	s := newStreamStage(t, append(internalClients, expectedCounts...)...)
	exp := time.Unix(time.Now().Unix()+3, 0)
	ctx, cancel := context.WithDeadline(t.Context(), exp.Add(2*time.Second))
	defer cancel()
	header := bearer(s.jwt(claims{"exp": exp.Unix()}))
	header.Set(expectedHeader, "60000")
	if got := stream(ctx, http.DefaultClient, "GET", s.envoy.URL+"/stream/x?a", header); !got.lives() {
		t.Errorf("got %s", got)
	}
}

// TestGRPCStreamEndsWithItsToken: a call whose request is complete, as a reset.
func TestGRPCStreamEndsWithItsToken(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	s := &stage{issuer: harness.Issuer(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+streamRules).Ready(t)
	s.envoy = harness.Gateway(t, s.service.GRPC, lis.Addr().String(), http2Upstream...)
	conn, err := grpc.NewClient(strings.TrimPrefix(s.envoy.URL, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exp := time.Unix(time.Now().Unix()+3, 0)
	ctx, cancel := context.WithDeadline(t.Context(), exp.Add(3*time.Second))
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+s.jwt(claims{"exp": exp.Unix()}))
	watch, err := healthv1.NewHealthClient(conn).Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	updates := 0
	for ; err == nil; updates++ {
		_, err = watch.Recv()
	}
	if late := time.Since(exp); updates < 2 || late < -100*time.Millisecond || late > time.Second {
		t.Errorf("got %d updates, and %v, %s after exp", updates-1, err, late)
	}
}

// TestNothingBegunIsA504: the client of an upstream that has not answered by then hears of it.
func TestNothingBegunIsA504(t *testing.T) {
	s := newStreamStage(t)
	exp := time.Unix(time.Now().Unix()+2, 0)
	got := stream(t.Context(), http.DefaultClient, "GET", s.envoy.URL+"/stream/silent", bearer(s.jwt(claims{"exp": exp.Unix()})))
	if late := got.closed.Sub(exp); got.status != 504 || late < -100*time.Millisecond || late > time.Second {
		t.Errorf("got %s, want 504 at %s", got, exp.Format(time.StampMilli))
	}
	harness.Eventually(t, "the access log says why", func() bool {
		return strings.Contains(s.envoy.String(), `"flags":"UT"`)
	})
}

// TestChainThatDoesNotLetUs: no stream without its end.
func TestChainThatDoesNotLetUs(t *testing.T) { // BG021
	harness.OnlyExtAuthz(t, "modules are held to no decoder_header_mutation_rules")
	s := newStreamStage(t, "x-envoy-upstream-rq-timeout-ms|", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for path, want := range map[string]int{"/stream/x": 500, "/plain/x": 200} {
		if got := stream(ctx, http.DefaultClient, "GET", s.envoy.URL+path, bearer(s.jwt(nil))); got.status != want {
			t.Errorf("%s: got %s, want %d", path, got, want)
		}
	}
}

// TestUnfinishedRequestIsNotEnded: Envoy counts from the end of the request.
func TestUnfinishedRequestIsNotEnded(t *testing.T) {
	harness.OnlyExtAuthz(t, "a module ends what ext_authz cannot")
	s := newStreamStage(t)
	exp := time.Unix(time.Now().Unix()+2, 0)
	body, more := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.envoy.URL+"/stream/x?a", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(s.jwt(claims{"exp": exp.Unix()}))
	began := time.Now()
	go func() { _, _ = io.WriteString(more, "{") }()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for time.Since(exp) < 1500*time.Millisecond {
		if !lines.Scan() {
			t.Fatalf("ended %s after exp: %v", time.Since(exp), lines.Err())
		}
	}
	left := exp.Sub(began) // was granted, and runs from now
	_ = more.Close()
	finished := time.Now()
	for lines.Scan() {
	}
	if took := time.Since(finished); took > left+time.Second+delayedClose || took < left-300*time.Millisecond {
		t.Errorf("ended %s after the request, want %s", took, left)
	}
}

// TestWebSocketsOutliveTheirToken until max_stream_duration, which the chain has.
func TestWebSocketsOutliveTheirToken(t *testing.T) {
	harness.OnlyExtAuthz(t, "a module ends what ext_authz cannot")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, buffer)
	}))
	t.Cleanup(upstream.Close)
	s := &stage{issuer: harness.Issuer(t)}
	s.service = harness.Serve(t, harness.Config(s.issuer.URL())+streamRules).Ready(t)
	s.envoy = harness.Gateway(t, s.service.GRPC, upstream.Listener.Addr().String(),
		"max_stream_duration: 3600s", "max_stream_duration: 4s")
	harness.Eventually(t, "Envoy reaches Bearergate", func() bool {
		resp, _ := s.get(t, "/stream/", nil)
		return resp.StatusCode == http.StatusUnauthorized
	})
	exp := time.Unix(time.Now().Unix()+2, 0)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.envoy.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	_, _ = fmt.Fprintf(conn, "GET /stream/ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n",
		s.jwt(claims{"exp": exp.Unix()}))
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %+v, %v", resp, err)
	}
	_ = conn.SetReadDeadline(began.Add(10 * time.Second))
	for err == nil {
		_, _ = io.WriteString(conn, "hello\n")
		_, err = reader.ReadString('\n')
		time.Sleep(50 * time.Millisecond)
	}
	if ended := time.Since(began); ended < 3900*time.Millisecond || ended > 5*time.Second+delayedClose {
		t.Errorf("ended after %s with %v, want max_stream_duration", ended, err)
	}
}

// TestMCPStreamEndsWithItsToken: the answer of a real MCP server to the POST of a call
// that takes long, with the chain and the rules as shipped.
func TestMCPStreamEndsWithItsToken(t *testing.T) { // M-17
	s := newMCPStage(t)
	exp := time.Unix(time.Now().Unix()+3, 0)
	ctx, cancel := context.WithDeadline(t.Context(), exp.Add(3*time.Second))
	defer cancel()
	const version = "2025-11-25"
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"watch","arguments":{"name":"x"},"_meta":{"progressToken":"p"}}}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.resource, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	token := s.issuer.JWT(claims{"aud": s.resource, "sub": "alice", "scope": "mcp:read mcp:write", "exp": exp.Unix()})
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, timeoutHeader: {"60000"},
		"Accept": {"application/json, text/event-stream"}, "Mcp-Protocol-Version": {version},
	}
	got := read(http.DefaultClient, req)
	if !got.endsAt(exp) {
		t.Errorf("got %s, want the end at %s", got, exp.Format(time.StampMilli))
	}
}
