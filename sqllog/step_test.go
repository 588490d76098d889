package sqllog_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// insertBulk puts the events b1 to bN into the inbox.
const insertBulk = `insert into ginsse_inbox (subject, frame)
	select 'user:alice', convert_to(E'event: e\ndata: b' || n || repeat(' ', $2) || E'\n\n', 'UTF8') from generate_series(1, $1::integer) n`

// wantBulk fails unless the bulk came once and in order, whatever is between. It returns how many
// other events were before, within and after it.
func wantBulk(t *testing.T, got []string, count int) (others [3]int) {
	t.Helper()
	next := 1
	for _, n := range got {
		switch {
		case n == fmt.Sprint("b", next):
			next++
		case n[0] == 'b':
			t.Fatalf("event %s came in place of b%d", n, next)
		case next == 1:
			others[0]++
		case next <= count:
			others[1]++
		default:
			others[2]++
		}
	}
	if next != count+1 {
		t.Fatalf("%d events of the bulk came, want %d", next-1, count)
	}
	return others
}

// wantOnce fails unless each of the events came once.
func wantOnce(t *testing.T, got, want []string) {
	t.Helper()
	count := make(map[string]int)
	for _, n := range got {
		count[n]++
	}
	for _, n := range want {
		if count[n] != 1 {
			t.Errorf("event %s came %d times", n, count[n])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d events came, want %d", len(got), len(want))
	}
}

func (r *follower) data() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.got {
		list = append(list, strings.TrimRight(a.n, " "))
	}
	return list
}

// has returns whether an event has come.
func (r *follower) has(event string) func() bool {
	return func() bool { return slices.Contains(r.data(), event) }
}

// TestLargeTransactionArrivesInOrder commits one transaction with more events than a step adds, while
// others append and commit. Some of these began before it.
func TestLargeTransactionArrivesInOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ count, spaces, most int }{
		"events": {20_000, 0, 4000},
		"bytes":  {40, 1 << 20, 15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := newDatabase(t)
			nodes := inPostgres.openNodes(t, sqllog.Config{AppendTimeout: patient}, address, address)
			readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log)}
			db := nodes[0].db
			var want []string
			var older []*sql.Tx
			for i := range 3 {
				n := fmt.Sprint("o", i)
				older, want = append(older, begin(t, db, nodes[0].log, n)), append(want, n)
			}
			bulk, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer bulk.Rollback()
			if _, err := bulk.ExecContext(t.Context(), insertBulk, test.count, test.spaces); err != nil {
				t.Fatal(err)
			}

			var mu sync.Mutex
			var sending sync.WaitGroup
			stopped := make(chan struct{})
			send := func(name string, fn func(ctx context.Context, n string) error) {
				sending.Go(func() {
					for i := 0; ; i++ {
						n := fmt.Sprint(name, i)
						if err := fn(t.Context(), n); err != nil {
							t.Errorf("event %s: %v", n, err)
							return
						}
						mu.Lock()
						want = append(want, n)
						mu.Unlock()
						select {
						case <-stopped:
							return
						case <-time.After(time.Millisecond):
						}
					}
				})
			}
			for i, at := range nodes {
				send(fmt.Sprint("a", i, "-"), func(ctx context.Context, n string) error {
					_, err := at.log.Append(ctx, record("all", n))
					return err
				})
				send(fmt.Sprint("t", i, "-"), func(ctx context.Context, n string) error {
					tx, err := at.db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer tx.Rollback()
					if err := at.log.Tx(tx).Put(ctx, record("topic:news", n)); err != nil {
						return err
					}
					return tx.Commit()
				})
			}
			until(t, "other events", func() bool { return readers[0].count() > 20 })
			commit(t, bulk)
			for i, tx := range older {
				until(t, "some of the bulk", readers[0].has(fmt.Sprint("b", 1+i*test.count/4)))
				commit(t, tx)
			}
			for _, r := range readers {
				until(t, "the end of the bulk", r.has(fmt.Sprint("b", test.count)))
			}
			close(stopped)
			sending.Wait()
			end, err := nodes[0].log.Append(t.Context(), record("all", "end"))
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, "end")
			for i := range test.count {
				want = append(want, fmt.Sprint("b", i+1))
			}
			for i, r := range readers {
				until(t, "the end", func() bool { return r.reached(end) })
				got := r.data()
				others := wantBulk(t, got, test.count)
				if t.Logf("reader %d: other events before, within and after the bulk: %v", i, others); others[0] == 0 || others[1] == 0 {
					t.Error("nothing came before or within the bulk: the test shows nothing")
				}
				wantOnce(t, got, want)
			}
			wantNoGaps(t, readers...)
			var most int // each step is a transaction
			err = db.QueryRowContext(t.Context(), `select max(x.n) from (select count(*) as n from ginsse_log where subject = 'user:alice' group by xmin::text) x`).Scan(&most)
			if err != nil || most != test.most {
				t.Errorf("the largest step has %d events, %v, want %d", most, err, test.most)
			}
		})
	}
}

// TestOrderIsThatOfRowLocks has a transaction wait for another one's lock, as an update of the same row
// does. It has written before, and so has the lower transaction id. One step sees both.
func TestOrderIsThatOfRowLocks(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, db, sqllog.Config{})
	run(t, db, `create table counters (n int)`, `insert into counters values (0)`, `create table notes (n int)`)
	log.Close()
	begin := func() *sql.Tx {
		t.Helper()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback() })
		return tx
	}
	exec := func(tx *sql.Tx, statement string) {
		t.Helper()
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	count := func(tx *sql.Tx) {
		t.Helper()
		var n int
		if err := tx.QueryRowContext(t.Context(), `update counters set n = n + 1 returning n`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if err := log.Tx(tx).Put(t.Context(), keyedRecord("all", "counter", fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
	}
	older, younger := begin(), begin()
	exec(older, `insert into notes values (1)`)
	exec(younger, `insert into notes values (2)`)
	count(younger)
	commit(t, younger)
	count(older)
	commit(t, older)
	log = inPostgres.openLog(t, db, sqllog.Config{})
	if got := contents(t, log); len(got) != 1 || got[0] != "2" {
		t.Errorf("the last event is %q, and the counter is at 2", got)
	}
}

// TestOrderHoldsAcrossSteps has transactions insert in turns more rows than several steps add.
func TestOrderHoldsAcrossSteps(t *testing.T) {
	t.Parallel()
	const count, turns = 500, 8
	db := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, db, sqllog.Config{})
	log.Close()
	var txs []*sql.Tx
	for range 4 {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), `select pg_current_xact_id()`); err != nil {
			t.Fatal(err)
		}
		txs = append(txs, tx)
	}
	open, err := db.BeginTx(t.Context(), nil) // between the others
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback()
	var want []string
	for turn := range turns {
		for i := range txs {
			tx := txs[(turn*3+len(txs)-i)%len(txs)]
			if _, err := tx.ExecContext(t.Context(), `insert into ginsse_inbox (subject, frame)
				select 'user:alice', convert_to(E'data: ' || $1::integer || '-' || n || E'\n\n', 'UTF8') from generate_series(1, $2::integer) n`, turn*4+i, count); err != nil {
				t.Fatal(err)
			}
			for n := range count {
				want = append(want, fmt.Sprint(turn*4+i, "-", n+1))
			}
		}
		if _, err := open.ExecContext(t.Context(), insertBulk, 100, 0); err != nil {
			t.Fatal(err)
		}
	}
	// A large one, of which a step adds the first rows alone.
	if _, err := db.ExecContext(t.Context(), insertBulk, 9000, 0); err != nil {
		t.Fatal(err)
	}
	for n := range 9000 {
		want = append(want, fmt.Sprint("b", n+1))
	}
	for _, tx := range txs {
		commit(t, tx)
	}
	log = inPostgres.openLog(t, db, sqllog.Config{})
	var got []string
	until(t, "all events", func() bool {
		got = contents(t, log)
		return len(got) >= len(want)
	})
	for i := range got {
		if event := strings.TrimRight(got[i], " "); event != want[i] {
			t.Fatalf("event %d of %d is %s, want %s", i, len(want), event, want[i])
		}
	}
}

// TestBacklogArrives commits many events while no node runs.
func TestBacklogArrives(t *testing.T) {
	t.Parallel()
	const count = 30_000
	db := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, db, sqllog.Config{})
	at, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	if _, err := db.ExecContext(t.Context(), insertBulk, count, 0); err != nil {
		t.Fatal(err)
	}
	log = inPostgres.openLog(t, db, sqllog.Config{AppendTimeout: patient})
	r := followFrom(t, at, log)
	if _, err := log.Append(t.Context(), record("all", "new")); err != nil {
		t.Error(err)
	}
	until(t, "all events", func() bool { return r.count() == count+1 })
	wantBulk(t, r.data(), count)
	wantNoGaps(t, r)
}

// pagesOf returns how many pages of the database a statement looks at. That takes its time, and is the same
// on a busy machine.
func pagesOf(t *testing.T, db *sql.DB, statement string) int {
	t.Helper()
	text := scan[string](t, db, `explain (analyze, buffers, format json) `+statement)
	var explained []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		} `json:"Plan"`
	}
	if err := json.Unmarshal([]byte(text), &explained); err != nil || len(explained) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	return explained[0].Plan.Hit + explained[0].Plan.Read
}

// pagesOfAStep returns how many pages a step looks at that has nothing to add, or what the function before
// it puts into the inbox: the least of several steps, because the first one also reads the catalog.
func pagesOfAStep(t *testing.T, db *sql.DB, before func()) int {
	t.Helper()
	least := math.MaxInt
	for range 5 {
		before()
		least = min(least, pagesOf(t, db, `select last from ginsse_step(null, null, null, null, null, null, true)`))
	}
	return least
}

// TestUncommittedEventsDoNotSlowDownSteps has a transaction with many events stay open.
func TestUncommittedEventsDoNotSlowDownSteps(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	inPostgres.openLog(t, db, sqllog.Config{}).Close()
	before := pagesOfAStep(t, db, func() {})
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), insertBulk, 100_000, 0); err != nil {
		t.Fatal(err)
	}
	after := pagesOfAStep(t, db, func() {})
	if t.Logf("a step looks at %d pages, and at %d with the open transaction", before, after); before == 0 || after > 2*before+50 {
		t.Error("a step looks at what is not committed")
	}
}

// TestOldTransactionDoesNotSlowDownKeys keeps a transaction open while one key is updated many times, so
// that the database keeps all old versions of rows.
func TestOldTransactionDoesNotSlowDownKeys(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	inPostgres.openLog(t, db, sqllog.Config{}).Close()
	update := func(count int) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), `insert into ginsse_inbox (subject, key, dedup_key, frame)
			select 'user:alice', 'k', gen_random_uuid()::text, convert_to(E'data: x\n\n', 'UTF8') from generate_series(1, $1::integer)`, count); err != nil {
			t.Fatal(err)
		}
	}
	one := func() { update(1) }
	before := pagesOfAStep(t, db, one)
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `select pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		update(4000)
		run(t, db, `select last from ginsse_step(null, null, null, null, null, null, true)`,
			`update ginsse_log set frame = '' where length(frame) > 0 and seq < (select max(seq) from ginsse_log)`,
			`delete from ginsse_repeats`)
	}
	after := pagesOfAStep(t, db, one)
	if t.Logf("a step looks at %d pages, and at %d with the open transaction", before, after); before == 0 || after > 2*before+50 {
		t.Error("a step looks at old versions of rows")
	}
}

// TestSubjectsAndFramesAreBounded has rows that the log's index or memory could not take: they would
// keep out all others.
func TestSubjectsAndFramesAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind
		insert string
	}{
		"postgres": {inPostgres, `insert into ginsse_inbox (subject, frame) values ($1, $2)`},
		"sqlite":   {inSQLite, `insert into ginsse_log (total, net, subject, frame) values (0, 0, $1, $2)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := test.open(t, test.make(t))
			log := test.openLog(t, db, sqllog.Config{AppendTimeout: patient})
			r := newReader(t, log, "all")
			insert := func(subject string, frame []byte) error {
				_, err := db.ExecContext(t.Context(), test.insert, subject, frame)
				return err
			}
			const most = 16 << 20
			large := event(strings.Repeat("x", most+1-len(event(""))))
			for what, err := range map[string]error{
				"subject": insert("user:"+strings.Repeat("x", 260), event("1")),
				"frame":   insert("all", large),
			} {
				if err == nil || !strings.Contains(strings.ToLower(err.Error()), "check constraint") {
					t.Errorf("a %s that is too long: %v", what, err)
				}
			}
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := log.Tx(tx).Put(t.Context(), eventlog.Record{Subject: "all", Frame: large}); !strings.Contains(fmt.Sprint(err), strconv.Itoa(most)) {
				t.Errorf("putting a frame that is too long: %v", err)
			}
			_ = tx.Rollback()
			if _, err := log.Append(t.Context(), eventlog.Record{Subject: "all", Frame: large}); !strings.Contains(fmt.Sprint(err), strconv.Itoa(most)) {
				t.Errorf("appending a frame that is too long: %v", err)
			}
			if err := insert("command:"+strings.Repeat("x", 256), event("1")); err != nil {
				t.Errorf("the longest subject: %v", err)
			}
			if err := insert("all", event(strings.Repeat("x", most-len(event(""))))); err != nil {
				t.Errorf("the longest frame: %v", err)
			}
			if _, err := log.Append(t.Context(), record("all", "2")); err != nil {
				t.Error(err)
			}
			if got := r.next(t, 2); len(got) != 2 || got[1] != "2" {
				t.Errorf("%d events came", len(got))
			}
		})
	}
}
