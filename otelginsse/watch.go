package otelginsse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// Watch adds what is read from the registry when metrics are collected: its streams and users, what
// waits for clients, presence, and how its log is. It is called once.
func (t *Telemetry) Watch(registry *ginsse.Registry) error {
	w := &watcher{telemetry: t, registry: registry}
	w.add("ginsse.stream.count", "{stream}", "Live streams on this node.", sum(func(s *state) int64 { return int64(s.Streams) }))
	w.add("ginsse.user.count", "{user}", "Users with a live stream on this node.", sum(func(s *state) int64 { return int64(s.Users) }))
	w.add("ginsse.stream.lag.max", "{event}", "Events that wait for the client of the slowest stream.", gauge(func(s *state) int64 { return s.lag }))
	w.add("ginsse.writing.streams", "{stream}", "Streams whose write waits for the client, or is in progress.", gauge(func(s *state) int64 { return s.writing }))
	w.add("ginsse.unsent", "By", "Bytes that streams hold for their clients.", gauge(func(s *state) int64 { return s.unsent }))
	w.add("ginsse.writer.queue.streams", "{stream}", "Compact streams that wait for a goroutine to write them.", gauge(func(s *state) int64 { return int64(s.Queued) }))
	w.add("ginsse.log.ready", "1", "1 while the log serves the node, else 0.", gauge(func(s *state) int64 { return s.ready }))

	w.add("ginsse.presence.topics", "{topic}", "Topics at which a user is present, on any node.", gauge(func(s *state) int64 { return int64(s.Presence.Topics) }))
	w.add("ginsse.presence.members", "{user}", "Users who are present at topics, each once for each topic.", gauge(func(s *state) int64 { return int64(s.Presence.Members) }))
	w.add("ginsse.presence.leaving", "{user}", "Users and presences whose last stream has just ended.", gauge(func(s *state) int64 { return int64(s.Presence.Leaving) }))
	w.add("ginsse.presence.remote", "By", "Estimate of the memory for the people of other nodes.", gauge(func(s *state) int64 { return s.Presence.Bytes }))
	w.add("ginsse.presence.dropped.messages", "{message}", "Messages about presence that came too fast.", count(func(s *state) uint64 { return s.Presence.Dropped }))

	w.add("ginsse.log.memory.events", "{event}", "Entries of the log in memory.", ofLog(func(l *eventlog.Stats) int64 { return int64(l.Entries) }))
	w.add("ginsse.log.memory", "By", "Bytes of the events of the log in memory, counted as their bound is.", ofLog(func(l *eventlog.Stats) int64 { return l.Bytes }))
	w.add("ginsse.log.memory.limit", "By", "The bound.", ofLog(func(l *eventlog.Stats) int64 { return l.MaxBytes }))
	w.add("ginsse.log.memory.reach", "s", "How far back the memory reaches.", since(func(s *state) time.Time {
		if s.Log == nil {
			return time.Time{}
		}
		return s.Log.Since
	}))
	w.add("ginsse.log.evicted.events", "{event}", "Entries that have left the memory.", evicted)
	w.add("ginsse.log.store.connected", "1", "1 if the store has answered lately, else 0.", ofStore(func(s *eventlog.StoreStats) int64 {
		if s.Connected {
			return 1
		}
		return 0
	}))
	w.add("ginsse.log.store.silence", "s", "Time since the node last had all that the store had.", since(func(s *state) time.Time {
		if s.Log == nil || s.Log.Store == nil {
			return time.Time{}
		}
		return s.Log.Store.Heard
	}))
	w.add("ginsse.log.store.failures", "{failure}", "Times that reading the store began to fail.", countOfStore(func(s *eventlog.StoreStats) uint64 { return s.Failures }))
	w.add("ginsse.log.behind.events", "{event}", "Events that are known to be in the store and cannot be delivered yet.", ofStore(func(s *eventlog.StoreStats) int64 { return int64(s.Behind) }))
	w.add("ginsse.log.store.reads", "{page}", "Pages of older events that were asked of the store.", countOfStore(func(s *eventlog.StoreStats) uint64 { return s.Reads }))
	w.add("ginsse.log.store.read.events", "{event}", "Events that the store found in pages of older events.", countOfStore(func(s *eventlog.StoreStats) uint64 { return s.ReadEntries }))
	w.add("ginsse.log.store.read.errors", "{page}", "Pages that the store did not deliver.", countOfStore(func(s *eventlog.StoreStats) uint64 { return s.ReadErrors }))
	w.add("ginsse.log.inbox.events", "{event}", "Committed events that are not in the log yet.", inbox)

	err := errors.Join(w.failed...)
	if err == nil {
		_, err = t.meter.RegisterCallback(w.observe, w.instruments...)
	}
	if err != nil {
		return fmt.Errorf("otelginsse: watching the registry: %w", err)
	}
	return nil
}

// watcher observes the state of a registry.
type watcher struct {
	telemetry   *Telemetry
	registry    *ginsse.Registry
	instruments []metric.Observable
	observers   []func(metric.Observer, *state)
	failed      []error
}

// state is what one collection reads.
type state struct {
	ginsse.Stats

	now                         time.Time
	lag, writing, unsent, ready int64
}

// instrument makes an instrument, and returns how its value is observed.
type instrument func(m metric.Meter, name, unit, help string) (metric.Observable, func(metric.Observer, *state), error)

func (w *watcher) add(name, unit, help string, of instrument) {
	made, observe, err := of(w.telemetry.meter, name, unit, help)
	w.instruments = append(w.instruments, made)
	w.observers = append(w.observers, observe)
	w.failed = append(w.failed, err)
}

func (w *watcher) observe(_ context.Context, o metric.Observer) error {
	s := &state{Stats: w.registry.Stats(), now: time.Now()}
	for _, stream := range w.registry.AllStreams() {
		stats := stream.Stats()
		s.lag = max(s.lag, stats.Lag)
		s.unsent += stats.Unsent
		if stats.Writing {
			s.writing++
		}
	}
	if !w.telemetry.metrics.logIsDown.Load() {
		s.ready = 1
	}
	for _, observe := range w.observers {
		observe(o, s)
	}
	return nil
}

// sum is a number that adds up over nodes.
func sum(value func(*state) int64) instrument {
	return func(m metric.Meter, name, unit, help string) (metric.Observable, func(metric.Observer, *state), error) {
		i, err := m.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
		return i, func(o metric.Observer, s *state) { o.ObserveInt64(i, value(s)) }, err
	}
}

func gauge(value func(*state) int64) instrument {
	return gaugeIf(func(s *state) (int64, bool) { return value(s), true })
}

// gaugeIf is a gauge that has no value at times.
func gaugeIf(value func(*state) (v int64, known bool)) instrument {
	return func(m metric.Meter, name, unit, help string) (metric.Observable, func(metric.Observer, *state), error) {
		i, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
		return i, func(o metric.Observer, s *state) {
			if v, known := value(s); known {
				o.ObserveInt64(i, v)
			}
		}, err
	}
}

func ofLog(value func(*eventlog.Stats) int64) instrument {
	return gaugeIf(func(s *state) (int64, bool) {
		if s.Log == nil {
			return 0, false
		}
		return value(s.Log), true
	})
}

func ofStore(value func(*eventlog.StoreStats) int64) instrument {
	return gaugeIf(func(s *state) (int64, bool) {
		if s.Log == nil || s.Log.Store == nil {
			return 0, false
		}
		return value(s.Log.Store), true
	})
}

var inbox = gaugeIf(func(s *state) (int64, bool) {
	if s.Log == nil || s.Log.Store == nil {
		return 0, false
	}
	return int64(s.Log.Store.Inbox), s.Log.Store.Inbox >= 0
})

// since is the time since something, in seconds. It has no value for the zero time.
func since(at func(*state) time.Time) instrument {
	return func(m metric.Meter, name, unit, help string) (metric.Observable, func(metric.Observer, *state), error) {
		i, err := m.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(help))
		return i, func(o metric.Observer, s *state) {
			if then := at(s); !then.IsZero() {
				o.ObserveFloat64(i, max(0, s.now.Sub(then).Seconds()))
			}
		}, err
	}
}

func count(value func(*state) uint64) instrument {
	return counter(func(s *state, observe func(n uint64, attributes ...attribute.KeyValue)) { observe(value(s)) })
}

func countOfStore(value func(*eventlog.StoreStats) uint64) instrument {
	return counter(func(s *state, observe func(n uint64, attributes ...attribute.KeyValue)) {
		if s.Log != nil && s.Log.Store != nil {
			observe(value(s.Log.Store))
		}
	})
}

var evicted = counter(func(s *state, observe func(n uint64, attributes ...attribute.KeyValue)) {
	if s.Log == nil {
		return
	}
	e := s.Log.Evicted
	for reason, n := range map[string]uint64{"size": e.Size, "subject": e.Subject, "age": e.Age, "replaced": e.Replaced, "reset": e.Reset} {
		observe(n, attribute.String("ginsse.reason", reason))
	}
})

// counter is a number that only grows. values observes it, once for each set of attributes.
func counter(values func(s *state, observe func(n uint64, attributes ...attribute.KeyValue))) instrument {
	return func(m metric.Meter, name, unit, help string) (metric.Observable, func(metric.Observer, *state), error) {
		i, err := m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(help))
		return i, func(o metric.Observer, s *state) {
			values(s, func(n uint64, attributes ...attribute.KeyValue) {
				o.ObserveInt64(i, int64(n), metric.WithAttributes(attributes...))
			})
		}, err
	}
}
