package ginsse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// These tests have their own network, with links that the kernel slows down or makes lossy. Each
// test runs in its own process, which needs ip and tc, and either root or a kernel that allows user
// namespaces. Without these the tests are skipped, unless NETWORK_TESTS is "required". Then the
// long tests run, too.

func TestNetworks(t *testing.T) {
	t.Parallel()
	run, wait := allAtOnce(t)
	defer wait()
	run("event_arrives_over_a_slow_network", eventArrivesOverASlowNetwork)
	run("large_event_arrives_over_a_slow_network", largeEventArrivesOverASlowNetwork)
	run("event_arrives_over_a_slow_loopback", eventArrivesOverASlowLoopback)
	run("stalled_client_on_another_host_ends", stalledClientOnAnotherHostEnds)
	run("vanished_client_is_noticed_within_a_minute", vanishedClientIsNoticedWithinAMinute)
}

const (
	networkTests  = "NETWORK_TESTS"
	insideNetwork = "NETWORK_TESTS_INSIDE" // set in the process of one test
)

func networkRequired() bool { return os.Getenv(networkTests) == "required" }

// inNetwork runs the test in its own network.
func inNetwork(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(insideNetwork) != "" {
		if err := run("ip", "link", "set", "lo", "up"); err != nil {
			t.Skip(err)
		}
		test(t)
		return
	}
	without := t.Skip
	if networkRequired() {
		without = t.Fatal
	}
	for _, command := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(command); err != nil {
			without(err)
		}
	}
	inside := thisTest(t, insideNetwork)
	inside.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Getuid(); uid != 0 {
		inside.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		inside.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		inside.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	output, err := inside.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		without(err)
	case err != nil:
		t.Errorf("inside the network: %v\n%s", err, output)
	case bytes.Contains(output, []byte("--- SKIP: ")):
		without(string(output))
	default:
		t.Logf("%s", output)
	}
}

// run runs a command, and returns its error output as an error.
func run(command string, arguments ...string) error {
	output, err := exec.CommandContext(context.Background(), command, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", command, strings.Join(arguments, " "), err, output)
	}
	return nil
}

// link connects this network to another, which has the clients.
type link struct {
	name        string
	near4, far4 string // the addresses of its ends
	near6, far6 string
	far         chan func() // run in the other network
}

var links atomic.Int64

// newLink makes a link. It skips the test if the kernel does not allow that.
func newLink(t *testing.T) *link {
	t.Helper()
	n := links.Add(1)
	l := &link{
		name:  fmt.Sprint("near", n),
		near4: fmt.Sprintf("10.77.%d.1", n), far4: fmt.Sprintf("10.77.%d.2", n),
		near6: fmt.Sprintf("fd77:%x::1", n), far6: fmt.Sprintf("fd77:%x::2", n),
		far: make(chan func()),
	}
	thread := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with this goroutine
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			thread <- 0
			return
		}
		thread <- syscall.Gettid()
		for do := range l.far {
			do()
		}
	}()
	t.Cleanup(func() { close(l.far) })
	tid := <-thread
	if tid == 0 {
		t.Skip("the kernel gives no network namespace")
	}
	far := fmt.Sprint("far", n)
	l.must(t, run("ip", "link", "add", l.name, "type", "veth", "peer", "name", far, "netns", fmt.Sprint(tid)))
	set := func(device, four, six string) error {
		return errors.Join(
			run("ip", "addr", "add", four+"/24", "dev", device),
			run("ip", "addr", "add", six+"/64", "dev", device, "nodad"),
			run("ip", "link", "set", device, "up"))
	}
	l.must(t, set(l.name, l.near4, l.near6))
	l.inFar(func() { l.must(t, set(far, l.far4, l.far6)) })
	return l
}

func (l *link) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Skip(err)
	}
}

// inFar runs do in the other network.
func (l *link) inFar(do func()) {
	done := make(chan struct{})
	l.far <- func() {
		defer close(done)
		do()
	}
	<-done
}

// limit limits the rate at which a device sends. Packets beyond its queue are dropped.
func limit(t *testing.T, device, rate, queue string) {
	t.Helper()
	if err := run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "2kb", "limit", queue); err != nil {
		t.Skip(err)
	}
}

// lose makes the link silently drop all packets to the clients.
func (l *link) lose(t *testing.T) {
	t.Helper()
	if err := errors.Join(
		run("ip", "neigh", "replace", l.far4, "lladdr", "02:00:00:00:00:99", "dev", l.name, "nud", "permanent"),
		run("ip", "neigh", "replace", l.far6, "lladdr", "02:00:00:00:00:99", "dev", l.name, "nud", "permanent"),
	); err != nil {
		t.Fatal(err)
	}
}

// client returns a client of s in the other network, which reaches s at an address. prepare may
// change the connection.
func (l *link) client(t *testing.T, s *httptest.Server, to string, dialer net.Dialer, prepare func(net.Conn) net.Conn) *http.Client {
	t.Helper()
	transport := s.Client().Transport.(*http.Transport).Clone()
	if transport.TLSClientConfig != nil {
		transport.TLSClientConfig.ServerName = "example.com" // in the certificate of httptest
	}
	transport.DialContext = func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		l.inFar(func() { conn, err = dialer.DialContext(ctx, network, to) })
		if err != nil {
			return nil, err
		}
		if prepare != nil {
			conn = prepare(conn)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn, nil
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// address joins a host and the port of another address.
func address(host, portOf string) string {
	_, port, _ := net.SplitHostPort(portOf)
	return net.JoinHostPort(host, port)
}

func eventArrivesOverASlowNetwork(t *testing.T) {
	t.Helper()
	inNetwork(t, func(t *testing.T) {
		const (
			timeout = 2 * time.Second
			size    = 40_000
		)
		run, wait := allAtOnce(t)
		defer wait()
		for _, tr := range transports {
			for _, at := range []struct {
				name, network, listen string
				six                   bool
			}{
				{"ipv4", "tcp4", "0.0.0.0", false},
				{"ipv6", "tcp6", "::", true},
				{"ipv4_on_dual_stack", "tcp", "::", false},
			} {
				run(tr.name+"/"+at.name, func(t *testing.T) {
					l := newLink(t)
					limit(t, l.name, "32kbit", "30kb")
					to := l.near4
					if at.six {
						to = l.near6
					}
					sendLarge(t, l, tr, size, timeout, at.network, at.listen, to, func(s *http.Server) { s.ConnContext = smallSendBuffer })
				})
			}
		}
	})
}

// This test has the figures of the promise, and the kernel's default buffers.
func largeEventArrivesOverASlowNetwork(t *testing.T) {
	t.Helper()
	if !networkRequired() {
		t.Skipf("it takes more than a minute; set %s=required to run it", networkTests)
	}
	inNetwork(t, func(t *testing.T) {
		run, wait := allAtOnce(t)
		defer wait()
		for _, tr := range transports {
			run(tr.name, func(t *testing.T) {
				l := newLink(t)
				limit(t, l.name, "32kbit", "30kb")
				sendLarge(t, l, tr, 300_000, 10*time.Second, "tcp", "::", l.near4, func(s *http.Server) { s.ConnContext = ginsse.ConnContext })
			})
		}
	})
}

// The network may be slow even if the peer is on this host.
func eventArrivesOverASlowLoopback(t *testing.T) {
	t.Helper()
	inNetwork(t, func(t *testing.T) {
		const timeout = 2 * time.Second
		if err := run("ip", "link", "set", "lo", "mtu", "1500"); err != nil {
			t.Skip(err)
		}
		limit(t, "lo", "64kbit", "100kb") // shared, and large enough for all
		run, wait := allAtOnce(t)
		defer wait()
		for _, tr := range transports[1:3] {
			run(tr.name, func(t *testing.T) {
				sendLarge(t, nil, tr, 30_000, timeout, "tcp4", "127.0.0.1", "127.0.0.1", func(s *http.Server) { s.ConnContext = smallSendBuffer })
			})
		}
	})
}

// sendLarge sends an event over a link that takes much longer than the write timeout. The event
// must arrive complete.
func sendLarge(t *testing.T, l *link, tr transport, size int, timeout time.Duration, network, listen, host string, configure func(*http.Server)) {
	t.Helper()
	ended := make(chan error, 1)
	server := tr.start(t, serveAt(func(c *gin.Context) {
		ended <- ginsse.Serve(c, ginsse.StreamConfig{WriteTimeout: timeout, HeartbeatInterval: -1}, func(ctx context.Context, s *ginsse.Stream) error {
			return s.Send(ctx, ginsse.Event{Data: strings.Repeat("x", size)})
		})
	}), configure)
	to := address(host, listenToo(t, server, network, net.JoinHostPort(listen, "0")))
	client := server.Client()
	if l != nil {
		client = l.client(t, server, to, net.Dialer{}, nil)
	}
	start := time.Now()
	got := exchange(t, client, http.MethodGet, server.URL, nil, nil)
	took := time.Since(start)
	switch whole := strings.Contains(got.text, strings.Repeat("x", size)); {
	case !whole:
		t.Errorf("got %d bytes in %v", len(got.text), took)
	case took < 2*timeout:
		t.Errorf("it took %v: the link is not slow", took)
	default:
		t.Logf("%d bytes in %v, with a write timeout of %v", size, took, timeout)
	}
	if err := within(t, "the stream", ended); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

// heldConn is a connection whose client stops reading when held is set.
type heldConn struct {
	net.Conn
	held   *atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (c *heldConn) Read(p []byte) (int, error) {
	if c.held.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

func (c *heldConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// The stream of a stalled client on another host ends at the write timeout. The client's port may
// be one on which this host listens.
func stalledClientOnAnotherHostEnds(t *testing.T) {
	t.Helper()
	inNetwork(t, func(t *testing.T) {
		const timeout = 2 * time.Second
		run, wait := allAtOnce(t)
		defer wait()
		for _, tr := range transports {
			run(tr.name, func(t *testing.T) {
				l := newLink(t)
				ended := make(chan stall, 1)
				server := tr.start(t, serveAt(func(c *gin.Context) { ended <- sendUntilEnd(c, timeout) }), func(s *http.Server) { s.ConnContext = smallSendBuffer })
				listener := listenToo(t, server, "tcp", "[::]:0")
				from, err := net.ResolveTCPAddr("tcp", address(l.far4, listener))
				if err != nil {
					t.Fatal(err)
				}
				var held atomic.Bool
				client := l.client(t, server, address(l.near4, listener), net.Dialer{LocalAddr: from, Control: smallReceiveBuffer}, func(conn net.Conn) net.Conn {
					return &heldConn{Conn: conn, held: &held, closed: make(chan struct{})}
				})
				openAndIgnore(t, client, server.URL)
				held.Store(true)
				within(t, "the stream", ended).want(t, timeout)
			})
		}
	})
}

// A phone that changes networks vanishes: its system does not respond. With ConnContext its user is
// offline within a minute. Without it, the kernel retries for about 15 minutes.
func vanishedClientIsNoticedWithinAMinute(t *testing.T) {
	t.Helper()
	if !networkRequired() {
		t.Skipf("it takes more than half a minute; set %s=required to run it", networkTests)
	}
	inNetwork(t, func(t *testing.T) {
		const heartbeat = 15 * time.Second // the default
		run, wait := allAtOnce(t)
		defer wait()
		for _, tr := range transports {
			for _, prepared := range []bool{true, false} {
				run(fmt.Sprintf("%s/conn_context_%v", tr.name, prepared), func(t *testing.T) {
					prepared := prepared || allCompact() && strings.HasPrefix(tr.name, "http1") // its own connection
					l := newLink(t)
					ended := make(chan ginsse.Reason, 1)
					registry := newRegistry(t, ginsse.RegistryConfig{
						Stream:         ginsse.StreamConfig{HeartbeatInterval: heartbeat},
						DisconnectFunc: func(_ *ginsse.Stream, reason ginsse.Reason) { ended <- reason },
					})
					server := tr.start(t, newEngine(t, registry), func(s *http.Server) {
						if prepared {
							s.ConnContext = ginsse.ConnContext
						}
					})
					to := address(l.near4, listenToo(t, server, "tcp", "[::]:0"))
					request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/events", http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					request.Header.Set("X-User", "alice")
					response, err := l.client(t, server, to, net.Dialer{}, nil).Do(request)
					if err != nil {
						t.Fatal(err)
					}
					defer response.Body.Close()
					l.lose(t)
					lost := time.Now()
					select {
					case reason := <-ended:
						took := time.Since(lost)
						t.Logf("noticed after %v, as %q", took, string(reason))
						if !prepared || reason != ginsse.ReasonClientGone && reason != ginsse.ReasonSlow {
							t.Errorf("noticed after %v, as %q", took, string(reason))
						}
						if registry.Online("alice") {
							t.Error("the user is online")
						}
					case <-time.After(time.Minute):
						if prepared {
							t.Error("not noticed in a minute")
						}
					}
				})
			}
		}
	})
}
