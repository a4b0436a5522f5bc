package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/bench/stats"
)

// Costs are compared within a repetition: what the machine did in another one
// must not count.
func TestReportComparesWithinARepetition(t *testing.T) {
	r := newReport()
	for n := range 3 {
		slow := float64(n + 1) // the machine gets slower
		r.add(row{name: nothing, title: "no filter"}, sample{Envoy: 20 * slow})
		r.add(row{name: yardstick, title: "no-op"}, sample{Envoy: 40 * slow, Server: 20 * slow})
		r.add(row{name: "x", title: "x"}, sample{Envoy: 30 * slow, Server: 10 * slow})
	}
	got := r.find("x")
	if want := (stats.Spread{Median: 0.5, Least: 0.5, Most: 0.5}); got.Ratio != want {
		t.Errorf("ratio: got %v, want %v", got.Ratio, want)
	}
	if got.Cost.Median != 40 || got.Envoy.Median != 20 || got.Server.Median != 20 {
		t.Errorf("got %+v, want 40 µs, half of them Envoy's", got)
	}
	var out bytes.Buffer
	if r.print(&out); strings.Count(out.String(), "\n") != 7 {
		t.Errorf("got\n%s\nwant a line for each row", &out)
	}
}
