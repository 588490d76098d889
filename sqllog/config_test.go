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
	for field, cfg := range map[string]sqllog.Config{
		"TablePrefix":   {TablePrefix: `x"; drop table users; --`},
		"MaxAge":        {MaxAge: time.Millisecond},
		"MaxBytes":      {MaxBytes: -1},
		"RecentBytes":   {RecentBytes: -1},
		"PollInterval":  {PollInterval: time.Microsecond},
		"AppendTimeout": {AppendTimeout: -1},
	} {
		for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
			if _, err := k.log(t.Context(), nil, cfg); err == nil || !strings.Contains(err.Error(), "Config."+field) {
				t.Errorf("%s: %s: %v", name, field, err)
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
