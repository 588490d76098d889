// Package readiness reports which of many sockets can be read or written, or were closed by the
// peer.
//
// The compact streams of package ginsse use it. There are tens of thousands of them, without
// goroutines. A [Set] finds the streams whose client has left, or takes bytes again after its
// socket was full, and costs one goroutine for all of them. No thread is held while it waits. The
// sockets stay in the runtime's poller, too, so their connections work as before.
//
// It is available on Linux only: see [Supported].
package readiness

// Events says what a [Set] has found out about a socket. Several fields may be set, among them some
// that were reported before.
type Events struct {
	// Readable means that the socket has unread bytes, or its end or error to be read.
	Readable bool
	// Writable means that the socket takes bytes. It is set only after [Set.WatchWrites].
	Writable bool
	// Closed means that the peer has closed its end, if only for sending, or that the connection
	// has failed.
	Closed bool
}
