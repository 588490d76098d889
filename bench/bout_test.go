//go:build linux

package main

import (
	"testing"

	"github.com/ginsse/ginsse/bench/internal/load"
)

func TestShortfallSaysWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		m    measured
		want string
	}{
		"nothing_expected": {measured{}, ""},
		"all":              {measured{outcome: outcome(100, 0, 0, 0, 0)}, ""},
		"all_and_more":     {measured{outcome: load.Outcome{Tally: load.Tally{Delivered: 5, Repeated: 3, Heartbeats: 2}}}, ""},
		"lost":             {measured{outcome: outcome(97, 3, 0, 0, 0)}, "lost 3 of 100"},
		"lost_and_told":    {measured{outcome: outcome(97, 3, 0, 0, 2)}, "lost 3 of 100 and said so"},
		"missing":          {measured{outcome: outcome(37, 0, 63, 0, 0)}, "delivered 37 %"},
		"missing_and_lost": {measured{outcome: outcome(37, 60, 3, 0, 0)}, "delivered 37 %"},
		"missing_and_told": {measured{outcome: outcome(37, 60, 3, 0, 1)}, "delivered 37 % and said so"},
		"one_missing":      {measured{outcome: outcome(99_999, 0, 1, 0, 0)}, "delivered 99 %"},
		"all_missing":      {measured{outcome: outcome(0, 0, 10, 0, 0)}, "delivered 0 %"},
		"ended":            {measured{outcome: outcome(50, 0, 50, 3, 0)}, "ended 3 streams, delivered 50 %"},
		"ended_after_all":  {measured{outcome: outcome(50, 0, 0, 3, 0)}, "ended 3 streams, delivered 100 %"},
		"ended_idle":       {measured{outcome: outcome(0, 0, 0, 3, 0)}, "ended 3 streams"},
		"stuck":            {measured{outcome: outcome(50, 0, 0, 0, 0), stuck: true}, "stopped its sender"},
		"stuck_before_end": {measured{outcome: outcome(50, 0, 50, 0, 0), stuck: true}, "delivered 50 %"},
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
	return load.Outcome{Tally: load.Tally{Delivered: delivered, Lost: lost, Gaps: gaps}, Missing: missing, Closed: closed}
}
