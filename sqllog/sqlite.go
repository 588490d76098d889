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

// OpenSQLite returns the log in an SQLite database of version 3.35 or later, with any driver. It
// makes the tables, reads the newest events into memory, and returns then, or when ctx ends, or
// after 30 s if ctx has no deadline.
//
// db is the application's pool, or another one on the same file. The log holds two connections of
// it, and uses others at times. The settings of its connections are the application's:
//
//   - The journal must be in WAL mode: otherwise readers and writers keep each other waiting.
//   - The busy timeout must not be 0; 5 s is usual. A writer waits as long for another one.
//   - Transactions should begin immediate, with modernc.org/sqlite and mattn/go-sqlite3 by
//     _txlock=immediate. Otherwise a transaction that first reads and then writes fails if another
//     one has written meanwhile, whatever the timeout.
//   - synchronous is FULL, the default, or NORMAL. With NORMAL a power cut can take the newest
//     transactions back. Readers that were beyond them get a gap.
//
// Several processes on one machine may use one file, each with a log. The file must not be on a
// network file system: SQLite's locks do not work there, and the file would be corrupted.
//
// The caller closes db after the log.
//
// Errors: an invalid configuration; a setting of the database that is refused; tables of another
// version; the database's.
func OpenSQLite(ctx context.Context, db *sql.DB, cfg Config) (*Log, error) {
	if err := cfg.resolve(); err != nil {
		return nil, err
	}
	switch {
	case cfg.Listen != nil || cfg.SynchronousStandby:
		return nil, errors.New("sqllog: Config.Listen and Config.SynchronousStandby are for Postgres")
	case strings.Contains(cfg.TablePrefix, "."):
		return nil, fmt.Errorf("sqllog: Config.TablePrefix is %q; SQLite has no schemas", cfg.TablePrefix)
	}
	names := newNamer(cfg.TablePrefix, "$", "?") // to SQLite, $1 would be a name
	return open(ctx, db, cfg, &sqlite{db: db, cfg: &cfg, namer: names}, names)
}

// sqlite is the dialect of SQLite.
type sqlite struct {
	db  *sql.DB
	cfg *Config
	*namer

	// version is what pragma data_version returned on a connection. It changes when another
	// connection has committed.
	version     int64
	versionFrom *sql.Conn
}

func (s *sqlite) check(ctx context.Context) error {
	// Settings that were made by a statement hold for one connection.
	for range 2 {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close() //nolint:errcheck // returns it to the pool
		if err := checkConnection(ctx, conn); err != nil {
			return err
		}
	}
	return nil
}

func checkConnection(ctx context.Context, db queries) error {
	var mode string
	if err := db.QueryRowContext(ctx, `pragma journal_mode`).Scan(&mode); err != nil {
		return err
	}
	if !strings.EqualFold(mode, "wal") {
		return fmt.Errorf("the journal mode is %q, and the log needs WAL: set it for all connections of the pool, in the address of the database; a database in memory cannot hold a log", mode)
	}
	var busy int
	if err := db.QueryRowContext(ctx, `pragma busy_timeout`).Scan(&busy); err != nil {
		return err
	}
	if busy == 0 {
		return errors.New("the busy timeout is 0, so writers would fail instead of waiting for each other: set 5000 ms for all connections of the pool, in the address of the database")
	}
	return nil
}

func (s *sqlite) migrate(ctx context.Context, _ int) error {
	list, err := SQLiteMigrations(s.cfg.TablePrefix)
	if err != nil {
		return err
	}
	for _, m := range list {
		for _, statement := range m.Statements {
			if _, err := s.db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sqlite) state(bool) string {
	return `(select m.epoch as epoch,
		coalesce((select max(n.seq) from {log} n), 0) as last,
		coalesce((select max(g.id) from {messages} g), 0) as message from {meta} m)`
}

func (s *sqlite) unchanged(ctx context.Context, conn *sql.Conn) (bool, error) {
	var version int64
	if err := conn.QueryRowContext(ctx, `pragma data_version`).Scan(&version); err != nil {
		return false, err
	}
	same := conn == s.versionFrom && version == s.version
	s.version, s.versionFrom = version, conn
	return same, nil
}

// newTotal is the sum of all entries before an insert.
const newTotal = `coalesce((select n.total from {log} n order by n.seq desc limit 1), 0)`

func (s *sqlite) put() string {
	return fmt.Sprintf(`insert into {log} (subject, frame, total)
		values ($1, $2, `+newTotal+` + length(cast($1 as blob)) + length($2) + %d)`, rowOverhead)
}

// append implements dialect. One statement is one transaction, and takes the lock of writers at
// once.
func (s *sqlite) append(ctx context.Context, db queries, batch []*pending) error {
	args := make([]any, 0, 4*len(batch))
	byCheck := make(map[uint32]*pending, len(batch))
	for i, p := range batch {
		for p.check = 0; p.check == 0 || byCheck[p.check] != nil; {
			p.check = newCheck()
		}
		byCheck[p.check] = p
		args = append(args, i, p.check, p.record.Subject, p.record.Frame)
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?), ", len(batch)), ", ")
	rows, err := db.QueryContext(ctx, s.tables(`with new (n, chk, subject, frame) as (values `+values+`)
		insert into {log} (chk, subject, frame, total)
		select chk, subject, frame, `+newTotal+` + sum(length(cast(subject as blob)) + length(frame) + {overhead}) over (order by n)
		from new order by n returning seq, chk`), args...)
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

// newCheck returns a random check that is not 0. It fits an integer of Postgres.
func newCheck() uint32 { return 1 + rand.Uint32N(1<<31-1) }

func (s *sqlite) post(ctx context.Context, batch []message) error {
	args := make([]any, 0, 3*len(batch)+1)
	for i, m := range batch {
		args = append(args, i+1, m.to, m.body)
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(batch)), ", ")
	_, err := s.db.ExecContext(ctx, s.tables(`with new (n, receiver, body) as (values `+values+`)
		insert into {messages} (id, receiver, body)
		select max(?, coalesce((select max(g.id) from {messages} g), 0)) + n, receiver, body from new`), append(args, time.Now().UnixMicro())...)
	return err
}

func (s *sqlite) checkRights(context.Context) error { return nil }

// explain implements dialect.
func (s *sqlite) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "database is locked") {
		return fmt.Errorf("%w (another transaction may keep the file for itself; inside a transaction, send by Registry.In)", err)
	}
	return err
}
