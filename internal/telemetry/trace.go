// Package telemetry tells others what the rooms do: as OpenTelemetry traces and
// metrics, when the standard OTEL_* variables ask for them. It decides nothing, and
// whatever becomes of what it sends, no Check waits for it or ends otherwise.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

const (
	// flushTimeout is how long the end of the process waits for what is not sent yet:
	// a receiver that is gone must not use up the time that the drain has.
	flushTimeout = 3 * time.Second
	// complainEvery is between two lines about what cannot be sent.
	complainEvery = time.Minute
)

// ExportOptions say who sends, and who is told what goes wrong.
type ExportOptions struct {
	Version string // of the service
	Log     *slog.Logger
}

// Traces makes spans of what the rooms tell, and sends them. Its methods are safe for
// concurrent use; nil makes none, and costs nothing.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	asCheck  []trace.SpanStartOption // made once: most Checks of a sampled service have no span that is kept
}

// StartTraces returns what OTEL_TRACES_EXPORTER and its relatives ask for, nil when
// they ask for nothing. The exporter, its protocol and certificates, the sampler, the
// bounds of the queue and of each span are all chosen by the variables that the
// OpenTelemetry specification names.
//
// Variables that cannot be followed are logged, and there are no traces: they are
// often set for a whole cluster, and a gate that does not start because of them would
// be an outage.
func StartTraces(ctx context.Context, o ExportOptions) *Traces {
	if !asked("TRACES") {
		return nil
	}
	complain(o.Log)
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		o.Log.Error("no traces are sent: the OTEL_* variables cannot be followed", "error", err)
		return nil
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter), // which drops what its queue has no room for, and never waits
		sdktrace.WithResource(whoSends(ctx, o)),
	)
	tracer := provider.Tracer("github.com/bearergate/bearergate", trace.WithInstrumentationVersion(o.Version))
	return newTraces(provider, tracer)
}

func newTraces(provider *sdktrace.TracerProvider, tracer trace.Tracer) *Traces {
	return &Traces{provider, tracer, []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(keyCache.String("none")),
	}}
}

// Close sends what is left, but waits for that no longer than [flushTimeout].
func (t *Traces) Close(ctx context.Context) {
	if t != nil {
		flush(ctx, t.provider.Shutdown)
	}
}

func flush(ctx context.Context, shutdown func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// asked says whether the variables want that signal, TRACES or METRICS, to be sent. The
// specification would send to localhost when nothing at all is set; here silence means
// no, since most installations have no receiver there.
func asked(signal string) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if exporter := os.Getenv("OTEL_" + signal + "_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") != ""
}

// whoSends describes this process. The variables come last, and win.
func whoSends(ctx context.Context, o ExportOptions) *resource.Resource {
	r, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "bearergate"),
			attribute.String("service.version", o.Version),
			// Replicas that nobody gave an identity would overwrite each other's metrics.
			attribute.String("service.instance.id", rand.Text()),
		),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(),
	)
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		otel.Handle(err)
	}
	return r
}

// complain has what the SDK cannot do logged, at most once in [complainEvery]: a
// receiver that is down fails with every batch. The SDK knows one place for that in a
// process, and this is called from where the process starts.
func complain(log *slog.Logger) {
	seldom := &rate.Sometimes{Interval: complainEvery}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		seldom.Do(func() { log.Error("traces or metrics cannot be sent", "error", err) })
	}))
	otel.SetLogger(logr.FromSlogHandler(log.Handler())) // of variables that cannot be read, at the start
}
