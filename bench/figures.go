//go:build linux

package main

import (
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
	sent, err := b.send(servers.SendArgs{
		First: first, Events: w.events, Bytes: w.bytes, Users: users, Rate: w.rate, Tick: time.Millisecond,
	})
	if err != nil {
		return figures{}, err
	}
	f := figures{failed: sent.shortfall()}
	n := float64(sent.outcome.Delivered)
	cost, clients := micros(sent.cpu)/n, micros(sent.loadCPU)/n
	if w.rate > 0 {
		latency := sent.outcome.Latency
		f.values = []float64{cost, millis(latency.Quantile(0.50)), millis(latency.Quantile(0.99)), clients}
	} else {
		f.values = []float64{n / sent.took.Seconds(), cost, float64(sent.peak) / 1e6, clients}
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
	sent, err := b.send(series)
	if sent.stuck || b.contestant.Kind == report.Kit {
		failed = sent.shortfall()
	}
	return series.Events, failed, err
}

// stalled is two bouts: the contestant starts anew for the second.
func stalled(s scenario, b *bout) (figures, error) {
	w := s.work
	p99 := func(stalled, events int) (float64, string, error) {
		if err := b.open(load.OpenArgs{Streams: w.streams + stalled, All: true, Stalled: stalled}); err != nil {
			return 0, "", err
		}
		first, failed, err := warmUp(b, w.bytes, 0)
		if err != nil || failed != "" {
			return 0, failed, err
		}
		sent, err := b.send(servers.SendArgs{First: first, Events: events, Bytes: w.bytes, Rate: w.rate})
		return millis(sent.outcome.Latency.Quantile(0.99)), sent.shortfall(), err
	}
	without, failed, err := p99(0, w.events/2)
	if err != nil || failed != "" {
		return figures{failed: failed}, err
	}
	if err := b.restart(); err != nil {
		return figures{}, err
	}
	with, failed, err := p99(1, w.events)
	if failed != "" {
		return figures{failed: failed, values: []float64{math.NaN(), math.NaN(), without}}, err
	}
	return figures{values: []float64{with / without, with, without}}, err
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
	return figures{values: []float64{n / b.opening.Seconds(), micros(opened.cpu) / n}}, err
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
	}}, nil
}

// idle gives memory and CPU; silent the same the other way round.
func idle(s scenario, b *bout) (figures, error) {
	before, err := b.stat(true)
	if err != nil {
		return figures{}, err
	}
	if err := b.open(load.OpenArgs{Streams: s.work.streams}); err != nil {
		return figures{}, err
	}
	if _, err := b.rest(s.work.window / 10); err != nil {
		return figures{}, err
	}
	open, err := b.stat(true)
	if err != nil {
		return figures{}, err
	}
	rested, err := b.rest(s.work.window)
	f := figures{values: []float64{
		float64(open.Resident-before.Resident) / 1000 / float64(s.work.streams),
		millis(rested.cpu) / s.work.window.Seconds(),
	}}
	if err == nil {
		f.failed = rested.shortfall()
	}
	return f, err
}

func silent(s scenario, b *bout) (figures, error) {
	f, err := idle(s, b)
	if err == nil {
		f.values[0], f.values[1] = f.values[1], f.values[0]
	}
	return f, err
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
