//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

func TestOnlyWholeReportsMissingBytes(t *testing.T) {
	t.Parallel()
	m := measured{outcome: load.Outcome{Tally: load.Tally{Delivered: 5}, Bytes: 500}}
	if got := onlyWhole(m, 100); got != "" {
		t.Errorf("%q", got)
	}
	m.outcome.Bytes = 499
	if got := onlyWhole(m, 100); got != "delivered 499 of 500 bytes" {
		t.Errorf("%q", got)
	}
	m.outcome.Missing = 5
	if got := onlyWhole(m, 100); got != "delivered 50 %" {
		t.Errorf("%q", got)
	}
}

func TestBoutStopsServerThatExceedsTheMemoryLimit(t *testing.T) {
	t.Parallel()
	s := largeScenarios(true)[0]
	s.work.streams, s.work.memory = 10, 1_000_000
	f, _, err := options{quick: true}.once(s, servers.All[0], 0)
	if err != nil || f.failed != "stopped when it used more than 0.001 GB of memory" || f.values != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestLargeScenariosStallSomeReaders(t *testing.T) {
	t.Parallel()
	for _, s := range largeScenarios(true) {
		stalls := strings.Contains(s.Name, "stalled")
		if (s.work.stalled > 0) != stalls {
			t.Errorf("%s stalls one stream in %d", s.Name, s.work.stalled)
		}
		s.work.streams = 20
		b, err := newBout(servers.All[0], s)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := large(s, b); err != nil || f.failed != "" {
			t.Errorf("%s: %q, %v", s.Name, f.failed, err)
		}
		var outcome load.Outcome
		want := s.work.streams
		if stalls {
			want--
		}
		if err := b.load.Call("SetExpected", load.ExpectArgs{Events: 21}, &outcome); err != nil || outcome.Delivered != want {
			t.Errorf("%s: %d streams have the event, want %d: %v", s.Name, outcome.Delivered, want, err)
		}
		b.stop()
	}
}
