package report_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

func plots(file string) string { return "docs/plots/" + file }

func TestMarkdownMatchesGoldenFile(t *testing.T) {
	t.Parallel()
	golden(t, "report.md", full().Markdown(plots))
}

func TestMarkdownWithoutPlotsHasNoImages(t *testing.T) {
	t.Parallel()
	if got := full().Markdown(nil); strings.Contains(got, "![") {
		t.Errorf("an image in\n%s", got)
	}
}

// A bar that is not escaped shifts a whole row.
func TestMarkdownTablesAreRectangular(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios[0].Rows[0].Contestant = "a|b"
	r.Scenarios[0].Rows[1].Failures = []string{"two\nlines | `code` <nil> *"}
	r.Scenarios[0].Measures[1].Name = "in|out"
	columns, tables := 0, 0
	for line := range strings.Lines(r.Markdown(plots)) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(line, "|") - strings.Count(line, `\|`)
		if columns == 0 {
			columns = n
			tables++
		}
		if n != columns {
			t.Errorf("%d bars instead of %d: %s", n, columns, line)
		}
		if strings.Contains(line, "two") && !strings.Contains(line, "two lines \\| \\`code\\` &lt;nil> \\*, in 1 of 3 rounds |") {
			t.Errorf("not escaped: %s", line)
		}
	}
	if tables != 7 {
		t.Errorf("%d tables, want those of versions and contestants, and five of scenarios", tables)
	}
}

func TestBestCompetitorIsBold(t *testing.T) {
	t.Parallel()
	got := of(cpu,
		report.Row{Contestant: "kit", Values: values(5)},
		report.Row{Contestant: "hand", Kind: report.Hand, Values: values(5)},
		report.Row{Contestant: "near", Kind: report.Hand, Values: values(5.1)},
		report.Row{Contestant: "peer", Kind: report.Peer, Values: values(6)},
		report.Row{Contestant: "late", Kind: report.Peer, Failures: []string{"lost some"}, Values: values(5)},
		report.Row{Contestant: "busy", Kind: report.Peer, Disturbed: 1, Values: values(4.99)},
		report.Row{Contestant: "floor", Kind: report.Floor, Values: values(5)},
	).Markdown(plots)
	for name, want := range map[string]string{
		"kit": "**5**", "hand": "**5**", "near": "**5.10**", "peer": "6", "late": "5", "busy": "**\\~4.99**", "floor": "5",
	} {
		if !strings.Contains(got, "| "+name+" | "+want+" |") {
			t.Errorf("the figure of %s is not %s in\n%s", name, want, got)
		}
	}
}

// The sizes of a group often have the same text.
func TestNotesOfAGroupAreWrittenOnce(t *testing.T) {
	t.Parallel()
	r := full()
	const note = "- r3labs/sse has a queue of 1,024 events for each stream.\n"
	if n := strings.Count(r.Markdown(plots), note); n != 1 {
		t.Errorf("%d times", n)
	}
	r.Scenarios[3].Notes = []string{"Here it has not."}
	if n := strings.Count(r.Markdown(plots), note); n != 2 {
		t.Errorf("%d times, with another in between", n)
	}
}
