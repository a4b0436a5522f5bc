package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/metadata"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
	"github.com/bearergate/bearergate/internal/config"
	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/internal/metrics"
	"github.com/bearergate/bearergate/internal/service"
	"github.com/bearergate/bearergate/validation"
)

// silent clears what the machine that runs the tests may have set.
func silent(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, "")
	}
}

func TestOnlyTheVariablesAskForIt(t *testing.T) {
	for name, tc := range map[string]struct {
		set             map[string]string
		traces, metrics bool
	}{
		"nothing":              {nil, false, false},
		"an exporter":          {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, true, false},
		"of metrics":           {map[string]string{"OTEL_METRICS_EXPORTER": "console"}, false, true},
		"an endpoint":          {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1"}, true, true},
		"of traces":            {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:1"}, true, false},
		"of the metrics":       {map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://a:1"}, false, true},
		"a name is no request": {map[string]string{"OTEL_SERVICE_NAME": "gate", "OTEL_TRACES_SAMPLER": "always_on"}, false, false},
		"none": {map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none",
		}, false, false},
		"disabled": {map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True",
		}, false, false},
		"not disabled": {map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			silent(t)
			for name, value := range tc.set {
				t.Setenv(name, value)
			}
			if traces, metrics := asked("TRACES"), asked("METRICS"); traces != tc.traces || metrics != tc.metrics {
				t.Errorf("got %t and %t, want %t and %t", traces, metrics, tc.traces, tc.metrics)
			}
		})
	}
}

func TestOffIsFree(t *testing.T) {
	silent(t)
	before := runtime.NumGoroutine()
	o := ExportOptions{Log: slog.New(slog.DiscardHandler)}
	traces, push := StartTraces(t.Context(), o), StartPush(t.Context(), o, prometheus.NewRegistry())
	if traces != nil || push != nil || runtime.NumGoroutine() != before {
		t.Errorf("got %v, %v and %d goroutines, want nothing and %d", traces, push, runtime.NumGoroutine(), before)
	}
	c, d, v := traces.Checks(), traces.Discovery(), traces.Validation()
	if c.Started != nil || c.Ended != nil || d.Started != nil || d.Ended != nil || v.Started != nil || v.Ended != nil {
		t.Error("somebody is told")
	}
	if traces.Transport(http.DefaultTransport) != http.DefaultTransport {
		t.Error("calls go another way")
	}
	traces.Close(t.Context())
	push.Close(t.Context())
}

// The exporter of Prometheus would listen on a port; /metrics serves the same.
func TestMetricsForPrometheusAreNotServedTwice(t *testing.T) {
	silent(t)
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	o := ExportOptions{Log: slog.New(slog.DiscardHandler)}
	if push := StartPush(t.Context(), o, prometheus.NewRegistry()); push != nil {
		t.Error("got an exporter, want none")
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Variables are often set for a whole cluster: a gate that does not start because of one
// would be an outage.
func TestVariablesThatCannotBeFollowedAreLogged(t *testing.T) {
	for name, set := range map[string][2]string{
		"exporter": {"OTEL_TRACES_EXPORTER", "zipkin"}, "protocol": {"OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"},
	} {
		t.Run(name, func(t *testing.T) {
			silent(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
			t.Setenv(set[0], set[1])
			if name == "exporter" {
				t.Setenv("OTEL_METRICS_EXPORTER", set[1])
			}
			var log lines
			o := ExportOptions{Log: log.logger()}
			if StartTraces(t.Context(), o) != nil || StartPush(t.Context(), o, prometheus.NewRegistry()) != nil {
				t.Error("got exporters, want none")
			}
			if got := strings.Count(log.String(), "cannot be followed"); got != 2 {
				t.Errorf("got %s, want two lines", &log)
			}
		})
	}
}

// A receiver that is gone, or that accepts and says nothing, is nobody's trouble but its
// own: the Checks go on, one line a minute is logged, and the end is not held up for long.
func TestReceiverThatIsDown(t *testing.T) {
	silentOne, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silentOne.Close()
	for name, address := range map[string]string{"gone": "127.0.0.1:1", "silent": silentOne.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			silent(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+address)
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
			t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
			t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
			t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
			var log lines
			traces := StartTraces(t.Context(), ExportOptions{Log: log.logger()})
			checks := server(traces, authz.Decision{Reason: authz.Allowed})
			for range 100 {
				began := time.Now()
				for range 10 {
					checkOnce(t.Context(), t, checks, nil)
				}
				if took := time.Since(began); took > time.Second {
					t.Fatalf("ten Checks took %s", took)
				}
				time.Sleep(5 * time.Millisecond)
			}
			began := time.Now()
			traces.Close(t.Context())
			if took := time.Since(began); took > flushTimeout+time.Second {
				t.Errorf("the end took %s, want at most %s", took, flushTimeout)
			}
			if got := strings.Count(log.String(), "cannot be sent"); got != 1 {
				t.Errorf("got %d lines, want 1: %s", got, &log)
			}
		})
	}
}

// decided is a policy of one decision.
type decided authz.Decision

func (d decided) Decide(context.Context, *authz.Request) authz.Decision { return authz.Decision(d) }

func server(t *Traces, d authz.Decision) *envoy.Server {
	s := envoy.NewServer(t.Checks(), slog.New(slog.DiscardHandler))
	s.Use(decided(d))
	return s
}

// recorded returns traces whose spans are kept by the SDK's own recorder.
func recorded(options ...sdktrace.TracerProviderOption) (*Traces, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(spans))...)
	return newTraces(provider, provider.Tracer("test")), spans
}

func checkOnce(ctx context.Context, t *testing.T, s *envoy.Server, headers map[string]string) {
	t.Helper()
	_, err := s.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Host: "api.example.com", Path: "/orders/1?code=secret", Headers: headers,
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
}

const (
	mine      = "4bf92f3577b34da6a3ce929d0e0e4736"
	others    = "0af7651916cd43dd8448eb211c80319c"
	clients   = "00f067aa0ba902b7"
	envoys    = "b7ad6b7169203331"
	zeroTrace = "00000000000000000000000000000000"
	zeroSpan  = "0000000000000000"
)

func TestCheckJoinsTheTraceOfTheRequest(t *testing.T) {
	for name, tc := range map[string]struct {
		request       string
		call          []string
		trace, parent string // empty: a trace of its own
		spans         int
	}{
		"nobody traces":            {"", nil, "", zeroSpan, 1},
		"the request":              {"00-" + mine + "-" + clients + "-01", nil, mine, clients, 1},
		"Envoy began it":           {"", []string{"00-" + mine + "-" + envoys + "-01"}, mine, envoys, 1},
		"Envoy goes on with it":    {"00-" + mine + "-" + clients + "-01", []string{"00-" + mine + "-" + envoys + "-01"}, mine, envoys, 1},
		"Envoy has another":        {"00-" + mine + "-" + clients + "-01", []string{"00-" + others + "-" + envoys + "-01"}, mine, clients, 1},
		"Envoy does not record it": {"00-" + mine + "-" + clients + "-01", []string{"00-" + mine + "-" + envoys + "-00"}, "", "", 0},
		"not recorded":             {"00-" + mine + "-" + clients + "-00", nil, "", "", 0},
		"broken":                   {"00-" + mine + "-" + clients + "-01,00-" + others + "-" + clients + "-01", nil, "", zeroSpan, 1},
		"broken, but Envoy's":      {"junk", []string{"00-" + mine + "-" + envoys + "-01"}, mine, envoys, 1},
		"twice on the call":        {"", []string{"00-" + mine + "-" + envoys + "-01", "00-" + others + "-" + envoys + "-01"}, "", zeroSpan, 1},
		"zero":                     {"00-" + zeroTrace + "-" + clients + "-01", nil, "", zeroSpan, 1},
	} {
		t.Run(name, func(t *testing.T) {
			traces, spans := recorded()
			ctx := metadata.NewIncomingContext(t.Context(), metadata.MD{"traceparent": tc.call})
			headers := map[string]string{"authorization": "Bearer x"}
			if tc.request != "" {
				headers["traceparent"] = tc.request
			}
			checkOnce(ctx, t, server(traces, authz.Decision{Reason: authz.Allowed}), headers)
			got := spans.Ended()
			if len(got) != tc.spans {
				t.Fatalf("got %d spans, want %d", len(got), tc.spans)
			}
			for _, span := range got {
				trace, parent := span.SpanContext().TraceID().String(), span.Parent().SpanID().String()
				if span.Name() != envoy.OperationCheck || parent != tc.parent || tc.trace != "" && trace != tc.trace {
					t.Errorf("got %s %s under %s, want %s under %s", span.Name(), trace, parent, tc.trace, tc.parent)
				}
			}
		})
	}
}

func TestSpanOfACheckHasTheMembersOfTheDecisionLog(t *testing.T) {
	long := strings.Repeat("€", 400)
	traces, spans := recorded()
	checkOnce(t.Context(), t, server(traces, authz.Decision{
		Reason: authz.InsufficientScope, Rule: "orders", Issuer: "https://auth.example.com",
		Token: &validation.Token{Subject: "alice", ClientID: "app" + long, Issuer: "https://auth.example.com"},
	}), map[string]string{"authorization": "Bearer verysecret", "x-request-id": "17"})
	got := map[string]string{}
	for _, span := range spans.Ended() {
		for _, a := range span.Attributes() {
			got[string(a.Key)] = a.Value.AsString()
		}
	}
	want := map[string]string{
		"decision": "deny", "reason": "insufficient_scope", "rule": "orders", "issuer": "https://auth.example.com",
		"client_id": "app" + strings.Repeat("€", 340) + "\uFFFD", "request_id": "17",
		"method": "GET", "host": "api.example.com", "path": "/orders/1", "cache": "none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

// Without a span of its own an end must not end the one around it.
func TestEndWithoutAStartEndsNothing(t *testing.T) {
	traces, spans := recorded()
	ctx := traces.Checks().Start(t.Context(), envoy.OperationCheck)
	traces.Validation().End(ctx, validation.Event{Operation: validation.OperationBreaker, Down: true})
	traces.Validation().End(ctx, validation.Event{Operation: validation.OperationIntrospection})
	if len(spans.Ended()) != 0 {
		t.Error("the span of the Check has ended")
	}
	traces.Checks().End(t.Context(), envoy.Event{Request: &authz.Request{}, Decision: &authz.Decision{}})
	traces.Validation().End(t.Context(), validation.Event{Operation: validation.OperationCache, Result: "hit"})
	if len(spans.Ended()) != 0 {
		t.Error("got a span of nothing")
	}
}

func TestCallsCarryTheTraceparentAndNothingElse(t *testing.T) {
	var got http.Header
	as := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer as.Close()
	traces, _ := recorded()
	client := &http.Client{Transport: traces.Transport(as.Client().Transport)}
	var asked context.Context
	s := envoy.NewServer(traces.Checks(), slog.New(slog.DiscardHandler))
	s.Use(deciding(func(ctx context.Context) { asked = traces.Validation().Start(ctx, validation.OperationIntrospection) }))
	checkOnce(t.Context(), t, s, map[string]string{
		"traceparent": "00-" + mine + "-" + clients + "-01", "tracestate": "client=chosen", "baggage": "a=b",
	})
	for _, ctx := range []context.Context{context.WithoutCancel(asked), t.Context()} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, as.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if len(req.Header) != 0 {
			t.Errorf("the caller's request was changed: %v", req.Header)
		}
		if within := strings.HasPrefix(got.Get("Traceparent"), "00-"+mine+"-"); within != (ctx != t.Context()) {
			t.Errorf("got traceparent %q", got.Get("Traceparent"))
		}
		if got.Get("Tracestate") != "" || got.Get("Baggage") != "" {
			t.Errorf("what the client chose is sent on: %v", got)
		}
	}
	client.CloseIdleConnections()
}

type deciding func(context.Context)

func (f deciding) Decide(ctx context.Context, _ *authz.Request) authz.Decision {
	f(ctx)
	return authz.Decision{Reason: authz.Allowed}
}

func TestWhoSends(t *testing.T) {
	for name, tc := range map[string]struct{ service, attributes, wantName, wantVersion string }{
		"defaults":   {"", "", "bearergate", "v1"},
		"name":       {"gate", "", "gate", "v1"},
		"attributes": {"", "service.name=edge,service.version=v2", "edge", "v2"},
	} {
		t.Run(name, func(t *testing.T) {
			silent(t)
			t.Setenv("OTEL_SERVICE_NAME", tc.service)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", tc.attributes)
			got := map[string]string{}
			for _, a := range whoSends(t.Context(), ExportOptions{Version: "v1"}).Attributes() {
				got[string(a.Key)] = a.Value.AsString()
			}
			if got["service.name"] != tc.wantName || got["service.version"] != tc.wantVersion || got["service.instance.id"] == "" {
				t.Errorf("got %v", got)
			}
		})
	}
}

// tree says of each span what it is under.
func tree(spans []sdktrace.ReadOnlySpan) []string {
	names := map[string]string{}
	for _, s := range spans {
		names[s.SpanContext().SpanID().String()] = s.Name()
	}
	var all []string
	for _, s := range spans {
		line := s.Name()
		for _, a := range s.Attributes() {
			if a.Key == keyResult || a.Key == keyCache {
				line += " " + a.Value.AsString()
			}
		}
		if parent, ok := names[s.Parent().SpanID().String()]; ok {
			line += " < " + parent
		}
		all = append(all, line)
	}
	return all
}

// TestChildren has the rooms themselves decide.
func TestChildren(t *testing.T) {
	as, stop, err := devissuer.Start(map[string]string{"gate": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	cfg, err := config.Parse("a.yaml", []byte("auth: {issuer: '"+as.URL()+"', audience: api, token_validation: both, "+
		"insecure_http: true, client_id: gate, client_secret: s3cret}\n"), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	traces, spans := recorded()
	svc := service.New(slog.New(slog.DiscardHandler), metrics.New("test", "test"), service.Observers{
		Checks: traces.Checks(), Discovery: traces.Discovery(), Validation: traces.Validation(), Transport: traces.Transport,
	})
	t.Cleanup(svc.Close)
	if err := svc.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	svc.Settle(t.Context(), 10*time.Second)
	if diff := cmp.Diff([]string{"discovery success", "jwks success"}, tree(spans.Ended())); diff != "" {
		t.Errorf("at the start (-want +got):\n%s", diff)
	}

	const check = " < " + envoy.OperationCheck
	jwt := as.JWT(devissuer.Claims{"sub": "alice", "aud": "api"})
	opaque := as.Opaque("", devissuer.Claims{"sub": "alice", "aud": "api"})
	as.Rotate(1)
	rotated := as.JWT(devissuer.Claims{"sub": "alice", "aud": "api"})
	for _, tc := range []struct {
		name, token string
		want        []string
	}{
		{"cold JWT", jwt, []string{"cache jwt miss" + check, "jwt.verify verified" + check, envoy.OperationCheck + " miss"}},
		{"warm JWT", jwt, []string{"cache jwt hit" + check, envoy.OperationCheck + " hit"}},
		{"cold opaque", opaque, []string{
			"cache negative miss" + check, "cache introspection miss" + check, "introspection active" + check,
			envoy.OperationCheck + " miss",
		}},
		{"warm opaque", opaque, []string{"cache introspection hit" + check, envoy.OperationCheck + " hit"}},
		{"unknown key", rotated, []string{
			"cache jwt miss" + check, "jwks success < jwt.verify", "jwt.verify verified" + check, envoy.OperationCheck + " miss",
		}},
		{"no token", "", []string{envoy.OperationCheck + " none"}},
	} {
		spans.Reset()
		headers := map[string]string{"traceparent": "00-" + mine + "-" + clients + "-01"}
		if tc.token != "" {
			headers["authorization"] = "Bearer " + tc.token
		}
		checkOnce(t.Context(), t, svc.Checks(), headers)
		if diff := cmp.Diff(tc.want, tree(spans.Ended())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		for _, s := range spans.Ended() {
			if got := s.SpanContext().TraceID().String(); got != mine {
				t.Errorf("%s: %s is in trace %s", tc.name, s.Name(), got)
			}
		}
	}
}
