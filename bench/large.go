//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// largeBytes is the data of one large event. With its fields the event stays below the
// kit's default MaxEventBytes of 1 MiB.
const largeBytes = 1_000_000

// largeStalled is the number of streams of which one reads nothing, in large-stalled.
const largeStalled = 20

// largeMemory is the most bytes that a server may use.
const largeMemory = 6_000_000_000

// largeScenarios returns the scenarios that send one large event to many streams, without and with stalled readers.
func largeScenarios(quick bool) (list []scenario) {
	settings := servers.Settings{SendBuffer: 64 << 10}
	if quick {
		settings.WriteTimeout = 500 * time.Millisecond
	}
	for _, stalled := range []int{0, largeStalled} {
		for _, streams := range []int{1000, 5000} {
			if quick {
				streams /= 20
			}
			list = append(list, largeScenario(streams, stalled, settings))
		}
	}
	return list
}

func largeScenario(streams, stalled int, settings servers.Settings) scenario {
	s := scenario{
		Scenario: report.Scenario{
			Title: "One event of 1 MB", Group: "large", XName: sizes, X: float64(streams),
			About: "One event of 1,000,000 bytes to all streams, after 20 small ones. The kernel buffers 64 KiB for each stream at the " +
				"server, so that the event does not fit in there. Peak memory is that of the whole server, idle streams included.",
			Measures: []report.Measure{
				peakMemory,
				{Name: "time to last reader", Unit: "ms"},
				cpuPerEvent,
				{Name: "memory before the event", Unit: "MB", InfoOnly: true},
				clients,
			},
			Aims: []report.Aim{
				{Measure: 0, Contestant: byHand, Most: 1.5},
				{Measure: 1, Contestant: byHand, Most: 1},
				{Kit: servers.Compact, Measure: 0, Contestant: byHand, Most: 1.2},
			},
		},
		settings: settings,
		run:      large,
		work:     work{streams: streams, bytes: largeBytes, stalled: stalled, memory: largeMemory},
	}
	if stalled > 0 {
		s.Title, s.Group = "One event of 1 MB, with stalled readers", "large-stalled"
		s.About += fmt.Sprintf(" %d %% of the streams read nothing; the last reader is the last of the others.", 100/stalled)
		s.excuse = excuseFloor
	}
	s.Name = fmt.Sprintf("%s-%d", s.Group, streams)
	return s
}

// large sends one large event, and waits until each stream that reads has it. Small events
// come first, so that the measurement leaves out what only the first events cost.
func large(s scenario, b *bout) (figures, error) {
	w := s.work
	streams := load.OpenArgs{Streams: w.streams, All: true, Stalled: w.stalledStreams(), ReceiveBuffer: s.settings.SendBuffer}
	if err := b.open(streams); err != nil {
		return figures{}, err
	}
	first, failed, err := warmUp(b, 100, 0)
	if err != nil || failed != "" {
		return figures{failed: failed}, err
	}
	if _, err := b.stat(true); err != nil { // it releases unused memory
		return figures{}, err
	}
	if err := b.server.Call("ResetPeak", struct{}{}, new(struct{})); err != nil {
		return figures{}, err
	}
	before, err := b.stat(false)
	if err != nil {
		return figures{}, err
	}
	sent, err := b.send(servers.SendArgs{First: first, Events: 1, Bytes: w.bytes})
	if err != nil {
		return figures{}, err
	}
	return figures{failed: onlyWhole(sent, w.bytes), values: []float64{
		megabytes(sent.peak),
		millis(sent.took),
		micros(sent.cpu) / float64(sent.outcome.Delivered),
		megabytes(before.Peak),
		sent.clients(),
	}}, nil
}

// onlyWhole is onlyOnce for events of the given size, none of which may be incomplete.
func onlyWhole(m measured, bytes int) string {
	failed := onlyOnce(m)
	if whole := m.outcome.Delivered * bytes; failed == "" && m.outcome.Bytes != whole {
		return fmt.Sprintf("delivered %d of %d bytes", m.outcome.Bytes, whole)
	}
	return failed
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
