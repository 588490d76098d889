package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

// draw returns the plots by file name, and checks that each is XML.
func draw(t *testing.T, r *report.Report) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new")
	files, err := r.WritePlots(dir)
	if err != nil {
		t.Fatal(err)
	}
	plots := map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(b))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
		}
		for _, bad := range []string{"NaN", "Inf"} {
			if bytes.Contains(b, []byte(bad)) {
				t.Errorf("%s has a place %s", file, bad)
			}
		}
		plots[file] = visible(string(b))
	}
	return plots
}

// only draws a report that has one plot.
func only(t *testing.T, r *report.Report) string {
	t.Helper()
	plots := draw(t, r)
	if len(plots) != 1 {
		t.Fatalf("%d plots", len(plots))
	}
	for _, svg := range plots {
		return svg
	}
	return ""
}

func wantAll(t *testing.T, svg string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(svg, ">"+text+"<") {
			t.Errorf("no text %q", text)
		}
	}
}

var filled = regexp.MustCompile(`<path d="M([0-9.]+),[0-9.]+L[0-9.]+,[0-9.]+L([0-9.]+),[^"]*"\s+style="fill:(#[0-9A-F]{6})" />`)

// lengths returns the lengths of the bars of a colour, without the key.
func lengths(t *testing.T, svg, colour string) []float64 {
	t.Helper()
	var all []float64
	for _, m := range filled.FindAllStringSubmatch(svg, -1) {
		from, _ := strconv.ParseFloat(m[1], 64)
		to, _ := strconv.ParseFloat(m[2], 64)
		if m[3] == colour {
			all = append(all, to-from)
		}
	}
	if len(all) == 0 {
		t.Fatalf("nothing in %s", colour)
	}
	return all[1:]
}

const (
	blue  = "#0569D1"
	slate = "#6B7785"
	grey  = "#B4BDC7"
)

func TestWritePlotsWritesOneFilePerScenarioOrGroup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := filepath.Join(dir, "old.svg")
	if err := os.WriteFile(old, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := full().WritePlots(dir)
	if want := []string{"paced.svg", "flat.svg", "once.svg"}; err != nil || !slices.Equal(files, want) {
		t.Fatalf("got %v, %v, want %v", files, err, want)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "old" {
		t.Errorf("a file that is not of this run is now %q, %v", b, err)
	}
	// The text links to the files.
	text := full().Markdown(func(file string) string { return "<" + file + ">" })
	for _, file := range files {
		if !strings.Contains(text, "(<"+file+">)") {
			t.Errorf("no %s in the text", file)
		}
	}
}

func TestWritePlotsIsDeterministic(t *testing.T) {
	t.Parallel()
	first := draw(t, full())
	for range 3 {
		for file, svg := range draw(t, full()) {
			if svg != first[file] {
				t.Errorf("%s differs", file)
			}
		}
	}
	other := full()
	other.Scenarios[0].Rows[6].Values[0] = []float64{2.3, 2.4, 2.2}
	if draw(t, other)["paced.svg"] == first["paced.svg"] {
		t.Error("other figures make the same plot")
	}
}

func TestBarsAreAsLongAsTheirMedians(t *testing.T) {
	t.Parallel()
	svg := only(t, of(cpu,
		report.Row{Contestant: "kit", Values: values(2, 2.5, 1)},
		report.Row{Contestant: "hand", Kind: report.Hand, Values: values(4)},
		report.Row{Contestant: "peer", Kind: report.Peer, Values: values(6)},
		report.Row{Contestant: "none", Kind: report.Peer, Values: values(nan)},
		report.Row{Contestant: "slow", Kind: report.Peer, Values: values(8)},
	))
	kit, hand, peers := lengths(t, svg, blue), lengths(t, svg, slate), lengths(t, svg, grey)
	if len(kit) != 1 || len(hand) != 1 || len(peers) != 2 {
		t.Fatalf("bars of %v, %v and %v", kit, hand, peers)
	}
	for _, bar := range []struct{ length, want float64 }{{hand[0], 2}, {peers[0], 3}, {peers[1], 4}} {
		if got := bar.length / kit[0]; math.Abs(got-bar.want) > 0.02 {
			t.Errorf("%v times as long as the kit's, want %v", got, bar.want)
		}
	}
	wantAll(t, svg, "Paced broadcast", "kit", "hand", "peer", "2␣µs", "8␣µs", "–", "CPU per event (µs)",
		"CPU per event (µs); less is better; median of 3 rounds, whiskers from the lowest to the highest")
}

func TestBarsOfOneRoundHaveNoWhiskers(t *testing.T) {
	t.Parallel()
	one := only(t, of(speed, report.Row{Contestant: "kit", Values: values(2)}))
	two := only(t, of(speed, report.Row{Contestant: "kit", Values: values(1, 3)}))
	wantAll(t, one, "delivered (events/s); more is better")
	if n := strings.Count(two, "<path") - strings.Count(one, "<path"); n < 3 {
		t.Errorf("a whisker is %d paths", n)
	}
}

func TestBarsAreLabelledAsInTheTables(t *testing.T) {
	t.Parallel()
	svg := only(t, of(latency,
		report.Row{Contestant: "kit", Values: values(0.1)},
		report.Row{Contestant: "hand", Kind: report.Hand, Disturbed: 1, Values: values(6)},
		report.Row{Contestant: "peer", Kind: report.Peer, Excused: "does not replay"},
		report.Row{Contestant: "late", Kind: report.Peer, Failures: []string{"closed"}, Values: values(7, 8)},
	))
	wantAll(t, svg, "≈0␣ms", "~6␣ms", "not done: does not replay", "7.50␣ms, not done: closed, in 1 of 2 rounds", disturbed)
	if svg := only(t, of(latency, report.Row{Contestant: "kit", Values: values(6)})); strings.Contains(svg, disturbed) {
		t.Error("the key explains a sign that is not used")
	}
}

const disturbed = "~ on a busy machine"

func TestFailedBarsAreLabelledAndHatched(t *testing.T) {
	t.Parallel()
	reason := "delivered 37 % & <closed> " + strings.Repeat("again and ", 20)
	svg := only(t, of(cpu,
		report.Row{Contestant: "kit", Values: values(2)},
		report.Row{Contestant: "late", Kind: report.Peer, Failures: []string{reason}, Values: values(6)},
		report.Row{Contestant: "gone", Kind: report.Peer, Failures: []string{"does not start"}, Values: values(nan)},
	))
	if strings.Contains(svg, "fill:"+grey) {
		t.Error("a failed row has a bar like the others")
	}
	wantAll(t, svg, "not done: does not start", "work not done")
	if !strings.Contains(svg, ">6␣µs, not done: delivered 37 % &amp; &lt;closed&gt;") || !strings.Contains(svg, "…<") || strings.Contains(svg, "again and again and again and again") {
		t.Error("no shortened label")
	}
	lines := strings.Count(svg, "stroke:#A8AEB5")
	if lines < 20 {
		t.Errorf("hatched with %d lines", lines)
	}
	if kit := lengths(t, svg, blue); len(kit) != 1 || kit[0] < 50 {
		t.Errorf("the label leaves too little room for the bar of the kit: %v", kit)
	}
}

func TestLabelsStayOnThePage(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`<text x="([0-9.]+)" y="[^"]*" transform="scale\(1, -1\)"\s+style="[^"]*font-size:10px[^"]*">([^<]*)</text>`)
	for _, failed := range []string{"", "delivered 37 % of the events, and then nothing more came from it"} {
		svg := only(t, of(speed,
			report.Row{Contestant: "kit", Values: values(1234567, 1300000)},
			report.Row{Contestant: "github.com/somebody/with-a-long-name", Kind: report.Peer, Failures: failures(failed), Values: values(1300000)},
			report.Row{Contestant: "hand", Kind: report.Hand, Disturbed: 1, Values: values(1300000)},
			report.Row{Contestant: "peer", Kind: report.Peer, Values: values(1300000)},
			report.Row{Contestant: "floor", Kind: report.Floor, Values: values(1300000)},
		))
		found := label.FindAllStringSubmatch(svg, -1)
		if len(found) < 5 {
			t.Fatalf("%d labels", len(found))
		}
		for _, m := range found {
			x, _ := strconv.ParseFloat(m[1], 64)
			if end := x + 4.5*float64(len([]rune(m[2]))); end > 640 {
				t.Errorf("%q ends at %v", m[2], end)
			}
		}
	}
}

func TestPlotsOfStrangeFigures(t *testing.T) {
	t.Parallel()
	row := func(name string, kind report.Kind, failed string, figures ...float64) report.Row {
		return report.Row{Contestant: name, Kind: kind, Failures: failures(failed), Values: values(figures...)}
	}
	tests := map[string][]report.Row{
		"no_rows":        nil,
		"no_values":      {{Contestant: "kit"}},
		"all_missing":    {row("kit", report.Kit, "", nan, nan), row("peer", report.Peer, "gone", nan)},
		"all_zero":       {row("kit", report.Kit, "", 0, 0), row("floor", report.Floor, "", 0)},
		"all_failed":     {row("kit", report.Kit, "no", 1, 2), row("peer", report.Peer, "gone", 3)},
		"negative":       {row("kit", report.Kit, "", -3, -1), row("peer", report.Peer, "", 2)},
		"only_negative":  {row("kit", report.Kit, "", -3, -1)},
		"infinite":       {row("kit", report.Kit, "", math.Inf(1)), row("peer", report.Peer, "", 1, math.Inf(1), 2)},
		"far_apart":      {row("kit", report.Kit, "", 1e-9), row("peer", report.Peer, "", 1e12)},
		"very_small":     {row("kit", report.Kit, "", 1e-12), row("peer", report.Peer, "", 2e-12)},
		"zero_among_far": {row("kit", report.Kit, "", 0), row("peer", report.Peer, "", 1e6)},
		"long_name":      {row(strings.Repeat("name ", 40), report.Kit, "", 1, 2)},
		"no_contestant":  {row("", report.Kit, "", 1)},
	}
	for name, rows := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := of(cpu, rows...)
			wantAll(t, only(t, r), "Paced broadcast")
			// The same rows as a group of three sizes, one of which is not positive.
			for _, sizes := range [][]float64{{10, 100, 1000}, {0, 1, 2}, {1, 1, 1}} {
				g := &report.Report{}
				for _, x := range sizes {
					s := r.Scenarios[0]
					s.Group, s.X = "group", x
					g.Scenarios = append(g.Scenarios, s)
				}
				wantAll(t, only(t, g), "Paced broadcast")
			}
		})
	}
	bare := only(t, &report.Report{Scenarios: []report.Scenario{{Title: "Bare"}}})
	wantAll(t, bare, "Bare")
}

func TestGroupIsDrawnAsLines(t *testing.T) {
	t.Parallel()
	svg := draw(t, full())["flat.svg"]
	wantAll(t, svg, "Flat out", "ginsse", "r3labs/sse", "floor", "10", "100", "1,000", "streams (log scale)",
		"delivered (events/s), log scale", "× r3labs/sse, not done at 1,000 streams: delivered 12 %, in 1 of 3 rounds")
	// There are three points each. One is a cross, and so on no line.
	line := regexp.MustCompile(`<path d="M[0-9.]+,[0-9.]+((?:L[0-9.]+,[0-9.]+)+)"\s+style="fill:none;stroke:(#[0-9A-F]{6});stroke-width:(?:2\.8|1\.5)`)
	steps := map[string]int{}
	for _, m := range line.FindAllStringSubmatch(svg, -1) {
		steps[m[2]] = max(steps[m[2]], strings.Count(m[1], "L"))
	}
	if steps[blue] != 2 || steps["#D55E00"] != 1 {
		t.Errorf("lines of %v steps", steps)
	}
}

func TestLinesOfSeveralKitsDiffer(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios = r.Scenarios[1:4]
	for i, s := range r.Scenarios {
		r.Scenarios[i].Rows = []report.Row{s.Rows[0], {Contestant: "ginsse compact", Values: s.Rows[2].Values}}
	}
	svg := only(t, r)
	wantAll(t, svg, "ginsse", "ginsse compact")
	for _, colour := range []string{blue, "#0A3D7A"} {
		if !strings.Contains(svg, "stroke:"+colour+";stroke-width:2.8") {
			t.Errorf("no line in %s", colour)
		}
	}
}

func TestGroupIsLinearWhereFiguresAreNear(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios = r.Scenarios[1:4]
	for i := range r.Scenarios {
		r.Scenarios[i].Rows = r.Scenarios[i].Rows[:1]
	}
	svg := only(t, r)
	wantAll(t, svg, "delivered (events/s)", "0", "200,000", "400,000")
}

func TestGroupOfOneSizeIsDrawnAsBars(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios = r.Scenarios[1:2]
	plots := draw(t, r)
	if _, ok := plots["flat.svg"]; !ok {
		t.Fatalf("got %d plots, none of the group", len(plots))
	}
	wantAll(t, plots["flat.svg"], "Flat out, 1,000␣streams", "this kit", "520,000␣events/s")
}

// The widths were computed for a typeface that few readers have.
func TestPlotsNameOtherTypefacesOfTheSameWidths(t *testing.T) {
	t.Parallel()
	for file, svg := range draw(t, full()) {
		texts := strings.Count(svg, "<text")
		if n := strings.Count(svg, "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"); n != texts || n == 0 {
			t.Errorf("%s: %d of %d texts", file, n, texts)
		}
	}
}

func TestFileNamesAreSafe(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"paced-1000.v2_b":  "paced-1000.v2_b.svg",
		"../../etc/passwd": "..-..-etc-passwd.svg",
		"a b\tc µ":         "a-b-c--.svg",
		"":                 "unnamed.svg",
		"..":               "unnamed.svg",
	}
	for name, want := range tests {
		r := of(cpu)
		r.Scenarios[0].Name = name
		plots := draw(t, r)
		if _, ok := plots[want]; !ok || len(plots) != 1 {
			t.Errorf("%q makes no %s", name, want)
		}
	}
}

func TestWritePlotsRejectsTwoPlotsOfOneName(t *testing.T) {
	t.Parallel()
	r := of(cpu)
	r.Scenarios = append(r.Scenarios, r.Scenarios[0])
	if files, err := r.WritePlots(t.TempDir()); err == nil || len(files) != 1 {
		t.Errorf("got %v, %v", files, err)
	}
}

func TestWritePlotsReturnsErrors(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := full().WritePlots(filepath.Join(file, "plots")); err == nil {
		t.Error("no error")
	}
}
