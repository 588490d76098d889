package ginsse

import (
	"context"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// disconnectPatience is how long the streams of this node stay open while the log takes a
// command to disconnect them.
const disconnectPatience = 250 * time.Millisecond

// Disconnect ends all streams of a user, on every node. Events sent before the call are
// delivered, later ones are not. Disconnect returns how many streams there were on this node.
//
// The call appends a command to the log, which each of the user's streams carries out at its
// place among the events. A node that is partitioned does so when it is connected again. A
// stream that is opened after the call stays open. Streams of this node end within 250 ms, also
// if the log takes longer.
//
// The client gets sse.close with the reason, or sse.reconnect for a reason of the kit's that asks
// for it: see [Reason]. The reason "" means [ReasonDisconnected]. A slow client has 10 s to take
// the events from before the call; if that is too short, sse.gap precedes the end.
//
// Disconnect does not keep the user out. A browser's EventSource reconnects after sse.close unless
// the page closes it, and a client that had lost its connection comes back as a new stream. So
// authentication must refuse the user as well: see [AuthConfig.CheckFunc]. A request that passed
// authentication just before the call may still open a stream: check again in
// [RegistryConfig.ConnectFunc].
//
// Errors: [ErrInvalidSubject] for the user ID; [ErrEventTooLarge] for a reason over the limit of
// events; [ErrClosed]; or the log's. After any but the first the streams of this node end all the
// same, and those of other nodes may stay open: call Disconnect again.
func (r *Registry) Disconnect(ctx context.Context, userID string, reason Reason) (int, error) {
	if ctx == nil {
		return 0, errNilContext
	}
	if err := checkName("user ID", userID); err != nil {
		return 0, err
	}
	streams := r.Streams(userID)
	end := func() {
		for _, s := range streams {
			s.Disconnect(reason)
		}
	}
	late := time.AfterFunc(disconnectPatience, end)
	defer late.Stop()
	at, err := r.command(ctx, userID, disconnectCommand, disconnectData{reason})
	if err != nil {
		end()
		return len(streams), err
	}
	for _, s := range streams {
		s.endAt(reason.orDisconnected(), at.Seq)
	}
	return len(streams), nil
}

// command appends a command to a user's streams, and returns its position.
func (r *Registry) command(ctx context.Context, userID, name string, data any) (eventlog.Cursor, error) {
	b := borrowBuffer()
	defer b.release()
	b.bytes = appendOwn(b.bytes, name, "", data)
	if err := r.checkSize(b.bytes); err != nil {
		return eventlog.Cursor{}, err
	}
	return r.append(ctx, commandSubject(userID), b.bytes)
}
