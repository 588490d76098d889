// Package load has the clients: one process that opens thousands of event streams and
// reads all of them on one goroutine, with epoll. It must use little CPU, because it
// shares the machine with the server that is measured.
package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/servers"
	"github.com/ginsse/ginsse/internal/loadtest"
)

// Loader opens streams, and reads them during calls of its methods. Only one goroutine may
// use it.
type Loader struct {
	epoll   int
	streams []*stream
	ready   []unix.EpollEvent
	buffer  []byte
	clock   func() time.Time

	args     OpenArgs // of the last Prepare
	addrs    addresses
	requests [][]byte  // what Open is to send; nil if nothing is prepared
	failover *failover // nil but during Failover

	open     int // streams whose headers have arrived
	closed   int // streams that the server has ended
	reading  int // streams that are expected to receive the events
	finished int // streams of those that have received them, or have ended
	target   func(index int) int
	now      time.Time // of the last poll, or the last read since
	last     time.Time // when the last event was read; zero without an event since Expect
	latency  loadtest.Histogram
}

// NewLoader returns a loader without streams.
func NewLoader() (*Loader, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return &Loader{
		epoll:  epoll,
		ready:  make([]unix.EpollEvent, 512),
		buffer: make([]byte, 256<<10),
		clock:  time.Now,
		target: func(int) int { return 0 },
	}, err
}

var errLimit = errors.New("time limit exceeded")

// poll reads from all sockets that are ready. It waits until one is, for 100 ms at most.
func (l *Loader) poll(deadline time.Time) error {
	wait := min(time.Until(deadline), 100*time.Millisecond)
	if wait <= 0 {
		return errLimit
	}
	n, err := unix.EpollWait(l.epoll, l.ready, int(wait.Milliseconds())+1)
	if err == unix.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	l.now = l.clock()
	for _, event := range l.ready[:n] {
		s := l.streams[event.Fd]
		n, err := unix.Read(s.fd, l.buffer)
		l.now = l.clock() // hundreds of sockets may be ready: take the time of each read
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			continue
		case err != nil || n <= 0:
			s.closed = true
		default:
			if err := s.feed(l.buffer[:n], l); err != nil {
				return fmt.Errorf("stream %d: %w", s.index, err)
			}
		}
		if s.closed && !s.response.opened() {
			return fmt.Errorf("stream %d: ended before its headers", s.index)
		}
		if s.closed || s.stalled && s.response.opened() {
			if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, s.fd, nil); err != nil {
				return err
			}
		}
		if s.closed {
			l.closed++
			_ = unix.Close(s.fd)
			s.fd = -1
			l.ended(s)
		}
	}
	return nil
}

// ended is called when the server has ended a stream.
func (l *Loader) ended(s *stream) {
	if l.failover != nil {
		l.failover.waiting = append(l.failover.waiting, s)
		return
	}
	l.finish(s)
}

// opened implements sink.
func (l *Loader) opened(*stream) {
	l.open++
	if l.failover != nil {
		l.closed-- // it is back
		l.failover.back = l.now
	}
}

// event implements sink.
func (l *Loader) event(s *stream) {
	l.last = l.now
	if d := s.latency(l.now); d > 0 {
		l.latency.Record(d)
	}
	if s.next >= l.target(s.index) || s.sent == servers.LastNanos {
		l.finish(s)
	}
}

func (l *Loader) finish(s *stream) {
	if !s.finished && !s.stalled {
		s.finished = true
		l.finished++
	}
}

// Expect resets the counts, and sets what to wait for. events is the total number of events
// since the streams were first opened. Each stream is to receive all of them or, with a
// number of users, its share.
func (l *Loader) Expect(events, users int) {
	l.SetExpected(events, users)
	l.latency, l.last = loadtest.Histogram{}, time.Time{}
	l.reading, l.finished = 0, 0
	for _, s := range l.streams {
		s.tally, s.received = Tally{}, 0
		s.finished = false
		if s.stalled {
			continue
		}
		l.reading++
		if s.closed || s.next >= l.target(s.index) {
			l.finish(s)
		}
	}
}

// Unknown is the number of events to expect of a series whose last event is marked.
const Unknown = 1 << 40

// SetExpected sets what is expected, like Expect, and keeps the counts.
func (l *Loader) SetExpected(events, users int) {
	l.target = func(index int) int {
		if users == 0 {
			return events
		}
		return (events + users - 1 - l.args.First - index) / users
	}
}

// Wait reads until each stream has received what is expected or has ended. It gives up
// after limit, or when no event has arrived for as long as quiet. It returns the time of
// the last event since Expect, or of the call if there was none.
func (l *Loader) Wait(limit, quiet time.Duration) (last time.Time, err error) {
	err = l.read(limit, quiet, func() (bool, error) { return l.finished < l.reading, nil })
	return l.last, err
}

// read reads while there is more to do. It gives up like Wait.
func (l *Loader) read(limit, quiet time.Duration, more func() (bool, error)) error {
	start := time.Now()
	if l.last.IsZero() {
		l.last = start
	}
	for {
		if more, err := more(); err != nil || !more {
			return err
		}
		err := l.poll(start.Add(limit))
		if errors.Is(err, errLimit) {
			return nil
		}
		if err != nil {
			return err
		}
		if min(l.now.Sub(l.last), l.now.Sub(start)) > quiet {
			return nil
		}
	}
}

// Rest reads for the duration d, without expecting anything.
func (l *Loader) Rest(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		if err := l.poll(end); err != nil {
			if errors.Is(err, errLimit) {
				return nil
			}
			return err
		}
	}
}

// Outcome is the result of a series of events.
type Outcome struct {
	Tally
	Bytes      int // of data of the events delivered
	GapStreams int // streams to which the server announced a gap
	Missing    int // expected events that have not arrived
	Closed     int // streams that the server has ended since they were opened
	Latency    loadtest.Histogram
}

// Add adds the outcome of other streams.
func (o *Outcome) Add(other Outcome) {
	o.add(other.Tally)
	o.Bytes += other.Bytes
	o.GapStreams += other.GapStreams
	o.Missing += other.Missing
	o.Closed += other.Closed
	o.Latency.Add(other.Latency)
}

// Outcome returns the counts since the last Expect.
func (l *Loader) Outcome() Outcome {
	o := Outcome{Closed: l.closed, Latency: l.latency}
	for _, s := range l.streams {
		if s.stalled {
			continue
		}
		o.add(s.tally)
		o.Bytes += s.received
		if s.tally.Gaps > 0 {
			o.GapStreams++
		}
		o.Missing += max(0, l.target(s.index)-s.next)
	}
	return o
}

// Close closes all streams. They can reconnect.
func (l *Loader) Close() {
	for _, s := range l.streams {
		if s.fd > 0 {
			_ = unix.Close(s.fd) // removes it from the epoll set
			s.fd = -1
		}
		s.closed = true
	}
}
