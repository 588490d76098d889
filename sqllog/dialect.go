package sqllog

import (
	"context"
	"database/sql"

	"github.com/ginsse/ginsse/eventlog"
)

// dialect is what differs between databases. The statements that all of them take are in this
// package's other files. They write parameters as $1; for SQLite, a namer makes ?1 of it.
type dialect interface { //nolint:interfacebloat // two implementations here, and no other ones
	// check refuses a database with settings that the log cannot work with.
	check(ctx context.Context) error
	// explain adds the remedy to an error of the database, if it knows one.
	explain(err error) error
	// migrate makes the tables, or brings them to this version.
	migrate(ctx context.Context, version int) error
	// state returns a table expression of one row with the columns epoch, last and message: the
	// log's epoch, the last sequence that was used, and the last id of a message, or 0. With poll,
	// on Postgres, it first adds to the log what transactions have committed, and notices a
	// promotion. Such a query returns one row: until a node has taken all of its answer, it may
	// keep others waiting.
	state(poll bool) string
	// unchanged reports whether it is certain that the database has not changed since the last call
	// that asked for its state on a connection. Only the tail calls it.
	unchanged(ctx context.Context, conn *sql.Conn) (bool, error)
	// append stores records in one transaction, in order, and sets their sequences and checks. Those of
	// a repeat are the first one's.
	append(ctx context.Context, db *sql.Conn, batch []*pendingRecord) error
	// put puts a record into a transaction, with a function that runs a statement in it.
	put(ctx context.Context, exec execFunc, r eventlog.Record) error
	// empty removes the frames of rows that rows with these sequences have replaced. It does not wait
	// for another node that does the same.
	empty(ctx context.Context, seqs []uint64) error
	// forEach returns a query for the rows of all subjects, of which rowsOf returns that for an
	// expression of one, and its parameters, which follow others.
	forEach(subjects []string, rowsOf func(subject string) string, others []any) (query string, args []any)
	// post stores messages in order, with ids above all earlier ones.
	post(ctx context.Context, batch []message) error
	// countInbox returns how many committed records wait for their place in the log, up to a bound; or
	// inboxUnknown if none ever do.
	countInbox(ctx context.Context, most int) (int, error)
	// checkRights refuses tables on which the role lacks rights.
	checkRights(ctx context.Context) error
}

// execFunc runs a statement, with parameters written as $1.
type execFunc func(ctx context.Context, statement string, args ...any) error

// queries is a *sql.DB, a *sql.Conn or a *sql.Tx.
type queries interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// position is what the database says about a position, at one moment.
type position struct {
	epoch         uint32
	last, message uint64
	check         sql.Null[uint32] // of the entry there; not valid if there is none
	at, total     sql.Null[int64]  // of the entry there
	newest        sql.Null[int64]  // total of the newest entry
}

// poll asks for the state of the log and the entry at a sequence, and has the database add what
// transactions have committed.
func (l *Log) poll(ctx context.Context, db queries, seq uint64) (p position, err error) {
	err = db.QueryRowContext(ctx, l.tables(`select s.epoch, s.last, s.message, e.chk, e.at, e.total,
		(select n.total from {log} n order by n.seq desc limit 1)
		from `+l.dialect.state(true)+` s left join {log} e on e.seq = $1`), seq).
		Scan(&p.epoch, &p.last, &p.message, &p.check, &p.at, &p.total, &p.newest)
	return p, err
}
