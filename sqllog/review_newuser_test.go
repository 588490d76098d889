package sqllog_test

import (
	"strings"
	"testing"

	"github.com/ginsse/ginsse/sqllog"
)

// TestSenderCannotRepeatAnEvent has a role with the rights of a sender insert a row that names a
// transaction of the future. Each step would add such a row to the log again.
func TestSenderCannotRepeatAnEvent(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	run(t, admin, `create role repeater login`, `grant insert on ginsse_inbox to repeater`)
	t.Cleanup(func() { // roles are of the whole server
		_, _ = admin.Exec(`drop owned by repeater`)
		_, _ = admin.Exec(`drop role repeater`)
	})
	sender := openURL(t, strings.Replace(url, "postgres@", "repeater@", 1))
	_, err := sender.ExecContext(t.Context(),
		`insert into ginsse_inbox (xid, subject, frame) values ('999999999999', 'user:alice', convert_to(E'data: 1\n\n', 'UTF8'))`)
	if err != nil {
		return // refused
	}
	for range 5 {
		if _, err := log.Append(t.Context(), record("all", "1")); err != nil {
			t.Fatal(err)
		}
	}
	var times int
	if err := admin.QueryRow(`select count(*) from ginsse_log where subject = 'user:alice'`).Scan(&times); err != nil {
		t.Fatal(err)
	}
	if times > 1 {
		t.Errorf("one row of the inbox is %d times in the log", times)
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
