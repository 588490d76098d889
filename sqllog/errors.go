package sqllog

import "errors"

// The errors that a caller can act on. Test for them with [errors.Is]: they are wrapped together
// with their cause. Append, Read and Put also return those of package eventlog.
var (
	// ErrUnavailable is returned when the database does not answer: by [Log.Append] when ctx ends
	// or the database refuses, by [Log.Head] and [Log.Ready] after 2 s without contact, and by
	// [Log.Read] when it has to ask the database. After one from Append it is not known whether the
	// event was stored.
	ErrUnavailable = errors.New("sqllog: the database does not answer, or refuses")

	// ErrNotVisible is returned by [Log.Append] when the database has stored the event and this
	// node has not read it in time. The event may still be delivered.
	ErrNotVisible = errors.New("sqllog: event is stored, but not visible on this node yet")

	// ErrClosed is returned by all methods after [Log.Close].
	ErrClosed = errors.New("sqllog: log is closed")
)
