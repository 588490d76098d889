package ginsse

import "errors"

// Reason says why a stream ended. It is an error, so that the functions that
// serve a stream can return it, wrapped with its cause where there is one:
//
//	if errors.Is(err, ginsse.ReasonClientGone) { ... }
//
// It is also what [RegistryConfig.DisconnectFunc] is given, and what the client of a
// registry reads in the data of its last event. The type of that event says what
// the client should do:
//
//	reason        last event     what the client should do
//	client gone   none
//	slow          none           it resumes by itself
//	expired       sse.reconnect  come back, with a new credential
//	lifetime      sse.reconnect  come back
//	shutdown      sse.reconnect  come back: to another node, or after the restart
//	overloaded    sse.reconnect  come back later
//	throttled     sse.reconnect  come back later
//	disconnected  sse.close      not come back
//	replaced      sse.close      not come back: the user has opened newer streams
//	your own      sse.close      not come back
//	done, failed  none: of streams of one request, see below
//
// A stream of one request ([Serve]) has none of these events. If its producer has
// returned, or the application has ended it with a reason of its own, it ends with
// [DoneID].
//
// The data of sse.close is {"reason": "..."}; that of sse.reconnect is {"reason": "...",
// "retry": milliseconds}, and the block has the same time in a retry field, so that a
// browser's EventSource keeps to it by itself. An EventSource comes back after
// sse.close as well unless its page closes it; after "replaced" in 5 minutes.
//
// Applications may use reasons of their own with [Registry.Disconnect] and
// [Stream.Disconnect]; with one of the kit's, the client gets the event of this
// table. string(reason) is the reason alone; as an error it says more.
type Reason string

// The kit's own reasons.
const (
	// ReasonClientGone: the client closed the connection, a write to it failed, or
	// the request's context ended. Nothing more can be sent to it.
	ReasonClientGone Reason = "client gone"
	// ReasonSlow: the client took no byte within [StreamConfig.WriteTimeout]. If
	// [ConnContext] had the connection dropped before, the reason is ReasonClientGone.
	ReasonSlow Reason = "slow"
	// ReasonExpired: the credential that opened the stream has expired.
	ReasonExpired Reason = "expired"
	// ReasonLifetime: the stream reached its maximum lifetime.
	ReasonLifetime Reason = "lifetime"
	// ReasonShutdown: the registry is shutting down.
	ReasonShutdown Reason = "shutdown"
	// ReasonOverloaded: the registry holds as many streams as it may, the user's places
	// are taken by hooks that have not returned, or the log cannot say where the stream
	// begins.
	ReasonOverloaded Reason = "overloaded"
	// ReasonThrottled: the user has opened streams more often than
	// [RegistryConfig.MaxOpensPerMinute] allows.
	ReasonThrottled Reason = "throttled"
	// ReasonDisconnected: [Registry.Disconnect] or [Stream.Disconnect] was
	// called without a reason of the application's own.
	ReasonDisconnected Reason = "disconnected"
	// ReasonReplaced: the user opened a stream beyond
	// [RegistryConfig.MaxStreamsPerUser], and this was the oldest.
	ReasonReplaced Reason = "replaced"
	// ReasonDone: the producer has sent all it had.
	ReasonDone Reason = "done"
	// ReasonFailed: the producer returned an error or panicked.
	ReasonFailed Reason = "failed"
)

// Error implements error.
func (r Reason) Error() string { return "ginsse: stream ended: " + string(r) }

// reconnects reports whether the client of a registry is asked to come back.
func (r Reason) reconnects() bool {
	switch r {
	case ReasonExpired, ReasonLifetime, ReasonShutdown, ReasonOverloaded, ReasonThrottled, ReasonClientGone, ReasonSlow:
		return true
	default:
		return false
	}
}

// orDisconnected returns the reason, or for none the kit's own.
func (r Reason) orDisconnected() Reason { return orDefault(r, ReasonDisconnected) }

// drains reports whether the client still gets what was sent before the end.
// An expired credential gives no right to it; a dead connection no way.
func (r Reason) drains() bool {
	switch r {
	case ReasonExpired, ReasonClientGone, ReasonSlow, ReasonOverloaded, ReasonThrottled:
		return false
	default:
		return true
	}
}

// reasonOf returns the Reason in an error that ended a stream.
func reasonOf(err error) Reason {
	var reason Reason
	if errors.As(err, &reason) {
		return reason
	}
	return ReasonFailed
}
