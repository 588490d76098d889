//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// scenario is one piece of work for all contestants.
type scenario struct {
	report.Scenario // without rows
	settings        servers.Settings
	work            work
	// excuse says why a contestant is not asked, or "". Nil asks all.
	excuse func(servers.Contestant) string
	// run gives the work to the contestant of a bout. A contestant that does not do
	// it has failed; an error is for what keeps the bout from being held.
	run func(scenario, *bout) (figures, error)
}

// work is the size of a scenario.
type work struct {
	streams, events, bytes int
	users                  bool          // each event is for one user; else for all
	rate                   int           // events per second; 0 is as fast as it goes
	window                 time.Duration // how long idle streams are watched
}

// The measures of several scenarios.
var (
	cpuPerEvent = report.Measure{Name: "server CPU per event", Unit: "µs"}
	perSecond   = report.Measure{Name: "delivered", Unit: "events/s", More: true}
	p50         = report.Measure{Name: "latency p50", Unit: "ms"}
	p99         = report.Measure{Name: "latency p99", Unit: "ms"}
	peakMemory  = report.Measure{Name: "peak memory", Unit: "MB"}
	loadCPU     = report.Measure{Name: "clients' CPU per event", Unit: "µs"}
)

var paced = []report.Measure{cpuPerEvent, p50, p99, loadCPU}

// scenarios returns all scenarios, in the order in which they are run. Quickly they
// have fewer streams and events.
func scenarios(quick bool) []scenario {
	size := func(whole, quickly int) int {
		if quick {
			return quickly
		}
		return whole
	}
	window := time.Duration(size(15_000, 500)) * time.Millisecond
	list := []scenario{{
		Scenario: report.Scenario{
			Name: "paced", Title: "Broadcast, paced",
			About:    fmt.Sprintf("100 events a second of 100 bytes, each to %d streams.", size(1000, 200)),
			Measures: paced,
		},
		run:  deliver,
		work: work{streams: size(1000, 200), events: size(500, 30), bytes: 100, rate: 100},
	}, {
		Scenario: report.Scenario{
			Name: "full", Title: "Broadcast, at full speed",
			About:    fmt.Sprintf("%d events of 100 bytes, each to %d streams, as fast as the sender is let.", size(5000, 1000), size(1000, 100)),
			Measures: []report.Measure{perSecond, cpuPerEvent, peakMemory, loadCPU},
		},
		settings: servers.Settings{Burst: 16 << 10},
		run:      deliver,
		work:     work{streams: size(1000, 100), events: size(5000, 1000), bytes: 100},
	}, {
		Scenario: report.Scenario{
			Name: "targeted-paced", Title: "Sends to single users, paced",
			About: fmt.Sprintf("20,000 events a second of 100 bytes, in turn to each of %d users with one stream; "+
				"the sender wakes every millisecond.", size(2000, 200)),
			Measures: paced,
		},
		run:  deliver,
		work: work{streams: size(2000, 200), events: size(100_000, 4000), bytes: 100, users: true, rate: 20_000},
	}, {
		Scenario: report.Scenario{
			Name: "targeted", Title: "Sends to single users, at full speed",
			About: fmt.Sprintf("%d events of 100 bytes, in turn to each of %d users with one stream, as fast as the sender is let.",
				size(500_000, 20_000), size(2000, 200)),
			Measures: []report.Measure{perSecond, cpuPerEvent, peakMemory, loadCPU},
		},
		settings: servers.Settings{Burst: 1 << 10},
		run:      deliver,
		work:     work{streams: size(2000, 200), events: size(500_000, 20_000), bytes: 100, users: true},
	}, {
		Scenario: report.Scenario{
			Name: "stalled", Title: "One reader that never reads",
			About: fmt.Sprintf("%d events of 4 KB, 250 a second, each to %d streams that read and one that has stopped reading; beside a "+
				"run without that one. The sockets of both ends buffer a few megabytes of it.", size(3500, 100), size(200, 50)),
			Measures: []report.Measure{
				{Name: "p99 with it, over p99 without", Unit: ""},
				{Name: "p99 with it", Unit: "ms"},
				{Name: "p99 without", Unit: "ms"},
			},
		},
		excuse: func(c servers.Contestant) string {
			if c.Kind == report.Floor {
				return "writes to one stream after another"
			}
			return ""
		},
		run:  stalled,
		work: work{streams: size(200, 50), events: size(3500, 100), bytes: 4 << 10, rate: 250},
	}, {
		Scenario: report.Scenario{
			Name: "connect", Title: "Connect storm",
			About: fmt.Sprintf("%d streams opened, %d requests under way at a time, each with a JWT (HS256) to verify.", size(5000, 300), inFlight),
			Measures: []report.Measure{
				{Name: "opened", Unit: "streams/s", More: true},
				{Name: "server CPU per stream", Unit: "µs"},
			},
		},
		run:  connect,
		work: work{streams: size(5000, 300)},
	}, {
		Scenario: report.Scenario{
			Name: "resume", Title: "Resume storm",
			About: fmt.Sprintf("%d streams come back, %d requests under way at a time, and are replayed the 100 events of 100 bytes "+
				"that they have missed.", size(1000, 100), inFlight),
			Measures: []report.Measure{
				{Name: "replayed", Unit: "events/s", More: true},
				cpuPerEvent,
				{Name: "events repeated per stream", Unit: ""},
			},
		},
		settings: servers.Settings{History: 4096},
		excuse: func(c servers.Contestant) string {
			if !c.Replays {
				return "does not replay"
			}
			return ""
		},
		run:  resume,
		work: work{streams: size(1000, 100), events: 100, bytes: 100},
	}, {
		Scenario: report.Scenario{
			Name: "idle", Title: "Idle streams",
			About: fmt.Sprintf("%d streams with nothing to say, with the heartbeats, every 15 s, of those that have them.", size(10_000, 500)),
			Measures: []report.Measure{
				{Name: "memory per stream", Unit: "KB"},
				{Name: "server CPU per second", Unit: "ms"},
			},
		},
		run:  idle,
		work: work{streams: size(10_000, 500), window: window},
	}, {
		Scenario: report.Scenario{
			Name: "silent", Title: "Idle streams without heartbeats",
			About: fmt.Sprintf("%d streams with nothing to say and no heartbeats: what it costs to have them.", size(10_000, 500)),
			Measures: []report.Measure{
				{Name: "server CPU per second", Unit: "ms"},
				{Name: "memory per stream", Unit: "KB"},
			},
		},
		settings: servers.Settings{Silent: true},
		run:      silent,
		work:     work{streams: size(10_000, 500), window: window},
	}}
	for _, streams := range []int{100, 1000, 10_000} {
		if quick {
			streams /= 10
		}
		list = append(list, scenario{
			Scenario: report.Scenario{
				Name: fmt.Sprintf("growth-%d", streams), Title: "Growth",
				About:    "Broadcasts at 50,000 delivered events of 100 bytes a second in all, over more and more streams.",
				Group:    "growth",
				XName:    "streams",
				X:        float64(streams),
				Measures: paced,
			},
			run:  deliver,
			work: work{streams: streams, events: size(150_000, 5000) / streams, bytes: 100, rate: 50_000 / streams},
		})
	}
	return list
}
