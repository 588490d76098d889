package ginsse

import (
	"cmp"
	"errors"
)

// Reason is why a stream ended. It is an error, so that the functions that serve a stream can
// return it, wrapped with its cause if there is one:
//
//	if errors.Is(err, ginsse.ReasonClientGone) { ... }
//
// [RegistryConfig.DisconnectFunc] receives it, and the client of a registry finds it in the data of
// its last event. The type of that event says what the client should do:
//
//	reason          last event     what the client should do
//	client gone     none
//	slow            none           resume, which browsers do
//	expired         sse.reconnect  reconnect with a new credential
//	lifetime        sse.reconnect  reconnect
//	shutdown        sse.reconnect  reconnect, to another node or after the restart
//	overloaded      sse.reconnect  reconnect later
//	throttled       sse.reconnect  reconnect later
//	reauthenticate  sse.reconnect  reconnect: it is authenticated again then
//	disconnected    sse.close      not reconnect
//	replaced        sse.close      not reconnect: the user has opened newer streams
//	your own        sse.close      not reconnect
//	failed          none           resume, which browsers do
//	done            none           only for streams of one request, see below
//
// A stream of one request ([Serve]) has none of these events. If its producer has returned, or the
// application has ended it with its own reason, it ends with [DoneID].
//
// The data of sse.close is {"reason": "..."}. The data of sse.reconnect is {"reason": "...",
// "retry": milliseconds}, and the block has the same time in a retry field, which a browser's
// EventSource follows. An EventSource also reconnects after sse.close, unless its page closes it;
// after "replaced" it waits 5 minutes.
//
// Applications may use their own reasons with [Registry.Disconnect] and [Stream.Disconnect]. With
// one of the kit's reasons, the client gets the event of this table. string(reason) is the reason
// alone; the text of the error says more.
type Reason string

// Reasons of the kit.
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
	// ReasonOverloaded: the registry has reached its limit of streams, or hooks that have not
	// returned take all of the user's places. Or the log has no position for the stream.
	ReasonOverloaded Reason = "overloaded"
	// ReasonThrottled: the user has opened streams more often than
	// [RegistryConfig.MaxOpensPerMinute] allows.
	ReasonThrottled Reason = "throttled"
	// ReasonReauthenticate: the stream may have missed a command to end, because the log has lost
	// entries, or because the client takes its events too slowly. The client is authenticated
	// again when it reconnects. An application uses the reason to have clients authenticated, and
	// their topics granted, again.
	ReasonReauthenticate Reason = "reauthenticate"
	// ReasonDisconnected: [Registry.Disconnect] or [Stream.Disconnect] was called without a reason.
	ReasonDisconnected Reason = "disconnected"
	// ReasonReplaced: the user opened more streams than [RegistryConfig.MaxStreamsPerUser], and
	// this was the oldest.
	ReasonReplaced Reason = "replaced"
	// ReasonDone: the producer has returned without an error.
	ReasonDone Reason = "done"
	// ReasonFailed: the producer returned an error or panicked. On a stream of a registry: code that
	// writes the stream panicked, such as the log, or the response writer cannot stream.
	ReasonFailed Reason = "failed"
)

// Error implements error.
func (r Reason) Error() string { return "ginsse: stream ended: " + string(r) }

// reconnects reports whether the client of a registry should reconnect.
func (r Reason) reconnects() bool {
	switch r {
	case ReasonExpired, ReasonLifetime, ReasonShutdown, ReasonOverloaded, ReasonThrottled, ReasonReauthenticate, ReasonClientGone, ReasonSlow:
		return true
	default:
		return false
	}
}

// orDisconnected returns the reason, or ReasonDisconnected for "".
func (r Reason) orDisconnected() Reason { return cmp.Or(r, ReasonDisconnected) }

// drains reports whether the client still gets the events sent before the end. It has no right to
// them after its credential has expired or while it must be checked again, and cannot get them on
// a dead connection.
func (r Reason) drains() bool {
	switch r {
	case ReasonExpired, ReasonReauthenticate, ReasonClientGone, ReasonSlow, ReasonOverloaded, ReasonThrottled:
		return false
	default:
		return true
	}
}

// reasonOf returns the Reason in an error that ended a stream, or ReasonFailed.
func reasonOf(err error) Reason {
	var reason Reason
	if errors.As(err, &reason) {
		return reason
	}
	return ReasonFailed
}
