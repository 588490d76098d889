//go:build linux

package main

import (
	"fmt"
	"math"
	"time"

	"github.com/ginsse/ginsse/bench/internal/load"
	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// figures is the result of a bout: a value for each measure, or why the contestant failed.
type figures struct {
	values []float64
	failed string
}

// onlyOnce is shortfall for a series in which no event may arrive twice, because no stream
// reconnects.
func onlyOnce(m measured) string {
	failed := m.shortfall()
	if failed == "" && m.outcome.Repeated > 0 {
		return fmt.Sprintf("repeated %d events", m.outcome.Repeated)
	}
	return failed
}

// deliver opens the streams, sends events, and measures their delivery.
func deliver(s scenario, b *bout) (figures, error) {
	w := s.work
	users := 0
	if w.users {
		users = w.streams
	}
	if err := b.open(load.OpenArgs{Streams: w.streams, All: !w.users}); err != nil {
		return figures{}, err
	}
	first, failed, err := warmUp(b, w.bytes, users)
	if err != nil || failed != "" {
		return figures{failed: failed}, err
	}
	if err := b.server.Call("ResetPeak", struct{}{}, new(struct{})); err != nil {
		return figures{}, err
	}
	sent, err := b.send(servers.SendArgs{
		First: first, Events: w.events, For: w.span, Bytes: w.bytes, Users: users, Rate: w.rate, Tick: time.Millisecond,
	})
	if err != nil {
		return figures{}, err
	}
	f := figures{failed: onlyOnce(sent)}
	n := float64(sent.outcome.Delivered)
	cost := micros(sent.cpu) / n
	if w.rate > 0 {
		f.values = []float64{cost, sent.latency(0.50), sent.latency(0.99), sent.clients()}
	} else {
		f.values = []float64{n / sent.took.Seconds(), cost, megabytes(sent.peak), sent.clients()}
	}
	return f, nil
}

// warmUp sends a first series, so that the measurement leaves out what only the first events
// cost. It returns the number of events. Lost events fail only the kit: some libraries
// answer a request before its stream gets events. All contestants fail if their sender is
// stuck.
func warmUp(b *bout, bytes, users int) (events int, failed string, err error) {
	series := servers.SendArgs{Events: 20, Bytes: bytes, Rate: 100}
	if users > 0 {
		series = servers.SendArgs{Events: 2 * users, Bytes: bytes, Users: users, Rate: 10_000}
	}
	others := b.others
	sent, err := b.send(series)
	b.others = others // a disturbance of the warm-up does not count
	sent.late = 0     // the warm-up may be late
	if sent.stuck || b.contestant.Kind == report.Kit {
		failed = onlyOnce(sent)
	}
	return series.Events, failed, err
}

// stalled measures without and with stalled readers. As many streams read in both runs. The
// contestant restarts in between.
func stalled(s scenario, b *bout) (figures, error) {
	w := s.work
	p99 := func(stalled int) (float64, string, error) {
		streams := load.OpenArgs{Streams: w.reading() + stalled, All: true, Stalled: stalled, ReceiveBuffer: s.settings.SendBuffer}
		if err := b.open(streams); err != nil {
			return math.NaN(), "", err
		}
		first, failed, err := warmUp(b, w.bytes, 0)
		if err != nil || failed != "" {
			return math.NaN(), failed, err
		}
		sent, err := b.send(servers.SendArgs{First: first, Events: w.events, Bytes: w.bytes, Rate: w.rate})
		return sent.latency(0.99), onlyOnce(sent), err
	}
	without, failed, err := p99(0)
	if err != nil || failed != "" {
		return figures{failed: failed}, err
	}
	if err := b.restart(); err != nil {
		return figures{}, err
	}
	with, failed, err := p99(w.stalledStreams())
	return figures{failed: failed, values: []float64{with, without, with / without}}, err
}

// connect measures the opening of streams.
func connect(s scenario, b *bout) (figures, error) {
	// Streams to warm up.
	if err := b.open(load.OpenArgs{Streams: s.work.streams / 10}); err != nil {
		return figures{}, err
	}
	if err := b.closeStreams(); err != nil {
		return figures{}, err
	}
	opened, err := b.openMeasured(load.OpenArgs{Streams: s.work.streams})
	n := float64(s.work.streams)
	return figures{
		values: []float64{micros(opened.cpu) / n, n / b.opening.Seconds(), opened.clients()},
		failed: opened.shortfall(),
	}, err
}

// resume measures the replay for streams that reconnect.
func resume(s scenario, b *bout) (figures, error) {
	w := s.work
	streams := load.OpenArgs{Streams: w.streams, All: true, KeepIDs: true}
	if err := b.open(streams); err != nil {
		return figures{}, err
	}
	sent, failed, err := warmUp(b, w.bytes, 0)
	if err != nil || failed != "" {
		return figures{failed: failed}, err
	}
	// All streams have the same last event ID when they disconnect.
	before, err := b.send(servers.SendArgs{First: sent, Events: 1, Bytes: w.bytes})
	if err != nil || before.shortfall() != "" {
		return figures{failed: before.shortfall()}, err
	}
	sent++
	if err := b.closeStreams(); err != nil {
		return figures{}, err
	}
	if err := b.sendWithoutStreams(servers.SendArgs{First: sent, Events: w.events, Bytes: w.bytes}); err != nil {
		return figures{}, err
	}
	resumed, err := b.reconnect(streams, sent+w.events)
	if err != nil {
		return figures{}, err
	}
	n := float64(resumed.outcome.Delivered)
	return figures{failed: resumed.shortfall(), values: []float64{
		n / resumed.took.Seconds(),
		micros(resumed.cpu) / n,
		micros(resumed.cpu) / float64(w.streams),
		float64(resumed.outcome.Repeated) / float64(w.streams),
		resumed.clients(),
	}}, nil
}

// idle measures memory, CPU and goroutines of idle streams. It measures the memory at the end, after the
// heartbeats, if there are any: a buffer uses no memory before its first write.
func idle(s scenario, b *bout) (figures, error) {
	before, err := b.stat(true)
	if err != nil {
		return figures{}, err
	}
	if err := b.open(load.OpenArgs{Streams: s.work.streams}); err != nil {
		return figures{}, err
	}
	// Until the timers for the deadlines of the requests have ended.
	if _, err := b.rest(s.work.settle); err != nil {
		return figures{}, err
	}
	if _, err := b.stat(true); err != nil { // collects the garbage of the opening
		return figures{}, err
	}
	rested, err := b.rest(s.work.window)
	if err != nil {
		return figures{}, err
	}
	after, err := b.stat(true)
	f := figures{failed: rested.shortfall(), values: []float64{
		float64(after.Resident-before.Resident) / 1000 / float64(s.work.streams),
		millis(rested.cpu) / s.work.window.Seconds(),
		float64(after.Goroutines-before.Goroutines) / float64(s.work.streams),
		float64(rested.outcome.Heartbeats) / float64(s.work.streams),
	}}
	// A heartbeat at the edge of the window may be missed.
	if n := rested.outcome.Heartbeats; b.contestant.Kind != report.Peer && !s.settings.Silent && n < s.work.streams*9/10 {
		f.failed = fmt.Sprintf("%d heartbeats on %d streams", n, s.work.streams)
	}
	return f, err
}

// silent is idle with the CPU as the first measure.
func silent(s scenario, b *bout) (figures, error) {
	f, err := idle(s, b)
	if err == nil {
		f.values = []float64{f.values[1], f.values[0]}
	}
	return f, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
