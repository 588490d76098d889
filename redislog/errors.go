package redislog

import "errors"

// The errors that a caller can act on. Test for them with [errors.Is]: they are wrapped together
// with their cause. Append, Read and Put also return those of package eventlog.
var (
	// ErrUnavailable is returned when Redis does not answer: by [Log.Append] when ctx ends or Redis
	// refuses, by [Log.Head], [Log.Post] and [Log.Ready] after 2 s without contact, and by [Log.Read]
	// when it has to ask Redis. After one from Append it is not known whether the event was stored.
	ErrUnavailable = errors.New("redislog: Redis does not answer, or refuses")

	// ErrNotVisible is returned by [Log.Append] when Redis has stored the event and this node has
	// not read it in time, or when fewer replicas than [Config.Wait] have it. The event may still be
	// delivered.
	ErrNotVisible = errors.New("redislog: event is stored, but this node, or a replica, does not have it yet")

	// ErrClosed is returned by all methods after [Log.Close].
	ErrClosed = errors.New("redislog: log is closed")
)
