package sqllog_test

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

func keyedRecord(subject, key, data string) eventlog.Record {
	return eventlog.Record{Subject: subject, Key: key, Frame: event(data)}
}

func appendRecord(t testing.TB, log *sqllog.Log, r eventlog.Record) eventlog.Cursor {
	t.Helper()
	at, err := log.Append(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// readAfter returns the data of all entries of a subject after a position, in small pages.
func readAfter(t testing.TB, log *sqllog.Log, at eventlog.Cursor, latest bool, subject string) (data []string) {
	t.Helper()
	for {
		page := pageOf(t, log, eventlog.Query{Subjects: []string{subject}, After: at, Latest: latest, MaxEntries: 3, MaxBytes: 1 << 20})
		if page.Gap != "" {
			t.Fatalf("gap %q", page.Gap)
		}
		for _, e := range page.Entries {
			data = append(data, dataOf(e))
		}
		if at = page.Through; !page.More {
			return data
		}
	}
}

func scan[T any](t testing.TB, db *sql.DB, query string) (value T) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// TestReplacedRowsBecomeEmpty waits until the frames of replaced rows are gone. All positions are good
// then, and all newest events are there.
func TestReplacedRowsBecomeEmpty(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := k.make(t)
			nodes := k.openNodes(t, sqllog.Config{}, address, address)
			db := nodes[0].db
			start, err := nodes[0].log.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			positions := []eventlog.Cursor{start}
			newest := make(map[string]int) // by key
			began := time.Now()
			for i := range 40 {
				r := keyedRecord("user:alice", fmt.Sprint("k", i%7), fmt.Sprint(i))
				if i%4 == 3 {
					r.Key = ""
				} else {
					newest[r.Key] = i
				}
				positions = append(positions, appendRecord(t, nodes[i%2].log, r))
			}
			appendRecord(t, nodes[0].log, keyedRecord("user:bob", "k0", "other"))
			wanted := func(from int, latest bool) (list []string) {
				for i := from; i < 40; i++ {
					if key := fmt.Sprint("k", i%7); i%4 == 3 && !latest || i%4 != 3 && newest[key] == i {
						list = append(list, fmt.Sprint(i))
					}
				}
				return list
			}
			check := func(when string) {
				t.Helper()
				log := k.openLog(t, k.open(t, address), sqllog.Config{RecentBytes: 1})
				for i, at := range positions {
					for _, latest := range []bool{false, true} {
						if got := readAfter(t, log, at, latest, "user:alice"); !slices.Equal(got, wanted(i, latest)) {
							t.Errorf("%s, after %d events, latest %v, read %v, want %v", when, i, latest, got, wanted(i, latest))
						}
					}
				}
			}
			check("before")
			if n := scan[int](t, db, `select count(*) from ginsse_log where length(frame) = 0`); n > 0 && time.Since(began) < 10*time.Second {
				t.Fatalf("%d rows are empty at once", n)
			}
			full := len(wanted(0, false)) + 1
			until(t, "rows without frames", func() bool {
				return scan[int](t, db, `select count(*) from ginsse_log where length(frame) > 0`) == full
			})
			check("after")
			if n := scan[int](t, db, `select count(*) from ginsse_log`); n != 41 {
				t.Errorf("the log has %d rows", n)
			}
		})
	}
}

// TestReplacedFramesDoNotCount replaces an event by more bytes than the log may have.
func TestReplacedFramesDoNotCount(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := k.make(t)
			db := k.open(t, address)
			const most = 256 << 10
			log := k.openLog(t, db, sqllog.Config{MaxBytes: most})
			first := appendRecord(t, log, record("all", "first"))
			for i := range 100 {
				r := keyedRecord("user:alice", fmt.Sprint("k", i%3), strings.Repeat("x", 8<<10*(i%2))) // some are small
				switch i % 5 {
				case 0:
					appendRecord(t, log, r)
				default:
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					for range 2 {
						if err := log.Tx(tx).Put(t.Context(), r); err != nil {
							t.Fatal(err)
						}
					}
					commit(t, tx)
				}
			}
			if _, err := log.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
			far := k.openLog(t, k.open(t, address), sqllog.Config{MaxBytes: most, RecentBytes: 1})
			if gap := gapAfter(t, far, first); gap != "" {
				t.Errorf("replaced events have a gap %q", gap)
			}
			if n := scan[int](t, db, `select count(*) from (select total, lag(total) over (order by seq) as before from ginsse_log) x where total < before`); n > 0 {
				t.Errorf("the total falls %d times", n)
			}
			size := len(event("")) + 8<<10
			for range most/size + 1 {
				appendRecord(t, log, record("user:alice", strings.Repeat("x", 8<<10)))
			}
			if gap := gapAfter(t, far, first); gap == "" {
				t.Error("there is no gap after as many events that were not replaced")
			}
		})
	}
}

// TestRepeatsAreForgotten has a DedupKey become old, which the log then removes.
func TestRepeatsAreForgotten(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := k.make(t)
			db := k.open(t, address)
			log := k.openLog(t, db, sqllog.Config{})
			r := record("all", "1")
			r.DedupKey = "d"
			age := func(by time.Duration) {
				t.Helper()
				run(t, db, fmt.Sprintf(`update ginsse_repeats set at = at - %d`, by.Microseconds()))
			}
			first := appendRecord(t, log, r)
			age(eventlog.DedupWindow - time.Minute)
			if at := appendRecord(t, log, r); at != first {
				t.Errorf("within the window a repeat is at %v, and the first at %v", at, first)
			}
			age(time.Minute)
			second := appendRecord(t, log, r)
			if second.Seq != first.Seq+1 {
				t.Errorf("after the window a record is at %v, and the first at %v", second, first)
			}
			if at := appendRecord(t, log, r); at != second {
				t.Errorf("a repeat of the second is at %v, want %v", at, second)
			}
			age(time.Hour)
			k.openLog(t, k.open(t, address), sqllog.Config{}) // the other one has removed up to later times
			until(t, "the end of the row", func() bool { return scan[int](t, db, `select count(*) from ginsse_repeats`) == 0 })
		})
	}
}

// TestFirstOfTwoTransactionsIsKept commits the same record in two transactions, which one step sees.
func TestFirstOfTwoTransactionsIsKept(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, db, sqllog.Config{})
	r := record("all", "first")
	r.DedupKey = "d"
	one := putAs(t, db, log, r)
	r.Frame = event("second")
	two := putAs(t, db, log, r)
	rolledBack := putAs(t, db, log, eventlog.Record{Subject: "all", DedupKey: "e", Frame: event("no")})
	log.Close()
	commit(t, two)
	commit(t, one)
	if err := rolledBack.Rollback(); err != nil {
		t.Fatal(err)
	}
	log = inPostgres.openLog(t, db, sqllog.Config{})
	if got := contents(t, log); !slices.Equal(got, []string{"first"}) {
		t.Errorf("the log has %q", got)
	}
	if at := appendRecord(t, log, r); at.Seq != 1 {
		t.Errorf("a repeat is at %d", at.Seq)
	}
	if at := appendRecord(t, log, eventlog.Record{Subject: "all", DedupKey: "e", Frame: event("yes")}); at.Seq != 2 {
		t.Errorf("a record whose first transaction was rolled back is at %d", at.Seq)
	}
	if n := scan[int](t, db, `select count(*) from ginsse_inbox`); n > 0 {
		t.Errorf("%d rows are left in the inbox", n)
	}
}
