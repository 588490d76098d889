package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Kind is what sort of contestant a row is about.
type Kind int

// The kinds, in the order in which a table lists them.
const (
	Kit   Kind = iota // ginsse
	Hand              // written by hand
	Peer              // a library
	Floor             // the reference that does only what must be done
)

func (k Kind) name() string {
	switch k {
	case Kit:
		return "this kit"
	case Hand:
		return "written by hand"
	case Peer:
		return "a library"
	default:
		return "the floor"
	}
}

// Row is what one contestant did in one scenario.
type Row struct {
	Contestant string
	Kind       Kind
	// Failures say why the contestant has not done the work, one for each round in
	// which it has not: "delivered 37 %". One is enough to have no rank. Its figures
	// are shown all the same, if there are any.
	Failures []string
	// Excused says why the contestant was not asked at all: "does not replay".
	Excused string
	// Disturbed is in how many rounds something else on the machine used the processor
	// noticeably, during the bout that counted.
	Disturbed int
	// Values are by measure, then by round. NaN is a figure that there is not.
	Values [][]float64
}

// failed says whether the contestant has left work undone, in any round.
func (r Row) failed() bool { return r.Excused != "" || len(r.Failures) > 0 }

// done says whether the row can be compared by the first measure.
func (r Row) done() bool { return r.has(0) }

// has says whether the row can be compared by a measure.
func (r Row) has(measure int) bool { return !r.failed() && !math.IsNaN(r.Median(measure)) }

// mostReasons is how many different reasons are given: rounds fail alike, and differ
// in their figures only.
const mostReasons = 2

// notDone says why the contestant has not done the work, and nothing if it has.
func (r Row) notDone() string {
	if r.Excused != "" || len(r.Failures) == 0 {
		return r.Excused
	}
	var reasons []string
	for _, failure := range r.Failures {
		if !slices.Contains(reasons, failure) {
			reasons = append(reasons, failure)
		}
	}
	if len(reasons) > mostReasons {
		reasons = append(reasons[:mostReasons], "…")
	}
	text := strings.Join(reasons, "; ")
	if n := r.rounds(); len(r.Failures) < n {
		text += fmt.Sprintf(", in %d of %d rounds", len(r.Failures), n)
	}
	return text
}

func (r Row) rounds() int {
	n := 0
	for _, values := range r.Values {
		n = max(n, len(values))
	}
	return n
}

// Median returns the median of the row's figures for one measure, NaN if there
// are none.
func (r Row) Median(measure int) float64 { return median(r.figures(measure)) }

// median takes figures in their order.
func median(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// figures returns the figures that there are for one measure, least first.
func (r Row) figures(measure int) []float64 {
	if measure >= len(r.Values) {
		return nil
	}
	v := slices.DeleteFunc(slices.Clone(r.Values[measure]), math.IsNaN)
	slices.Sort(v)
	return v
}

// figure writes the median. The first measure, by which rows are compared, has a mark
// if it was taken on a machine that did something else meanwhile.
func (r Row) figure(m Measure, measure int) string {
	text := m.figure(r.Median(measure))
	if measure == 0 && r.Disturbed > 0 && text != none {
		return "~" + text
	}
	return text
}

// withUnit writes the median where no column's head names the unit.
func (r Row) withUnit(m Measure, measure int) string {
	text := r.figure(m, measure)
	if m.Unit != "" && text != none {
		text += space + m.Unit
	}
	return text
}
