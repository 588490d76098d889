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
	// excuse says why a contestant does not run, or "". If it is nil, all run.
	excuse func(servers.Contestant) string
	// run does the work of a bout. It returns a figure for each of the Measures, in their
	// order. If the contestant does not do the work, the figures say so. An error means that
	// the bout could not be held.
	run func(scenario, *bout) (figures, error)
}

// work is the size of a scenario.
type work struct {
	streams, events, bytes int
	nodes                  int           // on one log, with as many streams each; 0 is one server without others
	stalled                int           // one stream in so many reads nothing; 0 is none
	memory                 int64         // bytes that the server may use before it is stopped; 0 is no limit
	users                  bool          // each event is for one user; else it is a broadcast
	rate                   int           // events per second; 0 is full speed
	span                   time.Duration // how long to send, instead of a number of events
	settle, window         time.Duration // how long idle streams are open before they are measured, and then measured
}

// stalledStreams is the number of streams that read nothing, and reading that of the others.
func (w work) stalledStreams() int {
	if w.stalled == 0 {
		return 0
	}
	return max(1, w.streams/w.stalled)
}

func (w work) reading() int { return w.streams - w.stalledStreams() }

// files is the most streams that one process has.
func (w work) files() int {
	if w.nodes == 0 {
		return w.streams
	}
	// A node ends, and the others have all streams. Their shares differ a little.
	return w.streams/(w.nodes-1) + w.nodes
}

// Contestants that aims name.
const (
	kit    = "ginsse"
	byHand = "net/http by hand"
	floor  = "floor"
)

// sizes is what differs between the scenarios of a group.
const sizes = "streams"

// Measures that several scenarios use.
var (
	cpuPerEvent = report.Measure{Name: "server CPU per event", Unit: "µs"}
	perSecond   = report.Measure{Name: "delivered", Unit: "events/s", More: true}
	p50         = report.Measure{Name: "latency p50", Unit: "ms"}
	p99         = report.Measure{Name: "latency p99", Unit: "ms"}
	peakMemory  = report.Measure{Name: "peak memory", Unit: "MB"}
	perStream   = report.Measure{Name: "server CPU per stream", Unit: "µs"}
	idleCPU     = report.Measure{Name: "server CPU per second", Unit: "ms", Least: 0.05}
	memory      = report.Measure{Name: "memory per stream", Unit: "KB"}
	goroutines  = report.Measure{Name: "goroutines per stream", Least: 0.01}
	clients     = report.Measure{Name: "clients' CPU", Unit: "% of a core", InfoOnly: true}
)

var (
	paced     = []report.Measure{cpuPerEvent, p50, p99, clients}
	fullSpeed = []report.Measure{perSecond, cpuPerEvent, peakMemory, clients}
)

const r3labsKeepsAll = "By default r3labs/sse keeps every event for ever. Its memory and CPU include that."

// scenarios returns all scenarios, in the order in which they run. With quick they have
// fewer streams and events.
func scenarios(quick bool) []scenario {
	size := func(whole, quickly int) int {
		if quick {
			return quickly
		}
		return whole
	}
	millis := func(whole, quickly int) time.Duration { return time.Duration(size(whole, quickly)) * time.Millisecond }
	span := millis(5000, 200)
	settle, window := millis(12_000, 100), millis(15_000, 500)
	heartbeats := servers.Settings{}
	if quick {
		heartbeats.Heartbeat = 200 * time.Millisecond
	}
	impatient := servers.Settings{SendBuffer: size(0, 16<<10), WriteTimeout: millis(0, 500)}
	list := []scenario{{
		Scenario: report.Scenario{
			Name: "paced", Title: "Broadcast, paced",
			About:    fmt.Sprintf("100 events a second of 100 bytes, each to %d streams.", size(1000, 200)),
			Measures: paced,
			Aims: []report.Aim{
				{Kit: servers.Compact, Measure: 0, Contestant: floor, Most: 1.15},
				{Kit: servers.Compact, Measure: 2, Contestant: report.BestPeer, Most: 1},
			},
		},
		run:  deliver,
		work: work{streams: size(1000, 200), events: size(500, 30), bytes: 100, rate: 100},
	}, {
		Scenario: report.Scenario{
			Name: "full", Title: "Broadcast, at full speed",
			About: fmt.Sprintf("Events of 100 bytes for %v, each to %d streams, as fast as the contestant accepts them. The time ends with the last delivery.",
				span, size(1000, 100)),
			Measures: fullSpeed,
			Notes: []string{
				"launchdarkly/eventsource never blocks its sender, and closes a stream that lags too many events behind: " +
					"128 by default, 16,384 here. A sender at full speed gets further ahead than that.",
				r3labsKeepsAll,
			},
			Aims: []report.Aim{{Kit: servers.Compact, Measure: 0, Contestant: report.BestPeer, Least: 6}},
		},
		settings: servers.Settings{Burst: 16 << 10},
		run:      deliver,
		work:     work{streams: size(1000, 100), span: span, bytes: 100},
	}, {
		Scenario: report.Scenario{
			Name: "targeted-paced", Title: "Sends to single users, paced",
			About: fmt.Sprintf("20,000 events a second of 100 bytes, in turn to each of %d users with one stream. "+
				"The sender wakes every millisecond.", size(2000, 200)),
			Measures: paced,
			Aims: []report.Aim{
				{Kit: servers.Compact, Measure: 0, Contestant: floor, Most: 1},
				{Kit: servers.Compact, Measure: 2, Contestant: byHand, Most: 1},
			},
		},
		run:  deliver,
		work: work{streams: size(2000, 200), events: size(100_000, 4000), bytes: 100, users: true, rate: 20_000},
	}, {
		Scenario: report.Scenario{
			Name: "targeted", Title: "Sends to single users, at full speed",
			About: fmt.Sprintf("Events of 100 bytes for %v, in turn to each of %d users with one stream, as fast as the contestant accepts "+
				"them. The time ends with the last delivery.", span, size(2000, 200)),
			Measures: fullSpeed,
			Notes:    []string{r3labsKeepsAll},
			Aims: []report.Aim{
				{Kit: servers.Compact, Measure: 0, Contestant: report.BestPeer, Least: 3},
				{Kit: servers.Compact, Measure: 0, Contestant: byHand, Least: 2},
			},
		},
		settings: servers.Settings{Burst: 1 << 10},
		run:      deliver,
		work:     work{streams: size(2000, 200), span: span, bytes: 100, users: true},
	}, {
		Scenario: report.Scenario{
			Name: "stalled", Title: "One reader that never reads",
			About: fmt.Sprintf("%d events of 4 KB, 250 a second, each to %d streams that read and one that has stalled, compared with a "+
				"run without that one. The sockets of both ends buffer about 4 MB of its %d MB.",
				size(2500, 150), size(200, 50), size(10, 0)),
			Measures: []report.Measure{
				{Name: "p99 with it", Unit: "ms"},
				{Name: "p99 without", Unit: "ms"},
				{Name: "p99 with it, over p99 without", Unit: "", InfoOnly: true},
			},
		},
		settings: impatient,
		excuse:   excuseFloor,
		run:      stalled,
		work:     work{streams: size(201, 51), stalled: size(201, 51), events: size(2500, 150), bytes: 4 << 10, rate: 250},
	}, {
		Scenario: report.Scenario{
			Name: "stalled-many", Title: "As many readers that never read",
			About: fmt.Sprintf("%d events of 4 KB, 25 a second, each to %[2]d streams that read and %[2]d that have stalled, compared with a "+
				"run without those. The kernel buffers 16 KiB for each stream at the server, and for a stalled one 16 KiB at the client, "+
				"which the events before the measurement fill.", size(300, 30), size(1000, 50)),
			Measures: []report.Measure{
				{Name: "p99 with them", Unit: "ms"},
				{Name: "p99 without", Unit: "ms"},
				{Name: "p99 with them, over p99 without", Unit: "", InfoOnly: true},
			},
			Aims: []report.Aim{{Kit: servers.Compact, Measure: 2, Most: 1.2}},
		},
		settings: servers.Settings{SendBuffer: 16 << 10, WriteTimeout: millis(0, 500)},
		excuse:   excuseFloor,
		run:      stalled,
		work:     work{streams: size(2000, 100), stalled: 2, events: size(300, 30), bytes: 4 << 10, rate: 25},
	}, {
		Scenario: report.Scenario{
			Name: "connect", Title: "Connect storm",
			About: fmt.Sprintf("%d streams are opened, with %d concurrent requests. Each has a JWT (HS256) to verify.", size(5000, 300), inFlight),
			Measures: []report.Measure{
				perStream,
				{Name: "opened", Unit: "streams/s", More: true},
				clients,
			},
			Aims: []report.Aim{{Kit: servers.Compact, Measure: 0, Contestant: report.BestPeer, Most: 1}},
			Notes: []string{"tmaxmax/go-sse subscribes a stream after its headers are sent. So a client sees the stream open sooner, and " +
				"misses an event in between. The others subscribe it first."},
		},
		run:  connect,
		work: work{streams: size(5000, 300)},
	}, {
		Scenario: report.Scenario{
			Name: "resume", Title: "Resume storm",
			About: fmt.Sprintf("%d streams reconnect, with %d concurrent requests, and get a replay of the 100 events of 100 bytes "+
				"that they missed.", size(1000, 100), inFlight),
			Measures: []report.Measure{
				{Name: "replayed", Unit: "events/s", More: true},
				cpuPerEvent,
				perStream,
				{Name: "events repeated per stream", Unit: ""},
				clients,
			},
			Aims: []report.Aim{{Kit: servers.Compact, Measure: 2, Contestant: report.BestPeer, Most: 1}},
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
			About: fmt.Sprintf("%d streams without events, with heartbeats every 15 s if the contestant has them. The CPU is measured when they "+
				"have been open for %v, over %v, and the memory after that.", size(15_000, 500), settle, window),
			Measures: []report.Measure{memory, idleCPU, goroutines, {Name: "heartbeats per stream since it was opened", InfoOnly: true}},
			Notes:    []string{"The libraries send no heartbeats. The kit, the contestants written by hand and the floor do."},
			Aims: []report.Aim{
				{Kit: servers.Compact, Measure: 0, Most: 2.5},
				{Kit: servers.Compact, Measure: 1, Contestant: kit, Most: 1},
				{Kit: servers.Compact, Measure: 2, Most: goroutines.Least},
			},
		},
		settings: heartbeats,
		run:      idle,
		work:     work{streams: size(15_000, 500), settle: settle, window: window},
	}, {
		Scenario: report.Scenario{
			Name: "silent", Title: "Idle streams without heartbeats",
			About:    fmt.Sprintf("%d streams without events and heartbeats: the cost of open streams.", size(10_000, 500)),
			Measures: []report.Measure{idleCPU, memory},
			Notes: []string{"Only headers have been written to these streams, and some contestants have not used their buffers yet. " +
				"The scenario before shows the memory of streams in use."},
		},
		settings: servers.Settings{Silent: true},
		run:      silent,
		work:     work{streams: size(10_000, 500), settle: settle, window: window},
	}}
	for _, streams := range []int{100, 1000, 10_000} {
		if quick {
			streams /= 10
		}
		list = append(list, scenario{
			Scenario: report.Scenario{
				Name: fmt.Sprintf("growth-%d", streams), Title: "Growth",
				About:    "Broadcasts at a total of 50,000 delivered events of 100 bytes a second, to more and more streams.",
				Group:    "growth",
				XName:    sizes,
				X:        float64(streams),
				Measures: paced,
				Aims:     []report.Aim{{Kit: servers.Compact, Measure: 0, Contestant: report.BestPeer, Most: 1}},
			},
			run:  deliver,
			work: work{streams: streams, events: size(150_000, 5000) / streams, bytes: 100, rate: 50_000 / streams},
		})
	}
	list = append(list, largeScenarios(quick)...)
	return append(list, nodesScenarios(quick)...)
}

// excuseFloor excuses the floor from scenarios with stalled readers.
func excuseFloor(c servers.Contestant) string {
	if c.Kind == report.Floor {
		return "writes to one stream after another"
	}
	return ""
}
