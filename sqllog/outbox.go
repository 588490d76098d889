package sqllog

import (
	"context"
	"database/sql"

	"github.com/ginsse/ginsse/eventlog"
)

// Execer is a transaction of database/sql: a *sql.Tx, or what has its method, such as transactions of
// sqlx and ent, and the ConnPool of a gorm statement.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Tx returns an outbox that puts records into a transaction: see [ginsse.Registry.In]. The transaction must
// be on the log's database. Whoever may insert into the log's table may do so.
//
// The records become visible with the commit. [Log.Kick] after it delivers them at once.
func (l *Log) Tx(tx Execer) eventlog.Outbox { return outbox{l, tx} }

type outbox struct {
	log *Log
	tx  Execer
}

// Put implements [eventlog.Outbox].
func (o outbox) Put(ctx context.Context, r eventlog.Record) error {
	if err := o.log.cfg.check(r); err != nil {
		return err
	}
	_, err := o.tx.ExecContext(ctx, o.log.cfg.tables(o.log.dialect.put()), r.Subject, r.Frame)
	return err
}
