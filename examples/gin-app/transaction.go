package main

import (
	"bytes"
	"context"
	"database/sql"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// transaction is a transaction that writes. Its events are part of it: they are sent if it commits,
// and only then.
//
// If the log is in the same database, the commit stores the events together with the rows. Other
// logs get the events just after the commit, and may fail.
type transaction struct {
	*sql.Tx
	dialect *dialect
	events  ginsse.Sender
}

// lockAccount keeps other transactions that lock the account waiting until this one has ended.
func (tx *transaction) lockAccount(ctx context.Context, id string) error {
	if tx.dialect.lockAccount == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, tx.dialect.lockAccount, id)
	return err
}

// now returns the time by the clock that all processes on the database share.
func (tx *transaction) now(ctx context.Context) (at time.Time, err error) {
	if tx.dialect.clock == "" {
		return time.Now(), nil
	}
	err = tx.QueryRowContext(ctx, tx.dialect.clock).Scan(&at)
	return at, err
}

// eventLog is a log of events that the application closes.
type eventLog interface {
	eventlog.Log
	Ready() error
	Close() error
}

// memoryLog is the log of a database in memory. Both end with the process.
type memoryLog struct{ *eventlog.MemoryLog }

func (memoryLog) Ready() error { return nil }
func (memoryLog) Close() error { return nil }

// sending is how the transactions of a store send events.
type sending struct {
	registry *ginsse.Registry
	log      eventLog // of the registry
	// failed handles an event that the log did not accept after the commit.
	failed func(ctx context.Context, r eventlog.Record, err error)
}

// update runs a transaction that writes, and sends its events.
func (s *store) update(ctx context.Context, do func(ctx context.Context, tx *transaction) error) error {
	var later outbox
	err := s.transact(ctx, s.write, &sql.TxOptions{Isolation: sql.LevelReadCommitted}, func(ctx context.Context, tx *sql.Tx) error {
		var events eventlog.Outbox = &later
		if log, ok := s.sending.log.(*sqllog.Log); ok {
			events = log.Tx(tx)
		}
		return do(ctx, &transaction{tx, s.dialect, s.sending.registry.In(events)})
	})
	if err == nil {
		s.sending.send(ctx, later)
	}
	return err
}

// outbox holds the events of a transaction until it has committed.
type outbox []eventlog.Record

// Put implements [eventlog.Outbox].
func (o *outbox) Put(_ context.Context, r eventlog.Record) error {
	r.Frame = bytes.Clone(r.Frame) // it belongs to the caller
	*o = append(*o, r)
	return nil
}

// sendTimeout is how long a request waits until a log that is not in the database has its events.
const sendTimeout = 2 * time.Second

// send appends the events of a committed transaction to the log. It does not end with the request:
// the events must be sent even if the client has disconnected.
func (s *sending) send(ctx context.Context, events outbox) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout)
	defer cancel()
	for _, r := range events {
		if _, err := s.log.Append(ctx, r); err != nil {
			s.failed(ctx, r, err)
		}
	}
}

var _ eventlog.Outbox = (*outbox)(nil)
