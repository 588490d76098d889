package ginsse

import (
	"net"
	"net/netip"
	"syscall"
)

// The functions of this file are system calls on the socket of a compact stream. None waits.

// noDescriptor is no socket.
const noDescriptor = -1

// duplicate returns a new descriptor of a connection's socket. The socket does not block, nor
// linger when it is closed, whatever the application has set: net.TCPConn.File, for example, makes
// it block.
func duplicate(conn net.Conn) (int, error) {
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return noDescriptor, syscall.EINVAL
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return noDescriptor, err
	}
	copied := noDescriptor
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		var r uintptr
		if r, _, failed = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0); failed == 0 {
			copied = int(r)
		}
	})
	switch {
	case err != nil:
		return noDescriptor, err
	case failed != 0:
		return noDescriptor, failed
	}
	if err := syscall.SetNonblock(copied, true); err != nil {
		_ = closeSocket(copied)
		return noDescriptor, err
	}
	_ = syscall.SetsockoptLinger(copied, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{})
	return copied, nil
}

// tcpNotSentLowat is the option TCP_NOTSENT_LOWAT of linux/tcp.h. Its value is in bytes.
const tcpNotSentLowat = 25

// limitUnsent makes a TCP socket full when it holds so many bytes that were not sent yet. Bytes on
// their way do not count. Otherwise the socket of a slow client holds megabytes, and when it is
// full it has room again only after the client has taken a third of them.
func limitUnsent(fd, bytes int) {
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, tcpNotSentLowat, bytes)
}

// writeSocket writes what the socket takes. full says that it takes no more at the moment.
func writeSocket(fd int, b []byte) (n int, full bool, err error) {
	for {
		switch n, err = syscall.Write(fd, b); err {
		case nil:
			return n, false, nil
		case syscall.EAGAIN:
			return 0, true, nil
		case syscall.EINTR:
		default:
			return 0, false, err
		}
	}
}

// readSocket reads what the socket has. empty says that it has nothing at the moment, and n is 0 at
// the end.
func readSocket(fd int, b []byte) (n int, empty bool, err error) {
	for {
		switch n, err = syscall.Read(fd, b); err {
		case nil:
			return n, false, nil
		case syscall.EAGAIN:
			return 0, true, nil
		case syscall.EINTR:
		default:
			return 0, false, err
		}
	}
}

func shutdownSocket(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) }

func closeSocket(fd int) error { return syscall.Close(fd) }

// connectionOfSocket returns the ends of a socket's connection.
func connectionOfSocket(fd int) connection {
	local, err := syscall.Getsockname(fd)
	if err != nil {
		return connection{}
	}
	remote, err := syscall.Getpeername(fd)
	if err != nil {
		return connection{}
	}
	return connection{socketAddress(local), socketAddress(remote)}
}

func socketAddress(a syscall.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return unmap(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)))
	default:
		return netip.AddrPort{}
	}
}
