package logtest

import (
	"context"
	"slices"
	"sync"

	"github.com/ginsse/ginsse/eventlog"
)

// The wrong ways to call watchers, in front of a right log.

// watchBeforeVisible calls watchers for an entry before it is appended.
func watchBeforeVisible(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var fns []func(string, uint64)
	var next uint64
	return &wrong{
		Log: log,
		watch: func(fn func(string, uint64)) func() {
			mu.Lock()
			defer mu.Unlock()
			fns = append(fns, fn)
			return func() {}
		},
		append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
			mu.Lock()
			defer mu.Unlock()
			next++
			for _, fn := range fns {
				fn(r.Subject, next)
			}
			return log.Append(ctx, r)
		},
	}
}

func watchMisses(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, watch: func(fn func(string, uint64)) func() {
		return log.Watch(func(subject string, seq uint64) {
			if seq%10 != 0 {
				fn(subject, seq)
			}
		})
	}}
}

func watchOfAnother(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, watch: func(fn func(string, uint64)) func() {
		return log.Watch(func(_ string, seq uint64) { fn("all", seq) })
	}}
}

func stopDoesNothing(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, watch: func(fn func(string, uint64)) func() {
		_ = log.Watch(fn)
		return func() {}
	}}
}

func stopStopsAll(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var stops []func()
	return &wrong{Log: log, watch: func(fn func(string, uint64)) func() {
		mu.Lock()
		defer mu.Unlock()
		stops = append(stops, log.Watch(fn))
		return func() {
			mu.Lock()
			defer mu.Unlock()
			for _, stop := range stops {
				stop()
			}
		}
	}}
}

// stopTwiceStopsAnother finds the watcher by its place in a list.
func stopTwiceStopsAnother(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	var stops []*func()
	return &wrong{Log: log, watch: func(fn func(string, uint64)) func() {
		mu.Lock()
		defer mu.Unlock()
		stop := log.Watch(fn)
		stops = append(stops, &stop)
		place := -1
		return func() {
			mu.Lock()
			defer mu.Unlock()
			if place < 0 {
				place = slices.Index(stops, &stop)
			}
			if place < len(stops) {
				(*stops[place])()
				stops = slices.Delete(stops, place, place+1)
			}
		}
	}}
}

func stopTwicePanics(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, watch: func(fn func(string, uint64)) func() {
		stop, stopped := log.Watch(fn), make(chan struct{})
		return func() {
			close(stopped)
			stop()
		}
	}}
}
