package report_test

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
)

var update = flag.Bool("update", false, "write the files in testdata")

// golden compares with a file in testdata, in which no-break spaces are "␣".
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	got = visible(got)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	have, want := strings.Split(got, "\n"), strings.Split(string(b), "\n")
	for n := range max(len(have), len(want)) {
		var h, w string
		if n < len(have) {
			h = have[n]
		}
		if n < len(want) {
			w = want[n]
		}
		if h != w {
			t.Fatalf("line %d of %s:\n got %q\nwant %q", n+1, name, h, w)
		}
	}
	if len(have) != len(want) {
		t.Fatalf("%d lines, want the %d of %s", len(have), len(want), name)
	}
}

var nan = math.NaN()

// values returns the figures of one measure, by round.
func values(figures ...float64) [][]float64 { return [][]float64{figures} }

var (
	cpu    = report.Measure{Name: "CPU per event", Unit: "µs"}
	speed  = report.Measure{Name: "delivered", Unit: "events/s", More: true}
	allocs = report.Measure{Name: "allocations per event"}
	// With Least and InfoOnly.
	latency = report.Measure{Name: "latency p99", Unit: "ms", Least: 0.5}
	clients = report.Measure{Name: "clients' CPU per event", Unit: "µs", InfoOnly: true}
)

// failures returns no failure if the text is "".
func failures(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

// of returns a report with one scenario of one measure.
func of(m report.Measure, rows ...report.Row) *report.Report {
	return &report.Report{Rounds: 3, Scenarios: []report.Scenario{{
		Name: "paced", Title: "Paced broadcast", Measures: []report.Measure{m}, Rows: rows,
	}}}
}

// full returns a report with every feature. It has rows out of order, and a kit that is
// behind by two measures, one of them with noise. Rows are disturbed, excused, or have
// failed: with and without figures, in some rounds and in all. There are a measure that is
// InfoOnly, notes, a group of three sizes, one of which all peers have failed, and a scenario
// of one round without a floor.
func full() *report.Report {
	sizes := func(name string, x, factor float64, failures ...string) report.Scenario {
		return report.Scenario{
			Name: name, Title: "Flat out", About: "As fast as it goes.", Group: "flat", XName: "streams", X: x,
			Measures: []report.Measure{speed},
			Notes:    []string{"r3labs/sse has a queue of 1,024 events for each stream."},
			Rows: []report.Row{
				{Contestant: "ginsse", Values: values(520000*factor, 500000*factor, 540000*factor)},
				{Contestant: "r3labs/sse", Kind: report.Peer, Failures: failures, Values: values(40000*factor, 41000*factor, 30000*factor)},
				{Contestant: "floor", Kind: report.Floor, Values: values(900000*factor, 910000*factor, 890000*factor)},
			},
		}
	}
	return &report.Report{
		Date:    time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
		Command: "go run ./bench -write", Commit: "12835f2+", Rounds: 3, Took: 754*time.Second + 300*time.Millisecond,
		Machine:  report.Machine{CPU: "Some CPU | 2", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.8", Go: "go1.25.1"},
		Versions: []report.Version{{"github.com/r3labs/sse/v2", "v2.10.0"}, {"github.com/tmaxmax/go-sse", "v0.11.0"}},
		Contestants: []report.Contestant{
			{Name: "ginsse", Kind: report.Kit, About: "A log of 4,096 events | in memory; everything else as it comes."},
			{Name: "by hand", Kind: report.Hand, About: "A channel of 64 events for each client, from which everything that waits goes out in one write."},
			{Name: "r3labs/sse", Kind: report.Peer},
			{Name: "floor", Kind: report.Floor, About: "One write for each event and stream."},
		},
		Scenarios: []report.Scenario{
			{
				Name: "paced", Title: "Paced broadcast",
				About:    "An event every 10 ms goes to 1,000 streams for ten seconds, which all of the contestants can keep up with.",
				Measures: []report.Measure{cpu, speed, allocs, latency, clients},
				Notes: []string{
					"r3labs/sse keeps events for clients that connect later, unless AutoReplay_Off is set.",
					"slow/sse drops what does not fit.",
				},
				Rows: []report.Row{
					{Contestant: "floor", Kind: report.Floor, Values: [][]float64{{0.7, 0.69, 0.75}, {100000}, {0}, {0.2, 0.1, 0.3}, {3, 3, 3}}},
					{
						Contestant: "r3labs/sse", Kind: report.Peer, Failures: []string{"delivered 37 % | closed", "delivered 36 %", "delivered 35 %"},
						Values: [][]float64{{0.2, 0.3, 0.1}, {37000}, {9}},
					},
					{Contestant: "tmaxmax/go-sse", Kind: report.Peer, Values: [][]float64{{1.05, 1.01, 1.07}, {100000}, {2.5}, {2, 3, 2.5}, {2, 2, 2}}},
					{
						Contestant: "slow/sse", Kind: report.Peer, Failures: []string{"does not start"},
						Values: [][]float64{{8.05, nan, 9}, {100000}, {12}, {9, nan, 8}, {3, 3, 3}},
					},
					{Contestant: "gone/sse", Kind: report.Peer, Excused: "does not replay", Values: [][]float64{{nan, nan, nan}}},
					{
						Contestant: "by hand", Kind: report.Hand, Disturbed: 1,
						Values: [][]float64{{1.01, 1.02, 1}, {100000}, {1}, {0.1, 0.2, 1.5}, {3, 3, 3}},
					},
					{
						Contestant: "ginsse", Kind: report.Kit, Disturbed: 2,
						Values: [][]float64{{1.12, 1.2, 1.1}, {100000}, {0}, {8, 9, 7}, {4, 4, 4}},
					},
				},
			},
			sizes("flat-1000", 1000, 1, "delivered 12 %"),
			sizes("flat-10", 10, 0.2),
			sizes("flat-100", 100, 0.8),
			{
				Name: "once", Title: "One round", Measures: []report.Measure{allocs},
				Rows: []report.Row{
					{Contestant: "ginsse", Values: values(0)},
					{Contestant: "tmaxmax/go-sse", Kind: report.Peer, Values: values(3.5)},
				},
			},
		},
	}
}

func TestMedianIgnoresMissingFigures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		figures []float64
		want    float64
	}{
		"none":        {nil, nan},
		"only_nan":    {[]float64{nan, nan}, nan},
		"one":         {[]float64{3}, 3},
		"odd":         {[]float64{9, 1, 5}, 5},
		"even":        {[]float64{9, 1, 5, 6}, 5.5},
		"among_nan":   {[]float64{nan, 9, nan, 1, 5}, 5},
		"even_by_nan": {[]float64{nan, 4, 1}, 2.5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := append([]float64(nil), test.figures...)
			got := report.Row{Values: [][]float64{given}}.Median(0)
			if got != test.want && !(math.IsNaN(got) && math.IsNaN(test.want)) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			for i := range given {
				if given[i] != test.figures[i] && !math.IsNaN(given[i]) {
					t.Fatal("Median changed the order of the row's figures")
				}
			}
		})
	}
	if got := (report.Row{}).Median(2); !math.IsNaN(got) {
		t.Errorf("a measure without figures has median %v", got)
	}
}
