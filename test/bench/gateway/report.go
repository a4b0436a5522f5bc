package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/bearergate/bearergate/test/bench/stats"
)

// report is the JSON.
type report struct {
	Time    time.Time   `json:"time"`
	Machine string      `json:"machine"`
	Rows    []*measured `json:"rows"`
}

// measured is one row; each spread is of differences or ratios of one repetition.
type measured struct {
	Name    string       `json:"name"`
	Title   string       `json:"title"`
	Samples []sample     `json:"samples"`
	Cost    stats.Spread `json:"filter_cost_us"`
	Envoy   stats.Spread `json:"envoys_half_us"`
	Server  stats.Spread `json:"servers_half_us"`
	Ratio   stats.Spread `json:"filter_cost_to_no_op"`
}

func newReport() *report {
	return &report{
		Time: time.Now().UTC(), Machine: fmt.Sprintf("%d CPUs, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
	}
}

func (r *report) find(name string) *measured {
	for _, have := range r.Rows {
		if have.Name == name {
			return have
		}
	}
	return nil
}

// add takes the samples in the order of the repetitions, of which each has the
// row without a filter first.
func (r *report) add(of row, m sample) {
	have := r.find(of.name)
	if have == nil {
		have = &measured{Name: of.name, Title: of.title}
		r.Rows = append(r.Rows, have)
	}
	have.Samples = append(have.Samples, m)
	none, noop := r.find(nothing), r.find(yardstick)
	var cost, envoy, server, ratio []float64
	for i, m := range have.Samples {
		without := none.Samples[i].Envoy
		cost = append(cost, m.Envoy+m.Server-without)
		envoy = append(envoy, m.Envoy-without)
		server = append(server, m.Server)
		if noop != nil && i < len(noop.Samples) {
			ratio = append(ratio, cost[i]/(noop.Samples[i].Envoy+noop.Samples[i].Server-without))
		}
	}
	have.Cost, have.Envoy, have.Server, have.Ratio = stats.Of(cost), stats.Of(envoy), stats.Of(server), stats.Of(ratio)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s, %s; µs a request over no filter, medians (min–max)\n\n",
		r.Machine, r.Time.Format(time.RFC3339))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "filter\tCPU\t÷ no-op\tEnvoy's half\tserver's half\tp50\tp99\treq/s")
	for _, row := range r.Rows {
		median := func(number func(sample) float64) float64 {
			var values []float64
			for _, m := range row.Samples {
				values = append(values, number(m))
			}
			return stats.Of(values).Median
		}
		fmt.Fprintf(w, "%s\t%.1f (%.1f–%.1f)\t%s\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\n", row.Title,
			row.Cost.Median, row.Cost.Least, row.Cost.Most, row.Ratio, row.Envoy.Median, row.Server.Median,
			median(func(m sample) float64 { return m.P50 }), median(func(m sample) float64 { return m.P99 }),
			median(func(m sample) float64 { return m.Rate }))
	}
	_ = w.Flush()
}
