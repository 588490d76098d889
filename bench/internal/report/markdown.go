package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Markdown returns the report as a page for bench/results. plot returns the address of a
// plot by its file name; if plot is nil, the page has no plots.
func (r *Report) Markdown(plot func(file string) string) string {
	var b strings.Builder
	b.WriteString("# Benchmark results of " + r.Date.UTC().Format(time.DateOnly) + "\n\n")
	b.WriteString("Aims, and what these results mean: [BENCHMARKS.md](../../BENCHMARKS.md).\n\n")
	b.WriteString(r.MarkdownFacts())
	if len(r.Contestants) > 0 {
		b.WriteString("\n## " + settings + "\n\n| contestant | what it is | settings |\n| --- | --- | --- |\n")
		for _, c := range r.Contestants {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", escape(c.Name), c.Kind.name(), escape(c.About))
		}
	}
	b.WriteString("\n## " + howToRead + "\n\n")
	for _, line := range legend {
		b.WriteString("- " + escape(line) + "\n")
	}
	for _, s := range r.sections() {
		s.markdown(&b, plot)
	}
	b.WriteString("\n## Where the kit is not first\n\n" + escape(whatIsListed) + "\n\n")
	defeats := r.defeats()
	for _, d := range defeats {
		b.WriteString(d.markdown())
	}
	if len(defeats) == 0 {
		b.WriteString("Nowhere in this run.\n")
	}
	return b.String()
}

// MarkdownFacts returns what is known of the run: a list, and the table of versions.
func (r *Report) MarkdownFacts() string {
	var b strings.Builder
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
	return b.String()
}

func (s section) markdown(b *strings.Builder, plot func(string) string) {
	title := s.scenarios[0].Title
	b.WriteString("\n## " + title + "\n")
	var about string
	var notes []string
	for _, c := range s.scenarios {
		if size := c.size(); size != "" {
			b.WriteString("\n### " + size + "\n")
		}
		// The sizes of a group often have the same text. It is written once.
		if c.About != "" && c.About != about {
			about = c.About
			b.WriteString("\n" + about + "\n")
		}
		b.WriteString("\n" + newTable(c).markdown() + "\n" + escape(c.caption()) + "\n")
		if len(c.Notes) > 0 && !slices.Equal(c.Notes, notes) {
			notes = c.Notes
			b.WriteString("\n- " + strings.Join(escapeAll(notes), "\n- ") + "\n")
		}
	}
	if plot != nil {
		fmt.Fprintf(b, "\n![%s](%s)\n", escape(title), plot(s.file()))
	}
}

// markdown returns a list item, with a nested item for each measure.
func (d defeat) markdown() string {
	s := d.scenario
	kit := escape(d.kit.Contestant)
	var b strings.Builder
	fmt.Fprintf(&b, "- %s (%s)", s.heading(), code(s.Name))
	if d.kit.failed() {
		b.WriteString(": not done by " + kit + ": " + escape(d.kit.notDone()))
	}
	b.WriteString("\n")
	for _, l := range d.losses {
		m := s.Measures[l.measure]
		b.WriteString("  - " + escape(m.Name) + ": " + kit + " ")
		if !d.kit.has(l.measure) {
			b.WriteString("has no figure\n")
			continue
		}
		b.WriteString(escape(d.kit.withUnit(m, l.measure)))
		for _, row := range l.better {
			b.WriteString("; " + escape(row.Contestant+" "+row.withUnit(m, l.measure)))
			if ratio := m.ratio(row.Median(l.measure), d.kit.Median(l.measure)); ratio != none {
				b.WriteString(" (" + escape(ratio) + ")")
			}
			if s.level(row, d.kit, l.measure) {
				b.WriteString(", level")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// escape escapes text that may contain Markdown by accident, such as the text of an error.
func escape(text string) string {
	return markup.Replace(strings.Join(words(text), " "))
}

func escapeAll(texts []string) []string {
	var escaped []string
	for _, text := range texts {
		escaped = append(escaped, escape(text))
	}
	return escaped
}

var markup = strings.NewReplacer(`\`, `\\`, "|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "~", `\~`)

func code(text string) string {
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}
