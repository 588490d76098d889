package readiness_test

import (
	"errors"
	"io"
	"math"
	"net"
	"os"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ginsse/ginsse/internal/readiness"
)

// event is one call of notify.
type event struct {
	token uint64
	readiness.Events
}

// watched is a set whose events a test receives, and a connection by which the test finds out that
// earlier events have been delivered.
type watched struct {
	*testing.T
	*readiness.Set
	events chan event
	fence  *net.TCPConn // the client's end
}

const fenceToken = math.MaxUint64

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{T: t, events: make(chan event, 10_000)}
	set, err := readiness.New(func(token uint64, e readiness.Events) { w.events <- event{token, e} })
	if err != nil {
		t.Fatal(err)
	}
	w.Set = set
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	var server *net.TCPConn
	server, w.fence = pair(t)
	w.add(server, fenceToken)
	return w
}

// pair returns the two ends of a connection.
func pair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	l := listen(t)
	defer l.Close()
	client = dial(t, l)
	return accept(t, l), client
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tcp := conn.(*net.TCPConn)
	t.Cleanup(func() {
		tcp.SetLinger(0) // thousands of ports would stay in use for a minute
		tcp.Close()
	})
	return tcp
}

func accept(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

func raw(t *testing.T, conn *net.TCPConn) syscall.RawConn {
	t.Helper()
	r, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fdOf returns the descriptor of a connection, which must stay open while it is used.
func fdOf(t *testing.T, conn *net.TCPConn) (number int) {
	t.Helper()
	if err := raw(t, conn).Control(func(fd uintptr) { number = int(fd) }); err != nil {
		t.Fatal(err)
	}
	return number
}

func send(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

// fill writes until the socket takes no more. It returns how many bytes it has written.
func fill(t *testing.T, conn *net.TCPConn) (total int64) {
	t.Helper()
	buffer := make([]byte, 64<<10)
	var failed error
	err := raw(t, conn).Write(func(fd uintptr) bool {
		for failed == nil {
			var n int
			if n, failed = syscall.Write(int(fd), buffer); failed == nil {
				total += int64(n)
			}
		}
		return true
	})
	if err != nil || !errors.Is(failed, syscall.EAGAIN) {
		t.Fatal(err, failed)
	}
	return total
}

func (w *watched) add(conn *net.TCPConn, token uint64) {
	w.Helper()
	if err := w.Add(fdOf(w.T, conn), token); err != nil {
		w.Fatal(err)
	}
}

func (w *watched) watchWrites(conn *net.TCPConn, token uint64) {
	w.Helper()
	if err := w.WatchWrites(fdOf(w.T, conn), token); err != nil {
		w.Fatal(err)
	}
}

func (w *watched) next() event {
	w.Helper()
	select {
	case e := <-w.events:
		return e
	case <-time.After(20 * time.Second):
		w.Fatal("no event came")
		panic("unreachable")
	}
}

// settled returns the events that were on their way.
func (w *watched) settled() (before []event) {
	w.Helper()
	send(w.T, w.fence)
	for {
		e := w.next()
		if e.token == fenceToken {
			return before
		}
		before = append(before, e)
	}
}

// await returns the first event of which ok is true. Other events must have the same token.
func (w *watched) await(token uint64, ok func(readiness.Events) bool) readiness.Events {
	w.Helper()
	for {
		e := w.next()
		if e.token != token {
			w.Fatalf("got %+v, want an event with token %#x", e, token)
		}
		if ok(e.Events) {
			return e.Events
		}
	}
}

func readable(e readiness.Events) bool { return e.Readable }
func writable(e readiness.Events) bool { return e.Writable }
func closed(e readiness.Events) bool   { return e.Closed }

func TestEachArrivalIsReportedOnce(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	server, client := pair(t)
	w.add(server, 1)
	if before := w.settled(); len(before) > 0 {
		t.Fatalf("got %+v before anything was sent", before)
	}
	for range 3 { // nothing is read meanwhile
		send(t, client)
		if got, want := w.next(), (event{1, readiness.Events{Readable: true}}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if again := w.settled(); len(again) > 0 {
			t.Fatalf("got %+v although nothing else had happened", again)
		}
	}
}

func TestWhatCameBeforeAddIsReported(t *testing.T) {
	t.Parallel()
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		w := newWatched(t)
		server, client := pair(t)
		send(t, client)
		w.add(server, 1)
		w.await(1, readable)
	})
	t.Run("end", func(t *testing.T) {
		t.Parallel()
		w := newWatched(t)
		server, client := pair(t)
		client.Close()
		w.add(server, 1)
		w.await(1, closed)
	})
}

func TestPeerThatClosesIsReported(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(client *net.TCPConn){
		"close":      func(client *net.TCPConn) { client.Close() },
		"half_close": func(client *net.TCPConn) { client.CloseWrite() },
		"reset":      func(client *net.TCPConn) { client.SetLinger(0); client.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatched(t)
			server, client := pair(t)
			w.add(server, 1)
			send(t, client)
			if e := w.await(1, readable); e.Closed {
				t.Fatalf("got %+v before the peer had closed", e)
			}
			end(client)
			if e := w.await(1, closed); !e.Readable {
				t.Errorf("got %+v, want an end that can be read", e)
			}
		})
	}
}

func TestWritableIsReportedOnceTheSocketIsDrained(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	server, client := pair(t)
	w.add(server, 1)
	total := fill(t, server)
	if e := w.settled(); len(e) > 0 {
		t.Fatalf("got %+v without WatchWrites", e)
	}
	w.watchWrites(server, 1)
	for range 3 { // WatchWrites is not called again
		for len(w.settled()) > 0 { // the kernel still moves bytes to the peer, which makes room
			total += fill(t, server)
		}
		if _, err := io.CopyN(io.Discard, client, total); err != nil {
			t.Fatal(err)
		}
		if e := w.await(1, writable); e.Readable || e.Closed {
			t.Fatalf("got %+v, want Writable only", e)
		}
		total = fill(t, server)
	}
}

func TestWatchWritesReportsRoomAtOnce(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	server, client := pair(t)
	w.add(server, 1)
	if before := w.settled(); len(before) > 0 {
		t.Fatalf("got %+v before WatchWrites", before)
	}
	for range 2 {
		w.watchWrites(server, 2)
		if got, want := w.next(), (event{2, readiness.Events{Writable: true}}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	send(t, client)
	w.await(2, readable)
	client.Close()
	w.await(2, closed)
}

func TestTokensKeepAllBits(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	for _, token := range []uint64{0, 1, 1 << 31, 1 << 32, 1 << 63, 0xfedcba9876543210, 0x7fffffff80000001} {
		server, client := pair(t)
		w.add(server, token)
		send(t, client)
		w.await(token, readable)
	}
}

func TestThousandsOfConnections(t *testing.T) {
	t.Parallel()
	const n = 2000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*n {
		t.Skipf("needs %d descriptors, has %d: %v", 3*n, limit.Cur, err)
	}
	w := newWatched(t)
	l := listen(t)
	clients := make([]*net.TCPConn, n)
	for i := range clients {
		clients[i] = dial(t, l)
		w.add(accept(t, l), uint64(i))
	}
	// all awaits an event of each connection, and returns how many others came.
	all := func(ok func(readiness.Events) bool) (more int) {
		t.Helper()
		missing := n
		for seen := make([]bool, n); missing > 0; {
			if e := w.next(); ok(e.Events) && !seen[e.token] {
				seen[e.token] = true
				missing--
			} else {
				more++
			}
		}
		return more + len(w.settled())
	}
	for _, client := range clients {
		send(t, client)
	}
	if more := all(readable); more > 0 {
		t.Errorf("%d more events than bytes", more)
	}
	for _, client := range clients {
		client.CloseWrite()
	}
	// The kernel wakes a poller twice for one end: for the new state, and for what can be read. Mostly
	// both are seen as one event, but nothing makes it so.
	if more := all(closed); more > n {
		t.Errorf("%d more events than ends", more)
	}
}

func TestErrorsOfAddAndWatchWrites(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	server, _ := pair(t)
	conn := fdOf(t, server)
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	regular := int(file.Fd())
	check := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	check("WatchWrites before Add", w.WatchWrites(conn, 1), syscall.ENOENT)
	check("Add", w.Add(conn, 1), nil)
	check("Add again", w.Add(conn, 1), syscall.EEXIST)
	check("Add of a regular file", w.Add(regular, 1), syscall.EPERM)
	check("Add of no descriptor", w.Add(-1, 1), syscall.EBADF)
	check("Close", w.Close(), nil)
	check("Close again", w.Close(), nil)
	server, _ = pair(t)
	check("Add to a closed set", w.Add(fdOf(t, server), 1), os.ErrClosed)
	check("WatchWrites of a closed set", w.WatchWrites(fdOf(t, server), 1), os.ErrClosed)
}

// A batch of events has one of a connection that is closed before it is delivered, and whose
// descriptor another connection has by then. Not parallel, so that no other test takes the
// descriptor.
func TestTokenTellsConnectionsWithOneDescriptorApart(t *testing.T) {
	const gate, trigger, first, second, spares = 1, 2, 3, 4, 8
	l := listen(t)
	open := func() (server, client *net.TCPConn) {
		client = dial(t, l)
		return accept(t, l), client
	}
	gateServer, gateClient := open()
	triggerServer, triggerClient := open()
	firstServer, firstClient := open()
	descriptor := fdOf(t, firstServer)
	clients := map[string]*net.TCPConn{} // by address; their servers are accepted later
	for range spares {
		client := dial(t, l)
		clients[client.LocalAddr().String()] = client
	}

	entered, release := make(chan struct{}), make(chan struct{})
	events := make(chan event, 100)
	var secondServer *net.TCPConn
	var set *readiness.Set
	set, err := readiness.New(func(token uint64, e readiness.Events) {
		switch token {
		case gate:
			close(entered)
			<-release
		case trigger:
			firstServer.Close()
			for range spares { // the kernel takes the lowest number that is free
				conn := accept(t, l)
				if fdOf(t, conn) == descriptor {
					secondServer = conn
					break
				}
			}
			if secondServer != nil {
				if err := set.Add(fdOf(t, secondServer), second); err != nil {
					t.Error(err)
				}
			}
		}
		events <- event{token, e}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	w := &watched{T: t, Set: set, events: events}
	w.add(gateServer, gate)
	w.add(triggerServer, trigger)
	w.add(firstServer, first)

	send(t, gateClient)
	<-entered
	send(t, triggerClient) // these two make the next batch
	awaitBytes(t, triggerServer)
	send(t, firstClient)
	awaitBytes(t, firstServer)
	close(release)
	w.await(gate, readable)
	w.await(trigger, readable)
	if secondServer == nil {
		t.Fatalf("no connection got the descriptor %d", descriptor)
	}
	w.await(first, readable) // delivered when the descriptor was already that of the second connection
	send(t, clients[secondServer.RemoteAddr().String()])
	w.await(second, readable)
}

// awaitBytes returns when the socket has bytes to read, and leaves them there.
func awaitBytes(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	err := raw(t, conn).Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return n > 0 || !errors.Is(err, syscall.EAGAIN)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestClosedConnectionLeavesTheSet(t *testing.T) {
	t.Parallel()
	w := newWatched(t)
	server, client := pair(t)
	w.add(server, 1)
	server.Close()
	client.Write([]byte("x"))
	if got := w.settled(); len(got) > 0 {
		t.Errorf("got %+v of a closed connection", got)
	}
}

// Not parallel, so that there is one set.
func TestIdleSetDoesNothingAndHoldsNoThread(t *testing.T) {
	const n = 20
	w := newWatched(t)
	clients := make([]*net.TCPConn, n)
	for i := range clients { // with all that would keep a level-triggered set busy
		var server *net.TCPConn
		server, clients[i] = pair(t)
		w.add(server, uint64(i))
		w.watchWrites(server, uint64(i))
		send(t, clients[i])
		clients[i].CloseWrite()
	}
	for seen := make(map[uint64]bool); len(seen) < n; {
		if e := w.next(); e.Closed {
			seen[e.token] = true
		}
	}
	w.settled()
	for !waitsInPoller(t) {
		runtime.Gosched()
	}
	before := w.Waits()
	time.Sleep(200 * time.Millisecond) // the time that is measured
	if after := w.Waits(); after != before {
		t.Errorf("the idle set asked for events %d times", after-before)
	}
	const rounds = 100
	for range rounds {
		if got := w.settled(); len(got) > 0 {
			t.Fatalf("got %+v of idle connections", got)
		}
	}
	if waits, most := w.Waits()-before, uint64(3*rounds); waits > most {
		t.Errorf("asked for events %d times, want at most %d for %d events", waits, most, rounds)
	}
}

var setGoroutine = regexp.MustCompile(`(?m)^goroutine \d+ \[([^\]]*)\]:\n(?:.+\n)*?.*readiness\.\(\*Set\)\.run\(`)

// waitsInPoller reports whether the goroutine of the only set waits without a thread. That of another set
// may still be there for a moment after Close has returned.
func waitsInPoller(t *testing.T) bool {
	t.Helper()
	dump := make([]byte, 1<<20)
	found := setGoroutine.FindAllSubmatch(dump[:runtime.Stack(dump, true)], -1)
	if len(found) == 0 {
		t.Fatal("found no goroutine of a set")
	}
	return len(found) == 1 && string(found[0][1]) == "IO wait"
}

func TestCloseWaitsForNotify(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var finished atomic.Bool
	set, err := readiness.New(func(uint64, readiness.Events) {
		close(entered)
		<-release
		finished.Store(true)
	})
	if err != nil {
		t.Fatal(err)
	}
	server, client := pair(t)
	if err := set.Add(fdOf(t, server), 1); err != nil {
		t.Fatal(err)
	}
	send(t, client)
	<-entered
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() {
			if err := set.Close(); err != nil {
				t.Error(err)
			}
			if !finished.Load() {
				t.Error("Close returned while notify was running")
			}
		})
	}
	for !errors.Is(set.WatchWrites(fdOf(t, server), 1), os.ErrClosed) { // until Close has begun
		runtime.Gosched()
	}
	close(release)
	closing.Wait()
	send(t, server) // the connection is still open
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestCallsMayOverlapWithEventsAndClose(t *testing.T) {
	t.Parallel()
	const goroutines, conns = 4, 20
	for range 10 {
		var over atomic.Bool // Close has returned
		delivered := make(chan struct{}, 1)
		set, err := readiness.New(func(uint64, readiness.Events) {
			if over.Load() {
				t.Error("notify was called after Close")
			}
			select {
			case delivered <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		for range goroutines {
			calls.Go(func() {
				for i := range uint64(conns) {
					server, client := pair(t)
					send(t, client)
					err := set.Add(fdOf(t, server), i)
					if err == nil {
						err = set.WatchWrites(fdOf(t, server), i)
					}
					if err != nil && !errors.Is(err, os.ErrClosed) {
						t.Error(err)
					}
					if i%2 == 0 {
						server.Close()
					}
				}
			})
		}
		<-delivered
		if err := set.Close(); err != nil {
			t.Error(err)
		}
		over.Store(true)
		calls.Wait()
	}
}
