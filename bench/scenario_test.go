//go:build linux

package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

func TestScenarioNamesAreUnique(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{false, true} {
		names := map[string]bool{}
		for _, s := range scenarios(quick) {
			if names[s.Name] || names[s.Group] || s.Name == s.Group {
				t.Errorf("quick %v: %q or its group %q is not unique", quick, s.Name, s.Group)
			}
			names[s.Name] = true
			if s.Title == "" || s.About == "" || len(s.Measures) == 0 || s.work.streams == 0 {
				t.Errorf("quick %v: %s is incomplete: %+v", quick, s.Name, s)
			}
		}
	}
}

func TestScenariosExcuseTheKitFromNothing(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios(false) {
		for _, c := range kits(t) {
			if s.excuse != nil && s.excuse(c) != "" {
				t.Errorf("%s excuses %s: %s", s.Name, c.Name, s.excuse(c))
			}
		}
	}
}

// kits returns the contestants that are the kit.
func kits(t *testing.T) (list []servers.Contestant) {
	t.Helper()
	for _, name := range []string{kit, servers.Compact} {
		c, err := servers.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func TestAimsNameContestantsAndMeasures(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios(false) {
		for _, aim := range s.Aims {
			for _, name := range []string{aim.Kit, aim.Contestant} {
				if _, err := servers.ByName(name); err != nil && name != "" && name != report.BestPeer {
					t.Errorf("%s: %+v: %v", s.Name, aim, err)
				}
			}
			if m := s.Measures[aim.Measure]; (aim.Most > 0) == (aim.Least > 0) || m.More != (aim.Least > 0) {
				t.Errorf("%s: %+v bounds %s on the wrong side", s.Name, aim, m.Name)
			}
		}
	}
}

func TestCheckFilesNamesScenariosThatNeedMore(t *testing.T) {
	t.Parallel()
	list := []scenario{
		{Scenario: report.Scenario{Name: "small"}, work: work{streams: 100}},
		{Scenario: report.Scenario{Name: "big"}, work: work{streams: 101}},
		{Scenario: report.Scenario{Name: "spread"}, work: work{streams: 380, nodes: 5}},
		{Scenario: report.Scenario{Name: "many"}, work: work{streams: 400, nodes: 5}},
	}
	const hint = "and the limit of open files allows 100: raise it (ulimit -Hn), or choose other scenarios with -scenarios"
	const want = "big has 101 streams in one process, " + hint + "\nmany has 105 streams in one process, " + hint
	if err := checkFiles(list, 100); err == nil || err.Error() != want {
		t.Errorf("the error is %v, want %s", err, want)
	}
	if err := checkFiles(list, 105); err != nil {
		t.Errorf("with enough: %v", err)
	}
}

// The figure is that of the machine on which the aims were set.
func TestScenariosFitInto20000Files(t *testing.T) {
	t.Parallel()
	if err := checkFiles(scenarios(false), 20_000-64); err != nil {
		t.Error(err)
	}
}

func TestStalledStreamsAreAShareOfAll(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		work
		stalled, reading int
	}{
		{work{streams: 10}, 0, 10},
		{work{streams: 10, stalled: 2}, 5, 5},
		{work{streams: 10, stalled: 20}, 1, 9},
		{work{streams: 5000, stalled: 20}, 250, 4750},
		{work{streams: 201, stalled: 201}, 1, 200},
	} {
		if n, m := test.stalledStreams(), test.work.reading(); n != test.stalled || m != test.reading {
			t.Errorf("%d of %d streams are stalled and %d read, want %d and %d", n, test.streams, m, test.stalled, test.reading)
		}
	}
}

// The figures mean nothing, because the work is tiny and other tests run meanwhile.
func TestScenariosGiveTheKitAFigureForEachMeasure(t *testing.T) {
	t.Parallel()
	for _, c := range kits(t) {
		for _, s := range scenarios(true) {
			t.Run(c.Name+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				giveFigures(t, s, c)
			})
		}
	}
}

// mayBeTheMachine reports whether the reason of a failure may be a busy machine: the sender or heartbeats were
// late, or a client did not read for the write timeout, which is short in quick scenarios. Events that are lost
// or announced as a gap are no such reason.
func mayBeTheMachine(failed string) bool {
	return strings.HasPrefix(failed, "blocked its sender") || strings.HasPrefix(failed, "closed ") || strings.Contains(failed, " heartbeats on ")
}

func giveFigures(t *testing.T, s scenario, c servers.Contestant) {
	t.Helper()
	s.work.streams, s.work.events = 10, min(s.work.events, 20)
	s.work.span = min(s.work.span, 20*time.Millisecond)
	s.work.nodes = min(s.work.nodes, 2)
	f, others, err := options{quick: true}.once(s, c, 0)
	for range 4 {
		if err == nil && mayBeTheMachine(f.failed) {
			f, others, err = options{quick: true}.once(s, c, 0)
		}
	}
	if err != nil || f.failed != "" {
		t.Fatalf("%q, %v", f.failed, err)
	}
	if len(f.values) != len(s.Measures) {
		t.Fatalf("%d figures for %d measures", len(f.values), len(s.Measures))
	}
	for i, v := range f.values {
		// An idle server may have used no CPU, and released memory.
		if math.IsNaN(v) || math.IsInf(v, 0) || s.work.events > 0 && v < 0 {
			t.Errorf("%s is %v", s.Measures[i].Name, v)
		}
	}
	if math.IsNaN(others) {
		t.Errorf("others have used %v cores", others)
	}
}
