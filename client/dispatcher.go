package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// Dispatcher hands the events of one stream to several consumers, each at its own
// speed. A consumer that is too slow ends with a [SlowError]: it neither holds up
// the others nor misses events without being told.
//
// Concurrency: all methods may be called from several goroutines.
type Dispatcher struct {
	client *Client

	mu            sync.Mutex
	subscriptions []*Subscription // in the order of Subscribe
	started       bool
	ended         bool
	err           error // of Run, once it has ended
}

// NewDispatcher returns a Dispatcher of a client's events. It does nothing until
// [Dispatcher.Run].
func NewDispatcher(c *Client) *Dispatcher { return &Dispatcher{client: c} }

// Run reads the client's events and hands each to the subscriptions that want it,
// until ctx ends or the stream does. It returns why, as [Client.Events] would have
// yielded it, and so do the subscriptions, after the events that they still have.
//
// What nobody has subscribed to is dropped: subscribe first. A Dispatcher runs once;
// another time it returns an error and does nothing.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.mu.Lock()
	started := d.started
	d.started = true
	d.mu.Unlock()
	if started {
		return errors.New("ginsse: the dispatcher has been run already")
	}
	err := errors.New("ginsse: the dispatcher's Run has panicked") // in one of the client's callbacks
	defer func() { d.end(err) }()
	err = d.run(ctx)
	return err
}

func (d *Dispatcher) run(ctx context.Context) error {
	for event, err := range d.client.Events(ctx) {
		if err != nil {
			return err
		}
		d.dispatch(event)
	}
	return nil
}

func (d *Dispatcher) dispatch(event Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscriptions = slices.DeleteFunc(d.subscriptions, func(s *Subscription) bool { return !s.offer(event) })
}

func (d *Dispatcher) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended, d.err = true, err
	for _, s := range d.subscriptions {
		s.end(err, false)
	}
	d.subscriptions = nil
}

// SubscribeConfig says what a consumer wants.
type SubscribeConfig struct {
	// Types are the event types to receive. Default: all. The kit's sse.gap comes
	// whatever they are, as it says that any event may be missing.
	Types []string
	// MaxQueued is how many events may wait for the consumer. Default: 1024.
	MaxQueued int
	// MaxQueuedBytes is how many bytes of data may wait in them, beside one event,
	// which always may. Default: 16 MiB.
	MaxQueuedBytes int
}

// Subscribe adds a consumer, before Run or while it runs: it receives what is
// dispatched from now on. After Run has ended the subscription has no events, and
// ends as Run did. A subscription is held until it has ended or is closed.
func (d *Dispatcher) Subscribe(cfg SubscribeConfig) (*Subscription, error) {
	if cfg.MaxQueued < 0 || cfg.MaxQueuedBytes < 0 {
		return nil, fmt.Errorf("ginsse: MaxQueued is %d and MaxQueuedBytes %d; they cannot be negative", cfg.MaxQueued, cfg.MaxQueuedBytes)
	}
	if slices.Contains(cfg.Types, "") {
		return nil, errors.New(`ginsse: Types holds ""; an event without a type is a "message"`)
	}
	s := &Subscription{
		dispatcher: d,
		types:      slices.Clone(cfg.Types),
		most:       cmp.Or(cfg.MaxQueued, 1024),
		mostBytes:  cmp.Or(cfg.MaxQueuedBytes, 16<<20),
		changed:    make(chan struct{}, 1),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		s.end(d.err, false)
	} else {
		d.subscriptions = append(d.subscriptions, s)
	}
	return s, nil
}

// Subscription is one consumer of a [Dispatcher].
//
// Concurrency: Close may be called from anywhere, also from within the loop. The
// events are for one loop at a time.
type Subscription struct {
	dispatcher *Dispatcher
	types      []string // nil: all
	most       int
	mostBytes  int
	changed    chan struct{} // holds a token when there may be something new

	mu    sync.Mutex // after the dispatcher's
	queue []Event
	bytes int    // of data in it
	last  string // the last event ID of what was queued last
	ended bool
	err   error // with which the events end; nil: without one
}

// Events yields the events, and at last why there are no more: what Run returned; a
// *[SlowError], after what was waiting; or the cause of ctx, at once. After Close, or
// when the stream ended without an error, it ends without one. Leaving the loop loses
// nothing: the next one goes on.
func (s *Subscription) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			event, more, err := s.next(ctx)
			if err != nil {
				yield(Event{}, err)
				return
			}
			if !more || !yield(event, nil) {
				return
			}
		}
	}
}

func (s *Subscription) next(ctx context.Context) (event Event, more bool, err error) {
	for {
		if ctx.Err() != nil {
			return Event{}, false, context.Cause(ctx)
		}
		s.mu.Lock()
		queue, ended, err := s.queue, s.ended, s.err
		if len(queue) > 0 {
			event, queue[0] = queue[0], Event{} // not held by the queue's memory
			s.queue = queue[1:]
			s.bytes -= len(event.Data)
		}
		s.mu.Unlock()
		if len(queue) > 0 {
			return event, true, nil
		}
		if ended {
			return Event{}, false, err
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
		}
	}
}

// Close ends the subscription: what it still has is dropped, and its loop ends.
func (s *Subscription) Close() {
	d := s.dispatcher
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscriptions = slices.DeleteFunc(d.subscriptions, func(other *Subscription) bool { return other == s })
	s.end(nil, true)
}

// offer queues an event if the subscription wants it, and says whether it goes on.
func (s *Subscription) offer(event Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return false
	case !s.wants(event.Type):
		s.last = event.LastEventID // passed over, and not to be asked for again
		return true
	case len(s.queue) >= s.most, len(s.queue) > 0 && s.bytes+len(event.Data) > s.mostBytes:
		s.ended, s.err = true, &SlowError{LastEventID: s.last}
	default:
		s.queue = append(s.queue, event)
		s.bytes += len(event.Data)
		s.last = event.LastEventID
	}
	s.wake()
	return !s.ended
}

func (s *Subscription) wants(eventType string) bool {
	return len(s.types) == 0 || slices.Contains(s.types, eventType) || eventType == gapEvent
}

func (s *Subscription) end(err error, drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if drop {
		s.queue, s.bytes = nil, 0
	}
	if !s.ended || drop {
		s.ended, s.err = true, err
	}
	s.wake()
}

func (s *Subscription) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // the loop has yet to see that something has changed
	}
}

// SlowError ends a [Subscription] whose consumer could not keep up: more than
// MaxQueued events, or MaxQueuedBytes, were waiting. What was waiting has been yielded before.
type SlowError struct {
	// LastEventID is where the consumer has got to: a client with this ID in its Config
	// receives what follows, if the server keeps it.
	LastEventID string
}

func (e *SlowError) Error() string {
	return "ginsse: more was waiting for the consumer than its SubscribeConfig allows"
}
