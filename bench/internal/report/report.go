// Package report writes what a run of the benchmarks found: as tables for a terminal, as
// Markdown, and as plots.
package report

import "time"

// Report is what one run found.
type Report struct {
	Date     time.Time
	Command  string // that started the run
	Commit   string // of the measured tree; says so if the tree had uncommitted changes
	Rounds   int
	Took     time.Duration
	Machine  Machine
	Versions []Version // of the contestants

	Contestants []Contestant
	Scenarios   []Scenario
}

// Machine is where the run was made.
type Machine struct {
	CPU    string // model name
	Cores  int
	Memory int64 // bytes
	Kernel string
	Go     string // version
}

// Version is the version of one module.
type Version struct{ Module, Version string }

// Contestant is one way to serve event streams, with its settings for all scenarios.
type Contestant struct {
	Name  string
	Kind  Kind
	About string // plain text
}

// Scenario is one piece of work, the same for all contestants.
type Scenario struct {
	Name  string // "paced", as in the flag -scenarios
	Title string // "Paced broadcast"
	About string // the work, in a sentence or two

	// Scenarios of one Group are the same work at several sizes X. They are plotted
	// together, as lines over X. XName is what X counts: "streams". They share a Title,
	// which does not name the size.
	Group, XName string
	X            float64

	// Measures are the columns. Contestants are compared by all of them but those that
	// are InfoOnly. The first, which is not, decides the rank and is plotted.
	Measures []Measure
	Rows     []Row
	// Aims are written under the table, with whether they are met.
	Aims []Aim
	// Notes are sentences of plain text under the table, such as settings that matter.
	Notes []string
}
