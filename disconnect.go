package ginsse

import (
	"context"
	"slices"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// disconnectPatience is how long the streams of this node stay open while the log takes a
// command to disconnect them.
const disconnectPatience = time.Second

// Disconnect ends all streams of a user, on every node, and returns how many there were on this
// node, not counting those that follow runs. Events sent before the call are delivered, later ones
// are not. Streams that are opened after it stay open. If the log takes longer than 1 s, the streams
// of this node do not wait for it, and may get sse.gap with the reason "undelivered".
//
// The client gets sse.close with the reason, or sse.reconnect for a reason of the kit's that asks
// for it: see [Reason]. "" means [ReasonDisconnected]. A client has 10 s to take the events from
// before the call, and a minute for the last write. A node that is partitioned follows when it is
// connected again.
//
// Disconnect does not keep the user out: clients may reconnect, so [AuthConfig.CheckFunc] must refuse
// them. A request that it let pass just before may open a stream just after: check again in
// [RegistryConfig.ConnectFunc].
//
// Errors: [ErrInvalidSubject]; [ErrEventTooLarge] for a reason; [ErrClosed]; or the log's. After the
// last three the streams of this node have ended, and those of others may be open: call again.
func (r *Registry) Disconnect(ctx context.Context, userID string, reason Reason) (int, error) {
	if ctx == nil {
		return 0, errNilContext
	}
	if err := checkName("user ID", userID); err != nil {
		return 0, err
	}
	streams, followers := r.Streams(userID), r.followersOf(userID)
	end := func() {
		for _, s := range slices.Concat(streams, followers) {
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
	for _, s := range streams { // followers find the command's place themselves
		s.endAt(reason.orDisconnected(), at.Seq)
	}
	return len(streams), nil
}

// command appends a command to a user's streams, and returns its position.
func (r *Registry) command(ctx context.Context, userID, name string, data any) (eventlog.Cursor, error) {
	b := borrowBuffer()
	defer b.release()
	if err := r.encodeCommand(b, name, data); err != nil {
		return eventlog.Cursor{}, err
	}
	return r.append(ctx, eventlog.Record{Subject: commandSubject(userID), Frame: b.bytes})
}

func (r *Registry) encodeCommand(b *buffer, name string, data any) error {
	b.bytes = appendOwn(b.bytes, name, "", data)
	return r.checkSize(b.bytes)
}
