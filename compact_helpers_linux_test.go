package ginsse_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// compactTransports are the transports whose streams can be compact.
var compactTransports = transports[:2]

// onCompactTransports runs a test once for each transport whose streams can be compact.
func onCompactTransports(t *testing.T, test func(t *testing.T, tr transport)) {
	t.Helper()
	for _, tr := range compactTransports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			test(t, tr)
		})
	}
}

// newCompactRegistry is newRegistry with compact streams.
func newCompactRegistry(t testing.TB, cfg ginsse.RegistryConfig) *ginsse.Registry {
	t.Helper()
	cfg.Stream.Compact = true
	return newRegistry(t, cfg)
}

// untilCompact waits until the registry has a number of compact streams.
func untilCompact(t testing.TB, registry *ginsse.Registry, n int) {
	t.Helper()
	until(t, strconv.Itoa(n)+" compact streams", func() bool { return registry.Stats().Compact == n })
}

// rawClient is a client of one stream that sees each byte of its connection.
type rawClient struct {
	t        testing.TB
	conn     net.Conn
	r        *bufio.Reader
	response string // status line and headers
	got      bytes.Buffer
	plain    bool // the body is not chunked
}

// rawRequest is what a rawClient requests.
type rawRequest struct {
	user  string
	lines string // of the header, each with CRLF
	small bool   // the client's system buffers little
}

// openRaw opens a stream of a server, and reads up to the block sse.open.
func openRaw(t testing.TB, s *httptest.Server, request rawRequest) *rawClient {
	t.Helper()
	var cfg *tls.Config
	if s.TLS != nil {
		cfg = &tls.Config{InsecureSkipVerify: true}
	}
	return openRawAt(t, s.Listener.Addr().String(), cfg, request)
}

func openRawAt(t testing.TB, address string, cfg *tls.Config, request rawRequest) *rawClient {
	t.Helper()
	c := dialClient(t, address, cfg, request.small)
	c.open(request)
	return c
}

// open opens the stream, and reads up to the block sse.open.
func (c *rawClient) open(request rawRequest) {
	c.t.Helper()
	c.write("GET /events HTTP/1.1\r\nHost: test\r\nX-User: " + request.user + "\r\n" + request.lines + "\r\n")
	c.readHeader()
	c.readUntil("event: sse.open")
}

func dialClient(t testing.TB, address string, cfg *tls.Config, small bool) *rawClient {
	t.Helper()
	var dialer net.Dialer
	if small {
		dialer.Control = smallReceiveBuffer
	}
	network := "tcp"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	conn, err := dialer.DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute)) // so that no failure hangs
	if cfg != nil {
		conn = tls.Client(conn, cfg)
	}
	return &rawClient{t: t, conn: conn, r: bufio.NewReader(conn)}
}

func (c *rawClient) write(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// readHeader reads the status line and the headers.
func (c *rawClient) readHeader() {
	c.t.Helper()
	for !strings.HasSuffix(c.response, "\r\n\r\n") {
		line, err := c.r.ReadString('\n')
		if c.response += line; err != nil {
			c.t.Fatalf("after the headers %q: %v", c.response, err)
		}
	}
}

// next reads one chunk of the chunked coding. It checks each byte of the framing, and reports false
// for the last chunk.
func (c *rawClient) next() bool {
	c.t.Helper()
	if c.plain {
		var b [4096]byte
		n, err := c.r.Read(b[:])
		c.got.Write(b[:n])
		return err == nil
	}
	ok, err := c.tryNext()
	if err != nil {
		c.t.Fatalf("after %d bytes of the body, of which %.300q are the last: %v", c.got.Len(), c.tail(), err)
	}
	return ok
}

func (c *rawClient) tail() string { return c.got.String()[max(0, c.got.Len()-300):] }

func (c *rawClient) tryNext() (bool, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return false, err
	}
	size, err := strconv.ParseUint(strings.TrimSuffix(line, "\r\n"), 16, 31)
	if err != nil || !strings.HasSuffix(line, "\r\n") || line[0] == '0' && line != "0\r\n" {
		return false, errors.New("not a chunk size: " + strconv.Quote(line))
	}
	if _, err := io.CopyN(&c.got, c.r, int64(size)); err != nil {
		return false, err
	}
	var end [2]byte
	if _, err := io.ReadFull(c.r, end[:]); err != nil {
		return false, err
	}
	if string(end[:]) != "\r\n" {
		return false, errors.New("a chunk is followed by " + strconv.Quote(string(end[:])))
	}
	return size > 0, nil
}

// readUntil reads until the body contains a text and the end of the block that it is in.
func (c *rawClient) readUntil(text string) {
	c.t.Helper()
	for {
		if i := strings.Index(c.got.String(), text); i >= 0 && strings.Contains(c.got.String()[i+len(text)-1:], "\n\n") {
			return
		}
		if !c.next() {
			c.t.Fatalf("the stream ended before %q: %.1000q", text, c.tail())
		}
	}
}

// readEnd reads until the end of the stream, and returns its whole body. The connection must end
// right after the last chunk.
func (c *rawClient) readEnd() string {
	c.t.Helper()
	for c.next() {
	}
	if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("after the last chunk: %q, %v", b, err)
	}
	return c.got.String()
}

// serverSocket is a socket of a connection at its server.
type serverSocket struct {
	received int  // bytes that the process has not read yet
	open     bool // the process has a descriptor of it
}

// serverSockets returns the sockets that the system has for the connections of a server.
func serverSockets(t testing.TB, s *httptest.Server) (sockets []serverSocket) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const listening = "0A"
	port := fmt.Sprintf(":%04X", s.Listener.Addr().(*net.TCPAddr).Port)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // local address, remote address, state, queues; at 9 the inode
		if len(f) < 10 || !strings.HasSuffix(f[1], port) || f[3] == listening {
			continue
		}
		_, queue, _ := strings.Cut(f[4], ":")
		received, err := strconv.ParseUint(queue, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, serverSocket{received: int(received), open: f[9] != "0"})
	}
	return sockets
}

// openSockets returns how many connections of a server are not closed.
func openSockets(t testing.TB, s *httptest.Server) (n int) {
	t.Helper()
	for _, socket := range serverSockets(t, s) {
		if socket.open {
			n++
		}
	}
	return n
}

func tcpOf(conn net.Conn) *net.TCPConn {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	return conn.(*net.TCPConn)
}

// goroutinesIn returns how many goroutines have a function with this text in their stack.
func goroutinesIn(function string) (n int) {
	stacks := make([]byte, 8<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		if bytes.Contains(stack, []byte(function)) {
			n++
		}
	}
	return n
}

// ended is a call of DisconnectFunc.
type ended struct {
	user   string
	reason ginsse.Reason
}

// reportEnds has the ends of a registry's streams reported.
func reportEnds(cfg *ginsse.RegistryConfig) <-chan ended {
	ends := make(chan ended, 4096)
	cfg.DisconnectFunc = func(s *ginsse.Stream, reason ginsse.Reason) { ends <- ended{s.UserID(), reason} }
	return ends
}

// wantHookEnd fails unless the next stream that ends is that of a user, with a reason.
func wantHookEnd(t testing.TB, ends <-chan ended, user string, reason ginsse.Reason) {
	t.Helper()
	if got, want := within(t, "the end of a stream", ends), (ended{user, reason}); got != want {
		t.Errorf("the stream ended as %+v, want %+v", got, want)
	}
}

// engineWith is newEngine with middleware, for all methods.
func engineWith(t testing.TB, registry *ginsse.Registry, middleware ...gin.HandlerFunc) *gin.Engine {
	t.Helper()
	r := gin.New()
	r.Use(middleware...)
	r.Any("/events", ginsse.Middleware(headerAuth(t)), func(c *gin.Context) { _ = registry.Serve(c) })
	return r
}

// serveOn has a server of net/http serve the connections of a listener.
func serveOn(t testing.TB, listener net.Listener, handler http.Handler) {
	t.Helper()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// fill sends a user large events until its streams are blocked: they are in a write and read nothing for
// a while. Streams that have ended do not count.
func fill(t testing.TB, registry *ginsse.Registry, user string) {
	t.Helper()
	data := strings.Repeat("x", 32<<10)
	streams := registry.Streams(user)
	for still := 0; still < 20; still++ {
		if _, err := registry.SendTo(t.Context(), user, ginsse.Event{Type: "n", Data: data}); err != nil {
			t.Fatal(err)
		}
		pass(3 * time.Millisecond)
		if slices.ContainsFunc(streams, func(s *ginsse.Stream) bool { return s.Err() == nil && (s.Unread() == 0 || !s.Stats().Writing) }) {
			still = 0
		}
	}
}

// ownProcess is set in the process of a test that has one of its own.
const ownProcess = "GINSSE_TEST_OWN_PROCESS"

// inOwnProcess runs a test in another process, as it may harm or end it.
func inOwnProcess(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(ownProcess) != "" {
		test(t)
		return
	}
	output, err := thisTest(t, ownProcess).CombinedOutput()
	if err != nil || !bytes.Contains(output, []byte("--- PASS: "+t.Name()+" ")) {
		t.Errorf("in a process of its own: %v\n%.5000s", err, output)
	}
}

// thisTest returns a command that runs the calling test in another process, with a variable that is set.
func thisTest(t *testing.T, variable string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), variable+"=yes")
	return cmd
}
