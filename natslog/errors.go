package natslog

import "errors"

// The conditions that a caller can act on. Test for them with [errors.Is]: they arrive
// wrapped with their cause.
var (
	// ErrUnavailable is returned by [Open] when the broker did not answer in time, by
	// [Log.Append] when it did not acknowledge the event in time, by [Log.Read] and
	// [Log.Ready] when the stream has not answered for 2 s, and by [Log.Post] without a
	// connection. The text says whether the connection is lost or the stream has no leader.
	// After one from Append it is not known whether the event was stored.
	ErrUnavailable = errors.New("natslog: broker unavailable")

	// ErrNotVisible is returned by [Log.Append] when the broker has stored the event
	// and this node has not seen it in time. It may still be delivered.
	ErrNotVisible = errors.New("natslog: event is stored, but not visible here yet")

	// ErrClosed is returned by all methods after [Log.Close].
	ErrClosed = errors.New("natslog: log is closed")
)
