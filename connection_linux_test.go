package ginsse

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// patience is how long tests wait for what the kernel says of a connection.
const patience = time.Minute

// pairOf returns the two ends of a connection: that of the listener and that of its peer.
func pairOf(t testing.TB, network, listen, dial string) (here, peer net.Conn) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), network, listen)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	to := listener.Addr().String()
	if dial != "" {
		_, port, _ := net.SplitHostPort(to)
		to = net.JoinHostPort(dial, port)
	}
	if peer, err = (&net.Dialer{}).DialContext(t.Context(), network, to); err != nil {
		t.Fatal(err)
	}
	if here, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = here.Close()
		_ = peer.Close()
	})
	return here, peer
}

// endsOf returns the ends of a connection as ConnContext knows them.
func endsOf(conn net.Conn) connection {
	return connectionOf(httptest.NewRequest(http.MethodGet, "/", http.NoBody).WithContext(ConnContext(context.Background(), conn)))
}

func TestDeliveryFollowsTheBytesOfAConnection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, network, listen, dial string }{
		{"ipv4", "tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"ipv6", "tcp6", "[::1]:0", "::1"},
		{"ipv4_on_dual_stack", "tcp", "[::]:0", "127.0.0.1"},
		{"ipv6_on_dual_stack", "tcp", "[::]:0", "::1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			here, peer := pairOf(t, test.network, test.listen, test.dial)
			ends := endsOf(here)
			// The kernel acknowledges after some milliseconds, not at once.
			want := func(what string, want delivery) {
				t.Helper()
				var got delivery
				var ok bool
				for start := time.Now(); time.Since(start) < patience; <-time.After(time.Millisecond) {
					got, ok = ends.delivery()
					got.heard, got.onTheWay = 0, false // TestDeliveryReportsBytesOnTheWay checks these
					if ok && got == want {
						return
					}
				}
				t.Errorf("%s: got %+v, %v, want %+v", what, got, ok, want)
			}
			want("before anything is written", delivery{})
			if _, err := here.Write(make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
			want("what the peer has not read waits", delivery{taken: 0, waiting: 10_000})
			if _, err := io.ReadFull(peer, make([]byte, 4000)); err != nil {
				t.Fatal(err)
			}
			want("what the peer has read is taken", delivery{taken: 4000, waiting: 6000})
			if _, err := io.ReadFull(peer, make([]byte, 6000)); err != nil {
				t.Fatal(err)
			}
			want("all is read", delivery{taken: 10_000})
			if _, err := peer.Write(make([]byte, 500)); err != nil {
				t.Fatal(err)
			}
			want("what the peer writes does not count", delivery{taken: 10_000})
			_ = here.Close()
			_ = peer.Close()
			for start := time.Now(); ; <-time.After(time.Millisecond) {
				got, ok := ends.delivery()
				if !ok {
					break
				}
				if time.Since(start) > patience {
					t.Fatalf("a closed connection is known: %+v", got)
				}
			}
		})
	}
}

// drop makes the kernel drop incoming packets of a connection, as if the network had lost them.
func drop(t *testing.T, conn net.Conn, all bool) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if all {
			err = syscall.AttachLsf(int(fd), []syscall.SockFilter{{Code: syscall.BPF_RET}})
		} else {
			err = syscall.DetachLsf(int(fd))
		}
	})
	if err != nil {
		t.Skip(err)
	}
}

// deliveryUntil asks the kernel until the delivery is right.
func deliveryUntil(t *testing.T, ends connection, what string, right func(d delivery) bool) delivery {
	t.Helper()
	for start := time.Now(); ; <-time.After(time.Millisecond) {
		got, ok := ends.delivery()
		if ok && right(got) {
			return got
		}
		if time.Since(start) > patience {
			t.Fatalf("%s: got %+v, %v", what, got, ok)
		}
	}
}

func TestDeliveryReportsBytesOnTheWay(t *testing.T) {
	t.Parallel()
	t.Run("lost", func(t *testing.T) {
		t.Parallel()
		here, peer := pairOf(t, "tcp4", "127.0.0.1:0", "")
		ends := endsOf(here)
		drop(t, peer, true)
		if _, err := here.Write(make([]byte, 5000)); err != nil {
			t.Fatal(err)
		}
		heard := func(what string, right func(d time.Duration) bool) {
			t.Helper()
			for start := time.Now(); ; <-time.After(time.Millisecond) {
				got, ok := diagnose(ends.local, ends.remote)
				if ok && right(got.heard) {
					return
				}
				if time.Since(start) > patience {
					t.Fatalf("%s: %+v, %v", what, got, ok)
				}
			}
		}
		silent := func(d time.Duration) bool { return d > 150*time.Millisecond }
		since := func(start time.Time) func(d time.Duration) bool {
			return func(d time.Duration) bool { return d < time.Since(start) }
		}
		heard("the peer is silent", silent)
		// The peer is on this host, and its unread bytes are known.
		deliveryUntil(t, ends, "what is lost is on its way", func(d delivery) bool { return d == delivery{0, 5000, true, 0} })
		start := time.Now()
		drop(t, peer, false)
		if _, err := io.ReadFull(peer, make([]byte, 5000)); err != nil {
			t.Fatal(err)
		}
		heard("the peer has acknowledged what was sent again", since(start))
		heard("the peer is silent again", silent)
		start = time.Now()
		if _, err := peer.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		heard("the peer has sent something", since(start))
		deliveryUntil(t, ends, "all has arrived", func(d delivery) bool { return !d.onTheWay && d.taken == 5000 && d.waiting == 0 })
	})
	t.Run("the_peer_takes_no_more", func(t *testing.T) {
		t.Parallel()
		here, peer := pairOf(t, "tcp4", "127.0.0.1:0", "")
		ends := endsOf(here)
		written := make(chan error, 1)
		go func() {
			_, err := here.Write(make([]byte, 32<<20)) // more than the kernel buffers on both ends
			written <- err
		}()
		var before delivery
		since := time.Now()
		got := deliveryUntil(t, ends, "what the peer does not take waits", func(d delivery) bool {
			if d.waiting != before.waiting || d.onTheWay {
				since, before = time.Now(), d // it still progresses
			}
			return d.waiting > 0 && time.Since(since) > 300*time.Millisecond
		})
		if got.taken > 0 {
			t.Errorf("the peer reads nothing: %+v", got)
		}
		_ = peer.Close()
		<-written
	})
}

// A client chooses its port. If the kernel is asked for a connection that does not exist, it
// replies with a socket that listens at the port. That socket must not be taken for the client's
// end.
func TestListenerIsNotTakenForTheClient(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := addrPort(listener.Addr()).Port()
	for _, client := range []string{"127.0.0.1", "192.0.2.1", "::1", "2001:db8::1"} {
		local := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 80)
		remote := netip.AddrPortFrom(netip.MustParseAddr(client), port)
		if remote.Addr().Is6() {
			local = netip.AddrPortFrom(netip.IPv6Loopback(), 80)
		}
		if got, ok := diagnose(remote, local); ok {
			t.Errorf("%s: got %+v", remote, got)
		}
	}
}

func TestUnknownConnectionsHaveNoDelivery(t *testing.T) {
	t.Parallel()
	here, _ := pairOf(t, "tcp4", "127.0.0.1:0", "")
	known := endsOf(here)
	unix, _ := pairOf(t, "unix", filepath.Join(t.TempDir(), "s"), "")
	for name, unknown := range map[string]connection{
		"none":           {},
		"no_remote":      {local: known.local},
		"no_local":       {remote: known.remote},
		"no_such_port":   {known.local, netip.AddrPortFrom(known.remote.Addr(), 0)},
		"mixed_families": {known.local, netip.AddrPortFrom(netip.IPv6Loopback(), known.remote.Port())},
		"another_host":   {known.local, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), known.remote.Port())},
		"unix":           endsOf(unix),
	} {
		if got, ok := unknown.delivery(); ok || got != (delivery{}) {
			t.Errorf("%s: got %+v, %v", name, got, ok)
		}
	}
}

// Middleware may set the remote address from a header, which a client controls. ConnContext ignores
// it, and without ConnContext the stream does not know its connection.
func TestConnectionIsNotTakenFromAHeader(t *testing.T) {
	t.Parallel()
	here, peer := pairOf(t, "tcp4", "127.0.0.1:0", "")
	another, _ := pairOf(t, "tcp4", "127.0.0.1:0", "")
	true4 := connection{addrPort(here.LocalAddr()), addrPort(peer.LocalAddr())}
	base := context.WithValue(context.Background(), http.LocalAddrContextKey, here.LocalAddr())
	for _, test := range []struct {
		name, remote string
		want         bool // the connection is known without ConnContext
	}{
		{"true", peer.LocalAddr().String(), true},
		{"mapped", "[::ffff:127.0.0.1]:" + portOf(peer.LocalAddr()), true},
		{"address_without_port", "203.0.113.7", false},
		{"empty", "", false},
		{"another_client", "203.0.113.7:4711", false},
		{"another_connection", another.RemoteAddr().String(), false},
		{"unix", "@", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", http.NoBody).WithContext(base)
			r.RemoteAddr = test.remote
			if _, ok := connectionOf(r).delivery(); ok != test.want {
				t.Errorf("without ConnContext the connection is known: %v", ok)
			}
			if got := connectionOf(r.WithContext(ConnContext(base, here))); got != true4 {
				t.Errorf("got %v, want %v", got, true4)
			}
		})
	}
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// hidden is a connection that a listener has wrapped.
type hidden struct{ net.Conn }

func TestConnContextAcceptsEveryConnection(t *testing.T) {
	t.Parallel()
	tcp, _ := pairOf(t, "tcp4", "127.0.0.1:0", "")
	secured, _ := pairOf(t, "tcp6", "[::1]:0", "")
	wrapped, _ := pairOf(t, "tcp4", "127.0.0.1:0", "")
	unix, _ := pairOf(t, "unix", filepath.Join(t.TempDir(), "s"), "")
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	for _, test := range []struct {
		name    string
		conn    net.Conn
		below   net.Conn
		limited bool // the kernel drops it if the peer acknowledges nothing
		known   bool
	}{
		{"tcp", tcp, tcp, true, true},
		{"tls", tls.Server(secured, &tls.Config{MinVersion: tls.VersionTLS13}), secured, true, true},
		{"wrapped", hidden{wrapped}, hidden{wrapped}, false, true},
		{"unix", unix, unix, false, false},
		{"pipe", pipe, pipe, false, false},
		{"tls_over_pipe", tls.Server(pipe, &tls.Config{MinVersion: tls.VersionTLS13}), pipe, false, false},
	} {
		ctx := ConnContext(context.Background(), test.conn)
		if got := ctx.Value(connKey{}); got != test.below {
			t.Errorf("%s: the context has %v", test.name, got)
		}
		ends := connectionOf(httptest.NewRequest(http.MethodGet, "/", http.NoBody).WithContext(ctx))
		if _, ok := ends.delivery(); ok != test.known {
			t.Errorf("%s: the connection is known: %v", test.name, ok)
		}
		if got := userTimeoutOf(t, test.below); test.limited && got != userTimeout || !test.limited && got != 0 {
			t.Errorf("%s: bytes may stay unacknowledged for %v", test.name, got)
		}
	}
}

func TestConnContextAcceptsAClosedConnection(t *testing.T) {
	t.Parallel()
	closed, _ := pairOf(t, "tcp4", "127.0.0.1:0", "")
	_ = closed.Close()
	if got := ConnContext(t.Context(), closed).Value(connKey{}); got != closed {
		t.Errorf("the context has %v", got)
	}
}

// userTimeoutOf returns TCP_USER_TIMEOUT of a connection. 0 means the system's own limit, or a
// connection of another kind.
func userTimeoutOf(t *testing.T, conn net.Conn) (d time.Duration) {
	t.Helper()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		ms, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
		if err != nil {
			t.Error(err)
		}
		d = time.Duration(ms) * time.Millisecond
	})
	return d
}

// diagnosisReply returns a reply of the kernel.
func diagnosisReply(kind uint16, state byte, unread, unacked uint32, attributes ...[]byte) []byte {
	order := binary.NativeEndian
	b := make([]byte, headerBytes+replyBytes)
	order.PutUint16(b[4:], kind)
	b[headerBytes+replyState] = state
	order.PutUint32(b[headerBytes+replyUnread:], unread)
	order.PutUint32(b[headerBytes+replyUnacked:], unacked)
	b = slices.Concat(append([][]byte{b}, attributes...)...)
	order.PutUint32(b, uint32(len(b)))
	return b
}

// withSize returns the reply with another size in its header.
func withSize(reply []byte, size uint32) []byte {
	b := bytes.Clone(reply)
	binary.NativeEndian.PutUint32(b, size)
	return b
}

func attribute(kind uint16, size int, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(size))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// tcpInfo returns a struct tcp_info of the given size, which differs between kernels.
func tcpInfo(size int, acknowledged uint64) []byte {
	b := make([]byte, max(size, infoBytesAckd+8))
	order := binary.NativeEndian
	order.PutUint64(b[infoBytesAckd:], acknowledged)
	order.PutUint32(b[infoSegment:], 1448)
	order.PutUint32(b[infoHeard:], 250)
	if len(b) > infoWindow {
		order.PutUint32(b[infoWindow:], 64_000)
	}
	return b[:size]
}

const established = 1

func TestParseDiagnosis(t *testing.T) {
	t.Parallel()
	info := attribute(infoAttr, 4+232, tcpInfo(232, 7))
	good := diagnosisReply(sockDiagByFamily, established, 3, 5, info)
	for _, test := range []struct {
		name  string
		reply []byte
		want  bool
	}{
		{"info", good, true},
		{"info_behind_others", diagnosisReply(sockDiagByFamily, established, 3, 5, attribute(1, 7, []byte{1, 2, 3}), attribute(8, 4, nil), info), true},
		{"more_behind_it", append(bytes.Clone(good), 1, 2, 3), true},
		{"shortest_info", diagnosisReply(sockDiagByFamily, established, 3, 5, attribute(infoAttr, 4+128, tcpInfo(128, 7))), true},
		{"info_of_an_old_kernel", diagnosisReply(sockDiagByFamily, established, 3, 5, attribute(infoAttr, 4+104, tcpInfo(104, 7))), false},
		{"no_info", diagnosisReply(sockDiagByFamily, established, 3, 5), false},
		{"listener", diagnosisReply(sockDiagByFamily, stateListen, 3, 5, info), false},
		{"error", diagnosisReply(syscall.NLMSG_ERROR, established, 3, 5, info), false},
		{"attribute_of_no_size", diagnosisReply(sockDiagByFamily, established, 3, 5, attribute(1, 0, nil), info), false},
		{"attribute_beyond_the_end", diagnosisReply(sockDiagByFamily, established, 3, 5, attribute(infoAttr, 500, tcpInfo(232, 7))), false},
		{"cut_off", good[:len(good)-1], false},
		{"cut_off_in_the_head", good[:headerBytes+replyBytes-1], false},
		{"size_below_the_head", withSize(good, headerBytes-1), false},
		{"size_of_the_head", withSize(good, headerBytes), false},
		{"size_beyond_all", withSize(good, 1<<32-1), false},
		{"nothing", nil, false},
	} {
		got, ok := parseDiagnosis(test.reply)
		want := socket{unread: 3, unacknowledged: 5, acknowledged: 7, segment: 1448, heard: 250 * time.Millisecond}
		if test.name != "shortest_info" {
			want.window = 64_000
		}
		if ok != test.want || ok && got != want {
			t.Errorf("%s: got %+v, %v", test.name, got, ok)
		}
	}
}

func FuzzParseDiagnosis(f *testing.F) {
	f.Add(diagnosisReply(sockDiagByFamily, established, 1, 2, attribute(infoAttr, 4+232, tcpInfo(232, 3))))
	f.Add(diagnosisReply(sockDiagByFamily, established, 1, 2, attribute(5, 5, []byte{0}), attribute(infoAttr, 4+128, tcpInfo(128, 3))))
	f.Add(diagnosisReply(syscall.NLMSG_ERROR, 0, 0, 0))
	f.Fuzz(func(t *testing.T, reply []byte) {
		was := bytes.Clone(reply)
		got, ok := parseDiagnosis(reply)
		if !bytes.Equal(reply, was) {
			t.Error("the reply was changed")
		}
		if !ok {
			if got != (socket{}) {
				t.Errorf("got %+v of what is no answer", got)
			}
			return
		}
		order := binary.NativeEndian
		if order.Uint16(reply[4:]) != sockDiagByFamily || reply[headerBytes+replyState] == stateListen {
			t.Errorf("took %x for an answer", reply)
		}
		acknowledged := order.AppendUint64(nil, got.acknowledged)
		if !bytes.Contains(reply[headerBytes+replyBytes:order.Uint32(reply)], acknowledged) {
			t.Errorf("%d bytes acknowledged are not in %x", got.acknowledged, reply)
		}
		// A reply without its last byte is invalid, unless more bytes followed the reply.
		if _, ok := parseDiagnosis(reply[:order.Uint32(reply)-1]); ok {
			t.Errorf("took a part of %x for an answer", reply)
		}
	})
}

func BenchmarkDelivery(b *testing.B) {
	here, _ := pairOf(b, "tcp4", "127.0.0.1:0", "")
	ends := endsOf(here)
	for b.Loop() {
		if _, ok := ends.delivery(); !ok {
			b.Fatal("unknown")
		}
	}
}
