package chart_test

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/bearergate/bearergate/test/bench/chart"
	"github.com/bearergate/bearergate/test/bench/stats"
)

func TestSVGIsWellFormed(t *testing.T) {
	spread := stats.Of([]float64{0.5, 0.7, 0.6})
	for name, c := range map[string]chart.Chart{
		"empty":     {},
		"bars":      {Title: "a < b & c", Bars: []chart.Value{{Label: "<one>", Spread: spread}}},
		"one point": {Curve: []chart.Value{{X: 1, Spread: spread}}},
		"both": {
			Bars:  []chart.Value{{Label: "x", Spread: spread}},
			Curve: []chart.Value{{X: 1, Label: "1", Spread: spread}, {X: 100, Label: "100", Spread: spread}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			svg := c.SVG()
			for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
				_, err := decoder.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%v in\n%s", err, svg)
				}
			}
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
				t.Errorf("got a coordinate that is no number:\n%s", svg)
			}
			if got := strings.Count(svg, `class="bar"`); got != len(c.Bars) {
				t.Errorf("got %d bars, want %d", got, len(c.Bars))
			}
		})
	}
}
