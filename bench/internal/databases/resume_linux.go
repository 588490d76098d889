package databases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ginsse/ginsse/bench/internal/report"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

const (
	resumeTopics = 100
	resumeReads  = 200 // for a measurement
	resumePage   = 256
	openLimit    = 2 * time.Minute // for opening a log after all rows were put
)

// rows returns how many rows the log has, and how far back a client resumes.
func (r *run) rows() (total, far int) {
	if r.Quick {
		return 20_000, 10_000
	}
	return 1_000_000, 100_000
}

// subjects is an expression for the subject of the n-th row: one in 100 is for all, one in 5 for a
// topic, the others are for users.
func subjects(cast string) string {
	return fmt.Sprintf(`case when n %% 100 = 0 then 'all' when n %% 5 = 0 then 'topic:t' || %[1]s(n / 5 %% %[2]d as text) else 'user:user-' || %[1]s(n %% %[3]d as text) end`,
		cast, resumeTopics, users)
}

// subject is the subject of the n-th event, as subjects has it.
func subject(n int64) string {
	switch {
	case n%100 == 0:
		return eventlog.SubjectAll
	case n%5 == 0:
		return fmt.Sprint("topic:t", n/5%resumeTopics)
	}
	return "user:" + userID(n)
}

// resuming is a log in which clients resume.
type resuming struct {
	title  string
	events int
	// recent holds what its defaults allow, and old almost nothing.
	recent, old eventlog.Log
	// check returns the position with its check.
	check func(at eventlog.Cursor) (eventlog.Cursor, error)
}

// query returns the query of the i-th client, which has missed a number of events.
func (of *resuming) query(head eventlog.Cursor, behind, i int) (q eventlog.Query, err error) {
	from, err := of.check(eventlog.Cursor{Epoch: head.Epoch, Seq: head.Seq - uint64(behind-i%50)})
	return eventlog.Query{
		Subjects:   []string{fmt.Sprint("user:user-", 4*i+1), fmt.Sprint("topic:t", i%resumeTopics), eventlog.SubjectAll},
		After:      from,
		MaxEntries: resumePage, MaxBytes: 1 << 20,
	}, err
}

// toHead measures reading all pages until the head.
func (of *resuming) toHead(ctx context.Context, log eventlog.Log, behind int) ([]float64, error) {
	const reads = 30
	head, err := log.Head(ctx)
	if err != nil {
		return nil, err
	}
	var list []time.Duration
	for i := range reads {
		q, err := of.query(head, behind, i)
		if err != nil {
			return nil, err
		}
		var dst []*eventlog.Entry
		start := time.Now()
		for more := true; more; {
			page, err := log.Read(ctx, q, dst[:0])
			if err != nil || page.Gap != "" {
				return nil, fmt.Errorf("gap %q, error %w", page.Gap, err)
			}
			dst, q.After, more = page.Entries, page.Through, page.More
		}
		list = append(list, time.Since(start))
	}
	return []float64{quantile(list, 0.5), quantile(list, 0.99)}, nil
}

// resume measures reading one page for a client that resumes.
func (r *run) resume(ctx context.Context, of resuming) error {
	_, far := r.rows()
	head, err := of.recent.Head(ctx)
	if err != nil {
		return err
	}
	once := func(log eventlog.Log, behind int) func() ([]float64, error) {
		return func() ([]float64, error) {
			var list []time.Duration
			var dst []*eventlog.Entry
			for i := range resumeReads {
				q, err := of.query(head, behind, i)
				if err != nil {
					return nil, err
				}
				start := time.Now()
				page, err := log.Read(ctx, q, dst[:0])
				list = append(list, time.Since(start))
				if err != nil || page.Gap != "" || behind == far && len(page.Entries) < resumePage && !r.Quick {
					return nil, fmt.Errorf("%d entries, gap %q, error %w", len(page.Entries), page.Gap, err)
				}
				dst = page.Entries
			}
			return []float64{quantile(list, 0.5), quantile(list, 0.99)}, nil
		}
	}
	t := &Table{
		Title: of.title,
		About: fmt.Sprintf("`log.Read` of the first page of %d for a user, a topic and all, in a log of %s events. 1 in 100 events is for all, 20 in 100 are for 100 topics, "+
			"the others for 1,000 users. The node holds what its defaults allow, and in the last row almost nothing.", resumePage, report.Figure(float64(of.events))),
		Figures: latencies(),
	}
	cases := []testCase{
		{"100 behind, in memory", once(of.recent, 100)},
		{"100,000 behind, as it comes", once(of.recent, far)},
		{"100,000 behind, from the database", once(of.old, far)},
	}
	for i, c := range cases {
		if i != 1 {
			t.Aims = append(t.Aims, Aim{Text: of.title + ", " + c.name + ": p50 at most 2 ms", Row: i, Over: -1, Most: 2})
		}
	}
	return r.measure(t, cases)
}

// sqlResuming returns a log of package sqllog in which clients resume.
func sqlResuming(ctx context.Context, title string, events int, recent, old *sqllog.Log, db *sql.DB) resuming {
	return resuming{title, events, recent, old, func(at eventlog.Cursor) (eventlog.Cursor, error) {
		err := db.QueryRowContext(ctx, `select chk from ginsse_log where seq = $1`, at.Seq).Scan(&at.Check)
		return at, err
	}}
}

// withFilled fills the log of a database, and opens it twice.
func (r *run) withFilled(ctx context.Context, db *sql.DB, open func(context.Context, *sql.DB, sqllog.Config) (*sqllog.Log, error),
	fill []string, do func(recent, old *sqllog.Log) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	log, err := open(ctx, db, sqllog.Config{}) // makes the tables
	if err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	for _, statement := range fill {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("filling the log: %w", err)
		}
	}
	opening, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	recent, err := open(opening, db, sqllog.Config{})
	if err != nil {
		return err
	}
	defer recent.Close() //nolint:errcheck // always nil
	old, err := open(opening, db, sqllog.Config{RecentBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // always nil
	return do(recent, old)
}

func (r *run) resumePostgres(ctx context.Context, s *server) (err error) {
	url, err := r.newDatabase(ctx, s)
	if err != nil {
		return err
	}
	db, err := openPool("pgx", url, 16)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	total, _ := r.rows()
	return r.withFilled(ctx, db, sqllog.OpenPostgres, []string{
		fmt.Sprintf(`insert into ginsse_inbox (subject, frame) select %s, convert_to(rpad('data: ' || n, 106, 'x') || E'\n\n', 'UTF8') from generate_series(1, %d) n`,
			subjects("cast"), total),
		moveAll,
		`vacuum analyze`, // as the server does after a minute
		`checkpoint`,
	}, func(recent, old *sqllog.Log) error {
		return r.resume(ctx, sqlResuming(ctx, "Resuming on PostgreSQL", total, recent, old, db))
	})
}

func (r *run) resumeSQLite(ctx context.Context) (err error) {
	db, err := openPool("sqlite", sqliteAddress(filepath.Join(r.dir, "resume.db"), "full"), 12)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	total, _ := r.rows()
	return r.withFilled(ctx, db, sqllog.OpenSQLite, []string{
		// 186 is what a row counts, about.
		fmt.Sprintf(`with recursive rows (n) as (values (1) union all select n + 1 from rows where n < %d)
			insert into ginsse_log (subject, frame, total, net) select %s, cast('data: ' || substr(n || '%s', 1, 100) || char(10, 10) as blob), 186 * n, 186 * n from rows`,
			total, subjects("cast"), string(data(0))[1:]),
		`pragma wal_checkpoint(truncate)`,
	}, func(recent, old *sqllog.Log) error {
		return r.resume(ctx, sqlResuming(ctx, "Resuming on SQLite", total, recent, old, db))
	})
}
