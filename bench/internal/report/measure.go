package report

import (
	"math"
	"strings"
)

// near is the greatest difference between two figures, as a share of the higher one, that
// may be chance when there is only one round.
const near = 0.03

// Measure is one column of figures.
type Measure struct {
	Name string // "server CPU per event"
	Unit string // "µs", "events/s", "KB"; "" is a bare number
	More bool   // more is better; else less is
	// Least is the lowest figure that means something. A figure below it is noise,
	// written "≈0", and level with all noise. With 0 no figure is noise.
	Least float64
	// InfoOnly marks a measure for information only, by which contestants are not compared,
	// such as the CPU of the clients.
	InfoOnly bool
}

// label is the name with its unit.
func (m Measure) label() string {
	if m.Unit == "" {
		return m.Name
	}
	return m.Name + " (" + m.Unit + ")"
}

func (m Measure) noise(v float64) bool { return m.Least > 0 && v < m.Least }

// better says whether a is better than b.
func (m Measure) better(a, b float64) bool {
	switch {
	case m.noise(a) && m.noise(b):
		return false
	case m.More:
		return a > b
	default:
		return a < b
	}
}

// level reports whether the figures of two contestants, each sorted, may differ by chance
// alone. If their ranges overlap, another run may well reverse their order.
func (m Measure) level(a, b []float64) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	p, q := median(a), median(b)
	switch {
	case m.noise(p) && m.noise(q):
		return true
	case a[0] <= b[len(b)-1] && b[0] <= a[len(a)-1]:
		return true
	case len(a) > 1 && len(b) > 1:
		return false
	default:
		return !m.apart(p, q)
	}
}

// apart reports whether two figures differ by more than chance may explain.
func (m Measure) apart(p, q float64) bool {
	return !(m.noise(p) && m.noise(q)) && math.Abs(p-q) > near*max(math.Abs(p), math.Abs(q))
}

// figure formats a figure of this measure.
func (m Measure) figure(v float64) string {
	if m.noise(v) {
		return "≈0"
	}
	return Figure(v)
}

// withUnit adds the unit to a figure that has been formatted.
func (m Measure) withUnit(figure string) string {
	if m.Unit == "" || figure == none {
		return figure
	}
	return figure + space + m.Unit
}

// extent formats the lowest and the highest of sorted figures.
func (m Measure) extent(figures []float64) string {
	if len(figures) < 2 {
		return none
	}
	least, greatest := figures[0], figures[len(figures)-1]
	if m.noise(greatest) {
		return m.figure(greatest)
	}
	return m.figure(least) + "–" + m.figure(greatest)
}

// ratio formats v divided by the reference. If one of them is noise, the ratio is a bound,
// because all that is known of noise is that it is below Least.
func (m Measure) ratio(v, reference float64) string {
	switch {
	case m.noise(v) && m.noise(reference):
		return none
	case m.noise(v):
		return bound("<", Ratio(m.Least, reference))
	case m.noise(reference):
		return bound(">", Ratio(v, m.Least))
	default:
		return Ratio(v, reference)
	}
}

func bound(sign, ratio string) string {
	if ratio == none || strings.HasPrefix(ratio, "<") {
		return ratio
	}
	return sign + ratio
}
