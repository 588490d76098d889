package report

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// table is what one scenario found, as cells of plain text.
type table struct {
	columns []column
	strong  []bool // by row: the best of those that did the work
}

type column struct {
	head   string
	left   bool // aligned; figures are to the right
	strong bool // the figures that decide
	cells  []string
}

func newTable(s Scenario) table {
	rows := s.rows()
	each := func(head string, cell func(Row) string) column {
		c := column{head: head}
		for _, row := range rows {
			c.cells = append(c.cells, cell(row))
		}
		return c
	}
	names := each("contestant", func(r Row) string { return r.Contestant })
	names.left = true
	t := table{columns: []column{names}}
	for i, m := range s.Measures {
		c := each(m.label(), func(r Row) string { return Figure(r.Median(i)) })
		c.strong = i == 0
		t.columns = append(t.columns, c)
		if i > 0 {
			continue
		}
		t.columns = append(t.columns, each("min–max", func(r Row) string { return extent(r.figures(0)) }))
		if floor, ok := s.best(Floor); ok {
			t.columns = append(t.columns, each("to floor", ratioTo(floor)))
		}
		if peer, ok := s.best(Peer); ok {
			t.columns = append(t.columns, each("to best peer", ratioTo(peer)))
		}
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Failed != "" }) {
		c := each("not done", func(r Row) string { return r.Failed })
		c.left = true
		t.columns = append(t.columns, c)
	}
	best, found := s.best(Kit, Hand, Peer)
	for _, row := range rows {
		strong := found && row.Kind != Floor && row.done() && row.Median(0) == best.Median(0)
		t.strong = append(t.strong, strong)
	}
	return t
}

// ratioTo is for the contestants that did the work: a share of it in a share of the
// time is no ratio.
func ratioTo(reference Row) func(Row) string {
	return func(r Row) string {
		if r.Failed != "" {
			return none
		}
		return Ratio(r.Median(0), reference.Median(0))
	}
}

// label is the name with its unit.
func (m Measure) label() string {
	if m.Unit == "" {
		return m.Name
	}
	return m.Name + " (" + m.Unit + ")"
}

// caption says which way is good, and what the ratios are to.
func (s Scenario) caption() string {
	var less, more []string
	for _, m := range s.Measures {
		if m.More {
			more = append(more, m.Name)
		} else {
			less = append(less, m.Name)
		}
	}
	var b strings.Builder
	if less != nil {
		b.WriteString("Less is better: " + strings.Join(less, ", ") + ". ")
	}
	if more != nil {
		b.WriteString("More is better: " + strings.Join(more, ", ") + ". ")
	}
	if peer, ok := s.best(Peer); ok {
		b.WriteString("The best peer is " + peer.Contestant + ".")
	} else {
		b.WriteString("There is no peer to compare with.")
	}
	if _, ok := s.best(Floor); !ok {
		b.WriteString(" There is no floor to compare with.")
	}
	return b.String()
}

// text aligns the columns. Heads are broken into lines, so that a long name does
// not make a wide column.
func (t table) text() string {
	const narrow, gap = 12, "  "
	heads := make([][]string, len(t.columns))
	widths := make([]int, len(t.columns))
	deepest := 0
	for i, c := range t.columns {
		for _, cell := range c.cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
		heads[i] = wrap(c.head, max(narrow, widths[i]))
		for _, line := range heads[i] {
			widths[i] = max(widths[i], utf8.RuneCountInString(line))
		}
		deepest = max(deepest, len(heads[i]))
	}
	var b strings.Builder
	line := func(cell func(int) string) {
		var l strings.Builder
		for i, c := range t.columns {
			text := cell(i)
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if c.left {
				text += space
			} else {
				text = space + text
			}
			l.WriteString(text + gap)
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	for n := range deepest {
		line(func(i int) string {
			if at := n - (deepest - len(heads[i])); at >= 0 { // heads stand on the rule
				return heads[i][at]
			}
			return ""
		})
	}
	line(func(i int) string { return strings.Repeat("-", widths[i]) })
	for n := range t.strong {
		line(func(i int) string { return t.columns[i].cells[n] })
	}
	return b.String()
}

func (t table) markdown() string {
	var b strings.Builder
	for _, c := range t.columns {
		b.WriteString("| " + escape(c.head) + " ")
	}
	b.WriteString("|\n")
	for _, c := range t.columns {
		if c.left {
			b.WriteString("| --- ")
		} else {
			b.WriteString("| ---: ")
		}
	}
	b.WriteString("|\n")
	for n, strong := range t.strong {
		for _, c := range t.columns {
			cell := escape(c.cells[n])
			if strong && c.strong {
				cell = "**" + cell + "**"
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// wrap breaks text at spaces into lines of at most width characters, longer words
// aside.
func wrap(text string, width int) []string {
	var lines []string
	for _, word := range words(text) {
		last := len(lines) - 1
		if last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// words splits text at spaces and line breaks, but not within a figure.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) })
}
