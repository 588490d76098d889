package sqllog_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		field string
		cfg   sqllog.Config
	}{
		{"TablePrefix", sqllog.Config{TablePrefix: `x"; drop table users; --`}},
		{"TablePrefix", sqllog.Config{TablePrefix: strings.Repeat("p", 30)}},
		{"MaxAge", sqllog.Config{MaxAge: time.Millisecond}},
		{"MaxBytes", sqllog.Config{MaxBytes: -1}},
		{"RecentBytes", sqllog.Config{RecentBytes: -1}},
		{"PollInterval", sqllog.Config{PollInterval: time.Microsecond}},
		{"PollInterval", sqllog.Config{PollInterval: 501 * time.Millisecond}},
		{"AppendTimeout", sqllog.Config{AppendTimeout: -1}},
	} {
		for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
			if _, err := k.log(t.Context(), nil, test.cfg); err == nil || !strings.Contains(err.Error(), "Config."+test.field) {
				t.Errorf("%s: %s: %v", name, test.field, err)
			}
		}
	}
	listen := func(context.Context, string, func(), func()) error { return nil }
	for _, cfg := range []sqllog.Config{{Listen: listen}, {SynchronousStandby: true}, {TablePrefix: "a.b_"}} {
		if _, err := sqllog.OpenSQLite(t.Context(), nil, cfg); err == nil || !strings.Contains(err.Error(), "SQLite") && !strings.Contains(err.Error(), "Postgres") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		if _, err := k.log(t.Context(), nil, sqllog.Config{}); err == nil || !strings.Contains(err.Error(), "nil") {
			t.Errorf("%s without a database: %v", name, err)
		}
	}
	if _, err := sqllog.PostgresMigrations("A B"); err == nil {
		t.Error("PostgresMigrations takes any prefix")
	}
}
