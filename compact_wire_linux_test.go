package ginsse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// Tests of the bytes that a compact stream sends and gets.

// block returns the bytes of an event on the wire.
func block(t testing.TB, e ginsse.Event, receipt ginsse.Receipt) string {
	t.Helper()
	frame, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(frame), "\n") + "id: " + receipt.ID + "\n\n"
}

// wantBody fails unless a body is the block sse.open, what was sent, and the end.
func wantBody(t testing.TB, body, sent, end string) {
	t.Helper()
	_, rest, ok := strings.Cut(body, "event: sse.open\n")
	_, rest, complete := strings.Cut(rest, "\n\n")
	if !ok || !complete {
		t.Fatalf("the stream begins with %.300q", body)
	}
	want := sent + end
	for i := range min(len(rest), len(want)) {
		if rest[i] != want[i] {
			t.Fatalf("byte %d of %d is the first that differs: %.100q, want %.100q", i, len(want), rest[i:], want[i:])
		}
	}
	if len(rest) != len(want) {
		t.Fatalf("%d bytes, want %d", len(rest), len(want))
	}
}

const closedByDisconnect = "event: sse.close\ndata: {\"reason\":\"disconnected\"}\n\n"

func TestCompactStreamOnTheWire(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{})
		server := tr.start(t, newEngine(t, registry), nil)
		c := openRaw(t, server, rawRequest{user: "alice"})
		for _, want := range []string{
			"HTTP/1.1 200 OK\r\n", "\r\nConnection: close\r\n", "\r\nTransfer-Encoding: chunked\r\n", "\r\nContent-Type: text/event-stream\r\n",
		} {
			if strings.Count(c.response, want) != 1 {
				t.Errorf("%q is missing in the headers %q", want, c.response)
			}
		}
		if strings.Contains(c.response, "Content-Length") {
			t.Errorf("the headers %q name a length", c.response)
		}
		untilCompact(t, registry, 1)
		sent := ""
		for n := range 100 {
			e := ginsse.Event{Type: "n", Data: strings.Repeat("x", n)}
			receipt, err := registry.SendTo(t.Context(), "alice", e)
			if err != nil {
				t.Fatal(err)
			}
			if sent += block(t, e, receipt); n%3 == 0 {
				c.readUntil(receipt.ID)
			}
		}
		disconnect(t, registry, "alice", "")
		wantBody(t, c.readEnd(), sent, closedByDisconnect)
	})
}

// The systems of server and client buffer little, and the client reads little at a time. So writes
// end at any byte, and go on there.
func TestCompactStreamIsExactForASlowReader(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{
			MaxEventBytes: 2 << 20,
			Log:           newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: 1 << 30, EventsPerSubject: 1 << 20}),
		})
		server := tr.start(t, newEngine(t, registry), func(s *http.Server) { s.ConnContext = smallSendBuffer })
		c := openRaw(t, server, rawRequest{user: "alice", small: true})
		untilCompact(t, registry, 1)
		c.r.Reset(slowReader{c.conn})
		sizes := []int{1 << 20, 1, 1<<20 + 7, 0, 64 << 10, 32 << 10, 16 << 10, 4 << 10, 1 << 20}
		for range 300 {
			sizes = append(sizes, rand.IntN(1+rand.IntN(20_000)))
		}
		sent, last := "", ""
		for n, size := range sizes {
			e := ginsse.Event{Type: fmt.Sprint(n), Data: strings.Repeat(string(rune('a'+n%26)), size)}
			receipt, err := registry.SendTo(t.Context(), "alice", e)
			if err != nil {
				t.Fatal(err)
			}
			sent += block(t, e, receipt)
			last = receipt.ID
		}
		until(t, "events that wait for the slow reader", func() bool { return registry.Streams("alice")[0].Stats().Lag > 0 })
		for !bytes.HasSuffix(c.got.Bytes(), []byte(last+"\n\n")) {
			if !c.next() {
				t.Fatal("the stream ended")
			}
		}
		disconnect(t, registry, "alice", "")
		wantBody(t, c.readEnd(), sent, closedByDisconnect)
	})
}

// slowReader returns little at a time, and takes its time.
type slowReader struct{ io.Reader }

func (s slowReader) Read(b []byte) (int, error) {
	if rand.IntN(8) == 0 {
		pass(time.Duration(rand.IntN(2000)) * time.Microsecond)
	}
	return s.Reader.Read(b[:min(len(b), 1+rand.IntN(8<<10))])
}

func TestBytesAfterTheRequestAreDiscarded(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	onCompactTransports(t, func(t *testing.T, tr transport) {
		var cfg ginsse.RegistryConfig
		ends := reportEnds(&cfg)
		registry := newCompactRegistry(t, cfg)
		server := tr.start(t, newEngine(t, registry), nil)
		c := openRaw(t, server, rawRequest{user: "alice"})
		untilCompact(t, registry, 1)
		stream := registry.Streams("alice")[0]
		c.write("GET /events HTTP/1.1\r\nHost: test\r\nX-User: bob\r\n\r\n") // no request is served after a stream
		c.write(strings.Repeat("x", 1000))
		send(t, registry, "alice", 1)
		c.readUntil("event: n\ndata: 1\n")
		c.write(strings.Repeat("x", limit-1000-100))
		until(t, "the server's reading", func() bool { return serverSockets(t, server)[0].received == 0 })
		send(t, registry, "alice", 2)
		c.readUntil("event: n\ndata: 2\n")
		if got := registry.Stats(); stream.Err() != nil || got.Compact != 1 || got.Opened != 1 {
			t.Fatalf("%v, %+v", stream.Err(), got)
		}
		_, _ = io.WriteString(c.conn, strings.Repeat("x", 200)) // more than the limit
		wantHookEnd(t, ends, "alice", ginsse.ReasonClientGone)
		if err := stream.Err(); tr.name == "http1" && !strings.Contains(err.Error(), "after its request") {
			t.Errorf("the stream ended with %v", err)
		}
		untilCompact(t, registry, 0)
	})
}

// No heartbeat and no event shows that the client is gone.
func TestClientThatClosesIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(conn net.Conn) error{
		"close": func(conn net.Conn) error { return conn.Close() },
		"half_close": func(conn net.Conn) error {
			return conn.(interface{ CloseWrite() error }).CloseWrite()
		},
		"reset": func(conn net.Conn) error {
			tcp := tcpOf(conn)
			_ = tcp.SetLinger(0)
			return tcp.Close()
		},
		"half_close_of_tcp": func(conn net.Conn) error { return tcpOf(conn).CloseWrite() },
		"bytes_and_close": func(conn net.Conn) error {
			_, _ = io.WriteString(conn, "x")
			return conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onCompactTransports(t, func(t *testing.T, tr transport) {
				var cfg ginsse.RegistryConfig
				ends := reportEnds(&cfg)
				registry := newCompactRegistry(t, cfg)
				server := tr.start(t, newEngine(t, registry), nil)
				for range 10 {
					c := openRaw(t, server, rawRequest{user: "alice"})
					if rand.IntN(2) == 0 { // or it leaves while the connection is taken over
						untilCompact(t, registry, 1)
					}
					if err := leave(c.conn); err != nil {
						t.Fatal(err)
					}
					wantHookEnd(t, ends, "alice", ginsse.ReasonClientGone)
					untilCompact(t, registry, 0)
				}
			})
		})
	}
}

// Closing a connection with unread data resets it, and the client loses what it has not read yet.
func TestBytesOfTheClientDoNotCostItTheEnd(t *testing.T) {
	t.Parallel()
	onCompactTransports(t, func(t *testing.T, tr transport) {
		registry := newCompactRegistry(t, ginsse.RegistryConfig{})
		server := tr.start(t, newEngine(t, registry), nil)
		const clients = 30
		var opened []*rawClient
		for n := range clients {
			opened = append(opened, openRaw(t, server, rawRequest{user: fmt.Sprint("user", n)}))
		}
		untilCompact(t, registry, clients)
		sent := make(map[*rawClient]string)
		for n, c := range opened { // one at a time: the server reads for 0.5 s
			user := fmt.Sprint("user", n)
			e := ginsse.Event{Type: "n", Data: strings.Repeat("x", 20_000)}
			receipt, err := registry.SendTo(t.Context(), user, e)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			ended := make(chan error, 1)
			go func() {
				_, err := registry.Disconnect(t.Context(), user, "")
				ended <- err
			}()
			for range 5 {
				_, writeErr := io.WriteString(c.conn, strings.Repeat("y", 1000))
				err = errors.Join(err, writeErr)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			switch slow := time.Since(begun) > 200*time.Millisecond; {
			case slow: // the bytes may have come too late
			case err != nil:
				t.Error(err)
			default:
				sent[c] = block(t, e, receipt)
			}
		}
		if len(sent) == 0 {
			t.Skip("the machine is too slow")
		}
		untilCompact(t, registry, 0) // the clients have not read yet, and the server has closed
		for c, text := range sent {
			wantBody(t, c.readEnd(), text, closedByDisconnect)
		}
	})
}
