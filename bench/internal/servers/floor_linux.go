package servers

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// floor does what any server must do: one write(2) for each event and stream. It has no
// HTTP library, no goroutine per stream and no queue, and reads nothing after the request.
// A client that does not read stops it.
type floor struct {
	settings Settings

	mu    sync.Mutex
	all   map[*floorClient]struct{}
	users map[string]map[*floorClient]struct{}
	slots [floorSlots]map[*floorClient]struct{}
	next  int64
	chunk []byte // the event that is being sent, in chunked coding
}

type floorClient struct {
	conn net.Conn // keeps fd open
	fd   int
	user string
	slot int
}

// floorSlots is the number of parts of the heartbeat interval. Each client gets its
// heartbeats in one of them, because real clients connect at different times.
const floorSlots = 64

func newFloor(settings Settings) (Server, error) {
	f := &floor{settings: settings, all: make(map[*floorClient]struct{}), users: make(map[string]map[*floorClient]struct{})}
	for i := range f.slots {
		f.slots[i] = make(map[*floorClient]struct{})
	}
	if interval := settings.interval(); interval > 0 {
		go f.sendHeartbeats(max(interval/floorSlots, 1))
	}
	return Server{
		Serve: f.serve,
		SendTo: func(user string, data []byte) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.send(f.users[user], data)
			return nil
		},
		Broadcast: func(data []byte) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.send(f.all, data)
			return nil
		},
	}, nil
}

const floorHeader = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"

// serve accepts one client after another.
func (f *floor) serve(listener net.Listener) error {
	listener = f.settings.listenOn(listener)
	buffer := make([]byte, 4<<10)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := f.join(conn, buffer); err != nil {
			_ = conn.Close()
		}
	}
}

func (f *floor) join(conn net.Conn, buffer []byte) error {
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	n := 0
	for !bytes.HasSuffix(buffer[:n], []byte("\r\n\r\n")) {
		if n == len(buffer) {
			return errors.New("the request is too long")
		}
		m, err := conn.Read(buffer[n:])
		if err != nil {
			return err
		}
		n += m
	}
	_, rest, _ := bytes.Cut(buffer[:n], []byte("\r\nAuthorization: "))
	credential, _, _ := bytes.Cut(rest, []byte("\r\n"))
	user, err := userOf(string(credential))
	if err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil { // else each stream would have a timer
		return err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn() //nolint:forcetypeassert // from a TCP listener
	if err != nil {
		return err
	}
	c := &floorClient{conn: conn, user: user, slot: rand.N(floorSlots)}
	if err := raw.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Write the headers before the client is added: they must come before events, and a
	// client whose socket fails is closed, so that another one may get its descriptor.
	if err := writeAll(c.fd, []byte(floorHeader)); err != nil {
		return err
	}
	f.all[c], f.slots[c.slot][c] = struct{}{}, struct{}{}
	if f.users[user] == nil {
		f.users[user] = make(map[*floorClient]struct{})
	}
	f.users[user][c] = struct{}{}
	return nil
}

// send must be called with mu held, like write.
func (f *floor) send(clients map[*floorClient]struct{}, data []byte) {
	f.next++
	event := frame(f.next, data)
	f.chunk = fmt.Appendf(f.chunk[:0], "%x\r\n%s\r\n", len(event), event)
	f.write(clients, f.chunk)
}

func (f *floor) sendHeartbeats(every time.Duration) {
	slot := 0
	for range time.Tick(every) {
		f.mu.Lock()
		f.write(f.slots[slot], []byte("d\r\n: heartbeat\n\n\r\n"))
		f.mu.Unlock()
		slot = (slot + 1) % floorSlots
	}
}

func (f *floor) write(clients map[*floorClient]struct{}, chunk []byte) {
	for c := range clients {
		if writeAll(c.fd, chunk) != nil {
			delete(f.all, c)
			delete(f.users[c.user], c)
			delete(f.slots[c.slot], c)
			_ = c.conn.Close()
		}
	}
}

// writeAll writes all of p, and waits while the socket is full.
func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		switch err {
		case nil:
			p = p[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
			if err != nil && err != unix.EINTR {
				return err
			}
		default:
			return err
		}
	}
	return nil
}
