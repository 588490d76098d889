package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/ginsse/ginsse/sqllog"
)

// sqliteWriters is how many clients of the application write.
const sqliteWriters = 8

// sqliteAddress returns the address of a file, with the settings that sqllog recommends.
func sqliteAddress(file, synchronous string) string {
	return fmt.Sprintf("file:%s?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_pragma=synchronous(%s)&_txlock=immediate", file, synchronous)
}

// onSQLite measures the parts on SQLite.
func (r *run) onSQLite(ctx context.Context) error {
	return errors.Join(
		r.part("sqlite", func() error {
			return errors.Join(r.sqliteTransactions(ctx, "full"), r.sqliteTransactions(ctx, "normal"))
		}),
		r.part("resume", func() error { return r.resumeSQLite(ctx) }),
	)
}

// sqliteTransactions measures the application's transactions on SQLite.
func (r *run) sqliteTransactions(ctx context.Context, synchronous string) error {
	db, err := openPool("sqlite", sqliteAddress(filepath.Join(r.dir, synchronous+".db"), synchronous), sqliteWriters+4)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the file is removed
	if _, err := db.ExecContext(ctx, `create table comments (id integer primary key, author integer not null, body text not null)`); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `create table notifications (id integer primary key, receiver text not null, body blob not null);
		create index by_receiver on notifications (receiver, id)`); err != nil {
		return err
	}
	another := func(ctx context.Context, tx *sql.Tx, n int64) error {
		_, err := tx.ExecContext(ctx, `insert into notifications (receiver, body) values ($1, $2)`, userID(n), data(n))
		return err
	}
	a := &application{db: db, last: new(atomic.Int64)}
	return r.measure(&Table{
		Title:   fmt.Sprintf("Transactions on SQLite, %d writers, synchronous=%s", sqliteWriters, synchronous),
		About:   "Each inserts one row of the application, in WAL mode, with `_txlock=immediate` (modernc.org/sqlite). *Published*: `registry.In(log.Tx(tx)).SendTo` follows; afterwards all events are in the log. *Two rows*: another row of the application follows instead, in a table with one index.",
		Figures: transactionFigures(),
		Aims: []Aim{{
			Text: fmt.Sprintf("SQLite, row and event in one transaction, synchronous=%s: at least 0.8 of the row alone", synchronous),
			Row:  1, Over: 0, Least: 0.8,
		}},
	}, []testCase{
		{"alone", func() ([]float64, error) { return a.rate(ctx, r, sqliteWriters, nil, nil) }},
		{"published", func() ([]float64, error) {
			return a.withLog(ctx, sqllog.OpenSQLite, func(publish publisher) ([]float64, error) {
				return a.rate(ctx, r, sqliteWriters, nil, publish)
			})
		}},
		{"two rows", func() ([]float64, error) { return a.rate(ctx, r, sqliteWriters, nil, another) }},
	})
}
