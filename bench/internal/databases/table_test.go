package databases

import (
	"strings"
	"testing"
)

func TestReportSaysWhichAimsAreMet(t *testing.T) {
	t.Parallel()
	report := &Report{Tables: []*Table{{
		Title: "Work", About: "About it.",
		Figures: []Figure{{Name: "transactions", Unit: "1/s", Ratio: true}},
		Rows: []Row{
			{"alone", [][]float64{{100, 200, 400}}},
			{"with", [][]float64{{80, 100, 300}}},
		},
		Aims: []Aim{
			{Text: "high", Row: 1, Over: 0, Least: 0.7},
			{Text: "too high", Row: 1, Over: 0, Least: 0.9},
			{Text: "alone", Row: 0, Over: -1, Most: 200},
			{Text: "in one round", Row: 0, Over: -1, Most: 100},
		},
		Others: []float64{0.1, 0.3},
	}}}
	page := report.Markdown()
	for _, want := range []string{
		"| high | met | 0.75× |\n",
		"| too high | **not met** | 0.75× |\n",
		"| alone | met | 200 1/s |\n",
		"| in one round | **not met** | 200 1/s; in some rounds it was |\n",
		"| | transactions, 1/s | ratio |\n|---|---|---|\n",
		"| alone | 200 (100–400) |  |\n",
		"| with | 100 (80–300) | 0.75× (0.50×–0.80×) |\n",
		"\nOther processes used 0.1 to 0.3 cores meanwhile.\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q:\n%s", want, page)
		}
	}
}
