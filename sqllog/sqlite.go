package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// pollSQLite is the default of [Config.PollInterval].
const pollSQLite = 5 * time.Millisecond

// OpenSQLite returns the log in an SQLite database of version 3.35 or later, with any driver. It
// makes the tables, reads the newest events into memory, and returns then, or when ctx ends. If ctx
// has no deadline, [Config.AppendTimeout] is one.
//
// db may be the application's own pool, or another one on the same file. The log uses at most three
// connections of it at a time, and holds none. The pool's settings are the application's:
//
//   - The journal in WAL mode: else readers and writers keep each other waiting.
//   - A busy timeout of some seconds, and transactions that begin immediate (with modernc.org/sqlite
//     _txlock=immediate): a transaction that begins with a read and then writes fails at once if another
//     one has written meanwhile, whatever the timeout.
//   - synchronous FULL, the default, or NORMAL. With NORMAL a power cut can take the newest transactions
//     back. Readers that were beyond them get a gap.
//
// Several processes on one machine may use one file, each with a log. The file must not be on a network
// file system: SQLite's locks do not work there, and the file would be corrupted.
//
// The caller closes db after the log.
//
// Errors: an invalid configuration; tables of another version; the database's.
func OpenSQLite(ctx context.Context, db *sql.DB, cfg Config) (*Log, error) {
	if err := cfg.resolve(pollSQLite); err != nil {
		return nil, err
	}
	return open(ctx, db, cfg, &sqlite{db: db, cfg: &cfg})
}

// sqlite is the dialect of SQLite. It has one writer at a time, so the order in which an autoincrement
// gives numbers is that of the commits.
type sqlite struct {
	db  *sql.DB
	cfg *Config
}

// sqliteSchema are the statements that make the tables. at is in microseconds since 1970, by the clock of
// the process that commits. A number that was rolled back is used again, and was never seen.
var sqliteSchema = []string{
	`create table if not exists {log} (
	seq integer primary key autoincrement,
	chk integer not null default (1 + abs(random() % 2147483646)),
	at integer not null default (cast((julianday('now') - 2440587.5) * 86400000000 as integer)),
	subject text not null,
	frame blob not null)`,
	`create index if not exists {log}_by_subject on {log} (subject, seq)`,
	`create table if not exists {meta} (
	one integer primary key check (one = 1),
	version integer not null,
	epoch integer not null)`,
	`insert into {meta} (one, version, epoch) values (1, 1, 1 + abs(random() % 2147483646)) on conflict do nothing`,
}

// schemaVersion is the version of the tables of all dialects.
const schemaVersion = 1

// migrate implements dialect. Each statement may be repeated, also by several processes at once.
func (s *sqlite) migrate(ctx context.Context, change bool) error {
	if change {
		for _, statement := range sqliteSchema {
			if _, err := s.db.ExecContext(ctx, s.cfg.tables(statement)); err != nil {
				return fmt.Errorf("making the tables: %w", err)
			}
		}
	}
	var version int
	if err := s.db.QueryRowContext(ctx, s.cfg.tables(`select version from {meta}`)).Scan(&version); err != nil {
		return fmt.Errorf("reading the version of the tables: %w", err)
	}
	if version != schemaVersion {
		return fmt.Errorf("the tables have version %d, and this package needs %d; use the package that made them, or migrate them", version, schemaVersion)
	}
	return nil
}

// state implements dialect.
func (s *sqlite) state(ctx context.Context, tip uint64) (now state, err error) {
	var first sql.Null[uint64]
	var check sql.Null[uint32]
	err = s.db.QueryRowContext(ctx, s.cfg.tables(`select epoch,
		coalesce((select seq from sqlite_sequence where name = '{log}'), 0),
		(select min(seq) from {log}),
		(select chk from {log} where seq = $1) from {meta}`), tip).Scan(&now.epoch, &now.last, &first, &check)
	now.check, now.first = check.V, now.last+1
	if first.Valid {
		now.first = first.V
	}
	return now, err
}

// append implements dialect. One statement is one transaction, and takes the lock of writers at once.
func (s *sqlite) append(ctx context.Context, batch []*pending) error {
	args := make([]any, 0, 3*len(batch))
	byCheck := make(map[uint32]*pending, len(batch))
	for _, p := range batch {
		for p.check = 0; p.check == 0 || byCheck[p.check] != nil; {
			p.check = 1 + rand.Uint32N(1<<31-1)
		}
		byCheck[p.check] = p
		args = append(args, p.check, p.record.Subject, p.record.Frame)
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(batch)), ", ")
	rows, err := s.db.QueryContext(ctx, s.cfg.tables(`insert into {log} (chk, subject, frame) values `+values+` returning seq, chk`), args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	for rows.Next() {
		var seq uint64
		var check uint32
		if err := rows.Scan(&seq, &check); err != nil {
			return err
		}
		if p := byCheck[check]; p != nil { // SQLite promises no order of these rows
			p.seq = seq
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, p := range batch {
		if p.seq == 0 {
			return errors.New("the database did not say which numbers it gave")
		}
	}
	return nil
}

// put implements dialect.
func (s *sqlite) put() string { return `insert into {log} (subject, frame) values ($1, $2)` }
