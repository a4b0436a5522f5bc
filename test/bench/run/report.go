package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/bearergate/bearergate/test/bench/chart"
	"github.com/bearergate/bearergate/test/bench/stats"
)

// report is the JSON.
type report struct {
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Seconds float64   `json:"seconds"`
	Rows    []*result `json:"rows"`
}

// result is one row, with every repetition of every program.
type result struct {
	Name    string                  `json:"name"`
	Title   string                  `json:"title"`
	Samples map[string][]sample     `json:"samples"`
	Ratio   map[string]stats.Spread `json:"cpu_ratio_to_no_op"` // of the same repetition

	row row
}

func newReport(o options) *report {
	return &report{Time: time.Now().UTC(), Machine: machine(), Seconds: o.seconds}
}

func (r *report) add(of row, p program, m sample) {
	for _, have := range r.Rows {
		if have.Name == of.name {
			have.add(p.name, m)
			return
		}
	}
	fresh := &result{
		Name: of.name, Title: of.title, row: of,
		Samples: map[string][]sample{}, Ratio: map[string]stats.Spread{},
	}
	r.Rows = append(r.Rows, fresh)
	fresh.add(p.name, m)
}

func (r *result) add(name string, m sample) {
	r.Samples[name] = append(r.Samples[name], m)
	for _, name := range []string{subject, baseline} {
		var ratios []float64
		for i, of := range r.Samples[name] {
			if i < len(r.Samples[yardstick]) {
				ratios = append(ratios, of.CPU/r.Samples[yardstick][i].CPU)
			}
		}
		if len(ratios) > 0 {
			r.Ratio[name] = stats.Of(ratios)
		}
	}
}

// of is the spread of one number of one program.
func (r *result) of(name string, number func(sample) float64) stats.Spread {
	var values []float64
	for _, m := range r.Samples[name] {
		values = append(values, number(m))
	}
	return stats.Of(values)
}

// print writes the table: medians, and the ratio to the no-op with its spread.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s, %s; medians of the repetitions, in µs unless said otherwise\n\n",
		r.Machine, r.Time.Format(time.RFC3339))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tprogram\tCPU ÷ no-op (min–max)\tCPU\tof no-op\tp50\tp90\tp99\tp99.9\treq/s\tresident MiB\tnote")
	for _, row := range r.Rows {
		for _, name := range []string{subject, baseline} {
			if len(row.Samples[name]) > 0 {
				row.print(w, name)
			}
		}
	}
	_ = w.Flush()
}

func (r *result) print(w io.Writer, name string) {
	median := func(number func(sample) float64) float64 { return r.of(name, number).Median }
	fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%s\n",
		r.Title, name, r.Ratio[name], median(cpu), r.of(yardstick, cpu).Median,
		median(func(m sample) float64 { return m.P50 }), median(func(m sample) float64 { return m.P90 }),
		median(func(m sample) float64 { return m.P99 }), median(func(m sample) float64 { return m.P999 }),
		median(func(m sample) float64 { return m.Rate }),
		median(func(m sample) float64 { return float64(m.Resident) / (1 << 20) }), r.note(name))
}

func cpu(m sample) float64 { return m.CPU }

func (r *result) note(name string) string {
	switch perToken := r.of(name, func(m sample) float64 { return m.PerToken }); {
	case r.row.special == stampede:
		calls := r.of(name, func(m sample) float64 { return float64(m.Introspection) })
		return fmt.Sprintf("%.0f introspection calls (%.0f–%.0f) for %d tokens", calls.Median, calls.Least, calls.Most,
			r.Samples[name][0].Requests/500)
	case perToken.Median > 0:
		return fmt.Sprintf("%.0f bytes a token (%.0f–%.0f)", perToken.Median, perToken.Least, perToken.Most)
	}
	return ""
}

// chart has the ratios: the rows of ever more cached tokens as a curve, the
// others as bars.
func (r *report) chart() chart.Chart {
	c := chart.Chart{
		Title:      "CPU of a Check, as a multiple of a server that checks nothing",
		Unit:       fmt.Sprintf("medians and spread; %s, %s", r.Machine, r.Time.Format("2006-01-02")),
		CurveTitle: "the same, by the number of cached tokens",
	}
	for _, row := range r.Rows {
		v := chart.Value{Label: row.Title, Spread: row.Ratio[subject]}
		switch {
		case row.row.curve:
			v.X, v.Label = float64(row.row.tokens), grouped(row.row.tokens)
			c.Curve = append(c.Curve, v)
		case row.row.special != memory: // whose number is another one
			c.Bars = append(c.Bars, v)
		}
	}
	return c
}
