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

// OpenArgs says which streams to open.
type OpenArgs struct {
	Addr    string
	Streams int
	All     bool // the streams request broadcasts
	Stalled int  // number of streams, the first ones, that read only their headers
	// ReceiveBuffer is how many bytes the kernel may buffer for a stalled stream at the
	// client (SO_RCVBUF); 0 is the system's default, which may be megabytes.
	ReceiveBuffer int
	InFlight      int           // concurrent requests, at least 1
	KeepIDs       bool          // keep last event IDs, to resume later
	Resume        bool          // reconnect the streams of before, with their last event IDs
	Expect        int           // events to expect, set before the first request
	Limit         time.Duration // most time for Open
}

// prepared is what Prepare passes to Open.
type prepared struct {
	args     OpenArgs
	addr     netip.AddrPort
	requests [][]byte // nil if nothing is prepared
}

// Prepare creates the streams and their requests. It is not part of the measured time,
// because signing thousands of tokens takes longer than sending them. Streams of before
// must be closed.
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

// Open opens the streams that Prepare has created. It returns when all have received their
// headers, and says how long that took. A stream that the server has already ended counts
// as opened, and as closed in [Outcome].
func (l *Loader) Open() (took time.Duration, err error) {
	args, addr, requests := l.next.args, l.next.addr, l.next.requests
	if l.next = (prepared{}); requests == nil {
		return 0, errors.New("no streams are prepared")
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

// requests creates the streams, and returns the request of each.
func (l *Loader) requests(args OpenArgs) ([][]byte, error) {
	if !args.Resume {
		l.streams = make([]*stream, args.Streams)
	}
	if len(l.streams) != args.Streams {
		return nil, fmt.Errorf("%d streams cannot resume: there were %d", args.Streams, len(l.streams))
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
		if len(s.lastID) > 0 { // without an ID a browser omits the header
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
		// Set it before connecting: the announced window depends on it.
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
	// The event carries the stream's index.
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.index)})
}
