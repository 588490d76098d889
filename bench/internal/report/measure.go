package report

import (
	"math"
	"strings"
)

// near is how far apart two figures are, as a share of the greater, that may be the
// same but for chance, where there are no others to tell.
const near = 0.03

// Measure is one column of figures.
type Measure struct {
	Name string // "server CPU per event"
	Unit string // "µs", "events/s", "KB"; "" is a bare number
	More bool   // more is better
	// Least is where figures begin to mean something. What is below is noise, written
	// "≈0", and all noise is level. 0 takes each figure for what it is.
	Least float64
	// Aside is a measure for information, by which nobody is compared: what the
	// clients themselves cost.
	Aside bool
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

// level says whether the figures of two contestants, least first, may differ by chance
// alone. Where the rounds of one reach into those of the other, another run may well
// have them the other way round.
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

// apart says whether two figures differ by more than what may be chance.
func (m Measure) apart(p, q float64) bool {
	return !(m.noise(p) && m.noise(q)) && math.Abs(p-q) > near*max(math.Abs(p), math.Abs(q))
}

// figure writes a figure of this measure.
func (m Measure) figure(v float64) string {
	if m.noise(v) {
		return "≈0"
	}
	return Figure(v)
}

// extent writes the least and the greatest figure.
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

// ratio writes how many times the reference a figure is. Noise is not divided by: of
// it is known only what it is below.
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
