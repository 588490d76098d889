package servers_test

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

// watched sends the connections of a listener to a channel.
type watched struct {
	net.Listener

	conns chan *net.TCPConn
}

func (l *watched) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.conns <- conn.(*net.TCPConn)
	}
	return conn, err
}

// sendBuffer returns the size that was set. The kernel doubles it.
func sendBuffer(t *testing.T, conn *net.TCPConn) (bytes int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	controlled := raw.Control(func(fd uintptr) {
		bytes, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
	})
	if err != nil || controlled != nil {
		t.Fatal(err, controlled)
	}
	return bytes / 2
}

func TestContestantsUseTheSendBufferOfTheSettings(t *testing.T) {
	each(t, func(t *testing.T, c servers.Contestant) {
		const small = 20 << 10
		var sizes []int
		for _, bytes := range []int{0, small} {
			conns := make(chan *net.TCPConn, 1)
			_, addr := startOn(t, c, servers.Settings{SendBuffer: bytes}, func(l net.Listener) net.Listener {
				return &watched{l, conns}
			})
			open(t, addr, "", "user-0", "") // after its headers it has been accepted
			sizes = append(sizes, sendBuffer(t, <-conns))
		}
		if sizes[0] <= small || sizes[1] != small {
			t.Errorf("by default and with %d the sizes are %v", small, sizes)
		}
	})
}
