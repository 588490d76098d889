//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// bout is one contestant at one scenario: a server's process and a load
// generator's, both fresh.
type bout struct {
	contestant servers.Contestant
	settings   servers.Settings
	profile    string // file for a CPU profile of what is measured; "" is none

	server, load *child.Child
	addr         string
	opening      time.Duration // how long the last open took
	others       float64       // cores that neither process had, while something was measured
}

// limit is how long a bout may take at one thing.
const limit = 40 * time.Second

// inFlight is how many requests are under way at a time.
const inFlight = 64

func newBout(contestant servers.Contestant, settings servers.Settings) (*bout, error) {
	b := &bout{contestant: contestant, settings: settings}
	return b, b.start()
}

func (b *bout) start() (err error) {
	if b.server, err = child.Start("-child", "server"); err != nil {
		return err
	}
	if b.load, err = child.Start("-child", "load"); err != nil {
		return err
	}
	return b.server.Call("Start", servers.StartArgs{Contestant: b.contestant.Name, Settings: b.settings}, &b.addr)
}

func (b *bout) stop() {
	if b.load != nil {
		b.load.Stop()
	}
	if b.server != nil {
		b.server.Stop()
	}
}

func (b *bout) restart() error {
	b.stop()
	return b.start()
}

func (b *bout) open(args load.OpenArgs) error {
	args.Addr, args.Limit, args.InFlight = b.addr, limit, inFlight
	return b.load.Call("Open", args, &b.opening)
}

func (b *bout) hangUp() error {
	if err := b.load.Call("Close", struct{}{}, new(struct{})); err != nil {
		return err
	}
	_, err := b.rest(500 * time.Millisecond) // for the server to notice
	return err
}

func (b *bout) stat(memory bool) (stat servers.Stat, err error) {
	return stat, b.server.Call("Stat", memory, &stat)
}

// rest lets time pass.
func (b *bout) rest(d time.Duration) (measured, error) {
	return b.measure(func(m *measured) error { return b.hear("Rest", d, m) })
}

// storm opens streams.
func (b *bout) storm(args load.OpenArgs) (measured, error) {
	return b.measure(func(*measured) error { return b.open(args) })
}

// send sends events and waits until they have come.
func (b *bout) send(args servers.SendArgs) (measured, error) {
	total := args.First + args.Events
	if err := b.load.Call("Expect", load.ExpectArgs{Events: total, Users: args.Users}, new(struct{})); err != nil {
		return measured{}, err
	}
	var sending *rpc.Call
	m, err := b.measure(func(m *measured) error {
		sending = b.server.Go("Send", args, new(time.Duration))
		return b.hear("Wait", limit, m)
	})
	if err != nil {
		return m, err
	}
	// When all has come, the sender is about to return. When not, it may never do so.
	switch err := b.server.Wait(sending, time.Second); {
	case errors.Is(err, child.ErrTimeout):
		m.stuck = true
	case err != nil:
		return m, err
	}
	return m, nil
}

// sendUnheard sends events while there are no streams.
func (b *bout) sendUnheard(args servers.SendArgs) error {
	return b.server.Call("Send", args, new(time.Duration))
}

// comeBack opens the streams again, and waits until each has the events that were
// sent in all.
func (b *bout) comeBack(args load.OpenArgs, events int) (measured, error) {
	return b.measure(func(m *measured) error {
		args.Resume, args.Expect = true, events
		if err := b.open(args); err != nil {
			return err
		}
		return b.hear("Wait", limit, m)
	})
}

// hear has the load generator read, by its method Wait or Rest.
func (b *bout) hear(method string, d time.Duration, m *measured) error {
	var waited load.Waited
	err := b.load.Call(method, d, &waited)
	m.outcome, m.last = waited.Outcome, waited.Last
	return err
}

// measured is what a piece of work took, and what came of it.
type measured struct {
	took    time.Duration // until the last event came
	cpu     time.Duration // of the server
	peak    int64         // bytes of memory that the server has had at most
	loadCPU time.Duration // of the load generator
	outcome load.Outcome
	last    time.Time // when the last event came; zero if none was waited for
	stuck   bool      // the sender has not returned, and cannot be asked again
}

// measure takes the time and both processes' CPU over a piece of work.
func (b *bout) measure(work func(*measured) error) (m measured, err error) {
	before, err := b.stat(false)
	if err != nil {
		return m, err
	}
	var loadBefore, loadAfter time.Duration
	if err := b.load.Call("CPU", struct{}{}, &loadBefore); err != nil {
		return m, err
	}
	if b.profile != "" {
		if err := b.server.Call("Profile", b.profile, new(struct{})); err != nil {
			return m, err
		}
	}
	busy, start := machineCPU(), time.Now()
	if err := work(&m); err != nil {
		return m, err
	}
	took := time.Since(start)
	busy = machineCPU() - busy
	if b.profile != "" {
		if err := b.server.Call("Profile", "", new(struct{})); err != nil {
			return m, err
		}
	}
	if err := b.load.Call("CPU", struct{}{}, &loadAfter); err != nil {
		return m, err
	}
	after, err := b.stat(false)
	m.took, m.cpu, m.peak, m.loadCPU = took, after.CPU-before.CPU, after.Peak, loadAfter-loadBefore
	if !m.last.IsZero() {
		m.took = m.last.Sub(start)
	}
	b.others = max(b.others, (busy-m.cpu-m.loadCPU).Seconds()/max(took.Seconds(), 0.5))
	return m, err
}

// shortfall says what was not delivered, or "".
func (m measured) shortfall() string {
	o := m.outcome
	expected := o.Delivered + o.Missing + o.Lost
	// Rounded down, so that what is not all is never 100 %.
	delivered := fmt.Sprintf("delivered %d %%", 100*o.Delivered/max(expected, 1))
	announced := ""
	if o.Gaps > 0 {
		announced = " and said so"
	}
	switch {
	case o.Closed > 0 && expected == 0:
		return fmt.Sprintf("ended %d streams", o.Closed)
	case o.Closed > 0:
		return fmt.Sprintf("ended %d streams, %s", o.Closed, delivered)
	case o.Missing > 0:
		return delivered + announced
	case o.Lost > 0:
		return fmt.Sprintf("lost %d of %d%s", o.Lost, expected, announced)
	case m.stuck:
		return "stopped its sender"
	default:
		return ""
	}
}

// machineCPU is the CPU time that the whole machine has used.
func machineCPU() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	ticks := 0
	for i, field := range strings.Fields(line) {
		n, _ := strconv.Atoi(field)
		if i >= 1 && i <= 8 && i != 4 && i != 5 { // without idle and iowait
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
