package ginsse

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// connKey is the key of a request's connection on its context.
type connKey struct{}

// ConnContext prepares the connections of a server for streams. Set it as
// [http.Server.ConnContext], or call it from a function of your own:
//
//	server := &http.Server{Handler: engine, ConnContext: ginsse.ConnContext}
//
// On Linux a client that vanished without a word, such as a phone that changed
// networks, is then noticed 35 s after the first write that it does not
// acknowledge: with the default heartbeat, within 50 s. Otherwise TCP keeps trying
// for about 15 minutes, and [Registry.Online] counts the client for as long. A
// client whose system answers, but which takes no byte for 35 s, is dropped
// too: the stream ends with [ReasonClientGone], and a longer [StreamConfig.WriteTimeout]
// has no effect. A connection of HTTP/2 that takes nothing is closed with its streams.
//
// It also gives streams a way to end a stalled write where a middleware's response
// writer hides it. It never fails: what a system or a connection does not support is
// left as it is.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	conn = transportOf(conn)
	limitUnacknowledged(conn)
	return context.WithValue(ctx, connKey{}, conn)
}

// transportOf returns the connection under TLS.
func transportOf(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return conn
}

// connection is the two ends of a TCP connection; the zero connection is unknown.
type connection struct{ local, remote netip.AddrPort }

// connectionOf returns the ends of the connection of r. ConnContext knows them for
// sure; without it, middleware may have changed r.RemoteAddr.
func connectionOf(r *http.Request) connection {
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		return connection{addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())}
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	return connection{addrPort(local), unmap(remote)}
}

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

// delivery says how far the bytes written to a connection have come, as far as this
// host can see.
type delivery struct {
	// taken counts the bytes that the peer has taken since the connection was opened:
	// what its system has acknowledged; and if the peer is on this host, as a proxy may
	// be, less what waits there for the program to read it.
	taken uint64
	// waiting counts the bytes written beyond those.
	waiting uint64
	// onTheWay is set if bytes have been sent that are not acknowledged, and the peer's
	// system would take more of them: the network is slow, the peer is not.
	onTheWay bool
	// heard is how long ago the peer's system acknowledged anything, were it the same again.
	heard time.Duration
}
