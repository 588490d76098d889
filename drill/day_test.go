//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/promtest"
)

func TestWrongAlertsAreProblems(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(1_000_000+seconds), 0) }
	play := func(alerts ...span) []string {
		r := &record{
			day:   &badDay{fires: []string{logDown}, may: []string{gaps}},
			began: at(0), faulty: at(10), fixed: at(40), end: at(60), alerts: alerts,
		}
		r.compare()
		return r.problems
	}
	right := span{logDown, at(15), at(42)}
	for name, c := range map[string]struct {
		alerts []span
		want   string // a part of the only problem; "" for none
	}{
		"right":        {[]span{right, {gaps, at(20), at(30)}}, ""},
		"none":         {nil, logDown + " did not fire"},
		"wrong":        {[]span{right, {reconnects, at(20), at(30)}}, reconnects + " fired, 3m20s after the fault"},
		"before":       {[]span{{logDown, at(5), at(42)}}, "before the fault"},
		"without_end":  {[]span{{logDown, at(15), at(60)}}, "still fires 6m40s after the remedy"},
		"comes_again":  {[]span{right, {logDown, at(50), at(60)}}, "still fires"},
		"allowed_stay": {[]span{right, {gaps, at(20), at(60)}}, gaps + " still fires"},
	} {
		problems := play(c.alerts...)
		if c.want == "" && len(problems) > 0 || c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], c.want)) {
			t.Errorf("%s: problems %q, want %q", name, problems, c.want)
		}
	}
}

func TestSpansEndWhereASeriesHasAHole(t *testing.T) {
	t.Parallel()
	var points []promtest.Point
	at := func(step int) time.Time { return time.Unix(1_000_000, 0).Add(time.Duration(step) * interval) }
	for _, step := range []int{0, 1, 3, 10, 11} {
		points = append(points, promtest.Point{Time: at(step), Value: 1})
	}
	got := spans(promtest.Series{Labels: map[string]string{"alertname": gaps}, Points: points})
	if want := []span{{gaps, at(0), at(3)}, {gaps, at(10), at(11)}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
