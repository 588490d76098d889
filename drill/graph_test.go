//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/promtest"
)

func TestGraphIsWellFormed(t *testing.T) {
	t.Parallel()
	at := func(seconds int) time.Time { return time.Unix(int64(1_000_000+seconds), 0) }
	points := []promtest.Point{{Time: at(0), Value: 3}, {Time: at(1), Value: math.NaN()}, {Time: at(2), Value: math.Inf(1)}, {Time: at(30), Value: 5}}
	r := &record{
		day:   &badDay{fault: `a <b> & "c"`, panels: []panel{{"one", []line{{"x", ""}, {"y", ""}}}, {"nothing", []line{{"z", ""}}}}},
		began: at(0), faulty: at(10), fixed: at(40), end: at(60),
		alerts: []span{{"GinsseGaps", at(20), at(45)}, {"GinsseGaps", at(50), at(51)}},
		panels: [][]promtest.Series{{{Points: points}, {Points: points}}, {{}}},
	}
	text := string(r.draw())
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	for what, count := range map[string]int{`class="line`: 2, `class="fault"`: 1, `class="remedy"`: 1, `class="alert"`: 2, ">GinsseGaps<": 1, "NaN": 0, "Inf": 0} {
		if got := strings.Count(text, what); got != count {
			t.Errorf("the graph has %d × %s, want %d", got, what, count)
		}
	}
}

func TestStepsOfAnAxisAreRound(t *testing.T) {
	t.Parallel()
	for least, want := range map[float64]float64{0: 1, 0.03: 0.05, 0.1: 0.1, 1: 1, 1.1: 2, 7: 10, 30: 50} {
		if got := niceStep(least); math.Abs(got-want) > 1e-9 {
			t.Errorf("the step for %v is %v, want %v", least, got, want)
		}
	}
}
