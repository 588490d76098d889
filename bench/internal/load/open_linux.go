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
	Addrs []string // of the servers, to which the streams connect in turn
	// From is the address to connect from; "" is the system's choice. Connections of one address
	// to one server share some 28,000 ports.
	From    string
	First   int // number of the first stream among those of several processes
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

// addresses are those of the servers that streams connect to, in turn.
type addresses struct {
	servers []netip.AddrPort
	from    netip.Addr // invalid for the system's choice
}

func parseAddresses(servers []string, from string) (a addresses, err error) {
	for _, text := range servers {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			return a, err
		}
		a.servers = append(a.servers, addr)
	}
	if from != "" {
		a.from, err = netip.ParseAddr(from)
	}
	if err == nil && len(a.servers) == 0 {
		err = errors.New("no server is given")
	}
	return a, err
}

// of returns the server of a stream, by its number.
func (a addresses) of(number int) netip.AddrPort { return a.servers[number%len(a.servers)] }

// Prepare creates the streams and their requests. It is not part of the measured time,
// because signing thousands of tokens takes longer than sending them. Streams of before
// must be closed.
func (l *Loader) Prepare(args OpenArgs) error {
	addrs, err := parseAddresses(args.Addrs, args.From)
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
	l.args, l.addrs = args, addrs
	if l.requests, err = l.prepare(); err != nil {
		return err
	}
	l.Expect(args.Expect, 0)
	return nil
}

// Open opens the streams that Prepare has created. It returns when all have received their
// headers, and says how long that took. A stream that the server has already ended counts
// as opened, and as closed in [Outcome].
func (l *Loader) Open() (took time.Duration, err error) {
	args, requests := l.args, l.requests
	if l.requests = nil; requests == nil {
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
		if err := l.connect(l.streams[i], request); err != nil {
			return 0, fmt.Errorf("opening stream %d: %w", i, err)
		}
	}
	if err := pollUntil(args.Streams); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// prepare creates the streams, and returns the request of each.
func (l *Loader) prepare() ([][]byte, error) {
	args := l.args
	if !args.Resume {
		l.streams = make([]*stream, args.Streams)
	}
	if len(l.streams) != args.Streams {
		return nil, fmt.Errorf("%d streams cannot resume: there were %d", args.Streams, len(l.streams))
	}
	requests := make([][]byte, args.Streams)
	for i := range requests {
		s := newStream(i, l.streams[i])
		s.keepIDs, s.stalled = args.KeepIDs, i < args.Stalled
		l.streams[i] = s
		var err error
		if requests[i], err = l.request(s); err != nil {
			return nil, err
		}
	}
	return requests, nil
}

// number is the number of a stream among those of several processes.
func (l *Loader) number(s *stream) int { return l.args.First + s.index }

// request returns the request of a stream. Each stream is one of a user of its own.
func (l *Loader) request(s *stream) ([]byte, error) {
	token, err := servers.Token(servers.UserName(l.number(s)))
	if err != nil {
		return nil, err
	}
	query, resume := "", ""
	if l.args.All {
		query = servers.AllQuery
	}
	if len(s.lastID) > 0 { // without an ID a browser omits the header
		resume = fmt.Sprintf("Last-Event-ID: %s\r\n", s.lastID)
	}
	return fmt.Appendf(nil, "GET /events%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n"+
		"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en\r\nCache-Control: no-cache\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n%sAuthorization: Bearer %s\r\n\r\n",
		query, l.addrs.of(l.number(s)), resume, token), nil
}

func (l *Loader) connect(s *stream, request []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	s.fd = fd
	if buffer := l.args.ReceiveBuffer; s.stalled && buffer > 0 {
		// Set it before connecting: the announced window depends on it.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return err
		}
	}
	if l.addrs.from.IsValid() {
		// The port is chosen when the stream connects, so that streams to other servers can share it.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: l.addrs.from.As4()}); err != nil {
			return err
		}
	}
	addr := l.addrs.of(l.number(s))
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
