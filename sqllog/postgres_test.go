package sqllog_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

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

func TestNotificationsWakeOtherNodes(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	listen, err := pgxlog.Listen(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg := sqllog.Config{Listen: listen, PollInterval: seldom}
	one, two := inPostgres.openLog(t, openURL(t, url), cfg), inPostgres.openLog(t, openURL(t, url), cfg)
	wantWoken(t, one, newReader(t, two, "all"))
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

// TestIsolationLevelErrorSaysTheRemedy opens a log with a role whose transactions are repeatable
// read. Drivers do not show the hint of an error of Postgres.
func TestIsolationLevelErrorSaysTheRemedy(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t)+"&default_transaction_isolation=repeatable%20read")
	log, err := sqllog.OpenPostgres(t.Context(), db, sqllog.Config{})
	if err == nil {
		_ = log.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "default_transaction_isolation") {
		t.Errorf("the error does not say what to change: %v", err)
	}
}
