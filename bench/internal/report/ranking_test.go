package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

// defeats returns the list under "Where the kit is not first".
func defeats(t *testing.T, r *report.Report) string {
	t.Helper()
	_, text, found := strings.Cut(visible(r.Markdown(plots)), "## Where the kit is not first\n\n")
	about, list, after := strings.Cut(text, "\n\n")
	if !found || !after || !strings.Contains(about, "level") {
		t.Fatalf("no list, or no explanation of level, in %q", text)
	}
	return list
}

func TestDefeatsListBetterContestants(t *testing.T) {
	t.Parallel()
	row := func(name string, kind report.Kind, failed string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: kind, Failures: failures(failed), Values: values(figures...)}
	}
	kit := func(figures ...float64) report.Row { return row("kit", report.Kit, "", figures...) }
	hand := func(figures ...float64) report.Row { return row("hand", report.Hand, "", figures...) }
	peer := func(figures ...float64) report.Row { return row("peer", report.Peer, "", figures...) }
	const (
		nowhere = "Nowhere in this run.\n"
		here    = "- Paced broadcast (`paced`)\n  - "
	)
	tests := map[string]struct {
		measure report.Measure
		rows    []report.Row
		want    string
	}{
		"first":                        {cpu, []report.Row{kit(10), hand(11), peer(12)}, nowhere},
		"first_where_more_is_better":   {speed, []report.Row{kit(13), hand(11), peer(12)}, nowhere},
		"the_same":                     {cpu, []report.Row{kit(10), hand(10)}, nowhere},
		"behind_the_floor_alone":       {cpu, []report.Row{kit(10), row("floor", report.Floor, "", 1)}, nowhere},
		"behind_a_failed_peer":         {cpu, []report.Row{kit(10), row("peer", report.Peer, "lost some", 1)}, nowhere},
		"behind_one_that_failed_once":  {cpu, []report.Row{kit(10, 11, 12), row("peer", report.Peer, "lost some", 1, 2, 3)}, nowhere},
		"peer_without_figures":         {cpu, []report.Row{kit(10), peer(nan)}, nowhere},
		"not_measured":                 {cpu, []report.Row{hand(10)}, nowhere},
		"behind_by_a_measure_aside":    {clients, []report.Row{kit(10), hand(1)}, nowhere},
		"level_in_one_round":           {cpu, []report.Row{kit(10), hand(9.75)}, nowhere},
		"level_where_more_is_better":   {speed, []report.Row{kit(10), hand(10.25)}, nowhere},
		"ranges_overlap":               {cpu, []report.Row{kit(10, 12, 9), hand(8, 7, 9.5)}, here + "CPU per event: kit 10␣µs; hand 8␣µs (0.80×), level\n"},
		"ranges_touch":                 {cpu, []report.Row{kit(10, 12, 9), hand(8, 7, 9)}, here + "CPU per event: kit 10␣µs; hand 8␣µs (0.80×), level\n"},
		"range_within_a_range":         {cpu, []report.Row{kit(1, 10, 11), hand(9, 8, 10)}, here + "CPU per event: kit 10␣µs; hand 9␣µs (0.90×), level\n"},
		"one_figure_within_a_range":    {cpu, []report.Row{kit(10, 12, 9), hand(nan, 9.5, nan)}, here + "CPU per event: kit 10␣µs; hand 9.50␣µs (0.95×), level\n"},
		"one_figure_near_a_range":      {cpu, []report.Row{kit(10, 12, 9.9), hand(nan, 9.75, nan)}, nowhere},
		"ranges_overlap_and_are_near":  {cpu, []report.Row{kit(10, 12, 9), hand(9.8, 7, 9.9)}, nowhere},
		"both_are_noise":               {latency, []report.Row{kit(0.4), hand(0.001)}, nowhere},
		"both_are_noise_in_the_median": {latency, []report.Row{kit(0.4, 0.3, 9), hand(0.1, 0.2, 0.1)}, nowhere},
		"behind_a_peer": {
			cpu, []report.Row{kit(10), hand(11), peer(8)},
			here + "CPU per event: kit 10␣µs; peer 8␣µs (0.80×)\n",
		},
		"behind_several_best_first": {
			cpu, []report.Row{kit(10), hand(9), peer(8)},
			here + "CPU per event: kit 10␣µs; peer 8␣µs (0.80×); hand 9␣µs (0.90×)\n",
		},
		"behind_one_and_level_with_another": {
			cpu, []report.Row{kit(10), hand(9.9), peer(8)},
			here + "CPU per event: kit 10␣µs; peer 8␣µs (0.80×)\n",
		},
		"behind_where_more_is_better": {
			speed, []report.Row{kit(10), hand(15), peer(25)},
			here + "delivered: kit 10␣events/s; peer 25␣events/s (2.5×); hand 15␣events/s (1.50×)\n",
		},
		"behind_nothing_at_all": {
			allocs, []report.Row{kit(0), hand(-1)},
			here + "allocations per event: kit 0; hand -1\n",
		},
		"behind_noise": {
			latency, []report.Row{kit(5), hand(0.2), peer(0.1)},
			here + "latency p99: kit 5␣ms; hand ≈0␣ms (&lt;0.10×); peer ≈0␣ms (&lt;0.10×)\n",
		},
		"behind_by_ranges": {
			cpu, []report.Row{kit(10, 12, 9), hand(8, 7, 8.9)},
			here + "CPU per event: kit 10␣µs; hand 8␣µs (0.80×)\n",
		},
		// The figures are near, but each round gives the same order.
		"behind_a_little_in_every_round": {
			cpu, []report.Row{kit(10, 10.1, 10.05), hand(9.9, 9.95, 9.92)},
			here + "CPU per event: kit 10.1␣µs; hand 9.92␣µs (0.99×)\n",
		},
		"disturbed": {
			cpu, []report.Row{kit(10), {Contestant: "hand", Kind: report.Hand, Disturbed: 1, Values: values(8)}},
			here + "CPU per event: kit 10␣µs; hand \\~8␣µs (0.80×)\n",
		},
		"failed": {
			cpu, []report.Row{row("kit", report.Kit, "lost | some", 1), hand(11)},
			"- Paced broadcast (`paced`): not done by kit: lost \\| some\n",
		},
		"failed_once": {
			cpu, []report.Row{row("kit", report.Kit, "lost some", 1, 2, 3), hand(11)},
			"- Paced broadcast (`paced`): not done by kit: lost some, in 1 of 3 rounds\n",
		},
		"excused": {
			cpu, []report.Row{{Contestant: "kit", Excused: "does not replay"}, hand(11)},
			"- Paced broadcast (`paced`): not done by kit: does not replay\n",
		},
		"no_figure": {cpu, []report.Row{kit(nan), hand(11)}, here + "CPU per event: kit has no figure\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := defeats(t, of(test.measure, test.rows...)); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestDefeatsCoverAllMeasures(t *testing.T) {
	t.Parallel()
	r := of(cpu,
		report.Row{Contestant: "kit", Values: [][]float64{{10}, {500}, {nan}, {7}, {3}}},
		report.Row{Contestant: "peer", Kind: report.Peer, Values: [][]float64{{20}, {600}, {1}, {6}, {1}}},
		// A missing first figure does not exclude the others.
		report.Row{Contestant: "hand", Kind: report.Hand, Values: [][]float64{{nan}, {700}, {1}, {8}, {1}}},
		report.Row{Contestant: "late", Kind: report.Peer, Failures: []string{"lost some"}, Values: [][]float64{{1}, {900}, {1}, {1}, {1}}},
	)
	r.Scenarios[0].Measures = []report.Measure{cpu, speed, allocs, latency, clients}
	const want = "- Paced broadcast (`paced`)\n" +
		"  - delivered: kit 500␣events/s; hand 700␣events/s (1.40×); peer 600␣events/s (1.20×)\n" +
		"  - allocations per event: kit has no figure\n" +
		"  - latency p99: kit 7␣ms; peer 6␣ms (0.86×)\n"
	if got := defeats(t, r); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestRowsListReasonsForFailures(t *testing.T) {
	t.Parallel()
	const a, b, c = "delivered 30 %", "delivered 31 %", "closed"
	tests := map[string]struct {
		failures []string
		excused  string
		rounds   int
		want     string
	}{
		"once_of_one":         {[]string{a}, "", 1, a},
		"once_of_three":       {[]string{a}, "", 3, a + ", in 1 of 3 rounds"},
		"always_the_same":     {[]string{a, a, a}, "", 3, a},
		"the_same_twice":      {[]string{a, a}, "", 3, a + ", in 2 of 3 rounds"},
		"two_reasons":         {[]string{a, b, a}, "", 3, a + "; " + b},
		"two_reasons_of_four": {[]string{a, b, a}, "", 4, a + "; " + b + ", in 3 of 4 rounds"},
		"three_reasons":       {[]string{a, b, c}, "", 3, a + "; " + b + "; …"},
		"excused":             {nil, "does not replay", 3, "does not replay"},
		"no_figures":          {[]string{a}, "", 0, a},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := report.Row{
				Contestant: "peer", Kind: report.Peer, Failures: slices.Clone(test.failures), Excused: test.excused,
				Values: values(slices.Repeat([]float64{nan}, test.rounds)...),
			}
			got := rowOf(t, text(t, of(cpu, report.Row{Contestant: "kit", Values: values(5)}, row)), "peer")
			if want := "– – " + test.want; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if !slices.Equal(row.Failures, test.failures) {
				t.Error("the order of the row's failures changed")
			}
		})
	}
}
