package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bearergate/bearergate/internal/devissuer"
	"github.com/bearergate/bearergate/test/harness"
)

// Envoy's own OpenTelemetry tracer, and where it sends its spans.
const (
	prefix  = "                stat_prefix: ingress\n"
	tracing = prefix + `                tracing:
                  spawn_upstream_span: true
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      grpc_service: {envoy_grpc: {cluster_name: collector}, timeout: 1s}
                      service_name: edge
`
	upstreamCluster  = "    - name: upstream\n"
	collectorCluster = `    - name: collector
      type: STATIC
      connect_timeout: 1s
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment:
        cluster_name: collector
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $PORT}}}
` + upstreamCluster
)

const checkSpan = "envoy.service.auth.v3.Authorization/Check"

// tracingTo sets what an operator would set, but for a shorter wait.
func tracingTo(t *testing.T, r *harness.Receiver, delay string) {
	t.Helper()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + r.Address, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
		"OTEL_BSP_SCHEDULE_DELAY":  delay, "OTEL_METRIC_EXPORT_INTERVAL": delay,
	} {
		t.Setenv(name, value)
	}
}

// whole waits until the trace of one request has every span that it should have.
func whole(t *testing.T, r *harness.Receiver, want []string) []harness.Span {
	t.Helper()
	var trace []harness.Span
	harness.Eventually(t, "the trace is there", func() bool {
		trace = nil
		all := r.Spans()
		i := slices.IndexFunc(all, func(s harness.Span) bool { // what was refused came before
			return s.Service == "bearergate" && s.Name == checkSpan && s.Attributes["reason"] == "allowed"
		})
		if i < 0 {
			return false
		}
		for _, s := range all {
			if s.Trace == all[i].Trace {
				trace = append(trace, s)
			}
		}
		return len(trace) >= len(want)
	})
	if diff := cmp.Diff(want, family(trace)); diff != "" {
		t.Errorf("the trace (-want +got):\n%s\n%+v", diff, trace)
	}
	return trace
}

// family says of each span who sent it, and what it is under.
func family(trace []harness.Span) []string {
	named := map[string]string{}
	for _, s := range trace {
		named[s.ID] = s.Service + " " + s.Name
	}
	var all []string
	for _, s := range trace {
		line := named[s.ID]
		if parent, ok := named[s.Parent]; ok {
			line += " < " + parent
		} else if s.Parent != "" {
			line += " < " + s.Parent
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

// TestOneTrace has Envoy and Bearergate send their spans to one receiver.
func TestOneTrace(t *testing.T) {
	harness.OnlyExtAuthz(t, "there is no call, and a module's span is not below Envoy's")
	receiver := harness.OTLP(t)
	tracingTo(t, receiver, "100")
	_, port, _ := strings.Cut(receiver.Address, ":")
	s := newStage(t, prefix, tracing, upstreamCluster, strings.ReplaceAll(collectorCluster, "$PORT", port))

	const (
		client  = "4bf92f3577b34da6a3ce929d0e0e4736"
		span    = "00f067aa0ba902b7"
		ingress = "edge ingress"
		asks    = "edge async envoy.service.auth.v3.Authorization.Check egress"
		gate    = "bearergate " + checkSpan
	)
	opaque := s.issuer.Opaque("", claims{"sub": "alice", "aud": "api", "client_id": "app"})
	envoys := func(root string) []string {
		return []string{root, asks + " < " + ingress, "edge router upstream egress < " + ingress, gate + " < " + asks}
	}
	for _, tc := range []struct {
		name, token, traceparent string
		ours                     []string
		cache                    string
	}{
		{"cold", opaque, "", []string{"cache", "cache", "introspection"}, "miss"},
		{"warm", opaque, "", []string{"cache"}, "hit"},
		{"JWT", s.jwt(nil), "", []string{"cache", "jwt.verify"}, "miss"},
		{"the client's", opaque, "00-" + client + "-" + span + "-01", []string{"cache"}, "hit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			receiver.Reset()
			headers := bearer(tc.token)
			root := ingress
			if tc.traceparent != "" {
				headers.Set("Traceparent", tc.traceparent)
				root += " < " + span
			}
			if resp, body := s.get(t, "/orders?code=verysecret", headers); resp.StatusCode != http.StatusOK {
				t.Fatalf("got %d %s", resp.StatusCode, body)
			}
			want := envoys(root)
			for _, name := range tc.ours {
				want = append(want, "bearergate "+name+" < "+gate)
			}
			slices.Sort(want)
			trace := whole(t, receiver, want)
			ours := slices.DeleteFunc(slices.Clone(trace), func(s harness.Span) bool { return s.Service != "bearergate" })
			for _, span := range ours {
				for name, value := range span.Attributes {
					if strings.Contains(value, "verysecret") || strings.Contains(value, tc.token) || value == "alice" {
						t.Errorf("%s holds %s=%q", span.Name, name, value)
					}
				}
				if span.Resource["deployment.environment"] != "test" || span.Resource["service.version"] == "" {
					t.Errorf("got the resource %v", span.Resource)
				}
				if span.Name != checkSpan {
					continue
				}
				for name, want := range map[string]string{
					"decision": "allow", "reason": "allowed", "issuer": s.issuer.URL(), "client_id": "app",
					"method": "GET", "path": "/orders", "cache": tc.cache,
				} {
					if got := span.Attributes[name]; got != want {
						t.Errorf("%s: got %q, want %q", name, got, want)
					}
				}
			}
			if tc.traceparent != "" && trace[0].Trace != client {
				t.Errorf("got trace %s, want %s", trace[0].Trace, client)
			}
		})
	}
	for _, name := range []string{"bearergate_checks_total", "bearergate_cache_entries", "bearergate_issuer_ready"} {
		harness.Eventually(t, name, func() bool { return receiver.Has(name) })
	}
}

// TestDrainSendsWhatIsLeft waits for no timer: what the last requests told must not be
// lost at every rollout.
func TestDrainSendsWhatIsLeft(t *testing.T) {
	receiver := harness.OTLP(t)
	tracingTo(t, receiver, "600000")
	issuer := harness.Issuer(t)
	service := harness.Serve(t, harness.Config(issuer.URL())).Ready(t)
	token := issuer.JWT(devissuer.Claims{"sub": "alice", "aud": "api"})
	reason, _, err := harness.Ask(t.Context(), service.Client(t), "/x", "Bearer "+token)
	if err != nil || reason != "allowed" {
		t.Fatalf("got %s, %v", reason, err)
	}
	if len(receiver.Spans()) != 0 {
		t.Fatal("spans came before the end")
	}
	if err := service.Stop(); err != nil {
		t.Fatal(err)
	}
	sent := func(s harness.Span) bool { return s.Name == checkSpan }
	if !slices.ContainsFunc(receiver.Spans(), sent) || !receiver.Has("bearergate_checks_total") {
		t.Errorf("got %d spans, want the one of the Check, and the metrics", len(receiver.Spans()))
	}
}
