//go:build linux

package main

import (
	"math"
	"testing"
	"time"

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
	kit := servers.All[0]
	for _, s := range scenarios(false) {
		if s.excuse != nil && s.excuse(kit) != "" {
			t.Errorf("%s excuses %s: %s", s.Name, kit.Name, s.excuse(kit))
		}
	}
}

// The figures mean nothing, because the work is tiny and other tests run meanwhile.
func TestScenariosGiveTheKitAFigureForEachMeasure(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios(true) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			s.work.streams, s.work.events = 10, min(s.work.events, 20)
			s.work.span = min(s.work.span, 20*time.Millisecond)
			f, others, err := options{quick: true}.once(s, servers.All[0], 0)
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
		})
	}
}
