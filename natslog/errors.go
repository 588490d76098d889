package natslog

import "errors"

// The errors that a caller can act on. Test for them with [errors.Is]: they are wrapped together
// with their cause. Append and Read also return those of package eventlog.
var (
	// ErrUnavailable is returned when the broker does not answer: by [Open] and [Log.Append] when
	// ctx ends, by [Log.Head] and [Log.Ready] after 2 s without contact, by [Log.Read] when it has
	// to ask the broker, and by [Log.Post] without a connection. The text says whether the
	// connection is lost or the stream has no leader. After one from Append it is not known
	// whether the event was stored.
	ErrUnavailable = errors.New("natslog: broker unavailable")

	// ErrNotVisible is returned by [Log.Append] when the broker has stored the event and this node
	// has not read it from the stream in time. The event may still be delivered.
	ErrNotVisible = errors.New("natslog: event is stored, but not visible on this node yet")

	// ErrClosed is returned by all methods after [Log.Close].
	ErrClosed = errors.New("natslog: log is closed")
)
