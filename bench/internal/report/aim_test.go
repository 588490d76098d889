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
		"kit_failed":      {[]report.Row{row("kit", report.Kit, "lost some", 14), hand}, "not met, as the kit has not done the work."},
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
