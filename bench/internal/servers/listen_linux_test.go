package servers_test

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

// watched sends descriptors of the accepted sockets to a channel. They are the test's own: a compact
// stream closes its connection's.
type watched struct {
	net.Listener

	sockets chan int
}

func (l *watched) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	controlled := raw.Control(func(fd uintptr) {
		var socket int
		if socket, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			l.sockets <- socket
		}
	})
	return conn, errors.Join(err, controlled)
}

// sendBuffer returns the size that was set, and closes the descriptor. The kernel doubles the size.
func sendBuffer(t *testing.T, socket int) (bytes int) {
	t.Helper()
	defer func() { _ = unix.Close(socket) }()
	bytes, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		t.Fatal(err)
	}
	return bytes / 2
}

func TestContestantsUseTheSendBufferOfTheSettings(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		const small = 20 << 10
		var sizes []int
		for _, bytes := range []int{0, small} {
			sockets := make(chan int, 1)
			_, addr := startOn(t, c, servers.Settings{SendBuffer: bytes}, func(l net.Listener) net.Listener {
				return &watched{l, sockets}
			})
			open(t, addr, "", "user-0", "") // after its headers it has been accepted
			sizes = append(sizes, sendBuffer(t, <-sockets))
		}
		if sizes[0] <= small || sizes[1] != small {
			t.Errorf("by default and with %d the sizes are %v", small, sizes)
		}
	})
}
