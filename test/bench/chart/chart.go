// Package chart draws bars and a curve as one SVG, readable on light and on dark
// pages.
package chart

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/bearergate/bearergate/test/bench/stats"
)

// Value is one bar, or one point of the curve.
type Value struct {
	Label  string
	X      float64 // of the curve
	Spread stats.Spread
}

// Chart is what is drawn: every value is a multiple of the same thing, which is
// a line at 1.
type Chart struct {
	Title, Unit string
	Bars        []Value
	CurveTitle  string
	Curve       []Value
}

// Sizes in pixels.
const (
	width       = 760
	left        = 300 // where the bars begin
	right       = 110 // for their numbers
	rowHeight   = 26
	barHeight   = 14
	top         = 76
	curveHeight = 180
	curveLeft   = 70
	gap         = 76
)

const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.small { font-size: 12px; fill: #59636e }
.bar { fill: #0969da } .spread { stroke: #1f2328; stroke-width: 1.5 } .axis { stroke: #d1d9e0 }
.one { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 5 4 } .one-text { fill: #bc4c00; font-size: 12px }
.curve { fill: none; stroke: #0969da; stroke-width: 2 } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117 }
.bar { fill: #4493f8 } .spread { stroke: #e6edf3 } .axis { stroke: #3d444d }
.one { stroke: #db6d28 } .one-text { fill: #db6d28 } .curve { stroke: #4493f8 }
}
</style>
`

// SVG draws the chart.
func (c Chart) SVG() string {
	height := top + rowHeight*len(c.Bars) + 16
	curveTop := height + gap - 24
	if len(c.Curve) > 0 {
		height = curveTop + curveHeight + 44
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n%s", html.EscapeString(c.Title), style)
	fmt.Fprintf(&b, `<rect class="page" width="%d" height="%d"/>`+"\n", width, height)
	text(&b, "title", "start", 16, 24, c.Title)
	text(&b, "small", "start", 16, 43, c.Unit)
	c.bars(&b)
	if len(c.Curve) > 0 {
		text(&b, "title", "start", 16, float64(curveTop-22), c.CurveTitle)
		c.curve(&b, float64(curveTop))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// most is where the axis of values ends: behind each bar, and behind 1.
func most(values []Value) float64 {
	end := 1.0
	for _, v := range values {
		end = max(end, v.Spread.Most)
	}
	return end * 1.05
}

func (c Chart) bars(b *strings.Builder) {
	scale := (width - left - right) / most(c.Bars)
	bottom := float64(top + rowHeight*len(c.Bars))
	for i, v := range c.Bars {
		y := float64(top + rowHeight*i)
		middle := y + rowHeight/2
		text(b, "", "end", left-10, middle+4, v.Label)
		fmt.Fprintf(b, `<rect class="bar" x="%d" y="%.1f" width="%.1f" height="%d" rx="2"/>`+"\n",
			left, middle-barHeight/2, v.Spread.Median*scale, barHeight)
		line(b, "spread", left+v.Spread.Least*scale, middle, left+v.Spread.Most*scale, middle)
		text(b, "small", "start", left+v.Spread.Most*scale+8, middle+4, v.Spread.String())
	}
	if len(c.Bars) > 0 {
		line(b, "one", left+scale, top-6, left+scale, bottom)
		text(b, "one-text", "middle", left+scale, top-10, "no-op")
	}
}

// curve draws values over their logarithm: what is flat costs the same at any
// size.
func (c Chart) curve(b *strings.Builder, y float64) {
	first, last := math.Log10(max(c.Curve[0].X, 1)), math.Log10(max(c.Curve[len(c.Curve)-1].X, 1))
	x := func(v Value) float64 {
		if last == first {
			return curveLeft
		}
		return curveLeft + (math.Log10(max(v.X, 1))-first)/(last-first)*(width-curveLeft-right)
	}
	scale := curveHeight / most(c.Curve)
	at := func(value float64) float64 { return y + curveHeight - value*scale }
	line(b, "axis", curveLeft, y+curveHeight, width-right, y+curveHeight)
	line(b, "one", curveLeft, at(1), width-right, at(1))
	text(b, "one-text", "end", curveLeft-8, at(1)+4, "no-op")
	var points []string
	for _, v := range c.Curve {
		points = append(points, fmt.Sprintf("%.1f,%.1f", x(v), at(v.Spread.Median)))
		line(b, "spread", x(v), at(v.Spread.Least), x(v), at(v.Spread.Most))
		text(b, "small", "middle", x(v), y+curveHeight+18, v.Label)
		text(b, "small", "start", x(v)+7, at(v.Spread.Median)-7, fmt.Sprintf("%.2f", v.Spread.Median))
	}
	fmt.Fprintf(b, `<polyline class="curve" points="%s"/>`+"\n", strings.Join(points, " "))
}

func text(b *strings.Builder, class, anchor string, x, y float64, s string) {
	fmt.Fprintf(b, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`+"\n",
		class, anchor, x, y, html.EscapeString(s))
}

func line(b *strings.Builder, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}
