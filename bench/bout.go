//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"net/rpc"
	"strings"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// bout is one contestant at one scenario, with new processes for the server and the load
// generator.
type bout struct {
	contestant servers.Contestant
	settings   servers.Settings
	streams    int           // the most that are open at a time
	quiet      time.Duration // how long to wait without an event before giving up
	profile    string        // file for a CPU profile of the measured work, or ""
	memory     int64         // bytes that the server may use; 0 is no limit

	server, load *child.Child
	memoryLimit  *memoryLimit // nil if there is none
	addr         string
	opening      time.Duration // how long the last opening took
	others       float64       // most cores that other processes used during a measurement
}

// limit is how long each step of a bout may take.
const limit = 40 * time.Second

// inFlight is the number of concurrent requests.
const inFlight = 64

// newBout starts the processes of a bout, but not those of several nodes, which the work itself
// starts.
func newBout(contestant servers.Contestant, s scenario) (*bout, error) {
	b := &bout{
		contestant: contestant, settings: s.settings,
		streams: s.work.streams,
		quiet:   12 * time.Second, // longer than the write deadline of the contestants written by hand
		memory:  s.work.memory,
	}
	if s.settings.WriteTimeout > 0 {
		b.quiet = 2 * s.settings.WriteTimeout
	}
	if s.work.nodes > 0 {
		return b, nil
	}
	return b, b.start()
}

func (b *bout) start() (err error) {
	if b.server, err = child.Start("-child", "server"); err != nil {
		return err
	}
	if b.memory > 0 {
		b.memoryLimit = limitMemory(b.server, b.memory)
	}
	if b.load, err = child.Start("-child", "load"); err != nil {
		return err
	}
	args := servers.StartArgs{Contestant: b.contestant.Name, Settings: b.settings, Streams: b.streams}
	return b.server.Call("Start", args, &b.addr)
}

func (b *bout) stop() {
	if b.memoryLimit != nil {
		b.memoryLimit.end()
	}
	if b.load != nil {
		b.load.Stop()
	}
	if b.server != nil {
		b.server.Stop()
	}
}

func (b *bout) restart() error {
	b.stop()
	b.memoryLimit = nil
	return b.start()
}

func (b *bout) prepare(args load.OpenArgs) error {
	args.Addrs, args.Limit, args.InFlight = []string{b.addr}, limit, inFlight
	return b.load.Call("Prepare", args, new(struct{}))
}

func (b *bout) openPrepared() error { return b.load.Call("Open", struct{}{}, &b.opening) }

func (b *bout) open(args load.OpenArgs) error {
	if err := b.prepare(args); err != nil {
		return err
	}
	return b.openPrepared()
}

// closeStreams closes all streams.
func (b *bout) closeStreams() error {
	if err := b.load.Call("Close", struct{}{}, new(struct{})); err != nil {
		return err
	}
	others := b.others
	_, err := b.rest(500 * time.Millisecond) // until the server has noticed
	b.others = others
	return err
}

func (b *bout) stat(memory bool) (stat servers.Stat, err error) {
	return stat, b.server.Call("Stat", memory, &stat)
}

// rest measures idle streams for a while.
func (b *bout) rest(d time.Duration) (measured, error) {
	return b.measure(func(m *measured) error { return b.read("Rest", d, m) })
}

// openMeasured measures the opening of streams.
func (b *bout) openMeasured(args load.OpenArgs) (measured, error) {
	if err := b.prepare(args); err != nil {
		return measured{}, err
	}
	m, err := b.measure(func(*measured) error { return b.openPrepared() })
	if err != nil {
		return m, err
	}
	err = b.read("Rest", 100*time.Millisecond, &m) // a server may end a stream right after its headers
	return m, err
}

// send sends events and waits until they have arrived.
func (b *bout) send(args servers.SendArgs) (measured, error) {
	expected := load.ExpectArgs{Events: args.First + args.Events, Users: args.Users}
	if args.For > 0 {
		expected.Events = load.Unknown
	}
	if err := b.load.Call("Expect", expected, new(struct{})); err != nil {
		return measured{}, err
	}
	var sending *rpc.Call
	var sent servers.Sent
	m, err := b.measure(func(m *measured) error {
		sending = b.server.Go("Send", args, &sent)
		return b.read("Wait", load.WaitArgs{Limit: limit, Quiet: b.quiet}, m)
	})
	if err != nil {
		return m, err
	}
	m.timed = args.For > 0
	// If all events have arrived, the sender is about to return. If not, it may never return.
	switch err := b.server.Wait(sending, b.quiet); {
	case errors.Is(err, child.ErrTimeout):
		m.stuck = true
		return m, nil
	case err != nil:
		return m, err
	}
	m.late = lateness(args, sent)
	if args.For > 0 {
		expected.Events = args.First + sent.Events
		m.outcome = load.Outcome{} // because decoding does not set zeros
		err = b.load.Call("SetExpected", expected, &m.outcome)
	}
	return m, err
}

// lateness returns how much longer than due the sender of a series took, or 0 if it was in time.
func lateness(args servers.SendArgs, sent servers.Sent) time.Duration {
	if args.Rate == 0 {
		return 0
	}
	interval := time.Second / time.Duration(args.Rate)
	late := sent.Took - time.Duration(args.Events-1)*interval
	if late < max(tolerance, 2*interval) { // the last event may take an interval
		return 0
	}
	return late
}

// sendWithoutStreams sends events while no stream is open.
func (b *bout) sendWithoutStreams(args servers.SendArgs) error {
	return b.server.Call("Send", args, new(servers.Sent))
}

// reconnect reconnects the streams. It waits until each has all events, whose total number is
// events.
func (b *bout) reconnect(args load.OpenArgs, events int) (measured, error) {
	args.Resume, args.Expect = true, events
	if err := b.prepare(args); err != nil {
		return measured{}, err
	}
	return b.measure(func(m *measured) error {
		if err := b.openPrepared(); err != nil {
			return err
		}
		return b.read("Wait", load.WaitArgs{Limit: limit, Quiet: b.quiet}, m)
	})
}

// read makes the load generator read, with its method Wait or Rest.
func (b *bout) read(method string, args any, m *measured) error {
	var waited load.Waited
	err := b.load.Call(method, args, &waited)
	m.outcome, m.last = waited.Outcome, waited.Last
	return err
}

// measured is the result of a piece of work.
type measured struct {
	took        time.Duration // until the last event arrived
	cpu         time.Duration // of the server
	peak        int64         // most bytes of memory that the server has used
	loadCPU     time.Duration // of the load generator
	outcome     load.Outcome
	last        time.Time     // when the last event arrived; zero without waiting for events
	late        time.Duration // how much longer than due the sender took; 0 if it was in time
	timed       bool          // the series had a duration, not a number of events
	reconnected int           // how often streams have reconnected because their server had ended
	stuck       bool          // the sender has not returned, and cannot be used again
}

// clients is the load generator's CPU in percent of a core. Near 100 the clients limit the
// rate.
func (m measured) clients() float64 { return 100 * m.loadCPU.Seconds() / m.took.Seconds() }

// measure measures the time of a piece of work, and the CPU that both processes use for it.
func (b *bout) measure(work func(*measured) error) (m measured, err error) {
	before, err := b.stat(false)
	if err != nil {
		return m, err
	}
	var loadBefore, loadAfter time.Duration
	if err := b.load.Call("CPU", struct{}{}, &loadBefore); err != nil {
		return m, err
	}
	var start time.Time
	var took, busy time.Duration
	if err := profiled(b.server, b.profile, func() error {
		begun := child.MachineCPU()
		start = time.Now()
		err := work(&m)
		took, busy = time.Since(start), child.MachineCPU()-begun
		return err
	}); err != nil {
		return m, err
	}
	if err := b.load.Call("CPU", struct{}{}, &loadAfter); err != nil {
		return m, err
	}
	after, err := b.stat(false)
	if err != nil {
		return m, err
	}
	m.took, m.cpu, m.peak, m.loadCPU = took, after.CPU-before.CPU, after.Peak, loadAfter-loadBefore
	if !m.last.IsZero() {
		m.took = m.last.Sub(start)
	}
	b.others = max(b.others, (busy-m.cpu-m.loadCPU).Seconds()/max(took.Seconds(), 0.5))
	return m, nil
}

// profiled writes a CPU profile of a server during some work to a file. With "" there is none.
func profiled(server *child.Child, file string, work func() error) error {
	if file == "" {
		return work()
	}
	if err := server.Call("Profile", file, new(struct{})); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	return server.Call("Profile", "", new(struct{}))
}

// latency returns a quantile in milliseconds. It is NaN if events are missing, because their
// latencies would be the longest.
func (m measured) latency(q float64) float64 {
	if m.outcome.Missing+m.outcome.Lost > 0 {
		return math.NaN()
	}
	return millis(m.outcome.Latency.Quantile(q))
}

// tolerance is how much longer than due a sender may take without counting as blocked.
const tolerance = 250 * time.Millisecond

// shortfall says what is missing of a series of events, or "".
func (m measured) shortfall() string {
	o := m.outcome
	expected := o.Delivered + o.Missing + o.Lost
	var parts []string
	if o.Closed > 0 {
		parts = append(parts, fmt.Sprintf("closed %d streams", o.Closed))
	}
	if m.stuck {
		parts = append(parts, "stopped its sender")
	}
	switch {
	// The number of events is unknown if the sender is stuck. Without streams the sender
	// goes on, faster than before.
	case expected == 0, m.timed && (m.stuck || o.Closed > 0):
	case m.stuck, o.Closed > 0, o.Missing > 0:
		// Rounded down, so that incomplete delivery is never 100 %.
		parts = append(parts, fmt.Sprintf("delivered %d %%", 100*o.Delivered/expected))
	case o.Lost > 0:
		parts = append(parts, fmt.Sprintf("lost %d of %d", o.Lost, expected))
	}
	if o.GapStreams > 0 {
		parts = append(parts, fmt.Sprintf("announced a gap to %d streams", o.GapStreams))
	}
	if m.late > 0 {
		parts = append(parts, fmt.Sprintf("blocked its sender for %.1f s", m.late.Seconds()))
	}
	return strings.Join(parts, ", ")
}
