package main

import (
	"testing"

	"github.com/bearergate/bearergate/test/bench/load"
	"github.com/bearergate/bearergate/test/bench/stats"
)

// The ratio is that of one repetition, whoever was measured first in it.
func TestReportComparesWithinARepetition(t *testing.T) {
	r := newReport(options{})
	of := row{name: "x", title: "x", choice: load.Uniform}
	noop, gate := program{name: yardstick}, program{name: subject}
	add := func(p program, cpu float64) { r.add(of, p, sample{CPU: cpu}) }
	add(noop, 10)
	add(gate, 5)
	add(gate, 60) // the machine was slow meanwhile
	add(noop, 100)
	add(noop, 20)
	add(gate, 14)
	if got, want := r.Rows[0].Ratio[subject], (stats.Spread{Median: 0.6, Least: 0.5, Most: 0.7}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestChartHasABarOrAPointForEachRow(t *testing.T) {
	r := newReport(options{})
	for _, row := range rows() {
		r.add(row, program{name: yardstick}, sample{CPU: 1})
		r.add(row, program{name: subject}, sample{CPU: 2})
	}
	c := r.chart()
	if got, want := len(c.Bars)+len(c.Curve), len(rows())-2; got != want || len(c.Curve) != 5 {
		t.Errorf("got %d bars and %d points, want %d together, and 5 points", len(c.Bars), len(c.Curve), want)
	}
}
