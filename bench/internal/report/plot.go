package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes on a page, in points.
const (
	pageWidth  = 640
	margin     = 16
	lineGap    = 1.45 // height of a line, in heights of its text
	barHeight  = 15
	rowHeight  = 26
	widestName = 200 // most width of a contestant's name
)

// Colour-blind readers can tell the colours apart, and so can readers of a print in grey.
var (
	ink       = color.NRGBA{0x1f, 0x23, 0x28, 0xff}
	quiet     = color.NRGBA{0x59, 0x63, 0x6e, 0xff}
	gridLine  = color.NRGBA{0xe3, 0xe6, 0xea, 0xff}
	kitBlue   = color.NRGBA{0x05, 0x69, 0xd1, 0xff}
	handSlate = color.NRGBA{0x6b, 0x77, 0x85, 0xff}
	peerGrey  = color.NRGBA{0xb4, 0xbd, 0xc7, 0xff}
	floorPale = color.NRGBA{0xe9, 0xec, 0xef, 0xff}
	failGrey  = color.NRGBA{0xa8, 0xae, 0xb5, 0xff}
	failRed   = color.NRGBA{0xb0, 0x2a, 0x2f, 0xff}
)

// WritePlots draws each scenario, or each group of scenarios, into a file in dir, and
// returns the names of the files. It creates dir if necessary. Equal reports give equal
// files.
func (r *Report) WritePlots(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // everybody may read the plots
		return nil, err
	}
	var files []string
	for _, s := range r.sections() {
		file := s.file()
		if slices.Contains(files, file) {
			return files, fmt.Errorf("two plots are called %q", file)
		}
		svg, err := s.draw()
		if err != nil {
			return files, fmt.Errorf("drawing %s: %w", file, err)
		}
		if err := WriteFile(filepath.Join(dir, file), svg); err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
}

// file is the file name of the section's plot. It is valid in an address without escaping.
func (s section) file() string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-_.", r)) {
			return r
		}
		return '-'
	}, s.name)
	if strings.Trim(name, ".") == "" {
		name = "unnamed"
	}
	return name + ".svg"
}

// draw draws several sizes as lines, and one as bars.
func (s section) draw() ([]byte, error) {
	if len(s.scenarios) > 1 {
		return s.lines()
	}
	return s.scenarios[0].bars()
}

// page is a canvas that is filled from the top down.
type page struct {
	canvas *vgsvg.Canvas
	free   draw.Canvas
}

// newPage returns a page with the title and what the figures are. It has a white
// background, because the text would be unreadable on a dark one.
func newPage(height vg.Length, title string, s Scenario) *page {
	c := vgsvg.New(pageWidth, height)
	all := draw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Path())
	p := &page{c, draw.Crop(all, margin, -margin, margin, -margin)}
	p.line(bold(15, ink), title)
	p.line(plain(10, quiet), s.subtitle())
	return p
}

// headHeight is the height that newPage uses.
func headHeight() vg.Length {
	return 2*margin + (plain(15, ink).FontExtents().Height+plain(10, ink).FontExtents().Height)*lineGap
}

// subtitle explains the figures of the plot.
func (s Scenario) subtitle() string {
	rounds := 0
	for _, row := range s.Rows {
		rounds = max(rounds, len(row.figures(0)))
	}
	way := "less is better"
	if s.first().More {
		way = "more is better"
	}
	parts := []string{s.first().label(), way}
	if rounds > 1 {
		parts = append(parts, fmt.Sprintf("median of %d rounds, whiskers from the lowest to the highest", rounds))
	}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

// line writes a line of text at the top of the free area, and takes it from that area.
func (p *page) line(style text.Style, line string) {
	height := style.FontExtents().Height * lineGap
	p.free.FillText(style, vg.Point{X: p.free.Min.X, Y: p.free.Max.Y - height*0.75}, fit(style, line, pageWidth-2*margin))
	p.free.Max.Y -= height
}

// fit shortens a text that is too wide.
func fit(style text.Style, line string, width vg.Length) string {
	if style.Width(line) <= width {
		return line
	}
	runes := []rune(line)
	for n := min(len(runes), 300) - 1; n > 0; n-- {
		if short := strings.TrimRight(string(runes[:n]), " ,;:") + "…"; style.Width(short) <= width {
			return short
		}
	}
	return "…"
}

// bytes returns the page as SVG. It adds typefaces of the same widths, for readers who do
// not have the first one.
func (p *page) bytes() ([]byte, error) {
	var b bytes.Buffer
	if _, err := p.canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), nil
}

// newAxes returns an empty plot in the style that all plots have.
func newAxes() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Padding = 0
		axis.Color = quiet
		axis.Tick.Color = quiet
		axis.Tick.Label.Font = sans(9)
		axis.Tick.Label.Color = quiet
		axis.Tick.Length = 4
	}
	return p
}

// drawAxes draws the plot and the names of its axes. The library's own labels are not
// centred on a log scale.
func drawAxes(axes *plot.Plot, area draw.Canvas, x, y string) {
	style := plain(10, quiet)
	height := style.FontExtents().Height * lineGap
	room := height
	if y == "" {
		room = 0
	}
	axes.Draw(draw.Crop(area, room, 0, height, 0))
	data := axes.DataCanvas(draw.Crop(area, room, 0, height, 0))
	style.XAlign = text.XCenter
	area.FillText(style, vg.Point{X: data.Center().X, Y: area.Min.Y}, x)
	style.Rotation = math.Pi / 2
	area.FillText(style, vg.Point{X: area.Min.X + style.FontExtents().Ascent, Y: data.Center().Y}, y)
}

// newGrid returns the lines behind the data.
func newGrid() *plotter.Grid {
	g := plotter.NewGrid()
	style := draw.LineStyle{Color: gridLine, Width: 0.8}
	g.Vertical, g.Horizontal = style, style
	return g
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

func plain(size vg.Length, c color.Color) text.Style {
	return text.Style{Color: c, Font: sans(size), Handler: plot.DefaultTextHandler}
}

func bold(size vg.Length, c color.Color) text.Style {
	style := plain(size, c)
	style.Font.Weight = 3 // bold, as the fonts count: 0 is regular
	return style
}

// evenly returns about the wanted number of ticks, at multiples of 1, 2 or 5 times a power
// of ten.
func evenly(low, high float64, wanted int) plot.ConstantTicks {
	rough := (high - low) / float64(wanted)
	exponent := math.Floor(math.Log10(rough))
	step := math.Pow(10, exponent)
	for _, f := range []float64{10, 5, 2} {
		if rough >= step*f*0.7 {
			step *= f
			break
		}
	}
	decimals := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	var ticks plot.ConstantTicks
	first := math.Ceil(low/step-1e-9) + 0 // makes 0 of -0
	for n := first; n*step <= high*(1+1e-9); n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: fixed(n*step, decimals)})
	}
	return ticks
}

// byFactors returns ticks for a log scale, at 1, 2 and 5 times each power of ten, from the
// last before the data to the first after them. Over many decades only powers of ten have
// labels.
func byFactors(low, high float64) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	many := high/low > 1e3
	first, last := int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	for exponent := first; exponent <= last; exponent++ {
		for _, digit := range []float64{1, 2, 5} {
			tick := plot.Tick{Value: digit * math.Pow(10, float64(exponent))}
			if digit == 1 || !many {
				tick.Label = fixed(tick.Value, max(0, -exponent))
			}
			if tick.Value <= low {
				ticks = ticks[:0]
			}
			ticks = append(ticks, tick)
			if tick.Value >= high && len(ticks) > 1 {
				return ticks
			}
		}
	}
	return ticks
}

// span returns the median and the ends of the whisker, and whether they can be drawn.
func (r Row) span() (median, low, high float64, ok bool) {
	median = r.Median(0)
	if !finite(median) {
		return 0, 0, 0, false
	}
	low, high = median, median
	for _, v := range r.figures(0) {
		if finite(v) {
			low, high = min(low, v), max(high, v)
		}
	}
	return median, low, high, true
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
