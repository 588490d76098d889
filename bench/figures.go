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

// figures are what one bout gave: a value for each measure, or why not.
type figures struct {
	values []float64
	failed string
}

// onlyOnce is what came of a series that may have no event twice: the streams were
// not cut.
func onlyOnce(m measured) string {
	failed := m.shortfall()
	if failed == "" && m.outcome.Repeated > 0 {
		return fmt.Sprintf("repeated %d events", m.outcome.Repeated)
	}
	return failed
}

// deliver opens the streams, sends, and counts what came.
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

// warmUp sends a first series, so that no contestant pays for its first time, and
// returns how many events that was. What is lost here does not count: some
// libraries answer a request before the stream gets events. The kit does not, and is
// not let off. Else it has failed if nothing more can be sent.
func warmUp(b *bout, bytes, users int) (events int, failed string, err error) {
	series := servers.SendArgs{Events: 20, Bytes: bytes, Rate: 100}
	if users > 0 {
		series = servers.SendArgs{Events: 2 * users, Bytes: bytes, Users: users, Rate: 10_000}
	}
	others := b.others
	sent, err := b.send(series)
	b.others = others // what disturbs this counts for nothing
	sent.late = 0     // nobody is held to be in time at first
	if sent.stuck || b.contestant.Kind == report.Kit {
		failed = onlyOnce(sent)
	}
	return series.Events, failed, err
}

// stalled is two bouts: the contestant starts anew for the second.
func stalled(s scenario, b *bout) (figures, error) {
	w := s.work
	p99 := func(stalled int) (float64, string, error) {
		streams := load.OpenArgs{Streams: w.streams + stalled, All: true, Stalled: stalled, ReceiveBuffer: s.settings.SendBuffer}
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
	with, failed, err := p99(1)
	return figures{failed: failed, values: []float64{with, without, with / without}}, err
}

func connect(s scenario, b *bout) (figures, error) {
	// Each bout warms up on some of its own.
	if err := b.open(load.OpenArgs{Streams: s.work.streams / 10}); err != nil {
		return figures{}, err
	}
	if err := b.hangUp(); err != nil {
		return figures{}, err
	}
	opened, err := b.storm(load.OpenArgs{Streams: s.work.streams})
	n := float64(s.work.streams)
	return figures{
		values: []float64{micros(opened.cpu) / n, n / b.opening.Seconds(), opened.clients()},
		failed: opened.shortfall(),
	}, err
}

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
	// All have the same last event ID before they leave.
	before, err := b.send(servers.SendArgs{First: sent, Events: 1, Bytes: w.bytes})
	if err != nil || before.shortfall() != "" {
		return figures{failed: before.shortfall()}, err
	}
	sent++
	if err := b.hangUp(); err != nil {
		return figures{}, err
	}
	if err := b.sendUnheard(servers.SendArgs{First: sent, Events: w.events, Bytes: w.bytes}); err != nil {
		return figures{}, err
	}
	came, err := b.comeBack(streams, sent+w.events)
	if err != nil {
		return figures{}, err
	}
	n := float64(came.outcome.Delivered)
	return figures{failed: came.shortfall(), values: []float64{
		n / came.took.Seconds(),
		micros(came.cpu) / n,
		float64(came.outcome.Repeated) / float64(w.streams),
		came.clients(),
	}}, nil
}

// idle gives memory and CPU; silent the same the other way round. The memory is that
// at the end, when each stream has had its heartbeats, if there are any: a buffer
// that nothing has been written through yet is not in memory.
func idle(s scenario, b *bout) (figures, error) {
	before, err := b.stat(true)
	if err != nil {
		return figures{}, err
	}
	if err := b.open(load.OpenArgs{Streams: s.work.streams}); err != nil {
		return figures{}, err
	}
	// The deadlines of the requests are over before anybody looks, and their timers gone.
	if _, err := b.rest(s.work.settle); err != nil {
		return figures{}, err
	}
	if _, err := b.stat(true); err != nil { // or the garbage of the opening is collected meanwhile
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
		float64(rested.outcome.Heartbeats) / float64(s.work.streams),
	}}
	// A stream whose beat fell on the window's edge has none in it.
	if beats := rested.outcome.Heartbeats; b.contestant.Kind != report.Peer && !s.settings.Silent && beats < s.work.streams*9/10 {
		f.failed = fmt.Sprintf("%d heartbeats on %d streams", beats, s.work.streams)
	}
	return f, err
}

func silent(s scenario, b *bout) (figures, error) {
	f, err := idle(s, b)
	if err == nil {
		f.values = []float64{f.values[1], f.values[0]}
	}
	return f, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
