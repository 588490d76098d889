package load

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/child"
	"github.com/ginsse/ginsse/bench/internal/servers"
)

// OpenArgs say which streams to open.
type OpenArgs struct {
	Addr    string
	Streams int
	All     bool // they ask for what is for all
	Stalled int  // how many of them, the first ones, read their headers and no more
	// ReceiveBuffer is what the kernel may keep for a stalled stream that has not read
	// it, SO_RCVBUF in bytes; 0 is the system's, which may be megabytes.
	ReceiveBuffer int
	InFlight      int           // requests on their way at the same time, at least 1
	KeepIDs       bool          // note last event IDs, for coming back
	Resume        bool          // come back: the streams are those of before, with their last event IDs
	Expect        int           // what [Loader.Expect] sets, before the first request
	Limit         time.Duration // of Open; an error after it
}

// prepared is what Prepare leaves to Open.
type prepared struct {
	args     OpenArgs
	addr     netip.AddrPort
	requests [][]byte // nil if there is nothing to open
}

// Prepare makes the streams and what each will send, before anybody takes the time:
// signing thousands of tokens costs more than sending them. The streams of before,
// if any, have been closed.
func (l *Loader) Prepare(args OpenArgs) error {
	addr, err := netip.ParseAddrPort(args.Addr)
	if err != nil {
		return err
	}
	if err := child.Files(args.Streams); err != nil {
		return err
	}
	for _, s := range l.streams {
		if s.fd > 0 {
			return fmt.Errorf("stream %d is still open", s.index)
		}
	}
	requests, err := l.requests(args)
	if err != nil {
		return err
	}
	l.Expect(args.Expect, 0)
	l.next = prepared{args, addr, requests}
	return nil
}

// Open opens the streams that Prepare has made, and returns when all have their
// headers, with how long that took. A stream that the server has ended by then has
// been open: [Outcome] counts it as closed.
func (l *Loader) Open() (took time.Duration, err error) {
	args, addr, requests := l.next.args, l.next.addr, l.next.requests
	if l.next = (prepared{}); requests == nil {
		return 0, errors.New("no streams have been prepared")
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
		if err := l.connect(addr, l.streams[i], args.ReceiveBuffer, request); err != nil {
			return 0, fmt.Errorf("opening stream %d: %w", i, err)
		}
	}
	if err := pollUntil(args.Streams); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// requests makes the streams, and returns what each will send.
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

func (l *Loader) connect(addr netip.AddrPort, s *stream, stalledBuffer int, request []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s.fd = fd
	if s.stalled && stalledBuffer > 0 {
		// Before it connects: then the window that is announced is made of it.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, stalledBuffer); err != nil {
			return err
		}
	}
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
