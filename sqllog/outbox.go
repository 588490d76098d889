package sqllog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/ginsse/ginsse/eventlog"
)

// Execer is a transaction of database/sql: a *sql.Tx, or what has its method, such as transactions
// of sqlx and ent, and the ConnPool of a gorm statement.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Tx returns an outbox that puts events into a transaction, for ginsse's Registry.In. The
// transaction is on the log's database, also on another connection or by another driver. Its role
// needs the right to insert into the inbox.
//
// The events become visible a few milliseconds after the commit.
func (l *Log) Tx(tx Execer) eventlog.Outbox {
	switch tx.(type) {
	case nil:
		return l.TxFunc(nil)
	case interface {
		BeginTx(ctx context.Context, options *sql.TxOptions) (*sql.Tx, error)
	}:
		return l.TxFunc(func(context.Context, string, ...any) error { return errNoTx })
	}
	return l.TxFunc(func(ctx context.Context, statement string, args ...any) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
}

// TxFunc is [Log.Tx] for a transaction that is not one of database/sql. exec runs a statement in
// it, with parameters written as $1. For pgx, package pgxlog has one.
func (l *Log) TxFunc(exec func(ctx context.Context, statement string, args ...any) error) eventlog.Outbox {
	return outbox{l, exec}
}

type outbox struct {
	log  *Log
	exec execFunc
}

var (
	errNilTx = errors.New("sqllog: the transaction given to Tx is nil")
	errNoTx  = errors.New("sqllog: what was given to Log.Tx is no transaction; to send outside of one, use the registry's own methods")
)

// Log returns the log of the outbox: ginsse's Registry.In compares it with the registry's.
func (o outbox) Log() eventlog.Log { return o.log }

// Put implements [eventlog.Outbox]. It works while this node cannot read the log, and after
// [Log.Close]: other nodes deliver the event, or this one after its restart.
//
// Errors: [eventlog.ErrInvalidRecord], [eventlog.ErrTooLarge], the database's.
func (o outbox) Put(ctx context.Context, r eventlog.Record) error {
	if o.exec == nil {
		return errNilTx
	}
	if err := o.log.cfg.check(r); err != nil {
		return err
	}
	if err := o.log.dialect.put(ctx, o.exec, r); err != nil {
		return err
	}
	o.log.expectCommit()
	return nil
}
