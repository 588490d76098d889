package report_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

func plots(file string) string { return "docs/plots/" + file }

func TestMarkdownLooksLikeThis(t *testing.T) {
	t.Parallel()
	golden(t, "report.md", full().Markdown(plots))
}

func TestMarkdownWithoutPlotsHasNoImages(t *testing.T) {
	t.Parallel()
	if got := full().Markdown(nil); strings.Contains(got, "![") {
		t.Errorf("an image in\n%s", got)
	}
}

// One bar that is not escaped shifts a whole row.
func TestMarkdownTablesAreRectangular(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios[0].Rows[0].Contestant = "a|b"
	r.Scenarios[0].Rows[1].Failed = "two\nlines | `code` <nil> *"
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
		if strings.Contains(line, "two") && !strings.Contains(line, "two lines \\| \\`code\\` &lt;nil> \\* |") {
			t.Errorf("not escaped: %s", line)
		}
	}
	if tables != 6 {
		t.Errorf("%d tables, want that of versions and five of scenarios", tables)
	}
}

func TestBestCompetitorIsBold(t *testing.T) {
	t.Parallel()
	got := of(cpu,
		report.Row{Contestant: "kit", Values: values(5)},
		report.Row{Contestant: "hand", Kind: report.Hand, Values: values(5)},
		report.Row{Contestant: "peer", Kind: report.Peer, Values: values(6)},
		report.Row{Contestant: "late", Kind: report.Peer, Failed: "lost some", Values: values(5)},
		report.Row{Contestant: "floor", Kind: report.Floor, Values: values(5)},
	).Markdown(plots)
	for name, want := range map[string]string{"kit": "**5**", "hand": "**5**", "peer": "6", "late": "5", "floor": "5"} {
		if !strings.Contains(got, "| "+name+" | "+want+" |") {
			t.Errorf("the figure of %s is not %s in\n%s", name, want, got)
		}
	}
}

func TestWhereTheKitIsNotFirst(t *testing.T) {
	t.Parallel()
	row := func(name string, kind report.Kind, failed string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: kind, Failed: failed, Values: values(figures...)}
	}
	const nowhere = "Nowhere in this run."
	tests := map[string]struct {
		measure report.Measure
		rows    []report.Row
		want    string
	}{
		"first": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("hand", report.Hand, "", 11), row("peer", report.Peer, "", 12)},
			nowhere,
		},
		"first_where_more_is_better": {
			speed, []report.Row{row("kit", report.Kit, "", 13), row("hand", report.Hand, "", 11), row("peer", report.Peer, "", 12)},
			nowhere,
		},
		"level": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("hand", report.Hand, "", 10)},
			nowhere,
		},
		"behind_the_floor_alone": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("floor", report.Floor, "", 1)},
			nowhere,
		},
		"behind_a_failed_peer": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("peer", report.Peer, "lost some", 1)},
			nowhere,
		},
		"peer_without_figures": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("peer", report.Peer, "", nan)},
			nowhere,
		},
		"not_measured": {
			cpu, []report.Row{row("hand", report.Hand, "", 10)},
			nowhere,
		},
		"behind_a_peer": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("hand", report.Hand, "", 11), row("peer", report.Peer, "", 8)},
			"- Paced broadcast (`paced`): CPU per event, kit 10~µs; peer 8~µs (0.80×)",
		},
		"behind_several_best_first": {
			cpu, []report.Row{row("kit", report.Kit, "", 10), row("hand", report.Hand, "", 9), row("peer", report.Peer, "", 8)},
			"- Paced broadcast (`paced`): CPU per event, kit 10~µs; peer 8~µs (0.80×); hand 9~µs (0.90×)",
		},
		"behind_where_more_is_better": {
			speed, []report.Row{row("kit", report.Kit, "", 10), row("hand", report.Hand, "", 15), row("peer", report.Peer, "", 25)},
			"- Paced broadcast (`paced`): delivered, kit 10~events/s; peer 25~events/s (2.5×); hand 15~events/s (1.50×)",
		},
		"behind_nothing_at_all": {
			allocs, []report.Row{row("kit", report.Kit, "", 0), row("hand", report.Hand, "", -1)},
			"- Paced broadcast (`paced`): allocations per event, kit 0; hand -1",
		},
		"failed": {
			cpu, []report.Row{row("kit", report.Kit, "lost | some", 1), row("hand", report.Hand, "", 11)},
			`- Paced broadcast (` + "`paced`" + `): not done by kit: lost \| some`,
		},
		"no_figure": {
			cpu, []report.Row{row("kit", report.Kit, "", nan), row("hand", report.Hand, "", 11)},
			"- Paced broadcast (`paced`): kit has no figure",
		},
		"by_the_median": {
			cpu, []report.Row{row("kit", report.Kit, "", 1, 10, 11), row("hand", report.Hand, "", 9, 8, 90)},
			"- Paced broadcast (`paced`): CPU per event, kit 10~µs; hand 9~µs (0.90×)",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got, found := strings.Cut(of(test.measure, test.rows...).Markdown(plots), "## Where the kit is not first\n\n")
			if got = visible(got); !found || got != test.want+"\n" {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestReplaceLeavesTheRestOfTheFile(t *testing.T) {
	t.Parallel()
	const begin, end = report.Begin + "\n", report.End + "\n"
	tests := map[string]struct{ file, want string }{
		"empty_between": {
			"# A\n\nwords\n" + begin + end + "more\n",
			"# A\n\nwords\n" + begin + "\nNEW\n\n" + end + "more\n",
		},
		"replaced": {
			"# A\n" + begin + "\nold\n\nolder\n" + end + "more",
			"# A\n" + begin + "\nNEW\n\n" + end + "more",
		},
		"nothing_else":         {begin + report.End, begin + "\nNEW\n\n" + report.End},
		"other_line_breaks":    {"a\r\n" + report.Begin + "\r\nold\r\n" + report.End + "\r\nb\r\n", "a\r\n" + report.Begin + "\r\n\nNEW\n\n" + report.End + "\r\nb\r\n"},
		"named_within_a_line":  {"see `" + report.Begin + "`\n" + begin + end, "see `" + report.Begin + "`\n" + begin + "\nNEW\n\n" + end},
		"no_break_at_the_end":  {begin + "old\n" + report.End, begin + "\nNEW\n\n" + report.End},
		"trailing_white_space": {report.Begin + " \nold\n" + end, report.Begin + " \n\nNEW\n\n" + end},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := []byte(test.file)
			got, err := report.Replace(given, "NEW\n")
			if err != nil || string(got) != test.want {
				t.Errorf("got %q, %v\nwant %q", got, err, test.want)
			}
			if string(given) != test.file {
				t.Error("the file given was changed")
			}
			if again, err := report.Replace(got, "NEW\n"); err != nil || string(again) != test.want {
				t.Errorf("replaced once more it is %q, %v", again, err)
			}
		})
	}
}

func TestReplaceRefusesWrongMarkers(t *testing.T) {
	t.Parallel()
	const begin, end = report.Begin + "\n", report.End + "\n"
	tests := map[string]struct{ file, generated, want string }{
		"empty_file":        {"", "NEW", "no line"},
		"no_begin":          {"a\n" + end, "NEW", "no line \"<!-- results"},
		"no_end":            {begin + "a\n", "NEW", "no line \"<!-- end"},
		"begin_in_a_line":   {"x " + begin + end, "NEW", "no line \"<!-- results"},
		"begin_twice":       {begin + begin + end, "NEW", "2 lines \"<!-- results"},
		"end_twice":         {begin + end + "b\n" + end, "NEW", "2 lines \"<!-- end"},
		"out_of_order":      {end + "a\n" + begin, "NEW", "stands before"},
		"begin_generated":   {begin + end, "NEW\n" + begin, "generated text has"},
		"end_generated":     {begin + end, end + "NEW", "generated text has"},
		"on_the_same_line":  {report.Begin + report.End, "NEW", "no line"},
		"end_and_then_both": {end + begin + end, "NEW", "2 lines \"<!-- end"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := report.Replace([]byte(test.file), test.generated)
			if err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v; want an error with %q", got, err, test.want)
			}
		})
	}
}

func TestReplaceTakesWhatMarkdownGives(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios[0].Rows[1].Failed = "printed\n" + report.End + "\nand went on"
	r.Command = report.Begin
	file := []byte("a\n" + report.Begin + "\n" + report.End + "\nb\n")
	once, err := report.Replace(file, r.Markdown(plots))
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := report.Replace(once, r.Markdown(plots)); err != nil || string(twice) != string(once) {
		t.Errorf("the second time: %v", err)
	}
}
