package sqllog_test

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// TestReviewCloseLeavesReads: Close says that it returns when the log no longer uses the database,
// and that calls of Read in progress end with an error.
func TestReviewCloseLeavesReads(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db, other := openURL(t, address), openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{RecentBytes: 1})
	if _, err := log.Append(t.Context(), record("all", "0")); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, log, "all")
	for range 3 {
		if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `lock table ginsse_log in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := log.Read(context.Background(), eventlog.Query{Subjects: []string{"all"}, After: r.at, MaxEntries: 9, MaxBytes: 9999}, nil)
		done <- err
	}()
	time.Sleep(300 * time.Millisecond)
	_ = log.Close()
	select {
	case err := <-done:
		t.Log("Read ended with", err)
	default:
		t.Errorf("after Close, Read is in progress, and %d connections are in use", db.Stats().InUse)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		t.Logf("later Read returns the error %v", <-done)
	}
}

// TestReviewCloseWaitsForWriterSQLite: a process that is told to stop while a transaction is open.
func TestReviewCloseWaitsForWriterSQLite(t *testing.T) {
	t.Parallel()
	path := inSQLite.make(t)
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(20000)&_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	log := inSQLite.openLog(t, db, sqllog.Config{})
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := log.Tx(tx).Put(t.Context(), record("all", "1")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond) // the trimmer waits for the lock
	start := time.Now()
	_ = log.Close()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
}

// TestReviewDumpRestoredOnSameServer: docs/database.md says that all streams get a gap.
func TestReviewDumpRestoredOnSameServer(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db := openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	r := newReader(t, log, "all")
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Fatal(err)
	}
	r.next(t, 1)
	_ = log.Close()
	_ = db.Close()
	dump, err := exec.Command("pg_dump", "-Fc", "-f", t.TempDir()+"/dump", address).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, dump)
	}
	into := newDatabase(t)
	out, err := exec.Command("sh", "-c", fmt.Sprintf("pg_dump -Fc '%s' | pg_restore -d '%s'", address, into)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.log = inPostgres.openLog(t, openURL(t, into), sqllog.Config{})
	if page := r.read(t); page.Gap == "" {
		t.Error("no gap after a dump was restored")
	}
}

// TestReviewUncommittedRowsCost: a transaction sends many events and is not committed yet.
func TestReviewUncommittedRowsCost(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db := openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	run(t, db, `create table other (n int)`)
	look := func(what string) time.Duration {
		least := time.Hour
		for range 5 {
			start := time.Now()
			run(t, db, `select * from ginsse_step(null, null, null, null, true)`)
			least = min(least, time.Since(start))
		}
		start := time.Now()
		_, err := log.Append(t.Context(), record("all", "1"))
		t.Logf("%s: a look takes %v at least, Append %v, %v", what, least, time.Since(start), err)
		return least
	}
	before := look("before")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `insert into ginsse_inbox (subject, frame) select 'user:' || n, 'data: 1'::bytea from generate_series(1, 300000) n`); err != nil {
		t.Fatal(err)
	}
	after := look("with 300,000 uncommitted events")
	if after > 10*before {
		t.Errorf("each look takes %v instead of %v", after, before)
	}
}

// TestReviewLongPrefix: the longest prefix that Config takes.
func TestReviewLongPrefix(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	schema := "s" + strings.Repeat("x", 29)
	run(t, db, "create schema "+schema)
	log := inPostgres.openLog(t, db, sqllog.Config{TablePrefix: schema + "." + strings.Repeat("p", 30)})
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Error(err)
	}
}

// TestReviewSenderForgesTransaction: a role with the grant that docs/database.md names for senders.
func TestReviewSenderForgesTransaction(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db := openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	run(t, db, `create role forger login`, `grant insert on ginsse_inbox to forger`)
	t.Cleanup(func() { _, _ = db.Exec(`drop owned by forger; drop role forger`) })
	forger := openURL(t, strings.Replace(address, "postgres@", "forger@", 1))
	run(t, forger, `insert into ginsse_inbox (xid, subject, frame) values ('9000000000000000000', 'all', E'data: 1\n\n')`)
	time.Sleep(2 * time.Second)
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head.Seq > 1 {
		t.Errorf("one row has become %d events, and goes on", head.Seq)
	}
	run(t, db, `revoke insert on ginsse_inbox from forger`, `grant insert (subject, frame) on ginsse_inbox to forger`)
	run(t, forger, `select ginsse_publish('all', 'e', '1')`, `insert into ginsse_inbox (subject, frame) values ('all', E'data: 1\n\n')`)
	if _, err := forger.Exec(`insert into ginsse_inbox (xid, subject, frame) values ('9000000000000000000', 'all', E'data: 1\n\n')`); err == nil {
		t.Error("a grant on columns does not help")
	}
}

// TestReviewSchemaOfOwner: the owner's tables are in the schema that is named as the owner is, as
// the default search_path "$user", public has it.
func TestReviewSchemaOfOwner(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	admin := openURL(t, address)
	run(t, admin, `create role owner1 login`, `create role node1 login`, `create schema owner1 authorization owner1`)
	t.Cleanup(func() { _, _ = admin.Exec(`drop owned by owner1, node1 cascade; drop role owner1; drop role node1`) })
	owner := inPostgres.openLog(t, openURL(t, strings.Replace(address, "postgres@", "owner1@", 1)), sqllog.Config{})
	_ = owner.Close()
	run(t, admin, `grant usage on schema owner1 to node1`, `grant all on all tables in schema owner1 to node1`, `alter role node1 set search_path = owner1`)
	db := openURL(t, strings.Replace(address, "postgres@", "node1@", 1))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	log, err := sqllog.OpenPostgres(ctx, db, sqllog.Config{})
	if err != nil {
		t.Error(err)
	} else {
		_ = log.Close()
	}
	if _, err := db.Exec(`select ginsse_publish('all', 'e', '1')`); err != nil {
		t.Error(err)
	}
}

// TestReviewMigrationAndEventInOneTransaction: a tool runs all migrations in one transaction, and
// one of them sends an event.
func TestReviewMigrationAndEventInOneTransaction(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db := openURL(t, address)
	list, err := sqllog.PostgresMigrations("ginsse_")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`create table before (n int)`); err != nil {
		t.Fatal(err)
	}
	run(t, db, `create table elsewhere (n int)`) // another transaction, which ends before
	for _, statement := range list[0].Statements {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Exec(`select ginsse_publish('all', 'e', '1')`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	log := inPostgres.openLog(t, db, sqllog.Config{SkipMigrations: true})
	head, err := log.Head(t.Context())
	if err != nil || head.Seq != 1 {
		t.Errorf("the event was lost: the head is %d, %v", head.Seq, err)
	}
}

// TestReviewSettingsOfOneConnection: the application sets the pragmas with db.Exec, which sets them
// on one connection of the pool.
func TestReviewSettingsOfOneConnection(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", inSQLite.make(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	run(t, db, `pragma journal_mode=wal`, `pragma busy_timeout=5000`)
	log := inSQLite.openLog(t, db, sqllog.Config{}) // refuses a busy timeout of 0
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Tx(tx).Put(t.Context(), record("all", "1")); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(500 * time.Millisecond)
		_ = tx.Rollback()
	}()
	if _, err := log.Append(t.Context(), record("all", "2")); err != nil {
		t.Error(err)
	}
}

// TestReviewLongSubjectStopsTheLog: the inbox takes a subject that the index of the log does not.
func TestReviewLongSubjectStopsTheLog(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	db := openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{AppendTimeout: 3 * time.Second})
	run(t, db, `insert into ginsse_inbox (subject, frame)
		select 'user:' || string_agg(md5(n::text), ''), E'data: 1\n\n' from generate_series(1, 300) n`)
	if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
		t.Error(err)
	}
	time.Sleep(2100 * time.Millisecond)
	if err := log.Ready(); err != nil {
		t.Error(err)
	}
}
