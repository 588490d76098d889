package sqllog_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/sqllog"
)

// TestSenderCannotNameATransaction has a role with the rights of a sender, as docs/database.md
// lists them. Each step would add a row of a transaction of the future to the log again.
func TestSenderCannotNameATransaction(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	run(t, admin, `create role repeater login`, `grant insert (subject, frame) on ginsse_inbox to repeater`)
	t.Cleanup(func() { // roles are of the whole server
		_, _ = admin.Exec(`drop owned by repeater`)
		_, _ = admin.Exec(`drop role repeater`)
	})
	sender := openURL(t, strings.Replace(url, "postgres@", "repeater@", 1))
	_, err := sender.ExecContext(t.Context(),
		`insert into ginsse_inbox (xid, subject, frame) values ('999999999999', 'user:alice', convert_to(E'data: 1\n\n', 'UTF8'))`)
	if err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a row of a transaction of the future: %v", err)
	}
	r := newReader(t, log, "user:alice")
	run(t, sender, `select ginsse_publish('user:alice', 'e', '1')`)
	if err := log.Tx(sender).Put(t.Context(), record("user:alice", "2")); err != nil {
		t.Error(err)
	}
	if got := r.next(t, 2); strings.Join(got, "") != "12" {
		t.Errorf("read %q", got)
	}
}

// TestIsolationLevelErrorSaysTheRemedy opens a log with a role whose transactions are repeatable
// read. Drivers do not show the hint of an error of Postgres.
func TestIsolationLevelErrorSaysTheRemedy(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := openURL(t, url+"&default_transaction_isolation=repeatable%20read")
	log, err := sqllog.OpenPostgres(t.Context(), db, sqllog.Config{})
	if err == nil {
		_ = log.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), "default_transaction_isolation") {
		t.Errorf("the error does not say what to change: %v", err)
	}
}
