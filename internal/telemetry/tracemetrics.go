package telemetry

import (
	"context"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/sdk/metric"
)

// Push sends the metrics of /metrics, under the same names, at an interval; nil sends
// nothing.
type Push struct{ provider *metric.MeterProvider }

// StartPush returns what OTEL_METRICS_EXPORTER and its relatives ask for, nil when they
// ask for nothing. Nothing is counted twice: what is gathered is what a scrape shows.
func StartPush(ctx context.Context, o ExportOptions, from prometheus.Gatherer) *Push {
	// The exporter for Prometheus would listen on a port that nobody expects, with what
	// /metrics serves already.
	if !asked("METRICS") || os.Getenv("OTEL_METRICS_EXPORTER") == "prometheus" {
		return nil
	}
	complain(o.Log)
	autoexport.WithFallbackMetricProducer(func(context.Context) (metric.Producer, error) {
		return bridge.NewMetricProducer(bridge.WithGatherer(from)), nil
	})
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		o.Log.Error("no metrics are sent: the OTEL_* variables cannot be followed", "error", err)
		return nil
	}
	return &Push{metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(whoSends(ctx, o)))}
}

// Close sends the last values, but waits for that no longer than [flushTimeout].
func (p *Push) Close(ctx context.Context) {
	if p != nil {
		flush(ctx, p.provider.Shutdown)
	}
}
