// Package report says what a run of the benchmarks found: as tables for a
// terminal, as Markdown, and as plots.
package report

import (
	"math"
	"slices"
	"time"
)

// Report is what one run found.
type Report struct {
	Date     time.Time
	Command  string // as it was typed
	Commit   string // of the tree that was measured; ends with "+" if it had changes
	Rounds   int
	Took     time.Duration
	Machine  Machine
	Versions []Version // of the contestants

	Scenarios []Scenario
}

// Machine is what the run was made on.
type Machine struct {
	CPU    string // model name
	Cores  int
	Memory int64 // bytes
	Kernel string
	Go     string // version
}

// Version is the version of one module.
type Version struct{ Module, Version string }

// Scenario is one piece of work that all contestants were given.
type Scenario struct {
	Name  string // "paced": what the command's -scenarios takes
	Title string // "Paced broadcast"
	About string // what was done, in a sentence or two

	// Scenarios of one Group are the same work at several sizes X, and are plotted
	// together, as lines over X. XName says what X counts: "streams". They share a
	// Title, which does not name the size.
	Group, XName string
	X            float64

	// Measures are the columns. Contestants are ranked, compared and plotted by the
	// first.
	Measures []Measure
	Rows     []Row
}

// Measure is one column of figures.
type Measure struct {
	Name string // "server CPU per event"
	Unit string // "µs", "events/s", "KB"; "" is a bare number
	More bool   // more is better
}

// Kind is what sort of contestant a row is about.
type Kind int

// The kinds, in the order in which a table lists them.
const (
	Kit   Kind = iota // ginsse
	Hand              // written by hand
	Peer              // a library
	Floor             // the reference that does only what must be done
)

// Row is what one contestant did in one scenario.
type Row struct {
	Contestant string
	Kind       Kind
	// Failed says why the contestant has not done the work, and so has no rank:
	// "delivered 37 %". Its figures are shown all the same, if there are any.
	Failed string
	// Values are by measure, then by round. NaN is a figure that there is not.
	Values [][]float64
}

// Median returns the median of the row's figures for one measure, NaN if there
// are none.
func (r Row) Median(measure int) float64 {
	v := r.figures(measure)
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
