package report

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// The lines of a file between which the generated part stands.
const (
	Begin = "<!-- results: written by go run ./bench -write -->"
	End   = "<!-- end of results -->"
)

const legend = `Figures are medians over the rounds, with three significant digits; min–max is over the
rounds. Contestants are compared by the first measure. "To floor" and "to best peer" say how
many times the figure of that reference a figure is: 2.0× is twice as much, whichever way is
good. The floor does only what must be done, and is a reference rather than a competitor. A
contestant that has not done the work has no ratio, and the last column says why. The best
figure of a competitor that has is bold.
`

// Markdown returns the part of BENCHMARKS.md that a run writes. plot makes the
// address of a plot from its file name; without it there are no plots.
func (r *Report) Markdown(plot func(file string) string) string {
	var b strings.Builder
	b.WriteString("## Results\n\n")
	for _, fact := range r.facts() {
		value := escape(fact.value)
		if fact.code {
			value = code(fact.value)
		}
		b.WriteString("- " + fact.name + ": " + value + "\n")
	}
	if len(r.Versions) > 0 {
		b.WriteString("\n| module | version |\n| --- | --- |\n")
		for _, v := range r.Versions {
			fmt.Fprintf(&b, "| %s | %s |\n", escape(v.Module), escape(v.Version))
		}
	}
	b.WriteString("\n" + legend)
	for _, s := range r.sections() {
		s.markdown(&b, plot)
	}
	b.WriteString("\n## Where the kit is not first\n\n")
	defeats := r.defeats()
	for _, d := range defeats {
		b.WriteString("- " + d.markdown() + "\n")
	}
	if len(defeats) == 0 {
		b.WriteString("Nowhere in this run.\n")
	}
	return b.String()
}

func (s section) markdown(b *strings.Builder, plot func(string) string) {
	title := s.scenarios[0].Title
	b.WriteString("\n### " + title + "\n")
	about := ""
	for _, c := range s.scenarios {
		if size := c.size(); size != "" {
			b.WriteString("\n#### " + size + "\n")
		}
		// The sizes of a group often have the same text, which is then said once.
		if c.About != "" && c.About != about {
			about = c.About
			b.WriteString("\n" + about + "\n")
		}
		b.WriteString("\n" + newTable(c).markdown() + "\n" + escape(c.caption()) + "\n")
	}
	if plot != nil {
		fmt.Fprintf(b, "\n![%s](%s)\n", escape(title), plot(s.file()))
	}
}

// markdown says what the figures of both are.
func (d defeat) markdown() string {
	s := d.scenario
	figure := func(r Row) string {
		text := escape(r.Contestant) + " " + Figure(r.Median(0))
		if unit := s.first().Unit; unit != "" {
			text += space + unit
		}
		return text
	}
	text := fmt.Sprintf("%s (%s): ", s.heading(), code(s.Name))
	switch {
	case d.kit.Failed != "":
		return text + "not done by " + escape(d.kit.Contestant) + ": " + escape(d.kit.Failed)
	case math.IsNaN(d.kit.Median(0)):
		return text + escape(d.kit.Contestant) + " has no figure"
	}
	text += s.first().Name + ", " + figure(d.kit)
	for _, row := range d.better {
		text += "; " + figure(row)
		if ratio := Ratio(row.Median(0), d.kit.Median(0)); ratio != none {
			text += " (" + ratio + ")"
		}
	}
	return text
}

// escape keeps text from being read as Markdown where it comes from elsewhere, such
// as the text of an error.
func escape(text string) string {
	return markup.Replace(strings.Join(words(text), " "))
}

var markup = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`)

func code(text string) string {
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}

// Replace puts the generated part between the lines [Begin] and [End] of a file. All
// else stays as it is, byte for byte.
func Replace(file []byte, generated string) ([]byte, error) {
	for _, marker := range []string{Begin, End} {
		if _, _, n := find([]byte(generated), marker); n > 0 {
			return nil, fmt.Errorf("generated text has a line %q itself", marker)
		}
		switch _, _, n := find(file, marker); {
		case n == 0:
			return nil, fmt.Errorf("no line %q", marker)
		case n > 1:
			return nil, fmt.Errorf("%d lines %q, want one", n, marker)
		}
	}
	_, start, _ := find(file, Begin)
	end, _, _ := find(file, End)
	if end < start {
		return nil, fmt.Errorf("line %q stands before line %q", End, Begin)
	}
	var b bytes.Buffer
	b.Write(file[:start])
	b.WriteString("\n" + strings.Trim(generated, "\n") + "\n\n")
	b.Write(file[end:])
	return b.Bytes(), nil
}

// find returns where the first line that is the marker begins and ends, its line
// break included, and how many there are. A marker within a line is text about it.
func find(file []byte, marker string) (start, end, count int) {
	at := 0
	for line := range bytes.Lines(file) {
		if string(bytes.TrimSpace(line)) == marker {
			if count == 0 {
				start, end = at, at+len(line)
			}
			count++
		}
		at += len(line)
	}
	return start, end, count
}
