package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteText writes the report as text for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, fact := range r.facts() {
		b.WriteString(fact.name + ": " + fact.value + "\n")
	}
	if len(r.Contestants) > 0 {
		b.WriteString("\n" + settings + "\n")
		for _, c := range r.Contestants {
			paragraph(&b, "  ", "    ", strings.TrimRight(c.Name+" ("+c.Kind.name()+"): "+c.About, ": "))
		}
	}
	for _, s := range r.Scenarios {
		b.WriteString("\n" + s.heading())
		if s.Name != "" {
			b.WriteString(" [" + s.Name + "]")
		}
		b.WriteString("\n")
		paragraph(&b, "  ", "  ", s.About)
		b.WriteString("\n" + newTable(s).text() + "\n")
		paragraph(&b, "  ", "  ", s.caption())
		for _, note := range s.Notes {
			paragraph(&b, "  - ", "    ", note)
		}
	}
	if len(r.Scenarios) > 0 {
		b.WriteString("\n" + howToRead + "\n")
		for _, line := range legend {
			paragraph(&b, "  - ", "    ", line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// paragraph writes text wrapped at 80 characters. The first line has one prefix, the
// others another.
func paragraph(b *strings.Builder, first, others, text string) {
	before := first
	for _, line := range wrap(text, 80-len(others)) {
		b.WriteString(before + line + "\n")
		before = others
	}
}

// fact is a property of the whole run.
type fact struct {
	name, value string
	code        bool // the value is written as code
}

// facts returns the facts that are known.
func (r *Report) facts() []fact {
	var facts []fact
	add := func(name, value string, code bool) {
		if value != "" {
			facts = append(facts, fact{name, value, code})
		}
	}
	if !r.Date.IsZero() {
		add("Date", r.Date.UTC().Format("2006-01-02 15:04 UTC"), false)
	}
	add("Machine", r.Machine.text(), false)
	add("Go", r.Machine.Go, false)
	add("Commit", r.Commit, true)
	add("Command", r.Command, true)
	var took []string
	if r.Rounds > 0 {
		took = append(took, plural(r.Rounds, "round"))
	}
	if r.Took > 0 {
		took = append(took, "in "+r.Took.Round(time.Second).String())
	}
	add("Measured", strings.Join(took, " "), false)
	return facts
}

// text lists what is known of the machine.
func (m Machine) text() string {
	var parts []string
	if m.CPU != "" {
		parts = append(parts, m.CPU)
	}
	if m.Cores > 0 {
		parts = append(parts, plural(m.Cores, "core"))
	}
	if m.Memory > 0 {
		parts = append(parts, Figure(float64(m.Memory)/(1<<30))+" GiB of memory")
	}
	if m.Kernel != "" {
		parts = append(parts, m.Kernel)
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
