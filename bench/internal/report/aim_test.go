package report_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

func TestCaptionSaysWhetherAimsAreMet(t *testing.T) {
	t.Parallel()
	row := func(name string, kind report.Kind, failed string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: kind, Failures: failures(failed), Values: values(figures...)}
	}
	hand := row("hand", report.Hand, "", 10)
	tests := map[string]struct {
		rows []report.Row
		want string
	}{
		"below":           {[]report.Row{row("kit", report.Kit, "", 14), hand}, "found 1.40×, met."},
		"just":            {[]report.Row{row("kit", report.Kit, "", 15), hand}, "found 1.50×, met."},
		"above":           {[]report.Row{row("kit", report.Kit, "", 16), hand}, "found 1.60×, not met."},
		"within_a_range":  {[]report.Row{row("kit", report.Kit, "", 16, 15, 17), hand}, "found 1.60×, not met, though min–max overlap."},
		"above_the_range": {[]report.Row{row("kit", report.Kit, "", 16, 15.1, 17), hand}, "found 1.60×, not met."},
		"range_of_other":  {[]report.Row{row("kit", report.Kit, "", 16), row("hand", report.Hand, "", 10, 9, 11)}, "found 1.60×, not met, though min–max overlap."},
		"kit_failed":      {[]report.Row{row("kit", report.Kit, "lost some", 14), hand}, "not met, as kit has not done the work."},
		"kit_missing":     {[]report.Row{hand}, "not measured."},
		"other_failed": {
			[]report.Row{row("kit", report.Kit, "", 14), row("hand", report.Hand, "lost some", 10)},
			"not compared, as hand has not done the work.",
		},
		"other_missing": {[]report.Row{row("kit", report.Kit, "", 14)}, "not measured."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := of(cpu, test.rows...)
			r.Scenarios[0].Aims = []report.Aim{{Measure: 0, Contestant: "hand", Most: 1.5}}
			want := "Aimed at: CPU per event at most 1.50× that of hand, " + test.want
			if got := r.Markdown(plots); !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		})
	}
}

func TestAimsMayBeForOneKitAndAnyBound(t *testing.T) {
	t.Parallel()
	row := func(name string, kind report.Kind, failed string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: kind, Failures: failures(failed), Values: values(figures...)}
	}
	rows := []report.Row{
		row("plain", report.Kit, "", 1),
		row("compact", report.Kit, "", 12, 11, 14),
		row("hand", report.Hand, "", 1),
		row("failed", report.Peer, "lost some", 1),
		row("better", report.Peer, "", 10, 9, 13),
		row("worse", report.Peer, "", 20),
	}
	tests := map[string]struct {
		measure report.Measure
		aim     report.Aim
		rows    []report.Row
		want    string
	}{
		"first_kit":        {cpu, report.Aim{Most: 3}, rows, "CPU per event at most 3␣µs, found 1␣µs, met."},
		"named_kit":        {cpu, report.Aim{Kit: "compact", Most: 12.5}, rows, "compact: CPU per event at most 12.5␣µs, found 12␣µs, met."},
		"absent_kit":       {cpu, report.Aim{Kit: "other", Most: 12.5}, rows, "other: CPU per event at most 12.5␣µs, not measured."},
		"itself_sometimes": {cpu, report.Aim{Kit: "compact", Most: 11}, rows, "at most 11␣µs, found 12␣µs, not met, though in some rounds."},
		"itself_never":     {cpu, report.Aim{Kit: "compact", Most: 10}, rows, "at most 10␣µs, found 12␣µs, not met."},
		"best_library": {
			cpu, report.Aim{Kit: "compact", Contestant: report.BestPeer, Most: 1.25}, rows,
			"at most 1.25× that of the best library, found 1.20× that of better, met.",
		},
		"best_library_overlaps": {
			cpu, report.Aim{Kit: "compact", Contestant: report.BestPeer, Most: 1}, rows,
			"found 1.20× that of better, not met, though min–max overlap.",
		},
		"library_failed": {cpu, report.Aim{Contestant: report.BestPeer, Most: 1}, rows[:4], "not compared, as the best library has not done the work."},
		"no_library":     {cpu, report.Aim{Contestant: report.BestPeer, Most: 1}, rows[:3], "not measured."},
		"at_least": {
			speed, report.Aim{Kit: "compact", Contestant: "hand", Least: 12}, rows,
			"delivered at least 12× that of hand, found 12×, met.",
		},
		"at_least_overlaps": {speed, report.Aim{Kit: "compact", Contestant: "hand", Least: 13}, rows, "found 12×, not met, though min–max overlap."},
		"below_the_least":   {speed, report.Aim{Kit: "compact", Contestant: "hand", Least: 15}, rows, "found 12×, not met."},
		"best_where_more_is_better": {
			speed, report.Aim{Kit: "compact", Contestant: report.BestPeer, Least: 0.5}, rows,
			"found 0.60× that of worse, met.",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := of(test.measure, test.rows...)
			r.Scenarios[0].Aims = []report.Aim{test.aim}
			_, got, _ := strings.Cut(visible(r.Markdown(plots)), "Aimed at: ")
			got, _, _ = strings.Cut(got, "\n")
			if !strings.HasSuffix(got, test.want) {
				t.Errorf("%q does not end with %q", got, test.want)
			}
		})
	}
}
