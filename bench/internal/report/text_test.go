package report_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

func text(t *testing.T, r *report.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return visible(b.String())
}

// rowOf returns the fields of the line that begins with a name.
func rowOf(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+" ") {
			return strings.Join(strings.Fields(strings.TrimPrefix(line, name)), " ")
		}
	}
	t.Fatalf("no row of %s in\n%s", name, text)
	return ""
}

func TestWriteTextMatchesGoldenFile(t *testing.T) {
	t.Parallel()
	golden(t, "report.txt", text(t, full()))
}

func TestWriteTextAlignsColumns(t *testing.T) {
	t.Parallel()
	var ends []int
	for line := range strings.Lines(text(t, full())) {
		if strings.HasPrefix(line, "floor") || strings.HasPrefix(line, "by hand") || strings.HasPrefix(line, "---") {
			// In characters, because dashes and crosses have several bytes.
			ends = append(ends, len([]rune(line[:strings.LastIndexAny(line, "0123456789-")])))
		}
		if strings.HasPrefix(line, "Flat out") {
			break
		}
	}
	if len(ends) != 3 || ends[1] != ends[2] {
		t.Errorf("the figures of the last column end at %v", ends)
	}
}

func TestRatiosAreToTheFloorAndTheBestAlternatives(t *testing.T) {
	t.Parallel()
	kit := report.Row{Contestant: "kit", Values: values(20, 22, 18)}
	peer := func(name, failed string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: report.Peer, Failures: failures(failed), Values: values(figures...)}
	}
	hand := func(name string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: report.Hand, Values: values(figures...)}
	}
	floor := report.Row{Contestant: "floor", Kind: report.Floor, Values: values(10)}
	tests := map[string]struct {
		measure report.Measure
		rows    []report.Row
		want    string // the kit's row
		caption string
	}{
		"less_is_better": {
			cpu, []report.Row{kit, peer("a", "", 25), peer("b", "", 40), floor},
			"20 18–22 2.0× 0.80×", "Less is better: CPU per event. The best alternative is a peer, a (1.25× the kit's figure).",
		},
		"more_is_better": {
			speed, []report.Row{kit, peer("a", "", 25), peer("b", "", 40), floor},
			"20 18–22 2.0× 0.50×", "More is better: delivered. The best alternative is a peer, b (2.0× the kit's figure).",
		},
		"failed_peer_is_not_best": {
			cpu, []report.Row{kit, peer("a", "lost some", 1), peer("b", "", 40), floor},
			"20 18–22 2.0× 0.50×", "The best alternative is a peer, b (2.0× the kit's figure).",
		},
		"peer_without_figures_is_not_best": {
			speed, []report.Row{kit, peer("a", "", nan, nan), peer("b", "", 40), floor},
			"20 18–22 2.0× 0.50×", "The best alternative is a peer, b (2.0× the kit's figure).",
		},
		"all_peers_failed": {
			cpu, []report.Row{kit, peer("a", "lost some", 1), peer("b", "gone", nan), floor},
			"20 18–22 2.0×", "There is no alternative to compare with.",
		},
		"hand_is_best": {
			cpu, []report.Row{kit, hand("h", 16), hand("i", 30), peer("a", "", 25), floor},
			"20 18–22 2.0× 1.25× 0.80×", "The best alternative is h (0.80× the kit's figure), the best peer a (1.25× the kit's figure).",
		},
		"hand_is_not_best": {
			cpu, []report.Row{kit, hand("h", 30), peer("a", "", 25), floor},
			"20 18–22 2.0× 0.80×", "The best alternative is a peer, a (1.25× the kit's figure).",
		},
		"hand_and_peer_are_best": {
			cpu, []report.Row{kit, peer("a", "", 25), hand("h", 25), floor},
			"20 18–22 2.0× 0.80×", "The best alternative is h (1.25× the kit's figure), the best peer a (1.25× the kit's figure).",
		},
		"hand_alone": {
			cpu, []report.Row{kit, hand("h", 16), peer("a", "lost some", 25), floor},
			"20 18–22 2.0× 1.25×", "The best alternative is h (0.80× the kit's figure); there is no peer to compare with.",
		},
		"excused_peer_is_not_best": {
			cpu, []report.Row{kit, {Contestant: "a", Kind: report.Peer, Excused: "does not replay", Values: values(1)}, peer("b", "", 40), floor},
			"20 18–22 2.0× 0.50×", "The best alternative is a peer, b (2.0× the kit's figure).",
		},
		"aside": {
			clients, []report.Row{kit, peer("a", "", 25), floor},
			"20 18–22 2.0× 0.80×", "For information only: clients' CPU per event.",
		},
		"disturbed": {
			cpu, []report.Row{{Contestant: "kit", Disturbed: 1, Values: values(20, 22, 18)}, peer("a", "", 25), floor},
			"~20 18–22 2.0× 0.80×", "A ~ before that figure",
		},
		"disturbed_without_figures": {
			cpu, []report.Row{{Contestant: "kit", Disturbed: 1, Values: values(nan, nan)}, peer("a", "", 25), floor},
			"– – – –", "A ~ before that figure",
		},
		"noise": {
			latency, []report.Row{{Contestant: "kit", Values: values(0.1, 0.2, 0.1)}, peer("a", "", 25), floor},
			"≈0 ≈0 <0.050× <0.020×", "The best alternative is a peer, a (>50× the kit's figure).",
		},
		"noise_in_a_round": {
			latency, []report.Row{{Contestant: "kit", Values: values(0.1, 2, 1)}, peer("a", "", 25), floor},
			"1 ≈0–2 0.10× 0.040×", "The best alternative is a peer, a (25× the kit's figure).",
		},
		"references_of_noise": {
			latency, []report.Row{kit, peer("a", "", 0.1), {Contestant: "floor", Kind: report.Floor, Values: values(0.2)}},
			"20 18–22 >40× >40×", "The best alternative is a peer, a (<0.025× the kit's figure).",
		},
		"all_noise": {
			latency, []report.Row{{Contestant: "kit", Values: values(0.4)}, peer("a", "", 0.1), {Contestant: "floor", Kind: report.Floor, Values: values(0.2)}},
			"≈0 – – –", "The best alternative is a peer, a. ",
		},
		"next_to_no_noise": {
			latency, []report.Row{{Contestant: "kit", Values: values(0.4)}, peer("a", "", 1e6)},
			"≈0 – <0.001×", "There is no floor to compare with.",
		},
		"no_floor": {
			cpu, []report.Row{kit, peer("a", "", 25)},
			"20 18–22 0.80×", "There is no floor to compare with.",
		},
		"failed_floor": {
			cpu, []report.Row{kit, peer("a", "", 25), {Contestant: "floor", Kind: report.Floor, Failures: []string{"gone"}, Values: values(10)}},
			"20 18–22 0.80×", "There is no floor to compare with.",
		},
		"kit_without_figures": {
			cpu, []report.Row{{Contestant: "kit"}, peer("a", "", 25), floor},
			"– – – –", "The best alternative is a peer, a.",
		},
		"failed_kit_has_no_ratio": {
			cpu, []report.Row{{Contestant: "kit", Failures: []string{"lost some"}, Values: values(20, 18)}, peer("a", "", 25), floor},
			"19 18–20 – – lost some, in 1 of 2 rounds", "The best alternative is a peer, a.",
		},
		"one_round": {
			cpu, []report.Row{{Contestant: "kit", Values: values(20)}, peer("a", "", 25), floor},
			"20 – 2.0× 0.80×", "The best alternative is a peer, a (1.25× the kit's figure).",
		},
		"two_kits": {
			cpu, []report.Row{{Contestant: "kit", Values: values(20)}, {Contestant: "fast kit", Values: values(10)}, peer("a", "", 25), floor},
			"20 – 2.0× 0.80×", "The best alternative is a peer, a (1.25× that of kit, 2.5× that of fast kit).",
		},
		"two_kits_one_of_which_failed": {
			cpu, []report.Row{{Contestant: "kit", Values: values(20)}, {Contestant: "fast kit", Failures: []string{"no"}, Values: values(10)}, peer("a", "", 25), floor},
			"20 – 2.0× 0.80×", "The best alternative is a peer, a (1.25× that of kit).",
		},
		"one_figure_of_three_rounds": {
			cpu, []report.Row{{Contestant: "kit", Values: values(nan, 20, nan)}, peer("a", "", 25), floor},
			"20 – 2.0× 0.80×", "The best alternative is a peer, a (1.25× the kit's figure).",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := text(t, of(test.measure, test.rows...))
			if row := rowOf(t, got, "kit"); row != test.want {
				t.Errorf("the kit's row is %q, want %q", row, test.want)
			}
			if folded := strings.Join(strings.Fields(got), " "); !strings.Contains(folded, test.caption) {
				t.Errorf("no caption %q in\n%s", test.caption, got)
			}
		})
	}
}

func TestRowsAreSortedByKind(t *testing.T) {
	t.Parallel()
	var rows []report.Row
	for _, row := range []struct {
		name string
		kind report.Kind
	}{{"e", report.Floor}, {"d", report.Peer}, {"b", report.Hand}, {"c", report.Peer}, {"a", report.Kit}} {
		rows = append(rows, report.Row{Contestant: row.name + row.name, Kind: row.kind, Values: values(1)})
	}
	got := text(t, of(cpu, rows...))
	last := -1
	for _, name := range []string{"aa ", "bb ", "dd ", "cc ", "ee "} {
		at := strings.Index(got, "\n"+name)
		if at <= last {
			t.Fatalf("%q is out of order in\n%s", name, got)
		}
		last = at
	}
	if rows[0].Contestant != "ee" {
		t.Error("the rows of the report itself changed their order")
	}
}

func TestWriteTextReportsAFailedWrite(t *testing.T) {
	t.Parallel()
	if err := full().WriteText(fullDisk{}); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

func TestWriteTextAcceptsAnEmptyReport(t *testing.T) {
	t.Parallel()
	if got := text(t, &report.Report{}); got != "" {
		t.Errorf("got %q", got)
	}
	if got := text(t, &report.Report{Scenarios: []report.Scenario{{Title: "Nothing"}}}); !strings.Contains(got, "Nothing") {
		t.Errorf("got %q", got)
	}
}

var errDisk = errors.New("no space")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errDisk }
