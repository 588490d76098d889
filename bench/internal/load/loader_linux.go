// Package load is the clients' side: one process that opens thousands of event
// streams and reads them all on one goroutine, by epoll. It must cost little, as
// it shares the machine with what is measured.
package load

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

// Loader opens streams and reads them while somebody waits in one of its methods.
// One goroutine uses it.
type Loader struct {
	epoll   int
	streams []*stream
	ready   []unix.EpollEvent
	buffer  []byte
	clock   func() time.Time

	next prepared // what Open will do

	open     int // streams whose headers have come
	closed   int // streams that the server has ended
	reading  int // streams that are to have what is expected
	finished int // those of them that have it
	target   func(index int) int
	now      time.Time // of the last look at the sockets, or the last read since
	last     time.Time // of the read that had the last event; zero if there was none since Expect
	latency  Histogram
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

var errLimit = errors.New("the time is up")

// poll reads what there is, or waits until there is something, for 100 ms at most.
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
		l.now = l.clock() // hundreds of sockets may be ready at a time: each has its own
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
			l.finish(s)
		}
	}
	return nil
}

// opened implements sink.
func (l *Loader) opened(*stream) { l.open++ }

// event implements sink.
func (l *Loader) event(s *stream) {
	l.last = l.now
	if d := s.latency(l.now); d > 0 {
		l.latency.add(d)
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

// Expect forgets what was counted so far, and sets what the streams are to have
// received when events have been sent in all since they were opened first: each
// all of them, or, with a number of users, its share.
func (l *Loader) Expect(events, users int) {
	l.Settle(events, users)
	l.latency, l.last = Histogram{}, time.Time{}
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

// Unknown is what to expect of a series that ends when its sender says so.
const Unknown = 1 << 40

// Settle sets what is expected and forgets nothing.
func (l *Loader) Settle(events, users int) {
	l.target = func(index int) int {
		if users == 0 {
			return events
		}
		return (events + users - 1 - index) / users
	}
}

// Wait reads until all streams have what is expected, or ended, or nothing has
// come for as long as quiet, or the time is up. It returns when the last event came since
// Expect, or when it began to wait if there was none.
func (l *Loader) Wait(limit, quiet time.Duration) (last time.Time, err error) {
	start := time.Now()
	if l.last.IsZero() {
		l.last = start
	}
	for l.finished < l.reading {
		err := l.poll(start.Add(limit))
		if errors.Is(err, errLimit) {
			break
		}
		if err != nil {
			return l.last, err
		}
		if min(l.now.Sub(l.last), l.now.Sub(start)) > quiet {
			break
		}
	}
	return l.last, nil
}

// Rest reads for a while, whatever comes.
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

// Outcome is what came of a series of events.
type Outcome struct {
	Tally
	Bytes      int // of data of the events delivered
	GapStreams int // streams to which the server announced a gap
	Missing    int // events expected that have not come
	Closed     int // streams that the server has ended since they were opened
	Latency    Histogram
}

// Outcome returns what was counted since the last Expect.
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

// Close closes all streams. They can come back.
func (l *Loader) Close() {
	for _, s := range l.streams {
		if s.fd > 0 {
			_ = unix.Close(s.fd) // takes it out of the epoll set
			s.fd = -1
		}
		s.closed = true
	}
}
