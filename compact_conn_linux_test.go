package ginsse_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse"
)

// Tests of compact streams on connections that an application has wrapped.

// wrapped is what a wrapper of a connection has seen.
type wrapped struct {
	mu            sync.Mutex
	read, written bytes.Buffer
	closed        int
}

// scramble is what a wrapper does with each byte, in both directions. A byte that went past the
// wrapper makes no sense to the client.
const scramble = 0x55

func scrambled(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= scramble
	}
	return b
}

func (w *wrapped) onWrite(conn net.Conn, b []byte) (int, error) {
	w.mu.Lock()
	w.written.Write(b)
	w.mu.Unlock()
	return conn.Write(scrambled(b))
}

func (w *wrapped) onRead(conn net.Conn, b []byte) (int, error) {
	n, err := conn.Read(b)
	copy(b, scrambled(b[:n]))
	w.mu.Lock()
	w.read.Write(b[:n])
	w.mu.Unlock()
	return n, err
}

func (w *wrapped) onClose(conn net.Conn) error {
	w.mu.Lock()
	w.closed++
	w.mu.Unlock()
	return conn.Close()
}

func (w *wrapped) seen() (read, written string, closed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read.String(), w.written.String(), w.closed
}

// pointerConn embeds the connection of a socket, so it has all its methods.
type pointerConn struct {
	*net.TCPConn
	w *wrapped
}

func (c *pointerConn) Write(b []byte) (int, error) { return c.w.onWrite(c.TCPConn, b) }
func (c *pointerConn) Read(b []byte) (int, error)  { return c.w.onRead(c.TCPConn, b) }
func (c *pointerConn) Close() error                { return c.w.onClose(c.TCPConn) }

// uncomparableConn cannot be compared, nor be the key of a map.
type uncomparableConn struct {
	*net.TCPConn
	w []*wrapped
}

func (c uncomparableConn) Write(b []byte) (int, error) { return c.w[0].onWrite(c.TCPConn, b) }
func (c uncomparableConn) Read(b []byte) (int, error)  { return c.w[0].onRead(c.TCPConn, b) }
func (c uncomparableConn) Close() error                { return c.w[0].onClose(c.TCPConn) }

// hiddenConn has the methods of a net.Conn alone, and so shows no descriptor.
type hiddenConn struct {
	net.Conn
	w *wrapped
}

func (c *hiddenConn) Write(b []byte) (int, error) { return c.w.onWrite(c.Conn, b) }
func (c *hiddenConn) Read(b []byte) (int, error)  { return c.w.onRead(c.Conn, b) }
func (c *hiddenConn) Close() error                { return c.w.onClose(c.Conn) }

// wrappers are the wrappers by name.
var wrappers = map[string]func(net.Conn, *wrapped) net.Conn{
	"embedding":    func(conn net.Conn, w *wrapped) net.Conn { return &pointerConn{conn.(*net.TCPConn), w} },
	"uncomparable": func(conn net.Conn, w *wrapped) net.Conn { return uncomparableConn{conn.(*net.TCPConn), []*wrapped{w}} },
	"hidden":       func(conn net.Conn, w *wrapped) net.Conn { return &hiddenConn{conn, w} },
}

// wrappingListener wraps the connections that it accepts.
type wrappingListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l wrappingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(conn), nil
}

// serveWrapped serves an engine on wrapped connections. httptest.Server keeps connections in a map,
// and so cannot.
func serveWrapped(t *testing.T, engine http.Handler, cfg *tls.Config, wrap func(net.Conn) net.Conn) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener = wrappingListener{listener, wrap}
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	serveOn(t, l, engine)
	return listener.Addr().String()
}

// serverTLS returns the settings of a TLS server for tests.
func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.StartTLS()
	defer server.Close()
	return server.TLS.Clone()
}

// openScrambled opens a stream through a wrapper, which scrambles.
func openScrambled(t *testing.T, address string, secure bool, user string) *rawClient {
	t.Helper()
	tcp := dialClient(t, address, nil, false)
	scrambling := &pointerConn{tcp.conn.(*net.TCPConn), new(wrapped)}
	c := &rawClient{t: t, conn: scrambling}
	if secure {
		c.conn = tls.Client(scrambling, &tls.Config{InsecureSkipVerify: true})
	}
	c.r = tcp.r
	c.r.Reset(c.conn)
	c.open(rawRequest{user: user})
	return c
}

func TestCompactStreamsOnWrappedConnections(t *testing.T) {
	t.Parallel()
	for name, wrap := range wrappers {
		for _, secure := range []bool{false, true} {
			t.Run(name+map[bool]string{true: "_tls"}[secure], func(t *testing.T) {
				t.Parallel()
				var cfg ginsse.RegistryConfig
				ends := reportEnds(&cfg)
				registry := newCompactRegistry(t, cfg)
				var serverConfig *tls.Config
				if secure {
					serverConfig = serverTLS(t)
				}
				seen := make(chan *wrapped, 10)
				address := serveWrapped(t, newEngine(t, registry), serverConfig, func(conn net.Conn) net.Conn {
					w := new(wrapped)
					seen <- w
					return wrap(conn, w)
				})

				c := openScrambled(t, address, secure, "alice")
				w := <-seen
				untilCompact(t, registry, 1)
				sent := ""
				for n := range 20 {
					e := ginsse.Event{Type: "n", Data: strings.Repeat("x", n*n*n*10)}
					receipt, err := registry.SendTo(t.Context(), "alice", e)
					if err != nil {
						t.Fatal(err)
					}
					sent += block(t, e, receipt)
				}
				c.write("more bytes of the client")
				if !secure {
					until(t, "reading through the wrapper", func() bool {
						read, _, _ := w.seen()
						return strings.HasSuffix(read, "\r\n\r\nmore bytes of the client")
					})
				}
				for !strings.HasSuffix(c.got.String(), sent) {
					c.next()
				}
				disconnect(t, registry, "alice", "")
				body := c.readEnd()
				wantBody(t, body, sent, closedByDisconnect)
				_ = c.conn.Close()
				wantHookEnd(t, ends, "alice", ginsse.ReasonDisconnected)
				untilCompact(t, registry, 0)
				until(t, "the wrapper's Close", func() bool {
					_, _, closed := w.seen()
					return closed == 1
				})
				if _, written, _ := w.seen(); !secure && !strings.HasSuffix(written, "\r\n0\r\n\r\n") {
					t.Errorf("the wrapper has seen %.300q last", written[max(0, len(written)-300):])
				}

				// The client that leaves is noticed, although nothing is sent to it.
				c = openScrambled(t, address, secure, "bob")
				w = <-seen
				untilCompact(t, registry, 1)
				_ = c.conn.Close()
				wantHookEnd(t, ends, "bob", ginsse.ReasonClientGone)
				until(t, "the wrapper's Close", func() bool {
					_, _, closed := w.seen()
					return closed == 1
				})

				// Close of the registry ends a stream of a client that does nothing.
				c = openScrambled(t, address, secure, "carol")
				untilCompact(t, registry, 1)
				registry.Close()
				untilCompact(t, registry, 0)
				if body := c.readEnd(); !strings.Contains(body, "event: sse.reconnect\n") {
					t.Errorf("the stream was %q", body)
				}
			})
		}
	}
}
