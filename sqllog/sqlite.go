package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ginsse/ginsse/eventlog"
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

func (s *sqlite) migrate(ctx context.Context, version int) error {
	list, err := SQLiteMigrations(s.cfg.TablePrefix)
	if err != nil {
		return err
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // returns it to the pool
	if has, err := s.tablesVersion(ctx, conn); err != nil || has >= version {
		return err
	}
	return transact(ctx, conn, func() error {
		has, err := s.tablesVersion(ctx, conn) // another process may have been faster
		if err != nil {
			return err
		}
		for _, statement := range pending(list, has) {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// tablesVersion returns the version of the tables; 0 if there are none.
func (s *sqlite) tablesVersion(ctx context.Context, db queries) (version int, err error) {
	if err := db.QueryRowContext(ctx, s.tables(`select count(*) from sqlite_master where type = 'table' and name = '{meta}'`)).Scan(&version); err != nil || version == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, s.tables(`select version from {meta}`)).Scan(&version)
	return version, err
}

// transact runs fn in a transaction that has the lock of writers from its beginning.
func transact(ctx context.Context, conn *sql.Conn, fn func() error) error {
	if _, err := conn.ExecContext(ctx, `begin immediate`); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		_, err = conn.ExecContext(ctx, `commit`)
	}
	if err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `rollback`)
	}
	return err
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

const (
	// lastNet and lastTotal are those of the newest row.
	lastNet   = `coalesce((select coalesce(l.net, l.total) from {log} l order by l.seq desc limit 1), 0)`
	lastTotal = `coalesce((select l.total from {log} l order by l.seq desc limit 1), 0)`
	// newSeq is the sequence of the next row.
	newSeq = `(1 + coalesce((select max(l.seq) from {log} l), 0))`
	// replacedBy is a template for a column of the row that one with a key replaces; null for none.
	replacedBy = `(select %s from {log} p where p.subject = %s and p.key = %s and length(p.frame) > 0 order by p.seq desc limit 1)`
	// recentRepeats selects what is not too old to make a record a repeat.
	recentRepeats = `from {repeats} r where r.at > cast((julianday('now') - 2440587.5) * 86400000000 as integer) - {dedup_window}`
)

var putSQLite = `with grown as (select ` + lastNet + ` + length(cast($1 as blob)) + length($2) + coalesce(length(cast($3 as blob)), 0) + {overhead}
		- coalesce(` + fmt.Sprintf(replacedBy, "length(p.frame)", "$1", "$3") + `, 0) as net)
	insert into {log} (subject, frame, key, prev, chk, total, net)
	select $1, $2, $3, ` + fmt.Sprintf(replacedBy, "p.seq", "$1", "$3") + `, $4, max(` + lastTotal + `, g.net), g.net from grown g
	where not exists (select 1 ` + recentRepeats + ` and r.subject = $1 and r.key = $5)`

// putPlainSQLite is putSQLite for a record without keys. It takes half the time to prepare.
const putPlainSQLite = `insert into {log} (subject, frame, total, net)
	select $1, $2, max(` + lastTotal + `, g.net), g.net
	from (select ` + lastNet + ` + length(cast($1 as blob)) + length($2) + {overhead} as net) g`

// rememberSQLite is for the newest row, if that has the check of a new record.
const rememberSQLite = `insert into {repeats} (subject, key, seq, chk, at)
	select n.subject, $2, n.seq, n.chk, n.at from (select l.subject, l.seq, l.chk, l.at from {log} l order by l.seq desc limit 1) n where n.subject = $1 and n.chk = $3
	on conflict (subject, key) do update set seq = excluded.seq, chk = excluded.chk, at = excluded.at`

// put implements dialect.
func (s *sqlite) put(ctx context.Context, exec execFunc, r eventlog.Record) error {
	if r.Key == "" && r.DedupKey == "" {
		return exec(ctx, s.tables(putPlainSQLite), r.Subject, r.Frame)
	}
	check := newCheck()
	err := exec(ctx, s.tables(putSQLite), r.Subject, r.Frame, nullable(r.Key), check, nullable(r.DedupKey))
	if err != nil || r.DedupKey == "" {
		return err
	}
	return exec(ctx, s.tables(rememberSQLite), r.Subject, r.DedupKey, check)
}

// nullable returns a parameter for a text that is null if it is empty.
func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// append implements dialect.
func (s *sqlite) append(ctx context.Context, db *sql.Conn, batch []*pendingRecord) error {
	hasDedupKey := func(p *pendingRecord) bool { return p.record.DedupKey != "" }
	if !slices.ContainsFunc(batch, hasDedupKey) {
		return s.insert(ctx, db, batch)
	}
	return transact(ctx, db, func() error { return s.appendOnce(ctx, db, batch) })
}

// appendOnce stores the records of a batch that are no repeats, in a transaction.
func (s *sqlite) appendOnce(ctx context.Context, db *sql.Conn, batch []*pendingRecord) error {
	type dedup struct{ subject, key string }
	first := make(map[dedup]*pendingRecord)
	var added, repeats []*pendingRecord
	for _, p := range batch {
		name := dedup{p.record.Subject, p.record.DedupKey}
		if name.key == "" {
			added = append(added, p)
			continue
		}
		if first[name] != nil {
			repeats = append(repeats, p)
			continue
		}
		first[name] = p
		err := db.QueryRowContext(ctx, s.tables(`select r.seq, r.chk `+recentRepeats+` and r.subject = $1 and r.key = $2`),
			name.subject, name.key).Scan(&p.seq, &p.check)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			added = append(added, p)
		case err != nil:
			return err
		}
	}
	if len(added) > 0 {
		if err := s.insert(ctx, db, added); err != nil {
			return err
		}
	}
	for _, p := range added {
		if p.record.DedupKey == "" {
			continue
		}
		_, err := db.ExecContext(ctx, s.tables(`insert into {repeats} (subject, key, seq, chk, at)
			select l.subject, $2, l.seq, l.chk, l.at from {log} l where l.seq = $1
			on conflict (subject, key) do update set seq = excluded.seq, chk = excluded.chk, at = excluded.at`), p.seq, p.record.DedupKey)
		if err != nil {
			return err
		}
	}
	for _, p := range repeats {
		one := first[dedup{p.record.Subject, p.record.DedupKey}]
		p.seq, p.check = one.seq, one.check
	}
	return nil
}

// insertSQLite follows the CTE new, with the records of a batch.
var insertSQLite = `counted as (
		select w.n, w.chk, w.subject, w.key, w.frame, length(cast(w.subject as blob)) + length(w.frame) + coalesce(length(cast(w.key as blob)), 0) + {overhead}
			- case when w.key is null then 0 else coalesce(lag(length(w.frame)) over same,
				` + fmt.Sprintf(replacedBy, "length(p.frame)", "w.subject", "w.key") + `, 0) end as grows,
			case when w.key is not null then coalesce(` + newSeq + ` + lag(w.n) over same,
				` + fmt.Sprintf(replacedBy, "p.seq", "w.subject", "w.key") + `) end as prev
		from new w window same as (partition by w.subject, w.key order by w.n)),
	summed as (select c.n, c.chk, c.subject, c.key, c.prev, c.frame, ` + lastNet + ` + sum(c.grows) over (order by c.n) as net from counted c)
	insert into {log} (seq, chk, subject, key, prev, frame, total, net)
	select ` + newSeq + ` + s.n, s.chk, s.subject, s.key, s.prev, s.frame, max(` + lastTotal + `, max(s.net) over (order by s.n)), s.net
	from summed s order by s.n returning seq, chk`

// insertPlainSQLite is insertSQLite for records without keys. It takes half the time to prepare.
const insertPlainSQLite = `summed as (
		select w.n, w.chk, w.subject, w.frame, ` + lastNet + ` + sum(length(cast(w.subject as blob)) + length(w.frame) + {overhead}) over (order by w.n) as net from new w)
	insert into {log} (chk, subject, frame, total, net)
	select s.chk, s.subject, s.frame, max(` + lastTotal + `, s.net), s.net from summed s order by s.n returning seq, chk`

// insert stores records by one statement. Alone, it is a transaction, and takes the lock of writers at
// once.
func (s *sqlite) insert(ctx context.Context, db queries, batch []*pendingRecord) error {
	args := make([]any, 0, 5*len(batch))
	byCheck := make(map[uint32]*pendingRecord, len(batch))
	for i, p := range batch {
		for p.check = 0; p.check == 0 || byCheck[p.check] != nil; {
			p.check = newCheck()
		}
		byCheck[p.check] = p
		args = append(args, i, p.check, p.record.Subject, nullable(p.record.Key), p.record.Frame)
	}
	insert := insertPlainSQLite
	if slices.ContainsFunc(batch, func(p *pendingRecord) bool { return p.record.Key != "" }) {
		insert = insertSQLite
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?), ", len(batch)), ", ")
	rows, err := db.QueryContext(ctx, s.tables(`with new (n, chk, subject, key, frame) as (values `+values+`), `+insert), args...)
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

// empty implements dialect. An update in place would leave the pages as they are, with room that no
// other row takes. When a row moves, SQLite joins pages that have become nearly empty.
func (s *sqlite) empty(ctx context.Context, seqs []uint64) error {
	args := make([]any, len(seqs))
	for i, seq := range seqs {
		args[i] = seq
	}
	list := strings.TrimSuffix(strings.Repeat("?, ", len(seqs)), ", ")
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // returns it to the pool
	return transact(ctx, conn, func() error {
		_, err := conn.ExecContext(ctx, s.tables(`update {log} set frame = x'', seq = -seq where length(frame) > 0 and seq in (
			select n.prev from {log} n where n.seq in (`+list+`) and n.prev is not null)`), args...)
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, s.tables(`update {log} set seq = -seq where seq < 0`))
		return err
	})
}

// newCheck returns a random check that is not 0. It fits an integer of Postgres.
func newCheck() uint32 { return 1 + rand.Uint32N(1<<31-1) }

// forEach implements dialect. To plan a query for each of many subjects would take longer than to run it.
func (s *sqlite) forEach(subjects []string, rowsOf func(subject string) string, others []any) (query string, args []any) {
	args = others
	var values []string
	for _, subject := range subjects {
		args = append(args, subject)
		values = append(values, fmt.Sprintf("($%d)", len(args)))
	}
	return fmt.Sprintf(`select b.seq, b.chk, b.at, b.subject, b.key, b.frame
		from (select column1 as name from (values %s)) as s cross join {log} as b
		where b.seq in (select seq from (%s))`, strings.Join(values, ", "), rowsOf("s.name")), args
}

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

// countInbox implements dialect. A transaction puts its records into the log itself.
func (s *sqlite) countInbox(context.Context, int) (int, error) { return inboxUnknown, nil }

func (s *sqlite) checkRights(context.Context) error { return nil }

// explain implements dialect.
func (s *sqlite) explain(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "database is locked") {
		return fmt.Errorf("%w (another transaction may keep the file for itself; inside a transaction, send by Registry.In)", err)
	}
	return err
}
