//go:build linux

package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/ginsse/ginsse/internal/promtest"
)

// Measures of a graph, in pixels.
const (
	graphWidth  = 760
	marginLeft  = 62
	marginRight = 14
	panelHeight = 100
	panelGap    = 46 // above a panel, for its title
	alertHeight = 20
	nameWidth   = 140 // of the longest name of an alert
	marginTop   = 18
)

// style has the colors, for light and for dark pages.
const style = `
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; }
.small { font-size: 11px; fill: #57606a; }
.ground { fill: #ffffff; }
.grid { stroke: #d8dee4; stroke-width: 1; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.line.a { stroke: #0969da; } .line.b { stroke: #bc4c00; stroke-dasharray: 7 4; } .line.c { stroke: #8250df; stroke-dasharray: 2 3; }
.key.a { fill: #0969da; } .key.b { fill: #bc4c00; } .key.c { fill: #8250df; }
.fault { stroke: #cf222e; stroke-width: 1.4; stroke-dasharray: 5 3; }
.remedy { stroke: #1a7f37; stroke-width: 1.4; stroke-dasharray: 2 3; }
.alert { fill: #cf222e; }
.in { font-size: 11px; fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .ground { fill: #0d1117; }
  .grid { stroke: #30363d; }
  .line.a { stroke: #4493f8; } .line.b { stroke: #f0883e; } .line.c { stroke: #ab7df8; }
  .key.a { fill: #4493f8; } .key.b { fill: #f0883e; } .key.c { fill: #ab7df8; }
  .fault { stroke: #f85149; } .remedy { stroke: #3fb950; } .alert { fill: #c93c37; }
  .in { fill: #ffffff; }
}
`

// classes are the styles of the lines of a panel.
var classes = [...]string{"a", "b", "c"}

// graph is an SVG that is being drawn.
type graph struct {
	bytes.Buffer

	record *record
	names  []string // of the alerts, each once
}

// draw returns a graph of the record as SVG: its panels, one below the other, and when alerts fired.
func (r *record) draw() []byte {
	g := &graph{record: r}
	for _, a := range r.alerts {
		if !slices.Contains(g.names, a.alert) {
			g.names = append(g.names, a.alert)
		}
	}
	alerts := marginTop + len(r.panels)*(panelHeight+panelGap)
	bottom := alerts + panelGap + max(1, len(g.names))*alertHeight
	height := bottom + 40
	g.addf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`, graphWidth, height, html.EscapeString(r.day.fault))
	g.addf(`<style>%s</style>`, style)
	g.addf(`<rect class="ground" width="%d" height="%d" rx="6"/>`, graphWidth, height)
	for i, p := range r.day.panels {
		g.panel(marginTop+i*(panelHeight+panelGap)+panelGap-10, p, r.panels[i])
	}
	g.alerts(alerts)
	g.moments(marginTop, bottom)
	g.timeAxis(bottom)
	g.addf(`</svg>`)
	return g.Bytes()
}

func (g *graph) addf(format string, args ...any) { _, _ = fmt.Fprintf(g, format+"\n", args...) }

func (g *graph) text(class string, x, y float64, anchor, text string) {
	g.addf(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, html.EscapeString(text))
}

// x returns where a time is.
func (g *graph) x(t time.Time) float64 {
	share := float64(t.Sub(g.record.began)) / float64(g.record.end.Sub(g.record.began))
	return marginLeft + share*(graphWidth-marginLeft-marginRight)
}

// panel draws a diagram below its title.
func (g *graph) panel(top int, p panel, series []promtest.Series) {
	high := 0.0
	for _, s := range series {
		for _, point := range s.Points {
			if !math.IsNaN(point.Value) && !math.IsInf(point.Value, 0) {
				high = max(high, point.Value)
			}
		}
	}
	step := niceStep(high / 3)
	high = max(step, math.Ceil(high/step)*step)
	y := func(value float64) float64 { return float64(top) + panelHeight*(1-value/high) }
	g.text("title", marginLeft, float64(top)-12, "start", p.title)
	for value := 0.0; value <= high*1.001; value += step {
		g.addf(`<line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`, marginLeft, y(value), graphWidth-marginRight, y(value))
		g.text("small", marginLeft-6, y(value)+4, "end", strconv.FormatFloat(value, 'g', 4, 64))
	}
	for i, s := range series {
		class := classes[i%len(classes)]
		g.line(class, s.Points, y)
		if len(p.lines) > 1 {
			g.text("key "+class, float64(graphWidth-marginRight-(len(p.lines)-1-i)*150), float64(top)-12, "end", "— "+p.lines[i].name)
		}
	}
}

// line draws the points of a series. Where points are missing, it has a hole.
func (g *graph) line(class string, points []promtest.Point, y func(value float64) float64) {
	var path bytes.Buffer
	var last time.Time
	for _, p := range points {
		if math.IsNaN(p.Value) || math.IsInf(p.Value, 0) {
			continue
		}
		command := "L"
		if p.Time.Sub(last) > 3*interval {
			command = "M"
		}
		last = p.Time
		_, _ = fmt.Fprintf(&path, "%s%.1f %.1f", command, g.x(p.Time), y(p.Value))
	}
	if path.Len() > 0 {
		g.addf(`<path class="line %s" d="%s"/>`, class, path.String())
	}
}

// alerts draws a bar for each time in which an alert has fired.
func (g *graph) alerts(top int) {
	g.text("title", marginLeft, float64(top+panelGap-22), "start", "alerts that fire")
	if len(g.names) == 0 {
		g.text("small", marginLeft+4, float64(top+panelGap+4), "start", "none")
	}
	for i, name := range g.names {
		y := float64(top + panelGap - 12 + i*alertHeight)
		named := false
		for _, a := range g.record.alerts {
			if a.alert != name {
				continue
			}
			from, wide := g.x(a.from), g.x(a.to)-g.x(a.from)
			g.addf(`<rect class="alert" x="%.1f" y="%.1f" width="%.1f" height="16" rx="2"/>`, from, y, max(2, wide))
			switch {
			case named:
			case wide > nameWidth:
				g.text("in", from+6, y+12, "start", name)
			default:
				g.text("small", from-6, y+12, "end", name)
			}
			named = true
		}
	}
}

// moments marks the fault and the remedy.
func (g *graph) moments(top, bottom int) {
	for _, m := range []struct {
		class string
		at    time.Time
	}{{"fault", g.record.faulty}, {"remedy", g.record.fixed}} {
		x := g.x(m.at)
		g.addf(`<line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, m.class, x, top, x, bottom)
		g.text("small", x, float64(top-4), "middle", m.class)
	}
}

// timeAxis draws the time since the fault, as in production.
func (g *graph) timeAxis(y int) {
	length := float64(g.record.end.Sub(g.record.began)) * Speed / float64(time.Minute)
	step := niceStep(length / 10)
	first := g.record.began.Sub(g.record.faulty).Minutes() * Speed
	for m := math.Ceil(first/step) * step; m <= first+length; m += step {
		x := g.x(g.record.faulty.Add(time.Duration(m * float64(time.Minute) / Speed)))
		g.text("small", x, float64(y+16), "middle", strconv.FormatFloat(m+0, 'f', -1, 64))
	}
	g.text("small", graphWidth/2, float64(y+33), "middle", "minutes since the fault")
}

// niceStep returns a step of 1, 2 or 5 times a power of ten that is at least as large.
func niceStep(least float64) float64 {
	if least <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}
