package ginsse_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

// These tests use a slow link, or a client that takes nothing, with real back-pressure: small
// buffers, and no more read than was passed on. They use real time, because the kernel does.

func TestSlowLinks(t *testing.T) {
	t.Parallel()
	run, wait := allAtOnce(t)
	defer wait()
	run("event_arrives", eventArrivesOverASlowLink)
	run("stalled_client_ends_at_the_write_timeout", stalledClientEndsAtTheWriteTimeout)
	run("stalled_stream_ends_beside_others", stalledStreamEndsBesideOthersOnItsConnection)
	run("slow_reader_of_http2_keeps_its_stream", slowReaderOfAnHTTP2StreamKeepsIt)
	run("steady_reader_keeps_its_stream_behind_a_backlog", steadyReaderKeepsItsStreamBehindALargeBacklog)
}

// slowLink is a TCP proxy that passes on what a server sends at a given rate.
type slowLink struct {
	address string
	rate    atomic.Int64 // bytes/s from the server to the client; 0 passes on nothing
	passed  atomic.Int64 // bytes passed on so far
}

// newSlowLink returns a slow link to the server at an address.
func newSlowLink(t *testing.T, to string, rate int64) *slowLink {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &slowLink{address: listener.Addr().String()}
	l.rate.Store(rate)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.relay(ctx, conn, to) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		wg.Wait()
	})
	return l
}

func (l *slowLink) relay(ctx context.Context, client net.Conn, to string) {
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := (&net.Dialer{Control: smallReceiveBuffer}).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})()
	go func() {
		defer cancel()
		_, _ = io.Copy(server, client)
	}()
	const turns = 20 // a second
	turn := time.NewTicker(time.Second / turns)
	defer turn.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		n, err := io.CopyN(client, server, l.rate.Load()/turns)
		l.passed.Add(n)
		if err != nil {
			return
		}
	}
}

// smallReceiveBuffer makes the kernel buffer little for a connection that is not read. It must run
// before the connection is opened, because an offered window is not taken back.
func smallReceiveBuffer(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
	})
}

// smallSendBuffer is a ConnContext that makes the kernel buffer little from the server.
func smallSendBuffer(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	_ = conn.(*net.TCPConn).SetWriteBuffer(8 << 10)
	return ctx
}

// client returns a client of s that connects over the link.
func (l *slowLink) client(t *testing.T, s *httptest.Server) *http.Client {
	t.Helper()
	transport := s.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, l.address)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// listenToo makes a server listen at another address, and returns the address.
func listenToo(t *testing.T, s *httptest.Server, network, address string) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	to := listener.Addr().String()
	if s.TLS != nil {
		listener = tls.NewListener(listener, s.TLS)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Config.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-served
	})
	return to
}

// allAtOnce runs subtests in parallel, because they wait for their links and not for the processor.
func allAtOnce(t *testing.T) (run func(name string, test func(t *testing.T)), wait func()) {
	t.Helper()
	var wg sync.WaitGroup
	return func(name string, test func(t *testing.T)) {
		wg.Go(func() { t.Run(name, test) })
	}, wg.Wait
}

// The kernel accepts nothing from the server for much longer than the write timeout. The client
// takes some bytes all the time.
func eventArrivesOverASlowLink(t *testing.T) {
	t.Helper()
	const (
		timeout = 4 * time.Second
		size    = 64_000
		rate    = 4000 // 32 kbit/s: 16 s for the event
	)
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range transports {
		for _, at := range []struct{ name, network, listen, to string }{
			{"ipv4", "tcp4", "127.0.0.1", "127.0.0.1"},
			{"ipv6", "tcp6", "::1", "::1"},
			{"ipv4_on_dual_stack", "tcp", "::", "127.0.0.1"},
		} {
			for _, prepared := range []bool{false, true} {
				if prepared && at.name != "ipv4" {
					continue
				}
				name := tr.name + "/" + at.name
				if prepared {
					name += "_with_conn_context"
				}
				run(name, func(t *testing.T) {
					ended := make(chan error, 1)
					server := tr.start(t, serveAt(func(c *gin.Context) {
						ended <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout, HeartbeatInterval: -1}, func(ctx context.Context, s *ginsse.Stream) error {
							return s.Send(ctx, ginsse.Event{Data: strings.Repeat("x", size)})
						})
					}), func(s *http.Server) {
						s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
							if prepared {
								ctx = ginsse.ConnContext(ctx, conn)
							}
							return smallSendBuffer(ctx, conn)
						}
					})
					_, port, _ := net.SplitHostPort(listenToo(t, server, at.network, net.JoinHostPort(at.listen, "0")))
					link := newSlowLink(t, net.JoinHostPort(at.to, port), rate)
					start := time.Now()
					got := exchange(t, link.client(t, server), http.MethodGet, server.URL, nil, nil)
					took := time.Since(start)
					switch whole := strings.Contains(got.text, strings.Repeat("x", size)); {
					case !whole:
						t.Errorf("got %d bytes in %v", len(got.text), took)
					case took < 3*timeout:
						t.Errorf("it took %v: the link is not slow", took)
					}
					if err := within(t, "the stream", ended); err != nil {
						t.Errorf("the stream ended with %v", err)
					}
				})
			}
		}
	}
}

// If a client takes nothing, its stream ends at the write timeout, on each transport. The timeout
// is the same for a client that took part of the event before.
func stalledClientEndsAtTheWriteTimeout(t *testing.T) {
	t.Helper()
	const timeout = 2 * time.Second
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range transports {
		for _, prepared := range []bool{false, true} {
			for _, rate := range []int64{0, 32_000} { // before it stalls
				run(fmt.Sprintf("%s/conn_context_%v/after_%d_bytes_a_second", tr.name, prepared, rate), func(t *testing.T) {
					ended := make(chan stall, 1)
					server := tr.start(t, serveAt(func(c *gin.Context) { ended <- sendUntilEnd(c, timeout) }), func(s *http.Server) {
						s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
							if prepared {
								ctx = ginsse.ConnContext(ctx, conn)
							}
							return smallSendBuffer(ctx, conn)
						}
					})
					link := newSlowLink(t, server.Listener.Addr().String(), 32_000)
					openAndIgnore(t, link.client(t, server), server.URL)
					for start := time.Now(); rate > 0 && time.Since(start) < timeout; {
						pass(timeout / 8)
					}
					link.rate.Store(0)
					within(t, "the stream", ended).want(t, timeout)
				})
			}
		}
	}
}

// stall is what the handler of a stalled client has observed.
type stall struct {
	reason error
	lasted time.Duration // duration of the write that was made to fail
}

// want fails the test unless the stream ended as slow, and the write at its timeout.
func (s stall) want(t *testing.T, timeout time.Duration) {
	t.Helper()
	t.Logf("the write was ended after %v", s.lasted)
	if !errors.Is(s.reason, ginsse.ReasonSlow) {
		t.Errorf("the stream ended with %v", s.reason)
	}
	// Up to a quarter of the timeout may pass between checks, as the watchdog's own tests show. The
	// rest is for a busy machine, on which the event may also be sent a while after the one that waits.
	if s.lasted < timeout/2 || s.lasted > timeout*8 {
		t.Errorf("the stalled write was ended after %v, with a timeout of %v", s.lasted, timeout)
	}
}

// sendUntilEnd serves a stream with events of one write each, until a write fails.
func sendUntilEnd(c *gin.Context, timeout time.Duration) stall {
	var lasted time.Duration
	err := ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout, HeartbeatInterval: -1}, func(ctx context.Context, s *ginsse.Stream) error {
		for data := strings.Repeat("x", 2000); ; {
			start := time.Now()
			if err := sendSingly(ctx, s, ginsse.Event{Data: data}); err != nil {
				lasted = time.Since(start)
				return err
			}
		}
	})
	return stall{err, lasted}
}

// openAndIgnore opens a stream and reads only the header of the response.
func openAndIgnore(t *testing.T, client *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
}

// An HTTP/2 client may stall one stream and read others. The stalled stream ends at its write
// timeout, however many bytes pass on the connection, and the others are not affected.
func stalledStreamEndsBesideOthersOnItsConnection(t *testing.T) {
	t.Helper()
	const timeout = 2 * time.Second
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range transports[2:] {
		for _, sibling := range []struct {
			name  string
			data  int // bytes in each event
			every time.Duration
		}{
			{"none", 0, 0},
			{"fast", 60_000, 5 * time.Millisecond},
			{"small_events", 10, 20 * time.Millisecond},
			{"rare_events", 10, timeout / 4},
		} {
			run(tr.name+"/"+sibling.name, func(t *testing.T) {
				ended := make(chan stall, 1)
				r := gin.New()
				r.GET("/stalled", func(c *gin.Context) { ended <- sendUntilEnd(c, timeout) })
				r.GET("/sibling", func(c *gin.Context) {
					_ = ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout}, func(ctx context.Context, s *ginsse.Stream) error {
						for n := 0; ; n++ {
							if err := s.Send(ctx, ginsse.Event{Data: fmt.Sprint(n, strings.Repeat("x", sibling.data))}); err != nil {
								return err
							}
							if err := lives(ctx, sibling.every); err != nil {
								return err
							}
						}
					})
				})
				server := tr.start(t, r, nil)
				var beside *ssetest.Stream
				if sibling.every > 0 {
					beside = connect(t, server, "/sibling")
					beside.Next()
				}
				openAndIgnore(t, server.Client(), server.URL+"/stalled")
				within(t, "the stream", ended).want(t, timeout)
				if beside != nil {
					for err := error(nil); err == nil; { // skip what has arrived by now
						_, err = beside.TryNext(0)
					}
					beside.Next()
				}
			})
		}
	}
}

// A client that reads an HTTP/2 stream slowly keeps it, although the connection would take much
// more.
func slowReaderOfAnHTTP2StreamKeepsIt(t *testing.T) {
	t.Helper()
	const (
		timeout = 4 * time.Second
		rate    = 4000 // bytes/s: a write of 32 KiB takes two timeouts
	)
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range transports[2:] {
		run(tr.name, func(t *testing.T) {
			ended := make(chan error, 1)
			server := tr.start(t, serveAt(func(c *gin.Context) {
				ended <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout}, func(ctx context.Context, s *ginsse.Stream) error {
					for data := strings.Repeat("x", 50_000); ; {
						if err := s.Send(ctx, ginsse.Event{Data: data}); err != nil {
							return err
						}
					}
				})
			}), nil)
			readFor(t, server.Client(), server.URL, rate, 4*timeout, ended)
		})
	}
}

// The kernel accepts megabytes for a reader, and then nothing until the reader has read a good part
// of them.
func steadyReaderKeepsItsStreamBehindALargeBacklog(t *testing.T) {
	t.Helper()
	const (
		timeout = 4 * time.Second
		rate    = 400 << 10
		backlog = 10 << 20
	)
	run, wait := allAtOnce(t)
	defer wait()
	for _, tr := range transports {
		run(tr.name, func(t *testing.T) {
			ended := make(chan error, 1)
			registry := newRegistry(t, ginsse.RegistryConfig{
				Stream:         ginsse.StreamConfig{WriteTimeout: timeout},
				DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
			})
			server := tr.start(t, serveAt(registry.Handler(),
				func(c *gin.Context) { c.Request.Header.Set("X-User", "alice") }, ginsse.Middleware(headerAuth(t))), nil)
			first := send(t, registry, "alice", 0)
			for range backlog / (512 << 10) {
				if _, err := registry.SendTo(t.Context(), "alice", ginsse.Event{Data: strings.Repeat("x", 512<<10)}); err != nil {
					t.Fatal(err)
				}
			}
			readFor(t, server.Client(), server.URL+"?lastEventId="+first.ID, rate, 4*timeout, ended)
		})
	}
}

// readFor reads a response at a rate for d. The response must not end before.
func readFor(t *testing.T, client *http.Client, url string, rate int, d time.Duration, ended <-chan error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	const turns = 20 // a second
	turn := time.NewTicker(time.Second / turns)
	defer turn.Stop()
	piece := make([]byte, rate/turns)
	start, total := time.Now(), 0
	for time.Since(start) < d {
		<-turn.C
		n, err := io.ReadFull(response.Body, piece)
		if total += n; err != nil {
			t.Errorf("the stream of a client that takes bytes all the time ended after %v and %d bytes: %v", time.Since(start), total, err)
			break
		}
	}
	select {
	case err := <-ended:
		t.Errorf("the stream ended with %v", err)
	default:
	}
	t.Logf("read %d bytes in %v", total, time.Since(start))
}
