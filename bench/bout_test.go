//go:build linux

package main

import (
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/load"
)

func TestShortfallDescribesMissingEvents(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		m    measured
		want string
	}{
		"nothing_expected": {measured{}, ""},
		"all":              {measured{outcome: outcome(100, 0, 0, 0, 0)}, ""},
		"all_and_more":     {measured{outcome: load.Outcome{Tally: load.Tally{Delivered: 5, Repeated: 3, Heartbeats: 2}}}, ""},
		"lost":             {measured{outcome: outcome(97, 3, 0, 0, 0)}, "lost 3 of 100"},
		"lost_with_gap":    {measured{outcome: outcome(97, 3, 0, 0, 2)}, "lost 3 of 100, announced a gap to 2 streams"},
		"gap_without_loss": {measured{outcome: outcome(97, 0, 0, 0, 2)}, "announced a gap to 2 streams"},
		"missing":          {measured{outcome: outcome(37, 0, 63, 0, 0)}, "delivered 37 %"},
		"missing_and_lost": {measured{outcome: outcome(37, 60, 3, 0, 0)}, "delivered 37 %"},
		"missing_with_gap": {measured{outcome: outcome(37, 60, 3, 0, 1)}, "delivered 37 %, announced a gap to 1 streams"},
		"one_missing":      {measured{outcome: outcome(99_999, 0, 1, 0, 0)}, "delivered 99 %"},
		"all_missing":      {measured{outcome: outcome(0, 0, 10, 0, 0)}, "delivered 0 %"},
		"closed":           {measured{outcome: outcome(50, 0, 50, 3, 0)}, "closed 3 streams, delivered 50 %"},
		"closed_after_all": {measured{outcome: outcome(50, 0, 0, 3, 0)}, "closed 3 streams, delivered 100 %"},
		"closed_idle":      {measured{outcome: outcome(0, 0, 0, 3, 0)}, "closed 3 streams"},
		"stuck":            {measured{outcome: outcome(50, 0, 0, 0, 0), stuck: true}, "stopped its sender, delivered 100 %"},
		"stuck_before_end": {measured{outcome: outcome(50, 0, 50, 0, 0), stuck: true}, "stopped its sender, delivered 50 %"},
		"late":             {measured{outcome: outcome(50, 0, 0, 0, 0), late: 9_870 * time.Millisecond}, "blocked its sender for 9.9 s"},
		"timed_and_closed": {measured{outcome: outcome(50, 0, 1<<40, 3, 0), timed: true}, "closed 3 streams"},
		"timed_and_stuck":  {measured{outcome: outcome(50, 0, 1<<40, 0, 0), timed: true, stuck: true}, "stopped its sender"},
		"timed_and_lost":   {measured{outcome: outcome(50, 0, 50, 0, 0), timed: true}, "delivered 50 %"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.m.shortfall(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func outcome(delivered, lost, missing, closed, gaps int) load.Outcome {
	return load.Outcome{Tally: load.Tally{Delivered: delivered, Lost: lost, Gaps: gaps}, GapStreams: gaps, Missing: missing, Closed: closed}
}

func TestOnlyOnceReportsRepeatedEvents(t *testing.T) {
	t.Parallel()
	twice := measured{outcome: load.Outcome{Tally: load.Tally{Delivered: 5, Repeated: 3}}}
	if got := onlyOnce(twice); got != "repeated 3 events" {
		t.Errorf("%q", got)
	}
	twice.outcome.Missing = 5
	if got := onlyOnce(twice); got != "delivered 50 %" {
		t.Errorf("%q", got)
	}
}
