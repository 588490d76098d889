package sqllog_test

import (
	"strings"
	"testing"

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
