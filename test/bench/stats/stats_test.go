package stats_test

import (
	"testing"

	"github.com/bearergate/bearergate/test/bench/stats"
)

func TestSpread(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   stats.Spread
	}{
		{nil, stats.Spread{}},
		{[]float64{2}, stats.Spread{Median: 2, Least: 2, Most: 2}},
		{[]float64{3, 1, 2}, stats.Spread{Median: 2, Least: 1, Most: 3}},
		{[]float64{4, 1, 3, 2}, stats.Spread{Median: 2.5, Least: 1, Most: 4}},
	} {
		if got := stats.Of(tc.values); got != tc.want {
			t.Errorf("%v: got %v, want %v", tc.values, got, tc.want)
		}
	}
}
