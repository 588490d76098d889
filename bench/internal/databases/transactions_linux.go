package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/sqllog"
)

const (
	measureTime = 5 * time.Second
	warmUpTime  = 500 * time.Millisecond
	// users is how many users the events are for.
	users = 1000
)

// data is the data of an event, 100 bytes with its number.
func data(n int64) []byte { return fmt.Appendf(nil, "%-100d", n) }

func userID(n int64) string { return fmt.Sprint("user-", n%users) }

// publisher does something in the n-th transaction of the application.
type publisher func(ctx context.Context, tx *sql.Tx, n int64) error

const insertComment = `insert into comments (author, body) values ($1, $2)`

var comment = strings.Repeat("c", 100)

// transact runs the n-th transaction of the application.
func transact(ctx context.Context, db *sql.DB, n int64, before, after publisher) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit
	if before != nil {
		if err := before(ctx, tx, n); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, insertComment, n%users, comment); err != nil {
		return err
	}
	if after != nil {
		if err := after(ctx, tx, n); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// clients runs transactions of several clients for a time, and returns how many were committed.
func clients(ctx context.Context, count int, last *atomic.Int64, length time.Duration, do func(ctx context.Context, n int64) error) (int64, error) {
	begun, deadline := last.Load(), time.Now().Add(length)
	failures := make([]error, count)
	var group sync.WaitGroup
	for i := range count {
		group.Go(func() {
			for failures[i] == nil && time.Now().Before(deadline) {
				failures[i] = do(ctx, last.Add(1))
			}
		})
	}
	group.Wait()
	return last.Load() - begun, errors.Join(failures...)
}

// application is a database with the application's table, and perhaps a node.
type application struct {
	db       *sql.DB
	log      *sqllog.Log // nil without
	registry *ginsse.Registry
	last     *atomic.Int64
}

// rate returns the transactions a second of a number of clients. With a log, all events must be in
// it shortly afterwards.
func (a *application) rate(ctx context.Context, r *run, count int, before, after publisher) ([]float64, error) {
	do := func(ctx context.Context, n int64) error { return transact(ctx, a.db, n, before, after) }
	var head uint64
	if a.log != nil {
		at, err := a.log.Head(ctx)
		if err != nil {
			return nil, err
		}
		head = at.Seq
	}
	warm, err := clients(ctx, count, a.last, r.span(warmUpTime), do)
	if err != nil {
		return nil, err
	}
	begun, start := used(), time.Now()
	done, err := clients(ctx, count, a.last, r.span(measureTime), do)
	spent, took := used().sub(begun), time.Since(start)
	if err != nil {
		return nil, err
	}
	if a.log != nil {
		if err := reach(ctx, a.log, head+uint64(warm+done)); err != nil {
			return nil, err
		}
	}
	own, servers := spent.per(done)
	return []float64{float64(done) / took.Seconds(), own + servers}, nil
}

// transactionFigures are the figures of rate.
func transactionFigures() []Figure {
	return []Figure{{Name: "transactions", Unit: "1/s", Ratio: true}, {Name: "CPU for each", Unit: "µs", Ratio: true}}
}

// reach waits until the log has reached a sequence.
func reach(ctx context.Context, log *sqllog.Log, seq uint64) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		at, err := log.Head(ctx)
		switch {
		case err != nil:
			return err
		case at.Seq == seq:
			return nil
		case at.Seq > seq || time.Now().After(deadline):
			return fmt.Errorf("the log has reached %d, and %d events were committed", at.Seq, seq)
		}
	}
}

// withLog opens a log on the application's pool, and a registry on it, for one measurement.
func (a *application) withLog(ctx context.Context, open func(context.Context, *sql.DB, sqllog.Config) (*sqllog.Log, error), do func(publish publisher) ([]float64, error)) (values []float64, err error) {
	defer func() { a.log, a.registry = nil, nil }()
	if a.log, err = open(ctx, a.db, sqllog.Config{}); err != nil {
		return nil, err
	}
	events := a.log
	defer events.Close() //nolint:errcheck // always nil
	if a.registry, err = ginsse.NewRegistry(ginsse.RegistryConfig{Log: a.log}); err != nil {
		return nil, err
	}
	defer a.registry.Close()
	return do(func(ctx context.Context, tx *sql.Tx, n int64) error {
		return a.registry.In(events.Tx(tx)).SendTo(ctx, userID(n), ginsse.Event{Data: data(n)})
	})
}

// moveAll moves all of the inbox into the log, in steps.
const moveAll = `do $$ begin
	loop
		perform ginsse_step(null::text, null::text, null::text, null::text, null::text, null::bytea, true);
		commit;
		exit when not exists (select from ginsse_inbox);
	end loop;
end $$`

// openEmpty opens a log, and moves what an earlier measurement has left in the inbox.
func openEmpty(ctx context.Context, db *sql.DB, cfg sqllog.Config) (*sqllog.Log, error) {
	log, err := sqllog.OpenPostgres(ctx, db, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, moveAll); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}

// transactions measures the application's transactions on PostgreSQL.
func (r *run) transactions(ctx context.Context, s *server, with string) error {
	url, err := r.newDatabase(ctx, s)
	if err != nil {
		return err
	}
	for _, count := range []int{8, 32} {
		db, err := openPool("pgx", url, count+8)
		if err != nil {
			return err
		}
		if err := errors.Join(r.transactionsOf(ctx, &application{db: db, last: new(atomic.Int64)}, count, with), db.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) transactionsOf(ctx context.Context, a *application, count int, with string) error {
	for _, statement := range []string{
		`create table if not exists comments (id bigint generated always as identity primary key, author bigint not null, body text not null)`,
		`create table if not exists events (id bigint generated always as identity primary key, subject text not null, frame bytea not null)`,
	} {
		if _, err := a.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	lock := func(ctx context.Context, tx *sql.Tx, n int64) error {
		if _, err := tx.ExecContext(ctx, `select pg_advisory_xact_lock(1)`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `insert into events (subject, frame) values ($1, $2)`, userID(n), data(n))
		return err
	}
	notify := func(ctx context.Context, tx *sql.Tx, n int64) error {
		_, err := tx.ExecContext(ctx, `select pg_notify('events', $1)`, string(data(n)))
		return err
	}
	t := &Table{
		Title: fmt.Sprintf("Transactions of %d clients%s", count, with),
		About: "Each inserts one row of the application, by its clients at full speed. *Published*: `registry.In(log.Tx(tx)).SendTo` " +
			"follows, and this node moves the events into the log meanwhile; afterwards all are in it. *Published, log closed*: the same without the moving, which is what one more insert costs. *NOTIFY*: `pg_notify` with the event " +
			"follows; nobody listens. *Lock*: `pg_advisory_xact_lock` and an insert of the event into a table follow, as for a log in the order of its numbers.",
		Figures: transactionFigures(),
		Aims: []Aim{{
			Text: fmt.Sprintf("transactions that publish, %d clients%s: at least 0.7 of those that do not", count, with),
			Row:  1, Over: 0, Least: 0.7,
		}},
	}
	return r.measure(t, []testCase{
		{"alone", func() ([]float64, error) { return a.rate(ctx, r, count, nil, nil) }},
		{"published", func() ([]float64, error) {
			return a.withLog(ctx, openEmpty, func(publish publisher) ([]float64, error) { return a.rate(ctx, r, count, nil, publish) })
		}},
		{"published, log closed", func() ([]float64, error) {
			return a.withLog(ctx, openEmpty, func(publish publisher) ([]float64, error) {
				_ = a.log.Close()
				a.log = nil
				return a.rate(ctx, r, count, nil, publish)
			})
		}},
		{"NOTIFY", func() ([]float64, error) { return a.rate(ctx, r, count, nil, notify) }},
		{"lock", func() ([]float64, error) { return a.rate(ctx, r, count, nil, lock) }},
	})
}
