package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Kind is the kind of a contestant.
type Kind int

// The kinds, in the order in which a table lists them.
const (
	Kit   Kind = iota // ginsse
	Hand              // written by hand
	Peer              // a library
	Floor             // the reference, which does only what must be done
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

// Row is the result of one contestant in one scenario.
type Row struct {
	Contestant string
	Kind       Kind
	// Failures say why the contestant has failed, one for each failed round: "delivered
	// 37 %". A contestant with a failure has no rank. Its figures, if any, are shown.
	Failures []string
	// Excused says why the contestant did not run: "does not replay". "" means that it did.
	Excused string
	// Disturbed is the number of rounds in which something else on the machine used much
	// of the processor during the bout that counted.
	Disturbed int
	// Values are indexed by measure, then by round. NaN is a missing figure.
	Values [][]float64
}

// failed reports whether the contestant was excused, or failed in any round.
func (r Row) failed() bool { return r.Excused != "" || len(r.Failures) > 0 }

// done reports whether the row can be compared by the first measure.
func (r Row) done() bool { return r.has(0) }

// has reports whether the row can be compared by a measure.
func (r Row) has(measure int) bool { return !r.failed() && !math.IsNaN(r.Median(measure)) }

// mostReasons is how many different reasons are listed. Rounds mostly fail for the same
// reason, with other figures.
const mostReasons = 2

// notDone says why the contestant has not done the work, or "" if it has.
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

// Median returns the median of the figures for a measure, or NaN if there are none.
func (r Row) Median(measure int) float64 { return median(r.figures(measure)) }

// median returns the median of sorted figures.
func median(v []float64) float64 {
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// figures returns the figures for a measure, sorted, without those that are missing.
func (r Row) figures(measure int) []float64 {
	if measure >= len(r.Values) {
		return nil
	}
	v := slices.DeleteFunc(slices.Clone(r.Values[measure]), math.IsNaN)
	slices.Sort(v)
	return v
}

// figure formats the median. The first measure has a mark if a round was disturbed.
func (r Row) figure(m Measure, measure int) string {
	text := m.figure(r.Median(measure))
	if measure == 0 && r.Disturbed > 0 && text != none {
		return "~" + text
	}
	return text
}

// withUnit formats the median with its unit, for a place where no column head names it.
func (r Row) withUnit(m Measure, measure int) string {
	return m.withUnit(r.figure(m, measure))
}
