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

// Dispatcher hands the events of one stream to several consumers, each at its own speed. The
// subscription of a consumer that is too slow ends with a [SlowError]. So a slow consumer does not
// hold up the others, and never misses events unnoticed.
//
// Concurrency: all methods may be called from several goroutines.
type Dispatcher struct {
	client *Client

	mu            sync.Mutex
	subscriptions []*Subscription // in the order of Subscribe
	started       bool
	ended         bool
	err           error // the result of Run, once ended
}

// NewDispatcher returns a Dispatcher for the events of c. It does nothing until [Dispatcher.Run].
func NewDispatcher(c *Client) *Dispatcher { return &Dispatcher{client: c} }

// Run reads the client's events and hands each to the subscriptions that want it. It returns when
// ctx or the stream ends, with the error that [Client.Events] yielded. The subscriptions end with
// the same error, after their queued events.
//
// Events without a subscription are dropped, so subscribe first. A Dispatcher runs once; a second
// call returns an error and does nothing.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.mu.Lock()
	started := d.started
	d.started = true
	d.mu.Unlock()
	if started {
		return errors.New("ginsse: the dispatcher has already run")
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

// SubscribeConfig holds the settings of a [Subscription].
type SubscribeConfig struct {
	// Types are the event types to receive. Default: all. The kit's sse.gap is always included,
	// because any event may be missing.
	Types []string
	// MaxQueued is how many events may wait for the consumer. Default 1024.
	MaxQueued int
	// MaxQueuedBytes is how many bytes of data may wait for the consumer. A single event may be
	// larger. Default 16 MiB.
	MaxQueuedBytes int
}

// Subscribe adds a consumer, before Run or while it runs. The consumer receives the events that are
// dispatched from now on. After Run has ended, the subscription has no events and ends with the
// result of Run. The Dispatcher holds a subscription until it has ended or is closed.
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
// Concurrency: Close may be called from any goroutine, also from within the loop. Only one loop at
// a time may range over the events.
type Subscription struct {
	dispatcher *Dispatcher
	types      []string // nil: all
	most       int
	mostBytes  int
	changed    chan struct{} // holds a token when there may be something new

	mu    sync.Mutex // taken after the dispatcher's; guards the fields below
	queue []Event
	bytes int    // of data in queue
	last  string // the last event ID up to which this subscription has seen the stream
	ended bool
	err   error // the error at the end of the events; nil for none
}

// Events yields the events and then, unless it is nil, the error that ended them. That is the
// result of Run or a *[SlowError], both after the queued events, or at once the cause of ctx. After
// Close the loop ends without an error. Leaving the loop loses no event: the next loop continues.
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
			event, queue[0] = queue[0], Event{} // so that the queue does not keep it alive
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

// Close ends the subscription. Queued events are dropped, and a running loop ends.
func (s *Subscription) Close() {
	d := s.dispatcher
	d.mu.Lock()
	defer d.mu.Unlock()
	d.subscriptions = slices.DeleteFunc(d.subscriptions, func(other *Subscription) bool { return other == s })
	s.end(nil, true)
}

// offer queues an event if the subscription wants it, and reports whether the subscription goes on.
func (s *Subscription) offer(event Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return false
	case !s.wants(event.Type):
		s.last = event.LastEventID // skipped, so a client that resumes need not ask for it
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
	default: // a token is waiting already
	}
}

// SlowError ends a [Subscription] whose consumer could not keep up: MaxQueued or MaxQueuedBytes was
// exceeded. The queued events have been yielded before.
type SlowError struct {
	// LastEventID is the position of the consumer. A client with this ID in its Config receives the
	// events after it, if the server keeps them.
	LastEventID string
}

func (e *SlowError) Error() string {
	return "ginsse: the consumer is too slow: its queue is full"
}
