package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/ginsse/ginsse/eventlog"
)

// OpenPostgres returns the log in a PostgreSQL database, version 13 or later. It makes the tables,
// reads the newest events into memory, and returns then, or when ctx ends, or after 30 s if ctx has
// no deadline.
//
// db is the application's pool or another one, with any driver; with a pool of pgx it is what
// stdlib.OpenDBFromPool returns. The log holds two connections of it, and uses others at times. It
// works through pgbouncer in transaction mode; pgx needs its simple protocol there
// (default_query_exec_mode=simple_protocol). For a connection of its own, see [Config.Listen].
//
// The role needs the rights that docs/database.md lists. The database must be in UTF-8.
//
// The caller closes db after the log.
//
// Errors: an invalid configuration; a server that the log cannot work with, such as a standby;
// tables of another version; the database's.
func OpenPostgres(ctx context.Context, db *sql.DB, cfg Config) (*Log, error) {
	if err := cfg.resolve(); err != nil {
		return nil, err
	}
	names := newNamer(cfg.TablePrefix)
	return open(ctx, db, cfg, &postgres{db: db, cfg: &cfg, namer: names}, names)
}

// postgres is the dialect of PostgreSQL.
type postgres struct {
	db  *sql.DB
	cfg *Config
	*namer
}

const minVersion = 130000

func (p *postgres) check(ctx context.Context) error {
	var version int
	var encoding string
	var standby bool
	err := p.db.QueryRowContext(ctx, `select current_setting('server_version_num')::integer, current_setting('server_encoding'), pg_is_in_recovery()`).
		Scan(&version, &encoding, &standby)
	switch {
	case err != nil:
		return err
	case version < minVersion:
		return fmt.Errorf("the server has version %d.%d, and the log needs PostgreSQL 13", version/10000, version%10000)
	case standby:
		return errors.New("the server is a standby, which takes no events: connect to the primary, for example with target_session_attrs=read-write")
	case encoding != "UTF8":
		return fmt.Errorf("the encoding of the database is %s, and the log needs UTF8", encoding)
	}
	return nil
}

func (p *postgres) migrate(ctx context.Context, version int) error {
	for attempt := 1; ; attempt++ {
		err := p.tryMigrate(ctx, version)
		// Open nodes and senders may take the same locks in another order. Postgres ends one of the two.
		if err == nil || attempt == 3 || !strings.Contains(err.Error(), "deadlock detected") {
			return err
		}
	}
}

func (p *postgres) tryMigrate(ctx context.Context, version int) (err error) {
	has, err := p.version(ctx, p.db)
	if err != nil || has >= version {
		return err
	}
	list, err := PostgresMigrations(p.cfg.TablePrefix)
	if err != nil {
		return err
	}
	tx, err := p.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	// Several nodes may start at once.
	if _, err := tx.ExecContext(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 7451600))`, p.cfg.TablePrefix); err != nil {
		return err
	}
	if has, err = p.version(ctx, tx); err != nil {
		return err
	}
	if has > 0 {
		// The application's transactions wait behind the migration, which waits for those that are open.
		if _, err := tx.ExecContext(ctx, `set local lock_timeout = '10s'`); err != nil {
			return err
		}
	}
	for _, statement := range pending(list, has) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// version returns the version of the tables; 0 if there are none.
func (p *postgres) version(ctx context.Context, db queries) (version int, err error) {
	var table sql.Null[string]
	// In a transaction, Postgres forgets that a table was missing when a statement locks any table.
	if err := db.QueryRowContext(ctx, p.tables(`select to_regclass('{meta}')::text from pg_catalog.pg_class limit 1`)).Scan(&table); err != nil || !table.Valid {
		return 0, err
	}
	err = db.QueryRowContext(ctx, p.tables(`select version from {meta}`)).Scan(&version)
	return version, err
}

func (p *postgres) fence() string { return strconv.FormatBool(!p.cfg.SynchronousStandby) }

func (p *postgres) state(poll bool) string {
	if poll {
		return `{step}(null::text, null::text, null::text, null::text, null::text, null::bytea, ` + p.fence() + `)`
	}
	return `(select n.epoch, n.seq as last, coalesce((select g.id from {messages} g order by g.id desc limit 1), 0) as message
		from {steps} n order by n.id desc limit 1)`
}

func (p *postgres) unchanged(context.Context, *sql.Conn) (bool, error) { return false, nil }

// put implements dialect. A role may have the right to the first two columns alone.
func (p *postgres) put(ctx context.Context, exec execFunc, r eventlog.Record) error {
	if r.Key == "" && r.DedupKey == "" {
		return exec(ctx, p.tables(`insert into {inbox} (subject, frame) values ($1, $2)`), r.Subject, r.Frame)
	}
	return exec(ctx, p.tables(`insert into {inbox} (subject, frame, key, dedup_key) values ($1, $2, nullif($3::text, ''), nullif($4::text, ''))`),
		r.Subject, r.Frame, r.Key, r.DedupKey)
}

// append implements dialect. The batch is one parameter of each kind, so that the statement is
// always the same, and any driver can send it.
func (p *postgres) append(ctx context.Context, db *sql.Conn, batch []*pendingRecord) error {
	var subjects, sizes, checks, keys, dedupKeys strings.Builder
	var frames []byte
	for i, one := range batch {
		if i > 0 {
			subjects.WriteByte('\n') // no subject or key has one
			sizes.WriteByte(',')
			checks.WriteByte(',')
			keys.WriteByte('\n')
			dedupKeys.WriteByte('\n')
		}
		subjects.WriteString(one.record.Subject)
		sizes.WriteString(strconv.Itoa(len(one.record.Frame)))
		checks.WriteString(strconv.FormatUint(uint64(newCheck()), 10))
		keys.WriteString(one.record.Key)
		dedupKeys.WriteString(one.record.DedupKey)
		frames = append(frames, one.record.Frame...)
	}
	var seqs, placedChecks string
	err := db.QueryRowContext(ctx, p.tables(`select s.batch_seqs, s.batch_checks
		from {step}($1::text, $2::text, $3::text, $4::text, $5::text, $6::bytea, `+p.fence()+`) s`),
		subjects.String(), sizes.String(), checks.String(), keys.String(), dedupKeys.String(), frames).Scan(&seqs, &placedChecks)
	if err != nil {
		return err
	}
	return place(batch, strings.Split(seqs, ","), strings.Split(placedChecks, ","))
}

// place sets the sequences and checks of a batch.
func place(batch []*pendingRecord, seqs, checks []string) error {
	if len(seqs) != len(batch) || len(checks) != len(batch) {
		return fmt.Errorf("the database says where %d records of %d are", len(seqs), len(batch))
	}
	for i, one := range batch {
		seq, err := strconv.ParseUint(seqs[i], 10, 64)
		if err != nil {
			return err
		}
		check, err := strconv.ParseUint(checks[i], 10, 32)
		if err != nil {
			return err
		}
		one.seq, one.check = seq, uint32(check)
	}
	return nil
}

// empty implements dialect. Rows that another node empties or removes are skipped.
func (p *postgres) empty(ctx context.Context, seqs []uint64) error {
	list := make([]string, len(seqs))
	for i, seq := range seqs {
		list[i] = strconv.FormatUint(seq, 10)
	}
	_, err := p.db.ExecContext(ctx, p.tables(`update {log} u set frame = '' where u.seq = any(array(
		select o.seq from unnest(string_to_array($1::text, ',')::bigint[]) as r(seq)
		cross join lateral (select n.prev from {log} n where n.seq = r.seq offset 0) as n
		cross join lateral (select o.seq from {log} o where o.seq = n.prev and length(o.frame) > 0 for update skip locked) as o))`),
		strings.Join(list, ","))
	return err
}

// forEach implements dialect. To plan a query for each of many subjects would take longer than to run it.
func (p *postgres) forEach(subjects []string, rowsOf func(subject string) string, others []any) (query string, args []any) {
	args = others
	args = append(args, strings.Join(subjects, "\n")) // no subject has a line break
	return fmt.Sprintf(`select b.seq, b.chk, b.at, b.subject, b.key, b.frame
		from unnest(string_to_array($%d::text, E'\n')) as s(name) cross join lateral (%s) as b`,
		len(args), rowsOf("s.name")), args
}

func (p *postgres) post(ctx context.Context, batch []message) error {
	var receivers, sizes strings.Builder
	bodies := []byte{} // not nil, which would be null
	for i, m := range batch {
		if i > 0 {
			receivers.WriteByte('\n')
			sizes.WriteByte(',')
		}
		receivers.WriteString(m.to)
		sizes.WriteString(strconv.Itoa(len(m.body)))
		bodies = append(bodies, m.body...)
	}
	_, err := p.db.ExecContext(ctx, p.tables(`select {post}($1::text, $2::text, $3::bytea)`), receivers.String(), sizes.String(), bodies)
	return err
}

// countInbox implements dialect. It finds rows as a step does: to look for all would take ever longer
// while an old transaction keeps those that were deleted.
func (p *postgres) countInbox(ctx context.Context, most int) (n int, err error) {
	err = p.db.QueryRowContext(ctx, p.tables(`select count(*)
		from (
			select from (select n.seen from {steps} n order by n.id desc limit 1) as s
			cross join lateral {spans}(s.seen) p
			cross join lateral (
				select from {inbox} i where i.xid >= p.low and i.xid < p.high order by i.xid, i.id limit $1
			) as one
			limit $1
		) as waiting`), most).Scan(&n)
	return n, err
}

// checkRights implements dialect.
func (p *postgres) checkRights(ctx context.Context) error {
	var lacking string
	err := p.db.QueryRowContext(ctx, p.tables(`select coalesce(string_agg(v.allowed || ' on ' || v.name, ', '), '')
		from (select t.name, a.allowed from unnest(array['{log}', '{inbox}', '{steps}', '{messages}', '{repeats}']) as t(name),
			unnest(array['select', 'insert', 'delete']) as a(allowed)
			union all select '{log}', 'update' union all select '{repeats}', 'update') as v
		where not has_table_privilege(v.name, v.allowed)`)).Scan(&lacking)
	if err == nil && lacking != "" {
		err = fmt.Errorf("the role lacks the right to %s: grant it, as docs/database.md says", lacking)
	}
	return err
}

// explain implements dialect.
func (p *postgres) explain(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "prepared statement"):
		return fmt.Errorf("%w (through pgbouncer, pgx needs default_query_exec_mode=simple_protocol)", err)
	case strings.Contains(text, "lock timeout"):
		return fmt.Errorf("%w (a transaction that has sent events is open; open the log again when it has ended)", err)
	case strings.Contains(text, "permission denied"):
		return fmt.Errorf("%w (docs/database.md lists the rights; if the role may make no tables, have another one run the statements of PostgresMigrations, and set Config.SkipMigrations)", err)
	}
	return err
}
