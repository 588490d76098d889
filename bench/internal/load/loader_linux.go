// Package load is the clients' side: one process that opens thousands of event
// streams and reads them all on one goroutine, by epoll. It must cost little, as
// it shares the machine with what is measured.
package load

import (
	"errors"
	"fmt"
	"net/netip"
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
	quiet   time.Duration // after how long without an event the rest is given up

	open     int // streams whose headers have come
	closed   int // streams that the server has ended
	reading  int // streams that are to have what is expected
	finished int // those of them that have it
	target   func(index int) int
	now      time.Time // of the last look at the sockets
	last     time.Time // of the look that found the last event; zero if there was none since Expect
	latency  Histogram
}

// NewLoader returns a loader without streams.
func NewLoader() (*Loader, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	return &Loader{
		epoll:  epoll,
		ready:  make([]unix.EpollEvent, 512),
		buffer: make([]byte, 256<<10),
		quiet:  6 * time.Second,
		target: func(int) int { return 0 },
	}, err
}

// OpenArgs say which streams to open.
type OpenArgs struct {
	Addr     string
	Streams  int
	All      bool          // they ask for what is for all
	Stalled  int           // how many of them, the first ones, read their headers and no more
	InFlight int           // requests on their way at the same time, at least 1
	KeepIDs  bool          // note last event IDs, for coming back
	Resume   bool          // come back: the streams are those of before, with their last event IDs
	Expect   int           // if not 0, what [Loader.Expect] sets, before the first request
	Limit    time.Duration // an error after it
}

// Open opens streams, and returns when all have their headers, with how long that
// took. The streams of before, if any, have been closed.
func (l *Loader) Open(args OpenArgs) (took time.Duration, err error) {
	addr, err := netip.ParseAddrPort(args.Addr)
	if err != nil {
		return 0, err
	}
	requests, err := l.requests(args)
	if err != nil {
		return 0, err
	}
	if args.Expect > 0 {
		l.Expect(args.Expect, 0)
	}
	l.open, l.closed = 0, 0
	start := time.Now()
	pollUntil := func(open int) error {
		for l.open < open {
			if err := l.poll(start.Add(args.Limit)); err != nil {
				return fmt.Errorf("%d of %d streams open: %w", l.open, args.Streams, err)
			}
		}
		return nil
	}
	for i, request := range requests {
		if err := pollUntil(i - args.InFlight + 1); err != nil {
			return 0, err
		}
		if err := l.connect(addr, l.streams[i], request); err != nil {
			return 0, fmt.Errorf("opening stream %d: %w", i, err)
		}
	}
	if err := pollUntil(args.Streams); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// requests makes the streams and what each will send, before the clock runs.
func (l *Loader) requests(args OpenArgs) ([][]byte, error) {
	if !args.Resume {
		l.streams = make([]*stream, args.Streams)
	}
	if len(l.streams) != args.Streams {
		return nil, fmt.Errorf("%d streams are to come back, and there were %d", args.Streams, len(l.streams))
	}
	query := ""
	if args.All {
		query = servers.AllQuery
	}
	requests := make([][]byte, args.Streams)
	for i := range requests {
		token, err := servers.Token(servers.UserName(i))
		if err != nil {
			return nil, err
		}
		s := newStream(i, l.streams[i])
		s.keepIDs, s.stalled = args.KeepIDs, i < args.Stalled
		l.streams[i] = s
		resume := ""
		if len(s.lastID) > 0 { // else a browser leaves the header out
			resume = fmt.Sprintf("Last-Event-ID: %s\r\n", s.lastID)
		}
		requests[i] = fmt.Appendf(nil, "GET /events%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n"+
			"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCache-Control: no-cache\r\n"+
			"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n%sAuthorization: Bearer %s\r\n\r\n",
			query, args.Addr, resume, token)
	}
	return requests, nil
}

func (l *Loader) connect(addr netip.AddrPort, s *stream, request []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s.fd = fd
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return err
	}
	if _, err := unix.Write(fd, request); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	// The event carries the stream's place, which it has for as long as it is open.
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.index)})
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
	l.now = time.Now()
	for _, event := range l.ready[:n] {
		s := l.streams[event.Fd]
		n, err := unix.Read(s.fd, l.buffer)
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
	if s.next >= l.target(s.index) {
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
	l.target = func(index int) int {
		if users == 0 {
			return events
		}
		return (events + users - 1 - index) / users
	}
	l.latency, l.last = Histogram{}, time.Time{}
	l.reading, l.finished = 0, 0
	for _, s := range l.streams {
		s.tally = Tally{}
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

// Wait reads until all streams have what is expected, or ended, or nothing has
// come for a while, or the time is up. It returns when the last event came since
// Expect, or when it began to wait if there was none.
func (l *Loader) Wait(limit time.Duration) (last time.Time, err error) {
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
		if min(l.now.Sub(l.last), l.now.Sub(start)) > l.quiet {
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
	Missing int // events expected that have not come
	Closed  int // streams that the server has ended
	Latency Histogram
}

// Outcome returns what was counted since the last Expect.
func (l *Loader) Outcome() Outcome {
	o := Outcome{Closed: l.closed, Latency: l.latency}
	for _, s := range l.streams {
		if s.stalled {
			continue
		}
		o.add(s.tally)
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
