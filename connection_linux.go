package ginsse

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// tcpUserTimeout is the option TCP_USER_TIMEOUT of linux/tcp.h. Its value is in milliseconds.
const tcpUserTimeout = 18

// limitUnacknowledged makes the kernel drop conn if its peer acknowledges nothing for a time.
func limitUnacknowledged(conn net.Conn, timeout time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(timeout.Milliseconds()))
	})
}

// delivery asks the kernel how far the bytes of the connection have come. ok is false if the kernel
// does not know the connection.
//
// The progress of writes shows little: the kernel accepts megabytes for a slow reader, and then
// nothing until the reader has taken a third of them.
func (c connection) delivery() (d delivery, ok bool) {
	if !c.known() {
		return d, false
	}
	here, ok := diagnose(c.local, c.remote)
	if !ok {
		return d, false
	}
	d.taken, d.waiting = here.acknowledged, here.unacknowledged
	d.onTheWay = here.unacknowledged > 0 && here.segment > 0 && here.window >= here.segment
	d.heard = here.heard
	if there, ok := diagnose(c.remote, c.local); ok { // the peer is on this host
		d.taken -= min(d.taken, there.unread)
		d.waiting += there.unread
		if there.unread == 0 && here.unacknowledged > 0 { // the peer has read all received bytes
			d.onTheWay, d.heard = true, 0
		}
	}
	return d, true
}

// socket is the kernel's information about a TCP socket.
type socket struct {
	unread         uint64        // received bytes that the program has not read yet
	unacknowledged uint64        // written bytes that are not acknowledged yet
	acknowledged   uint64        // acknowledged bytes since the connection was opened
	segment        uint32        // the largest segment that is sent
	window         uint32        // the send window; 0 before Linux 5.4
	heard          time.Duration // time since the last acknowledgement, including repeated ones
}

// Messages of netlink's sock_diag(7), from linux/sock_diag.h, linux/inet_diag.h and linux/tcp.h.
// Integers are in the machine's byte order, ports in the network's.
const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20

	headerBytes  = syscall.NLMSG_HDRLEN
	requestBytes = 56 // struct inet_diag_req_v2
	replyBytes   = 72 // struct inet_diag_msg
	infoAttr     = 2  // INET_DIAG_INFO: struct tcp_info
	noCookie     = 0xffffffff

	replyState    = 1   // idiag_state
	replyUnread   = 56  // idiag_rqueue
	replyUnacked  = 60  // idiag_wqueue
	infoSegment   = 16  // tcpi_snd_mss
	infoHeard     = 56  // tcpi_last_ack_recv, in milliseconds
	infoBytesAckd = 120 // tcpi_bytes_acked, since Linux 4.1
	infoWindow    = 228 // tcpi_snd_wnd, since Linux 5.4

	stateListen = 10 // TCP_LISTEN
)

// diagnose asks the kernel for the socket with these ends in this network namespace. It takes some
// microseconds and needs no privilege.
func diagnose(local, remote netip.AddrPort) (socket, bool) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return socket{}, false
	}
	defer func() { _ = syscall.Close(fd) }()
	if err := syscall.Sendto(fd, diagnosisRequest(local, remote), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return socket{}, false
	}
	var reply [1024]byte                                              // twice what the kernel answers; a stream's goroutine keeps the stack it needs
	n, _, err := syscall.Recvfrom(fd, reply[:], syscall.MSG_DONTWAIT) // the kernel has answered in Sendto
	if err != nil {
		return socket{}, false
	}
	return parseDiagnosis(reply[:n])
}

func diagnosisRequest(local, remote netip.AddrPort) []byte {
	order := binary.NativeEndian
	b := make([]byte, headerBytes+requestBytes)
	order.PutUint32(b[0:], uint32(len(b)))
	order.PutUint16(b[4:], sockDiagByFamily)
	order.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	r := b[headerBytes:]
	r[0] = syscall.AF_INET6
	if local.Addr().Is4() {
		r[0] = syscall.AF_INET
	}
	r[1] = syscall.IPPROTO_TCP
	r[2] = 1 << (infoAttr - 1)
	order.PutUint32(r[4:], 1<<32-1) // in any state
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	copy(r[12:28], local.Addr().AsSlice())
	copy(r[28:44], remote.Addr().AsSlice())
	order.PutUint32(r[48:], noCookie)
	order.PutUint32(r[52:], noCookie)
	return b
}

// parseDiagnosis parses the kernel's reply, which may be an error. If there is no connection
// between the ends, the kernel replies with a socket that listens at the local end. Such a reply
// must be ignored: a client could cause it by its choice of a port.
func parseDiagnosis(b []byte) (socket, bool) {
	order := binary.NativeEndian
	if len(b) < headerBytes+replyBytes || order.Uint16(b[4:]) != sockDiagByFamily {
		return socket{}, false
	}
	size := uint64(order.Uint32(b[0:]))
	if size < headerBytes+replyBytes || size > uint64(len(b)) {
		return socket{}, false
	}
	b = b[headerBytes:size]
	if b[replyState] == stateListen {
		return socket{}, false
	}
	s := socket{unread: uint64(order.Uint32(b[replyUnread:])), unacknowledged: uint64(order.Uint32(b[replyUnacked:]))}
	for b = b[replyBytes:]; len(b) >= syscall.SizeofRtAttr; {
		size := int(order.Uint16(b[0:]))
		if size < syscall.SizeofRtAttr || size > len(b) {
			break
		}
		if value := b[syscall.SizeofRtAttr:size]; order.Uint16(b[2:]) == infoAttr && len(value) >= infoBytesAckd+8 {
			s.acknowledged = order.Uint64(value[infoBytesAckd:])
			s.segment = order.Uint32(value[infoSegment:])
			s.heard = time.Duration(order.Uint32(value[infoHeard:])) * time.Millisecond
			if len(value) >= infoWindow+4 {
				s.window = order.Uint32(value[infoWindow:])
			}
			return s, true
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return socket{}, false
}
