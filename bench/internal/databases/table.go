package databases

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ginsse/ginsse/bench/internal/report"
)

// Report is what a run found.
type Report struct {
	Server string // version of PostgreSQL; "" without
	Redis  string // version of Redis; "" without
	Tables []*Table
	Notes  []string // sentences about the run
}

// Table is cases that were measured in turn.
type Table struct {
	Title, About string
	Figures      []Figure // the columns
	Rows         []Row
	Aims         []Aim
	Others       []float64 // cores that other processes used, for each measurement
}

// Figure is what is measured of each case.
type Figure struct {
	Name, Unit string
	Ratio      bool // has a column of ratios to the table's first row
}

// Row is a case. Values has a value of each round for each figure.
type Row struct {
	Name   string
	Values [][]float64
}

// Aim bounds a figure of a row, or its ratio to that of another row.
type Aim struct {
	Text        string
	Row, Figure int
	Over        int // row; -1 for the figure itself
	Least, Most float64
}

// ratios returns the ratio of two rows in each round.
func (t *Table) ratios(row, over, figure int) (list []float64) {
	a, b := t.Rows[row].Values[figure], t.Rows[over].Values[figure]
	for i := range min(len(a), len(b)) {
		list = append(list, a[i]/b[i])
	}
	return list
}

// latencies are the figures of a time.
func latencies() []Figure { return []Figure{{Name: "p50", Unit: "ms"}, {Name: "p99", Unit: "ms"}} }

// median returns the median, with the lowest and the highest value; NaN without values.
func median(values []float64) (middle, lowest, highest float64) {
	if len(values) == 0 {
		return math.NaN(), math.NaN(), math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]
}

// cell writes a median, with the range if there are several values.
func cell(values []float64, format func(float64) string) string {
	middle, lowest, highest := median(values)
	if len(values) < 2 {
		return format(middle)
	}
	return fmt.Sprintf("%s (%s–%s)", format(middle), format(lowest), format(highest))
}

func ratio(v float64) string { return report.Ratio(v, 1) }

// markdown returns the table with its heading.
func (t *Table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n|", t.Title, t.About)
	columns := 1
	for _, f := range t.Figures {
		name := f.Name
		if f.Unit != "" {
			name += ", " + f.Unit
		}
		b.WriteString(" | " + name)
		columns++
		if f.Ratio {
			b.WriteString(" | ratio")
			columns++
		}
	}
	b.WriteString(" |\n|" + strings.Repeat("---|", columns) + "\n")
	for i, row := range t.Rows {
		b.WriteString("| " + row.Name)
		for k, f := range t.Figures {
			b.WriteString(" | " + cell(row.Values[k], report.Figure))
			switch {
			case f.Ratio && i > 0:
				b.WriteString(" | " + cell(t.ratios(i, 0, k), ratio))
			case f.Ratio:
				b.WriteString(" | ")
			}
		}
		b.WriteString(" |\n")
	}
	_, lowest, highest := median(t.Others)
	fmt.Fprintf(&b, "\nOther processes used %.1f to %.1f cores meanwhile.\n", lowest, highest)
	return b.String()
}

// found says whether an aim is met, and what was found.
func (t *Table) found(a Aim) (verdict, found string) {
	values, format := t.Rows[a.Row].Values[a.Figure], func(v float64) string { return report.Figure(v) + " " + t.Figures[a.Figure].Unit }
	if a.Over >= 0 {
		values, format = t.ratios(a.Row, a.Over, a.Figure), ratio
	}
	met := func(v float64) bool { return (a.Least == 0 || v >= a.Least) && (a.Most == 0 || v <= a.Most) }
	middle, lowest, highest := median(values)
	switch found = format(middle); {
	case met(middle):
		return "met", found
	case met(lowest), met(highest):
		return "**not met**", found + "; in some rounds it was"
	}
	return "**not met**", found
}

// Markdown returns the aims, and then the tables.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString("## What was aimed at\n\n| aim | | found |\n|---|---|---|\n")
	for _, t := range r.Tables {
		for _, a := range t.Aims {
			verdict, found := t.found(a)
			fmt.Fprintf(&b, "| %s | %s | %s |\n", a.Text, verdict, found)
		}
	}
	for _, t := range r.Tables {
		b.WriteString("\n" + t.markdown())
	}
	for _, note := range r.Notes {
		b.WriteString("\n" + note + "\n")
	}
	return b.String()
}
