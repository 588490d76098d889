package sqllog_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// TestTxRefusesWhatIsNoTransaction gives Tx what would store an event at once.
func TestTxRefusesWhatIsNoTransaction(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := k.open(t, k.make(t))
			log := k.openLog(t, db, sqllog.Config{})
			r := newReader(t, log, "all")
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for what, test := range map[string]struct {
				tx   sqllog.Execer
				want string
			}{
				"a pool":       {db, "no transaction"},
				"a connection": {conn, "no transaction"},
				"nothing":      {nil, "nil"},
			} {
				if err := log.Tx(test.tx).Put(t.Context(), record("all", "no")); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: %v", what, err)
				}
			}
			commit(t, begin(t, db, log, "yes"))
			if got := r.next(t, 1); len(got) != 1 || got[0] != "yes" {
				t.Errorf("read %q", got)
			}
		})
	}
}

// Such a registry would keep nothing and deliver nothing, and the sends would seem to work.
func TestRegistryWithoutTheLogRefusesItsOutbox(t *testing.T) {
	t.Parallel()
	db := openFile(t, filepath.Join(t.TempDir(), "log.db"))
	log, err := sqllog.OpenSQLite(t.Context(), db, sqllog.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, test := range []struct {
		name string
		log  eventlog.Log
		want string
	}{
		{"without a log", nil, "RegistryConfig.Log"},
		{"with the log", log, ""},
	} {
		registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: test.log})
		if err != nil {
			t.Fatal(err)
		}
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		err = registry.In(log.Tx(tx)).SendTo(t.Context(), "alice", ginsse.Event{Type: "n"})
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error is %v, want %q in it", test.name, err, test.want)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
		registry.Close()
	}
}
