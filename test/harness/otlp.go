package harness

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"

	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
)

// Span is what a receiver was told of one.
type Span struct {
	Service           string // that sent it
	Trace, ID, Parent string // in hexadecimal; no parent is empty
	Name              string
	Attributes        map[string]string
	Resource          map[string]string
}

// Receiver takes OTLP over gRPC, as a collector does.
type Receiver struct {
	tracev1.UnimplementedTraceServiceServer

	Address string

	mu      sync.Mutex
	spans   []Span
	metrics map[string]bool
}

// OTLP starts a receiver.
func OTLP(t testing.TB) *Receiver {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Receiver{Address: lis.Addr().String(), metrics: map[string]bool{}}
	server := grpc.NewServer()
	tracev1.RegisterTraceServiceServer(server, r)
	metricsv1.RegisterMetricsServiceServer(server, metricsReceiver{receiver: r})
	go func() { _ = server.Serve(lis) }()
	t.Cleanup(server.Stop)
	return r
}

// Export implements the collector's TraceService.
func (r *Receiver) Export(
	_ context.Context, req *tracev1.ExportTraceServiceRequest,
) (*tracev1.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, from := range req.GetResourceSpans() {
		resource := texts(from.GetResource().GetAttributes())
		for _, scope := range from.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, Span{
					Service: resource["service.name"], Resource: resource, Name: s.GetName(),
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
					Parent: hex.EncodeToString(s.GetParentSpanId()), Attributes: texts(s.GetAttributes()),
				})
			}
		}
	}
	return &tracev1.ExportTraceServiceResponse{}, nil
}

func texts(attributes []*commonv1.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return all
}

// Spans returns what has come so far.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Reset forgets the spans that came.
func (r *Receiver) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = nil
}

// Has says whether a metric of that name has come.
func (r *Receiver) Has(metric string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.metrics[metric]
}

// metricsReceiver is the part of a Receiver whose method has the same name.
type metricsReceiver struct {
	metricsv1.UnimplementedMetricsServiceServer

	receiver *Receiver
}

// Export implements the collector's MetricsService.
func (m metricsReceiver) Export(
	_ context.Context, req *metricsv1.ExportMetricsServiceRequest,
) (*metricsv1.ExportMetricsServiceResponse, error) {
	m.receiver.mu.Lock()
	defer m.receiver.mu.Unlock()
	for _, from := range req.GetResourceMetrics() {
		for _, scope := range from.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				m.receiver.metrics[metric.GetName()] = true
			}
		}
	}
	return &metricsv1.ExportMetricsServiceResponse{}, nil
}
