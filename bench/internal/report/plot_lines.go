package report

import (
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// manyTimes is the ratio of the highest to the lowest figure from which the scale is a log
// scale. On a linear one the low figures would lie on the axis.
const manyTimes = 25

// point is the result of a contestant at one size.
type point struct {
	x, median, low, high float64
	shown                bool   // whether there is a figure
	failed               string // why the work is not done, or ""
}

// curve is the results of a contestant at all sizes.
type curve struct {
	name   string
	kind   Kind
	points []point
	line   draw.LineStyle
	glyph  draw.GlyphStyle
}

// curves are in the order of the legend. They are drawn in reverse, so that the kit's is
// on top.
type curves []curve

// lines draws a group.
func (s section) lines() ([]byte, error) {
	all := s.curves()
	notes := all.notes(s.scenarios[0].XName)
	small := plain(9.5, failRed)
	noteHeight := vg.Length(len(notes)) * small.FontExtents().Height * lineGap
	p := newPage(headHeight()+330+noteHeight, s.scenarios[0].Title, s.scenarios[0])
	p.free.Max.Y -= 8

	body := p.free
	body.Min.Y += noteHeight
	width := vg.Length(0)
	for _, c := range all {
		width = max(width, bold(10, ink).Width(c.name))
	}
	width = min(width, widestName) + 36
	all.legend(draw.Crop(body, body.Size().X-width, 0, 0, 0))

	axes := newAxes()
	x := s.scenarios[0].XName + s.setX(axes)
	y := s.scenarios[0].first().label() + all.setY(axes)
	axes.Add(newGrid(), all)
	drawAxes(axes, draw.Crop(body, 0, -width-12, 0, 0), x, y)

	p.free.Max.Y = p.free.Min.Y + noteHeight - 4
	for _, note := range notes {
		p.line(small, note)
	}
	return p.bytes()
}

func (s section) curves() curves {
	var all curves
	at := map[string]int{}
	for _, kind := range []Kind{Kit, Hand, Peer, Floor} {
		for _, scenario := range s.scenarios {
			for _, row := range scenario.Rows {
				if row.Kind != kind {
					continue
				}
				i, known := at[row.Contestant]
				if !known {
					i = len(all)
					at[row.Contestant] = i
					all = append(all, curve{name: row.Contestant, kind: kind})
				}
				p := point{x: scenario.X, failed: row.notDone()}
				p.median, p.low, p.high, p.shown = row.span()
				all[i].points = append(all[i].points, p)
			}
		}
	}
	all.style()
	return all
}

// notes lists the failures, for which the plot itself has no room.
func (cs curves) notes(xName string) []string {
	var notes []string
	for _, c := range cs {
		var reasons []string
		sizes := map[string][]string{}
		for _, p := range c.points {
			if p.failed == "" {
				continue
			}
			if sizes[p.failed] == nil {
				reasons = append(reasons, p.failed)
			}
			sizes[p.failed] = append(sizes[p.failed], exactly(p.x))
		}
		for _, reason := range reasons {
			at := strings.TrimSpace(strings.Join(sizes[reason], ", ") + " " + xName)
			notes = append(notes, "× "+c.name+", not done at "+at+": "+reason)
		}
	}
	return notes
}

// style sets the style of each curve. The kit's is the widest, the floor's is dashed.
func (cs curves) style() {
	peers := []color.Color{
		color.NRGBA{0xd5, 0x5e, 0x00, 0xff}, color.NRGBA{0x00, 0x8f, 0x6b, 0xff},
		color.NRGBA{0xb2, 0x4c, 0x8e, 0xff}, color.NRGBA{0xc2, 0x94, 0x00, 0xff},
		color.NRGBA{0x7a, 0x4f, 0x2b, 0xff}, color.NRGBA{0x3f, 0xa7, 0xd6, 0xff},
	}
	kits := []color.Color{kitBlue, color.NRGBA{0x0a, 0x3d, 0x7a, 0xff}}
	hands := []color.Color{ink, handSlate}
	shapes := []draw.GlyphDrawer{
		polygon{4, 0.125}, polygon{3, 0.25}, polygon{4, 0}, polygon{3, 0.75}, polygon{5, 0.25}, polygon{6, 0},
	}
	var kit, hand, peer int
	for i := range cs {
		c := &cs[i]
		c.line = draw.LineStyle{Width: 1.5}
		c.glyph.Radius = 3.5
		switch c.kind {
		case Kit:
			c.line.Color, c.line.Width = kits[kit%len(kits)], 2.8
			c.glyph.Shape, c.glyph.Radius = draw.CircleGlyph{}, 4
			kit++
		case Hand:
			c.line.Color = hands[hand%len(hands)]
			c.glyph.Shape, c.glyph.Radius = draw.CircleGlyph{}, 3
			hand++
		case Peer:
			c.line.Color = peers[peer%len(peers)]
			c.glyph.Shape = shapes[peer%len(shapes)]
			peer++
		default:
			c.line.Color = failGrey
			c.line.Dashes = []vg.Length{5, 3}
			c.glyph.Shape, c.glyph.Radius = draw.CircleGlyph{}, 2.5
		}
		c.glyph.Color = c.line.Color
	}
}

// setX sets a tick at each size. It returns what to add to the name of the axis.
func (s section) setX(axes *plot.Plot) (remark string) {
	low, high := math.Inf(1), math.Inf(-1)
	var ticks plot.ConstantTicks
	for _, c := range s.scenarios {
		low, high = min(low, c.X), max(high, c.X)
		if len(ticks) == 0 || ticks[len(ticks)-1].Value != c.X {
			ticks = append(ticks, plot.Tick{Value: c.X, Label: exactly(c.X)})
		}
	}
	axes.X.Tick.Marker = ticks
	const beside = 0.06
	switch {
	case low == high:
		axes.X.Min, axes.X.Max = low-1, high+1
	case low > 0:
		axes.X.Scale = plot.LogScale{}
		remark = " (log scale)"
		room := math.Pow(high/low, beside)
		axes.X.Min, axes.X.Max = low/room, high*room
	default:
		room := (high - low) * beside
		axes.X.Min, axes.X.Max = low-room, high+room
	}
	return remark
}

// setY sets range and ticks. It returns what to add to the name of the axis.
func (cs curves) setY(axes *plot.Plot) (remark string) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range cs {
		for _, p := range c.points {
			if p.shown {
				low, high = min(low, p.low), max(high, p.high)
			}
		}
	}
	switch {
	case low > high || low == 0 && high == 0:
		axes.Y.Min, axes.Y.Max = 0, 1
		axes.Y.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}}
	case low > 0 && high/low >= manyTimes:
		axes.Y.Scale = plot.LogScale{}
		remark = ", log scale"
		ticks := byFactors(low, high)
		axes.Y.Tick.Marker = ticks
		axes.Y.Min, axes.Y.Max = ticks[0].Value, ticks[len(ticks)-1].Value
	default:
		axes.Y.Min, axes.Y.Max = min(low, 0), max(high, 0)
		room := (axes.Y.Max - axes.Y.Min) * 0.05
		axes.Y.Max += room
		if low < 0 {
			axes.Y.Min -= room
		}
		axes.Y.Tick.Marker = evenly(axes.Y.Min, axes.Y.Max, 6)
	}
	return remark
}

// Plot implements [plot.Plotter]. A failed point is a cross. No line leads to it, or
// across a size without a figure.
func (cs curves) Plot(c draw.Canvas, axes *plot.Plot) {
	x, y := axes.Transforms(&c)
	for i := range cs {
		curve := cs[len(cs)-1-i]
		// The curves are shifted sideways a little, so that their whiskers do not overlap.
		beside := (vg.Length(len(cs)-1)/2 - vg.Length(i)) * 2.5
		var run []vg.Point
		for _, p := range curve.points {
			if p.failed != "" || !p.shown {
				c.StrokeLines(curve.line, run)
				run = nil
			}
			if !p.shown {
				continue
			}
			at := vg.Point{X: x(p.x) + beside, Y: y(p.median)}
			if p.failed != "" {
				cross(c, draw.LineStyle{Color: curve.line.Color, Width: 1.6}, at)
				continue
			}
			run = append(run, at)
			if p.low < p.high {
				style := draw.LineStyle{Color: curve.line.Color, Width: 0.9}
				whisker(c, style, vg.Point{X: at.X, Y: y(p.low)}, vg.Point{X: at.X, Y: y(p.high)})
			}
			c.DrawGlyphNoClip(curve.glyph, at)
		}
		c.StrokeLines(curve.line, run)
	}
}

// legend draws the names below each other.
func (cs curves) legend(c draw.Canvas) {
	const sample, step = 24, 18
	at := vg.Point{X: c.Min.X, Y: c.Max.Y - 8}
	for _, curve := range cs {
		style := plain(10, ink)
		if curve.kind == Kit {
			style = bold(10, ink)
		}
		if !slices.ContainsFunc(curve.points, func(p point) bool { return p.shown }) {
			style.Color, curve.line.Color, curve.glyph.Color = failGrey, failGrey, failGrey
		}
		c.StrokeLine2(curve.line, at.X, at.Y, at.X+sample, at.Y)
		c.DrawGlyphNoClip(curve.glyph, vg.Point{X: at.X + sample/2, Y: at.Y})
		style.YAlign = text.YCenter
		c.FillText(style, vg.Point{X: at.X + sample + 7, Y: at.Y + style.FontExtents().Descent}, fit(style, curve.name, widestName))
		at.Y -= step
	}
}

func cross(c draw.Canvas, style draw.LineStyle, at vg.Point) {
	const arm = 3.5
	c.StrokeLine2(style, at.X-arm, at.Y-arm, at.X+arm, at.Y+arm)
	c.StrokeLine2(style, at.X-arm, at.Y+arm, at.X+arm, at.Y-arm)
}

// polygon is a filled glyph. turn is the direction of its first corner, in turns from the
// right.
type polygon struct {
	corners int
	turn    float64
}

// DrawGlyph implements [draw.GlyphDrawer].
func (p polygon) DrawGlyph(c *draw.Canvas, style draw.GlyphStyle, at vg.Point) {
	var corners []vg.Point
	for n := range p.corners {
		sin, cos := math.Sincos(2 * math.Pi * (p.turn + float64(n)/float64(p.corners)))
		corners = append(corners, at.Add(vg.Point{X: style.Radius * vg.Length(cos) * 1.2, Y: style.Radius * vg.Length(sin) * 1.2}))
	}
	c.FillPolygon(style.Color, corners)
}
