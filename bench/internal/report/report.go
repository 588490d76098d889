// Package report says what a run of the benchmarks found: as tables for a
// terminal, as Markdown, and as plots.
package report

import "time"

// Report is what one run found.
type Report struct {
	Date     time.Time
	Command  string // as it was typed
	Commit   string // of the tree that was measured; ends with "+" if it had changes
	Rounds   int
	Took     time.Duration
	Machine  Machine
	Versions []Version // of the contestants

	Contestants []Contestant
	Scenarios   []Scenario
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

// Contestant is who took part, and how it was set up for all scenarios.
type Contestant struct {
	Name  string
	Kind  Kind
	About string // plain text
}

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

	// Measures are the columns. Contestants are compared by all but those that stand
	// aside; the tables and the plots go by the first, which does not.
	Measures []Measure
	Rows     []Row
	// Aims are what the kit is meant to reach here, said under the table.
	Aims []Aim
	// Notes are sentences of plain text under the table: settings that matter here.
	Notes []string
}
