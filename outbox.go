package ginsse

import (
	"context"
	"errors"
	"fmt"

	"github.com/ginsse/ginsse/eventlog"
)

// Sender sends events in a transaction of the application: see [Registry.In]. Its methods are those
// of a [Registry].
//
// Concurrency: as the outbox allows. A transaction usually belongs to one goroutine.
//
// Errors, of all methods: [ErrInvalidSubject], [ErrInvalidEvent], [ErrEventTooLarge], or the
// outbox's. After an error, the events of the call may be in the transaction in part: roll it back.
// A Sender never returns [ErrClosed] or a [PartialError]. Also when the registry is closed, the
// events reach the streams of other nodes, and of this one after its restart.
type Sender struct {
	r      *Registry
	outbox eventlog.Outbox
}

// In returns a Sender whose events become part of a transaction of the application. If the
// transaction commits, the log has them, and they reach the streams as other events do. If it is
// rolled back, no stream gets them.
//
//	tx, err := db.BeginTx(ctx, nil)
//	// ... insert the comment by tx
//	err = registry.In(log.Tx(tx)).SendTo(ctx, post.AuthorID, ginsse.Event{Type: "comment", Data: comment})
//	// ...
//	err = tx.Commit()
//
// The outbox must come from the registry's log, such as one of package sqllog. If it has a method
// Log() eventlog.Log, a registry whose log is in memory refuses the outbox of another log: it would
// deliver nothing. There is no [Receipt]: an event has no ID before the commit.
func (r *Registry) In(outbox eventlog.Outbox) Sender { return Sender{r, outbox} }

// SendTo is [Registry.SendTo] in the transaction.
func (s Sender) SendTo(ctx context.Context, userID string, e Event) error {
	return s.SendToUsers(ctx, []string{userID}, e)
}

// SendToUsers is [Registry.SendToUsers] in the transaction. Each user gets the event once, however
// often the ID is named.
func (s Sender) SendToUsers(ctx context.Context, userIDs []string, e Event) error {
	subjects, err := distinctUsers(userIDs)
	if err != nil {
		return err
	}
	for i, userID := range subjects {
		subjects[i] = userSubject(userID)
	}
	return s.send(ctx, e, eventlog.KindUser, subjects...)
}

// Broadcast is [Registry.Broadcast] in the transaction.
func (s Sender) Broadcast(ctx context.Context, e Event) error {
	return s.send(ctx, e, eventlog.KindAll, eventlog.SubjectAll)
}

// Publish is [Registry.Publish] in the transaction.
func (s Sender) Publish(ctx context.Context, topic string, e Event) error {
	subject, err := topicSubject(topic)
	if err != nil {
		return err
	}
	return s.send(ctx, e, eventlog.KindTopic, subject)
}

// Disconnect is [Registry.Disconnect] in the transaction, so that an account and its streams end
// together. The streams get the events from before the commit, and those that were put before this
// call. Streams that are opened after the commit stay open.
func (s Sender) Disconnect(ctx context.Context, userID string, reason Reason) error {
	if err := checkName("user ID", userID); err != nil {
		return err
	}
	b := borrowBuffer()
	defer b.release()
	if err := s.r.encodeCommand(b, disconnectCommand, disconnectData{reason}); err != nil {
		return err
	}
	return s.put(ctx, eventlog.Record{Frame: b.bytes}, commandSubject(userID))
}

func (s Sender) send(ctx context.Context, e Event, kind eventlog.Kind, subjects ...string) (err error) {
	b := borrowBuffer()
	defer b.release()
	if e.Transient {
		return fmt.Errorf("%w: Transient is set, and a transaction cannot hold the event; send it by the registry", ErrInvalidEvent)
	}
	ctx, trace := s.r.sending(ctx, kind, len(subjects), e)
	err = errSendPanicked
	defer func() { s.r.sent(ctx, kind, Receipt{}, err) }()
	if err = s.r.encode(b, e, trace); err == nil {
		err = s.put(ctx, eventlog.Record{Key: e.Key, DedupKey: e.DedupKey, Frame: b.bytes}, subjects...)
	}
	return err
}

// put puts a record into the outbox for each subject, up to the first error.
func (s Sender) put(ctx context.Context, r eventlog.Record, subjects ...string) error {
	switch {
	case ctx == nil:
		return errNilContext
	case s.outbox == nil:
		return errNilOutbox
	}
	// A registry that was made without its log has one in memory, and would deliver nothing.
	if owned, ok := s.outbox.(interface{ Log() eventlog.Log }); ok {
		if _, memory := s.r.log.(*eventlog.MemoryLog); memory && owned.Log() != s.r.log {
			return errOutboxOfAnotherLog
		}
	}
	for _, subject := range subjects {
		r.Subject = subject
		if err := s.outbox.Put(ctx, r); err != nil {
			return tooLarge(err)
		}
	}
	return nil
}

var errNilOutbox = errors.New("ginsse: the outbox given to Registry.In is nil; pass one of the registry's log, such as log.Tx(tx)")

var errOutboxOfAnotherLog = errors.New("ginsse: the outbox given to Registry.In is of another log than the registry's, which is in memory; set RegistryConfig.Log to the outbox's log")

// tooLarge gives a log's error for a record that is too large the name that it has in this package.
func tooLarge(err error) error {
	if errors.Is(err, eventlog.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrEventTooLarge, err)
	}
	return err
}
