package ginsse

import (
	"context"
	"errors"
	"fmt"

	"github.com/ginsse/ginsse/eventlog"
)

// Sender sends events by an outbox. Its methods have the names of those of a [Registry]: see
// [Registry.In].
//
// Concurrency: as the outbox allows. A transaction usually belongs to one goroutine.
//
// Errors, of all methods: those of the [Registry]'s method, or the outbox's. After an error nothing
// of the call may be sent: roll the transaction back. A registry that is closed makes no difference,
// as other nodes, or this one after its restart, have streams.
type Sender struct {
	r      *Registry
	outbox eventlog.Outbox
}

// In returns a Sender whose events become part of a transaction of the application. If it commits,
// the log has them, and they reach the streams like other events. If it is rolled back, nobody gets
// them:
//
//	tx, err := db.BeginTx(ctx, nil)
//	// insert the comment, with tx
//	err = registry.In(sqllog.Tx(tx)).SendTo(ctx, post.AuthorID, ginsse.Event{Type: "comment", Data: comment})
//	err = tx.Commit()
//
// The outbox comes from the registry's log, such as one of package sqllog. There is no [Receipt]: an
// event has no ID before the commit.
func (r *Registry) In(outbox eventlog.Outbox) Sender { return Sender{r, outbox} }

// SendTo is [Registry.SendTo] in the transaction.
func (s Sender) SendTo(ctx context.Context, userID string, e Event) error {
	if err := checkName("user ID", userID); err != nil {
		return err
	}
	return s.send(ctx, e, userSubject(userID))
}

// SendToUsers is [Registry.SendToUsers] in the transaction.
func (s Sender) SendToUsers(ctx context.Context, userIDs []string, e Event) error {
	users, err := distinctUsers(userIDs)
	if err != nil {
		return err
	}
	for i, user := range users {
		users[i] = userSubject(user)
	}
	return s.send(ctx, e, users...)
}

// Broadcast is [Registry.Broadcast] in the transaction.
func (s Sender) Broadcast(ctx context.Context, e Event) error {
	return s.send(ctx, e, eventlog.SubjectAll)
}

// Publish is [Registry.Publish] in the transaction.
func (s Sender) Publish(ctx context.Context, topic string, e Event) error {
	subject, err := topicSubject(topic)
	if err != nil {
		return err
	}
	return s.send(ctx, e, subject)
}

// Disconnect is [Registry.Disconnect] in the transaction: the streams end where the commit has its
// place in the log. So an account and its streams can end together.
func (s Sender) Disconnect(ctx context.Context, userID string, reason Reason) error {
	if err := checkName("user ID", userID); err != nil {
		return err
	}
	b := borrowBuffer()
	defer b.release()
	b.bytes = appendOwn(b.bytes, disconnectCommand, "", disconnectData{reason})
	if err := s.r.checkSize(b.bytes); err != nil {
		return err
	}
	return s.put(ctx, commandSubject(userID), b.bytes)
}

// send puts an event for each subject into the outbox.
func (s Sender) send(ctx context.Context, e Event, subjects ...string) error {
	b := borrowBuffer()
	defer b.release()
	if err := s.r.encode(b, e); err != nil {
		return err
	}
	for _, subject := range subjects {
		if err := s.put(ctx, subject, b.bytes); err != nil {
			return err
		}
	}
	return nil
}

func (s Sender) put(ctx context.Context, subject string, frame []byte) error {
	switch {
	case ctx == nil:
		return errNilContext
	case s.outbox == nil:
		return errNilOutbox
	}
	return tooLarge(s.outbox.Put(ctx, eventlog.Record{Subject: subject, Frame: frame}))
}

var errNilOutbox = errors.New("ginsse: the outbox given to Registry.In is nil; pass one of the log's, such as sqllog.Tx(tx)")

// tooLarge gives a log's error for a record that is too large the root's name.
func tooLarge(err error) error {
	if errors.Is(err, eventlog.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrEventTooLarge, err)
	}
	return err
}
