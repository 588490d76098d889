package ginsse

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// connKey is the context key of a request's connection.
type connKey struct{}

// ConnContext prepares the connections of a server for streams. Set it as
// [http.Server.ConnContext], or call it from your own function:
//
//	server := &http.Server{Handler: engine, ConnContext: ginsse.ConnContext}
//
// On Linux, a client that vanishes silently, such as a phone that changes networks, is noticed 35 s
// after the first write that it does not acknowledge; with the default heartbeat, within 50 s.
// Without ConnContext, TCP retries for about 15 minutes, and [Registry.Online] counts the client
// for as long.
//
// A client whose system responds, but which takes no byte for 35 s, is dropped too: the stream ends
// with [ReasonClientGone], and a longer [StreamConfig.WriteTimeout] has no effect. An HTTP/2
// connection that takes nothing is closed with all its streams.
//
// ConnContext also restores the write deadlines of streams if a middleware's response writer hides
// them; see [Middleware]. It never fails: it skips what a system or a connection does not support.
//
// A compact stream sets the 35 s on its connection itself. A WriteTimeout of more than 30 s raises
// them to 5 s more than that. See [StreamConfig.Compact].
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	conn = transportOf(conn)
	limitUnacknowledged(conn, userTimeout)
	return context.WithValue(ctx, connKey{}, conn)
}

// transportOf returns the connection below TLS.
func transportOf(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return conn
}

// connection holds the addresses of both ends of a TCP connection. The zero value is an unknown
// connection.
type connection struct{ local, remote netip.AddrPort }

// connectionOf returns the ends of the connection of r. They are reliable with ConnContext. Without
// it, middleware may have changed r.RemoteAddr.
func connectionOf(r *http.Request) connection {
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		return connectionBetween(conn)
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return connection{addrPort(local), unmap(remote)}
}

func connectionBetween(conn net.Conn) connection {
	return connection{addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())}
}

// userTimeout is how long sent bytes may stay unacknowledged before the kernel drops a connection.
const userTimeout = 35 * time.Second

func addrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(*net.TCPAddr); ok {
		return unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// known reports whether the ends can be looked up.
func (c connection) known() bool {
	return c.local.IsValid() && c.remote.IsValid() && c.local.Addr().Is4() == c.remote.Addr().Is4()
}

// delivery describes how far the written bytes of a connection have come, as far as this host
// knows.
type delivery struct {
	// taken counts the bytes that the peer has taken since the connection was opened. These are the
	// bytes that its system has acknowledged. If the peer is on this host, like some proxies, bytes
	// that its program has not read yet do not count.
	taken uint64
	// waiting counts the written bytes that are not taken yet.
	waiting uint64
	// onTheWay is set if sent bytes are not acknowledged yet although the peer's system would take
	// more. Then the network is slow, not the peer.
	onTheWay bool
	// heard is how long ago the last acknowledgement of the peer's system came, including repeated
	// ones.
	heard time.Duration
}
