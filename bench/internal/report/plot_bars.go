package report

import (
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The most width of a failed row's label: beside a bar, which must not become too short,
// and without a bar.
const (
	widestBeside = 200
	widestAlone  = 360
)

// bars is a bar chart of the rows of a scenario, from the top down.
type bars struct {
	rows    []Row
	measure Measure
}

// bars draws the scenario.
func (s Scenario) bars() ([]byte, error) {
	b := bars{rows: s.rows(), measure: s.first()}
	keys := b.keys()
	keyHeight := plain(10, ink).FontExtents().Height * 2
	height := headHeight() + keyHeight + vg.Length(max(1, len(b.rows)))*rowHeight + 40
	p := newPage(height, s.heading(), s)
	drawKeys(p.free, keys)
	p.free.Max.Y -= keyHeight

	axes := newAxes()
	axes.Y.Min, axes.Y.Max = -0.5, float64(len(b.rows))-0.5
	axes.Y.Tick.Length = 0
	axes.Y.Tick.Label.Font = sans(10.5)
	axes.Y.Tick.Label.Color = ink
	var names plot.ConstantTicks
	for i, row := range b.rows {
		names = append(names, plot.Tick{Value: b.at(i), Label: fit(axes.Y.Tick.Label, row.Contestant, widestName)})
	}
	axes.Y.Tick.Marker = names
	b.setRange(axes, p.free)
	grid := newGrid()
	grid.Horizontal.Color = nil
	axes.Add(grid, b)
	drawAxes(axes, p.free, b.measure.label(), "")
	return p.bytes()
}

// at is the position of a row on the axis, which counts from the bottom.
func (b bars) at(row int) float64 { return float64(len(b.rows) - 1 - row) }

// setRange sets the range of the axis, with room for the labels beside the bars.
func (b bars) setRange(axes *plot.Plot, area draw.Canvas) {
	low, high := 0.0, 0.0
	for _, row := range b.rows {
		_, l, h, _ := row.span()
		low, high = min(low, l), max(high, h)
	}
	if low == high {
		// There are no bars, only labels.
		axes.X.Min, axes.X.Max = 0, 1
		axes.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}}
		return
	}
	axes.X.Min, axes.X.Max = low, high
	axes.X.Tick.Marker = plot.ConstantTicks(nil)
	width := axes.DataCanvas(area).Size().X
	end := high
	for _, row := range b.rows {
		_, _, h, _ := row.span()
		label, style := b.label(row)
		if room := float64(1 - (style.Width(label)+10)/width); room > 0.1 {
			end = max(end, low+(h-low)/room)
		}
	}
	axes.X.Max = end
	axes.X.Tick.Marker = evenly(low, end, 6)
}

// label returns the text beside a bar.
func (b bars) label(row Row) (string, text.Style) {
	style := plain(10, ink)
	if row.Kind == Kit {
		style = bold(10, ink)
	}
	label := row.withUnit(b.measure, 0)
	if !row.failed() {
		return label, style
	}
	style = plain(10, failRed)
	if label == none {
		return fit(style, "not done: "+row.notDone(), widestAlone), style
	}
	return fit(style, label+", not done: "+row.notDone(), widestBeside), style
}

// Plot implements [plot.Plotter].
func (b bars) Plot(c draw.Canvas, axes *plot.Plot) {
	x, y := axes.Transforms(&c)
	for i, row := range b.rows {
		median, low, high, shown := row.span()
		middle := y(b.at(i))
		if shown {
			box := vg.Rectangle{
				Min: vg.Point{X: min(x(0), x(median)), Y: middle - barHeight/2.0},
				Max: vg.Point{X: max(x(0), x(median)), Y: middle + barHeight/2.0},
			}
			fill(c, box, row.Kind, row.failed())
		}
		if len(row.figures(0)) > 1 && low < high {
			whisker(c, draw.LineStyle{Color: ink, Width: 1}, vg.Point{X: x(low), Y: middle}, vg.Point{X: x(high), Y: middle})
		}
		label, style := b.label(row)
		style.YAlign = text.YCenter
		c.FillText(style, vg.Point{X: x(max(high, 0)) + 6, Y: middle + style.FontExtents().Descent}, label)
	}
	c.StrokeLine2(draw.LineStyle{Color: quiet, Width: 0.8}, x(0), c.Min.Y, x(0), c.Max.Y)
}

// whisker draws a line with a short line across each end.
func whisker(c draw.Canvas, style draw.LineStyle, from, to vg.Point) {
	const half = 3
	across := vg.Point{X: half}
	if from.Y == to.Y {
		across = vg.Point{Y: half}
	}
	c.StrokeLines(style, []vg.Point{from, to},
		[]vg.Point{from.Sub(across), from.Add(across)}, []vg.Point{to.Sub(across), to.Add(across)})
}

// fill draws a bar. It is hatched if the contestant failed.
func fill(c draw.Canvas, box vg.Rectangle, kind Kind, failed bool) {
	corners := []vg.Point{box.Min, {X: box.Max.X, Y: box.Min.Y}, box.Max, {X: box.Min.X, Y: box.Max.Y}, box.Min}
	if failed {
		c.FillPolygon(color.White, corners)
		hatch(draw.Canvas{Canvas: c.Canvas, Rectangle: box})
		c.StrokeLines(draw.LineStyle{Color: failGrey, Width: 0.8}, corners)
		return
	}
	c.FillPolygon(kind.fill(), corners)
	if kind == Floor {
		c.StrokeLines(draw.LineStyle{Color: failGrey, Width: 0.8}, corners)
	}
}

// hatch fills a canvas with slanted lines.
func hatch(c draw.Canvas) {
	const step = 5
	height := c.Max.Y - c.Min.Y
	var lines [][]vg.Point
	for x := c.Min.X - height; x < c.Max.X; x += step {
		lines = append(lines, []vg.Point{{X: x, Y: c.Min.Y}, {X: x + height, Y: c.Max.Y}})
	}
	c.StrokeLines(draw.LineStyle{Color: failGrey, Width: 0.8}, c.ClipLinesXY(lines...)...)
}

func (k Kind) fill() color.Color {
	switch k {
	case Kit:
		return kitBlue
	case Hand:
		return handSlate
	case Peer:
		return peerGrey
	default:
		return floorPale
	}
}

// key explains a style of bars or, without a box, a sign in the labels.
type key struct {
	name         string
	kind         Kind
	failed, sign bool
}

// keys returns the keys of the styles and signs in use.
func (b bars) keys() []key {
	var keys []key
	seen := map[Kind]bool{}
	for _, row := range b.rows {
		if !seen[row.Kind] && !row.failed() {
			seen[row.Kind] = true
			name := row.Kind.name()
			if row.Kind == Floor {
				name += ": only what must be done"
			}
			keys = append(keys, key{name: name, kind: row.Kind})
		}
	}
	if slices.ContainsFunc(b.rows, Row.failed) {
		keys = append(keys, key{name: "work not done", failed: true})
	}
	if slices.ContainsFunc(b.rows, func(r Row) bool { return r.Disturbed > 0 }) {
		keys = append(keys, key{name: "~ on a busy machine", sign: true})
	}
	return keys
}

// drawKeys draws the keys in a line at the top.
func drawKeys(c draw.Canvas, keys []key) {
	const side = 10
	style := plain(10, ink)
	at := vg.Point{X: c.Min.X, Y: c.Max.Y - side - 4}
	for _, k := range keys {
		if !k.sign {
			fill(c, vg.Rectangle{Min: at, Max: at.Add(vg.Point{X: side, Y: side})}, k.kind, k.failed)
			at.X += side + 5
		}
		c.FillText(style, vg.Point{X: at.X, Y: at.Y + 1}, k.name)
		at.X += style.Width(k.name) + 16
	}
}
