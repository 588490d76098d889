package sqllog_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

// These tests show faults: each fails until its fault is mended.

// reviewRole makes a role with a name of its own, and returns a pool of it.
func reviewRole(t *testing.T, admin *sql.DB, url, name string) *sql.DB {
	t.Helper()
	run(t, admin, "create role "+name+" login")
	t.Cleanup(func() {
		_, _ = admin.Exec("drop owned by " + name + " cascade")
		_, _ = admin.Exec("drop role " + name)
	})
	return openURL(t, strings.Replace(url, "postgres@", name+"@", 1))
}

// arrives reports whether an event that is sent now arrives within a time.
func arrives(t *testing.T, log *sqllog.Log, db *sql.DB, within time.Duration) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := db.ExecContext(ctx, `insert into ginsse_inbox (subject, frame) values ('user:probe', E'data: 1\n\n')`); err != nil {
		t.Log("inserting:", err)
		return false
	}
	_, err := log.Append(ctx, record("user:probe", "2"))
	if err != nil {
		t.Log("appending:", err)
	}
	return err == nil
}

func entries(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "select count(*) from "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A role with the right of docs/database.md, insert on ginsse_inbox, says the transaction itself.
func TestReviewSenderChoosesTheTransaction(t *testing.T) {
	t.Run("as it is", func(t *testing.T) { senderChooses(t) })
	t.Run("with a repair", func(t *testing.T) {
		senderChooses(t, `do $$ begin execute replace(pg_get_functiondef('ginsse_step'::regproc), 'ginsse_inbox i where',
			'ginsse_inbox i where pg_visible_in_snapshot(i.xid, pg_current_snapshot()) and'); end $$`)
	})
}

func senderChooses(t *testing.T, repair ...string) {
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	run(t, admin, repair...)
	sender := reviewRole(t, admin, url, "review_xid")
	run(t, admin, `grant insert on ginsse_inbox to review_xid`)
	run(t, sender, `insert into ginsse_inbox (xid, subject, frame) values ('9000000000000000000', 'all', E'data: 1\n\n')`)
	time.Sleep(3 * time.Second) // for what should not happen
	if n := entries(t, admin, "ginsse_log"); n > 1 {
		t.Errorf("one row of the inbox has become %d entries within 3 s", n)
	}
	if !arrives(t, log, admin, 5*time.Second) {
		t.Error("the log has stopped")
	}
}

// One row whose subject does not fit into the index.
func TestReviewLongSubject(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	sender := reviewRole(t, admin, url, "review_subject")
	run(t, admin, `grant insert on ginsse_inbox to review_subject`)
	run(t, sender, `insert into ginsse_inbox (subject, frame) select string_agg(md5(i::text), ''), 'x' from generate_series(1, 300) i`)
	if !arrives(t, log, admin, 10*time.Second) {
		t.Errorf("one row with a long subject has stopped the log: %v", log.Ready())
	}
}

// One transaction with many events, as the application may well have it:
// select ginsse_publish('user:' || id, ...) from users.
func TestReviewLargeTransaction(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	run(t, admin, `insert into ginsse_inbox (subject, frame) select 'user:' || i, E'event: news\ndata: {"id": 1}\n\n' from generate_series(1, 1000000) i`)
	start := time.Now()
	for time.Since(start) < 60*time.Second {
		if arrives(t, log, admin, 5*time.Second) {
			t.Logf("events arrive again after %v", time.Since(start))
			return
		}
	}
	var size, steps int64
	_ = admin.QueryRow(`select pg_total_relation_size('ginsse_log'), (select max(id) from ginsse_steps)`).Scan(&size, &steps)
	t.Errorf("after a minute no event arrives: %v; ginsse_log holds %d rows and takes %d MB on disk", log.Ready(), entries(t, admin, "ginsse_log"), size>>20)
}

// How long a step takes, without a deadline.
func TestReviewStepTime(t *testing.T) {
	for _, n := range []int{10000, 100000, 300000, 1000000} {
		url := newDatabase(t)
		admin := openURL(t, url)
		log := inPostgres.openLog(t, admin, sqllog.Config{})
		_ = log.Close()
		if _, err := admin.Exec(`insert into ginsse_inbox (subject, frame) select 'user:' || i, E'event: news\ndata: {"id": 1}\n\n' from generate_series(1, $1::integer) i`, n); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		run(t, admin, `select * from ginsse_step(null, null, null, null, true)`)
		t.Logf("%d rows: %v", n, time.Since(start))
	}
}

// A frame of many bytes.
func TestReviewLargeFrame(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	run(t, admin, `select ginsse_disconnect('alice', repeat('x', 600000000))`)
	start := time.Now()
	for time.Since(start) < 40*time.Second {
		if arrives(t, log, admin, 5*time.Second) {
			t.Logf("events arrive again after %v", time.Since(start))
			return
		}
	}
	t.Errorf("after 40 s no event arrives: %v", log.Ready())
}

// A trigger with the rights of its owner, as the documentation's, for roles that have no right to
// the inbox. It sets its search_path as PostgreSQL's manual says.
func TestReviewTemporaryTable(t *testing.T) {
	t.Run("as it is", func(t *testing.T) { temporaryTable(t) })
	t.Run("with a repair", func(t *testing.T) { temporaryTable(t, pathRepair("public")) })
}

// pathRepair sets what the functions search for names: the schema of the tables, and temporary
// tables last.
func pathRepair(schema string) string {
	return `do $$ declare f record; begin
		for f in select p.oid::regprocedure as name, n.nspname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
			where n.nspname = '` + schema + `' and p.proname in ('ginsse_server', 'ginsse_step', 'ginsse_post', 'ginsse_publish', 'ginsse_disconnect')
		loop execute format('alter function %s set search_path = %I, pg_temp', f.name, f.nspname); end loop;
	end $$`
}

func temporaryTable(t *testing.T, repair ...string) {
	url := newDatabase(t)
	admin := openURL(t, url)
	inPostgres.openLog(t, admin, sqllog.Config{})
	run(t, admin, repair...)
	writer := reviewRole(t, admin, url, "review_writer")
	run(t, admin,
		`create table comments (id bigint generated always as identity, author text)`,
		`create table secrets (s text)`, `insert into secrets values ('hidden')`,
		`grant insert on comments to review_writer`,
		`create function notify_author() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
			begin perform ginsse_publish('user:' || new.author, 'comment', to_jsonb(new)); return null; end $$`,
		`create trigger notify_author after insert on comments for each row execute function notify_author()`)
	conn, err := writer.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range []string{
		`create temporary table loot (who text, s text)`,
		`create temporary table ginsse_inbox (subject text, frame bytea)`,
		`grant all on loot, ginsse_inbox to public`,
		`create function pg_temp.steal() returns trigger language plpgsql as $$ begin insert into pg_temp.loot select current_user, s from public.secrets s; return new; end $$`,
		`create trigger steal before insert on ginsse_inbox for each row execute function pg_temp.steal()`,
		`insert into comments (author) values ('alice')`,
	} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Logf("%s: %v", statement, err)
		}
	}
	var who, secret string
	if err := conn.QueryRowContext(t.Context(), `select who, s from loot`).Scan(&who, &secret); err == nil {
		t.Errorf("a role that may only insert comments ran its code as %s, and read %s", who, secret)
	}
}

// The tables are in a schema that is named after the role that made them.
func TestReviewSchemaOfTheRole(t *testing.T) {
	t.Run("as it is", func(t *testing.T) { schemaOfTheRole(t) })
	t.Run("with a repair", func(t *testing.T) { schemaOfTheRole(t, pathRepair("review_owner")) })
}

func schemaOfTheRole(t *testing.T, repair ...string) {
	url := newDatabase(t)
	admin := openURL(t, url)
	owner := reviewRole(t, admin, url, "review_owner")
	sender := reviewRole(t, admin, url, "review_other")
	run(t, admin, `create schema review_owner authorization review_owner`)
	inPostgres.openLog(t, owner, sqllog.Config{})
	run(t, admin, repair...)
	run(t, admin, `grant usage on schema review_owner to review_other`, `grant insert on review_owner.ginsse_inbox to review_other`)
	if _, err := sender.ExecContext(t.Context(), `select review_owner.ginsse_publish('all', 'e', '1')`); err != nil {
		t.Error(err)
	}
}

// Whoever may make functions in the schema, before version 15 anybody in schema public.
func TestReviewOverload(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	inPostgres.openLog(t, admin, sqllog.Config{})
	other := reviewRole(t, admin, url, "review_maker")
	run(t, admin, `grant create on schema public to review_maker`) // the default of 13 and 14
	run(t, other, `create table loot (who text, subject text)`, `grant all on loot to public`,
		`create function ginsse_step(subjects text, sizes text, checks text, frames text, fence boolean, out epoch integer, out last bigint, out message bigint)
		language plpgsql as $$ begin
			insert into public.loot values (current_user, (select max(l.subject) from ginsse_log l));
			select s.epoch, s.seq, 0 into epoch, last, message from ginsse_steps s order by id desc limit 1;
		end $$`)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	_, _ = log.Append(t.Context(), record("user:alice", "1"))
	time.Sleep(500 * time.Millisecond)
	var who string
	if err := other.QueryRowContext(t.Context(), `select who from loot`).Scan(&who); err == nil {
		t.Errorf("a function of another role ran as %s", who)
	}
}

func TestReviewListenShowsNoPassword(t *testing.T) {
	for _, url := range []string{
		"postgres://app:pa:s3cret%@host/db",
		"postgres://app:s3cret/x@host/db",
		"postgres://app:s3cret#x@host/db",
		"postgres://app:x?s3cret@host/db",
		"postgres://app:s3cret@x@host:port/db",
		"postgres://app:x@s3cret@host:port/db",
		" postgres://app:a:s3cret@b@host:port/db",
		"host=h port=x password = s3cret",
		"host=h port=x password='a\\' s3cret'",
		"host=h port=x PASSWORD=s3cret",
		"host=h user=app password=a\\ s3cret port=x",
		"host=h password=s3cret' port=x",
		"postgres//app:s3cret@host/db",
		"app:s3cret/pw@host:5432/db",
		"postgres:/app:s3cret/pw@host:5432/db",
		"jdbc:postgresql://host/db?user=app&password=s3cret",
		"\"postgres://app:s3cret/x@host/db\"",
		"DATABASE_URL=postgres://app:s3:s3cret/x@host/db",
		"https://host/db?password=s3cret",
	} {
		_, err := pgxlog.Listen(url)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s\n\tgives %v", url, err)
		}
	}
}

type reviewBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *reviewBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// "No record holds an event."
func TestReviewLogRecord(t *testing.T) {
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			db := k.open(t, k.make(t))
			var out reviewBuffer
			log := k.openLog(t, db, sqllog.Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
			swapped := `insert into ginsse_inbox (subject, frame) values ('data: private ' || repeat('x', 100000), 'all')`
			if name == "sqlite" {
				swapped = `insert into ginsse_log (subject, frame, total) values ('data: private ' || printf('%100000d', 7), 'all', 1)`
			}
			run(t, db, swapped)
			r := newReader(t, log, "all")
			if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
				t.Fatal(err)
			}
			r.next(t, 1)
			out.mu.Lock()
			defer out.mu.Unlock()
			if out.b.Len() > 2000 || strings.Contains(out.b.String(), "private") {
				t.Errorf("a record of %d bytes: %.120s", out.b.Len(), out.b.String())
			}
		})
	}
}

// A role without any right holds the log's advisory lock, as any role of the database can.
func TestReviewAdvisoryLock(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	nobody := reviewRole(t, admin, url, "review_nobody")
	run(t, admin, `revoke all on schema public from public`)
	conn, err := nobody.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), `select pg_advisory_lock(7451600000000000000 + (select oid::bigint from pg_class where relname = 'ginsse_steps'))`); err != nil {
		t.Fatal(err)
	}
	if !arrives(t, log, admin, 8*time.Second) {
		t.Errorf("a role without rights has stopped the log: %v", log.Ready())
	}
}

// Rows in the log itself, by a role with the rights of a node.
func TestReviewRowsInTheLog(t *testing.T) {
	for name, statement := range map[string]string{
		"negative check":    `insert into ginsse_log (seq, chk, at, total, subject, frame) select 1 + max(seq), -1, 0, 0, 'all', 'x' from ginsse_steps`,
		"sequence ahead":    `insert into ginsse_log (seq, chk, at, total, subject, frame) select 1 + max(seq), 1, 0, 0, 'all', 'x' from ginsse_steps`,
		"negative sequence": `insert into ginsse_log (seq, chk, at, total, subject, frame) values (-5, 1, 0, 0, 'all', 'x')`,
		"huge total":        `insert into ginsse_log (seq, chk, at, total, subject, frame) values (9000000000000000000, 1, 0, 9000000000000000000, 'all', 'x')`,
		"huge message":      `insert into ginsse_messages (id, receiver, body) values (9223372036854775807, '*', 'x')`,
	} {
		t.Run(name, func(t *testing.T) {
			url := newDatabase(t)
			admin := openURL(t, url)
			log := inPostgres.openLog(t, admin, sqllog.Config{})
			if _, err := log.Append(t.Context(), record("user:alice", "1")); err != nil {
				t.Fatal(err)
			}
			run(t, admin, statement)
			if !arrives(t, log, admin, 6*time.Second) {
				t.Errorf("the log has stopped: %v", log.Ready())
			}
			_ = log.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			defer cancel()
			again, err := sqllog.OpenPostgres(ctx, admin, sqllog.Config{})
			if err != nil {
				t.Errorf("opening again: %v", err)
				return
			}
			defer again.Close()
			got := make(chan []byte, 1)
			defer again.Receive("me", func(m []byte) { got <- m })()
			if err := again.Post("me", []byte("hello")); err != nil {
				t.Error(err)
			}
			select {
			case <-got:
			case <-time.After(3 * time.Second):
				t.Error("no message arrives")
			}
		})
	}
}

// A hardened database: functions are not for all, and the tables are in a schema.
func TestReviewRightsInASchema(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	run(t, admin, `create schema events`)
	list, err := sqllog.PostgresMigrations("events.ginsse_")
	if err != nil {
		t.Fatal(err)
	}
	run(t, admin, list[0].Statements...)
	node, sender := reviewRole(t, admin, url, "review_node"), reviewRole(t, admin, url, "review_sends")
	run(t, admin,
		`grant select, insert, delete on events.ginsse_log, events.ginsse_inbox, events.ginsse_steps, events.ginsse_messages to review_node`,
		`grant select on events.ginsse_meta to review_node`,
		`grant insert on events.ginsse_inbox to review_sends`)
	log, err := sqllog.OpenPostgres(t.Context(), node, sqllog.Config{TablePrefix: "events.ginsse_"})
	if err != nil {
		t.Errorf("the rights of docs/database.md do not suffice: %v", err)
	} else {
		defer log.Close()
	}
	if _, err := sender.ExecContext(t.Context(), `select events.ginsse_publish('all', 'e', '1')`); err != nil {
		t.Errorf("the rights of docs/database.md do not suffice: %v", err)
	}
}

// Rights of a column are enough.
func TestReviewRightsOfColumns(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	sender := reviewRole(t, admin, url, "review_columns")
	run(t, admin, `grant insert (subject, frame) on ginsse_inbox to review_columns`)
	r := newReader(t, log, "all")
	run(t, sender, `select ginsse_publish('all', 'e', '1')`)
	tx, err := sender.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Tx(tx).Put(t.Context(), record("all", "2")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	r.next(t, 2)
	if _, err := sender.Exec(`insert into ginsse_inbox (xid, subject, frame) values ('9000000000000000000', 'all', E'data: 1\n\n')`); err == nil {
		t.Error("the sender may choose the transaction")
	}
}

// The longest prefix that Config allows.
func TestReviewLongestPrefix(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	schema := strings.Repeat("s", 30)
	run(t, admin, "create schema "+schema)
	listen, err := pgxlog.Listen(url)
	if err != nil {
		t.Fatal(err)
	}
	for name, listen := range map[string]sqllog.ListenFunc{"looking": nil, "listening": listen} {
		log, err := sqllog.OpenPostgres(t.Context(), admin, sqllog.Config{TablePrefix: schema + "." + strings.Repeat("p", 30), Listen: listen})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = log.Close()
	}
}

// Files hold the events of all users.
func TestReviewFileMode(t *testing.T) {
	path := inSQLite.make(t)
	inSQLite.openLog(t, openFile(t, path), sqllog.Config{})
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A hardened database: functions are not for all until somebody grants it.
func TestReviewRightsOfFunctions(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	run(t, admin, `alter default privileges revoke execute on functions from public`)
	list, err := sqllog.PostgresMigrations("ginsse_")
	if err != nil {
		t.Fatal(err)
	}
	run(t, admin, list[0].Statements...)
	node := reviewRole(t, admin, url, "review_hard")
	run(t, admin,
		`grant select, insert, delete on ginsse_log, ginsse_inbox, ginsse_steps, ginsse_messages to review_hard`,
		`grant select on ginsse_meta to review_hard`)
	log, err := sqllog.OpenPostgres(t.Context(), node, sqllog.Config{})
	if err != nil {
		t.Errorf("the rights of docs/database.md do not suffice: %v", err)
		return
	}
	_ = log.Close()
}

// PostgreSQL's own log, with settings that many servers have.
func TestReviewServerLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	t.Setenv("PGLOG", file)
	dir, err := os.MkdirTemp("", "review")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	server, err := newServer(postgresBin(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.start("fsync=off", "log_min_duration_statement=0"); err != nil {
		t.Fatal(err)
	}
	defer server.kill()
	log := inPostgres.openLog(t, openURL(t, server.url("postgres")), sqllog.Config{})
	if _, err := log.Append(t.Context(), record("user:alice", "private")); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(text, []byte("user:alice")); at >= 0 {
		t.Errorf("the server logs the event: %.300s", text[at:])
	}
}

// Clients of one user who come back from far behind, with as many topics as a stream may have, and
// another client who only has one event to fetch.
func TestReviewResumesOfOneUser(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	cfg := sqllog.Config{RecentBytes: 1 << 20}
	log := inPostgres.openLog(t, admin, cfg)
	at, err := log.Append(t.Context(), record("all", "1"))
	if err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	run(t, admin,
		`insert into ginsse_inbox (subject, frame) select 'topic:t' || i % 64, E'data: 1\n\n' from generate_series(1, 64 * 4000) i`,
		`select * from ginsse_step(null, null, null, null, true)`, `analyze ginsse_log`)
	log = inPostgres.openLog(t, admin, cfg)
	subjects := []string{"user:mallory", "all"}
	for i := range 64 {
		subjects = append(subjects, "topic:t"+strconv.Itoa(i))
	}
	read := func(subjects ...string) (time.Duration, int, error) {
		start := time.Now()
		page, err := log.Read(t.Context(), eventlog.Query{Subjects: subjects, After: at, MaxEntries: 256, MaxBytes: 1 << 20}, nil)
		return time.Since(start), len(page.Entries), err
	}
	took, n, err := read("user:alice", "all")
	t.Logf("alice, alone: %v, %d, %v", took, n, err)
	took, n, err = read(subjects...)
	t.Logf("mallory, one page of 1000: %v, %d, %v", took, n, err)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for range 30 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _, _ = read(subjects...)
				}
			}
		})
	}
	time.Sleep(time.Second)
	for range 3 {
		took, n, err := read("user:alice", "all")
		t.Logf("alice, while 30 streams of mallory resume: %v, %d, %v", took, n, err)
		if err != nil {
			t.Errorf("alice: %v", err)
		}
	}
	close(stop)
	busy.Wait()
}
