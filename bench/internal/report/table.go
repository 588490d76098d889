package report

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// table is the result of a scenario, as cells of plain text.
type table struct {
	columns []column
	strong  []bool // by row: whether it is the best of those that did the work, or level with it
}

type column struct {
	head   string
	left   bool // aligned to the left; figures are aligned to the right
	strong bool // has the figures that decide the rank
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
		c := each(m.label(), func(r Row) string { return r.figure(m, i) })
		c.strong = i == 0
		t.columns = append(t.columns, c)
		if i > 0 {
			continue
		}
		t.columns = append(t.columns, each("min–max", func(r Row) string { return m.extent(r.figures(0)) }))
		for _, reference := range s.references() {
			t.columns = append(t.columns, each("to "+reference.name, m.ratioTo(reference.row)))
		}
	}
	if slices.ContainsFunc(rows, Row.failed) {
		c := each("not done", Row.notDone)
		c.left = true
		t.columns = append(t.columns, c)
	}
	best, found := s.best(Kit, Hand, Peer)
	for _, row := range rows {
		competes := found && row.Kind != Floor && row.done()
		t.strong = append(t.strong, competes && s.first().level(row.figures(0), best.figures(0)))
	}
	return t
}

// reference is a row that the others are compared with.
type reference struct {
	name string
	row  Row
}

// references returns the floor, the best alternative to the kit, and the best library
// unless that is the best alternative.
func (s Scenario) references() []reference {
	var all []reference
	if floor, ok := s.best(Floor); ok {
		all = append(all, reference{"floor", floor})
	}
	alternative, ok := s.best(Hand, Peer)
	if ok {
		all = append(all, reference{"best alternative", alternative})
	}
	if peer, ok := s.best(Peer); ok && peer.Median(0) != alternative.Median(0) {
		all = append(all, reference{"best peer", peer})
	}
	return all
}

// ratioTo returns a function that formats a row's ratio to the reference. A row that has
// failed has none, because it has done only a part of the work.
func (m Measure) ratioTo(reference Row) func(Row) string {
	return func(r Row) string {
		if r.failed() {
			return none
		}
		return m.ratio(r.Median(0), reference.Median(0))
	}
}

// text formats the table for a terminal. It breaks heads into lines, so that a long name
// does not make a wide column.
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
			if at := n - (deepest - len(heads[i])); at >= 0 { // heads are aligned to the bottom
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

// wrap breaks text at spaces into lines of at most width characters. A longer word has a
// line of its own.
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

// words splits text at spaces and line breaks, but not at the no-break space of a figure.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) })
}
