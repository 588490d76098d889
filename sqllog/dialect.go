package sqllog

import (
	"context"
	"database/sql"
)

// dialect is what differs between databases. The statements that all of them take are in this
// package's other files. They write parameters as $1, which SQLite and Postgres both know.
type dialect interface {
	// check refuses a database with settings that the log cannot work with.
	check(ctx context.Context) error
	// migrate makes the tables, or brings them to this version.
	migrate(ctx context.Context, version int) error
	// state returns a table expression of one row with the columns epoch, last and message: the log's
	// epoch, the last sequence that was used, and the last id of a message, or 0. With step, on Postgres
	// it adds before what transactions have committed, unless another node does so at the moment.
	state(step bool) string
	// append stores records in one transaction, in order, and sets their sequences and checks.
	append(ctx context.Context, batch []*pending) error
	// put returns the statement that puts a subject and a frame into a transaction.
	put() string
	// post stores messages in order, with ids above all earlier ones.
	post(ctx context.Context, batch []message) error
}

// queries is a *sql.DB or a *sql.Conn.
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

// position asks for the state of the log and the entry at a sequence.
func (l *Log) position(ctx context.Context, db queries, seq uint64) (p position, err error) {
	err = db.QueryRowContext(ctx, l.tables(`select s.epoch, s.last, s.message, e.chk, e.at, e.total,
		(select n.total from {log} n order by n.seq desc limit 1)
		from `+l.dialect.state(true)+` s left join {log} e on e.seq = $1`), seq).
		Scan(&p.epoch, &p.last, &p.message, &p.check, &p.at, &p.total, &p.newest)
	return p, err
}
