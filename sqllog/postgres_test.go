package sqllog_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

func event(data string) []byte { return []byte("event: e\ndata: " + data + "\n\n") }

func record(subject, data string) eventlog.Record {
	return eventlog.Record{Subject: subject, Frame: event(data)}
}

// reader reads a log from a position on, as a stream does.
type reader struct {
	log      eventlog.Log
	subjects []string
	at       eventlog.Cursor
	gaps     []eventlog.GapReason
}

func newReader(t testing.TB, log eventlog.Log, subjects ...string) *reader {
	t.Helper()
	at, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &reader{log: log, subjects: subjects, at: at}
}

// next reads until it has count entries. It returns their data.
func (r *reader) next(t testing.TB, count int) []string {
	t.Helper()
	wake := make(chan struct{}, 1)
	stop := r.log.Watch(func(string, uint64) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer stop()
	var got []string
	for end := time.After(20 * time.Second); ; {
		page, err := r.log.Read(t.Context(), eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 256, MaxBytes: 1 << 20}, nil)
		if err == nil {
			if page.Gap != "" {
				r.gaps = append(r.gaps, page.Gap)
			}
			r.at = page.Through
			for _, e := range page.Entries {
				_, data, _ := strings.Cut(string(e.Block), "data: ")
				data, _, _ = strings.Cut(data, "\n")
				got = append(got, data)
			}
		}
		if len(got) >= count {
			return got
		}
		if err == nil && page.More {
			continue
		}
		select {
		case <-wake:
		case <-time.After(50 * time.Millisecond): // a read that failed is repeated
		case <-end:
			t.Fatalf("read %d entries of %d: %q; the last error: %v", len(got), count, got, err)
		}
	}
}

// read reads one page.
func (r *reader) read(t testing.TB) eventlog.Page {
	t.Helper()
	page, err := r.log.Read(t.Context(), eventlog.Query{Subjects: r.subjects, After: r.at, MaxEntries: 256, MaxBytes: 1 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestPgxTransaction(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	log := inPostgres.openLog(t, openURL(t, url), sqllog.Config{})
	r := newReader(t, log, "user:alice")
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, end := range []func(pgx.Tx) error{
		func(tx pgx.Tx) error { return tx.Rollback(t.Context()) },
		func(tx pgx.Tx) error { return tx.Commit(t.Context()) },
	} {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := pgxlog.Tx(log, tx).Put(t.Context(), record("user:alice", "1")); err != nil {
			t.Fatal(err)
		}
		if err := end(tx); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.next(t, 1); len(got) != 1 || got[0] != "1" {
		t.Errorf("read %q", got)
	}
	if err := pgxlog.Tx(log, nil).Put(t.Context(), record("user:alice", "2")); err == nil || !strings.Contains(err.Error(), "nil") {
		t.Errorf("without a transaction: %v", err)
	}
}

// TestNotificationsWakeOtherNodes has nodes that hardly look by themselves.
func TestNotificationsWakeOtherNodes(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	listen, err := pgxlog.Listen(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg := sqllog.Config{Listen: listen, PollInterval: time.Hour}
	one, two := inPostgres.openLog(t, openURL(t, url), cfg), inPostgres.openLog(t, openURL(t, url), cfg)
	r := newReader(t, two, "user:alice")
	if _, err := one.Append(t.Context(), record("user:alice", "1")); err != nil {
		t.Fatal(err)
	}
	r.next(t, 1)
}

func TestListeningThatDoesNotWorkIsRefused(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	deaf := func(ctx context.Context, _ string, ready, _ func()) error {
		ready()
		<-ctx.Done()
		return ctx.Err()
	}
	_, err := sqllog.OpenPostgres(t.Context(), openURL(t, url), sqllog.Config{Listen: deaf})
	if err == nil || !strings.Contains(err.Error(), "pgbouncer") {
		t.Errorf("a listener that hears nothing: %v", err)
	}
	failing := func(context.Context, string, func(), func()) error { return errors.New("no route") }
	_, err = sqllog.OpenPostgres(t.Context(), openURL(t, url), sqllog.Config{Listen: failing})
	if err == nil || !strings.Contains(err.Error(), "no route") {
		t.Errorf("a listener that cannot connect: %v", err)
	}
	if _, err := pgxlog.Listen("postgres://user:secret@host:notaport/"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("an address that is not valid: %v", err)
	}
}

func TestPublishFromSQL(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := openURL(t, url)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	r := newReader(t, log, "user:alice", "topic:news", "all", "user:Ünï")
	for _, statement := range []string{
		`select ginsse_publish('user:alice', 'comment', '{"a": "b"}')`,
		`select ginsse_publish('topic:news', 'comment', json_build_object('a', 1))`,
		`select ginsse_publish('all', '', jsonb_build_object('a', 1))`,
		`select ginsse_publish('all', null, to_json('x'::text))`,
		"select ginsse_publish('user:Ünï', 'c', E'[1,\\r\\n2]')",
		`select ginsse_publish('user:alice', 'c', 'null')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	want := []string{`{"a": "b"}`, `{"a" : 1}`, `{"a": 1}`, `"x"`, `[1,  2]`, `null`}
	for i, got := range r.next(t, len(want)) {
		if got != want[i] || !json.Valid([]byte(got)) {
			t.Errorf("event %d has data %s, want %s", i, got, want[i])
		}
	}
	for statement, want := range map[string]string{
		`select ginsse_publish('alice', 'c', '1')`:                                                            "subject 'alice'",
		`select ginsse_publish(null, 'c', '1')`:                                                               "subject null",
		`select ginsse_publish('user:', 'c', '1')`:                                                            "1 to 256 bytes",
		`select ginsse_publish('user', 'c', '1')`:                                                             "subject 'user'",
		`select ginsse_publish('command:alice', 'c', '1')`:                                                    "subject 'command:alice'",
		`select ginsse_publish('all:x', 'c', '1')`:                                                            "subject 'all:x'",
		`select ginsse_publish('user:' || repeat('ä', 129), 'c', '1')`:                                        "1 to 256 bytes",
		"select ginsse_publish(E'user:a\\nb', 'c', '1')":                                                      "control characters",
		"select ginsse_publish(E'user:a\\u0085b', 'c', '1')":                                                  "control characters",
		"select ginsse_publish('all', E'c\\nd', '1')":                                                         "line break",
		"select ginsse_publish('all', E'c\\rd', '1')":                                                         "line break",
		`select ginsse_publish('all', 'sse.gap', '1')`:                                                        "reserved",
		`select ginsse_publish('all', 'c', null::json)`:                                                       "null",
		`select ginsse_publish('all', 'c', 'not json')`:                                                       "json",
		`select ginsse_publish('all', 'c', to_json(repeat('x', 1 << 20)))`:                                    "more than 1048576",
		`select ginsse_disconnect('', 'signed-out')`:                                                          "1 to 256 bytes",
		`begin isolation level serializable; select * from ginsse_step(null, null, null, null, true); commit`: "read committed",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", statement, err, want)
		}
	}
	if _, err := db.ExecContext(t.Context(), `select ginsse_publish('all', 'last', '1')`); err != nil {
		t.Fatal(err)
	}
	if got := r.next(t, 1); len(got) != 1 {
		t.Errorf("what was refused was delivered: %q", got)
	}
}

// TestTriggerPublishes has the recipe of docs/database.md.
func TestTriggerPublishes(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := openURL(t, url)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	for _, statement := range []string{
		`create table comments (id bigint generated always as identity, author text not null, body text not null)`,
		`create function notify_author() returns trigger language plpgsql as $$
		begin
			perform ginsse_publish('user:' || new.author, 'comment', to_jsonb(new));
			return null;
		end $$`,
		`create trigger notify_author after insert on comments for each row execute function notify_author()`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	r := newReader(t, log, "user:alice")
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`savepoint one`, `insert into comments (author, body) values ('alice', 'no')`, `rollback to savepoint one`,
		`insert into comments (author, body) values ('alice', 'yes')`,
	} {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := r.next(t, 1); len(got) != 1 || !strings.Contains(got[0], `"body": "yes"`) {
		t.Errorf("read %q", got)
	}
}
