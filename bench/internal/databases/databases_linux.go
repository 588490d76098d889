// Package databases measures package sqllog: what it costs an application's transactions to
// publish, and how soon a client has the event. Beside it, it measures natslog and redislog.
//
// All figures of a table are taken in turn, round after round, on one server of PostgreSQL that the
// run starts itself, on loopback. The process holds the application's clients, the nodes, and the
// clients of the streams. So it shares the processors with the server.
//
// Start reading with table.go and transactions_linux.go.
package databases

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// Options says what to measure.
type Options struct {
	Quick  bool // that it works, not how fast
	Rounds int
	Parts  string // run only these, separated by commas; "" is all
}

// Parts are the names of the parts.
var Parts = []string{"transactions", "delivery", "append", "tails", "open", "slow", "resume", "memory", "sqlite"}

// run is one run. Its tables are added in order.
type run struct {
	Options
	dir    string // for all data
	report *Report
	count  int // of databases
}

// Measure measures everything. The parts that need PostgreSQL are skipped if it is not installed,
// and the report says so. The report has the tables so far also if there is an error.
func Measure(ctx context.Context, o Options) (_ *Report, err error) {
	for part := range strings.SplitSeq(o.Parts, ",") {
		if o.Parts != "" && !slices.Contains(Parts, part) {
			return nil, fmt.Errorf("there is no part %q; there are %s", part, strings.Join(Parts, ", "))
		}
	}
	r := &run{Options: o, report: new(Report)}
	if r.dir, err = os.MkdirTemp("", "bench-databases-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	if err := os.Chmod(r.dir, 0o755); err != nil { //nolint:gosec // the server may have another user
		return nil, err
	}
	return r.report, errors.Join(r.postgres(ctx), r.onSQLite(ctx), r.onRedis(ctx))
}

// wants reports whether a part is to be measured.
func (r *run) wants(part string) bool {
	return r.Parts == "" || slices.Contains(strings.Split(r.Parts, ","), part)
}

// span returns how long a case is measured, or a much shorter time in a quick run.
func (r *run) span(d time.Duration) time.Duration {
	if r.Quick {
		return d / 20
	}
	return d
}

// notef adds a sentence to the report, each once.
func (r *run) notef(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if slices.Contains(r.report.Notes, text) {
		return
	}
	log.Print(text)
	r.report.Notes = append(r.report.Notes, text)
}

// postgres measures the parts on PostgreSQL.
func (r *run) postgres(ctx context.Context) error {
	bin := postgresBin()
	if bin == "" {
		r.notef("There is no PostgreSQL (Debian's package postgresql), so nothing is measured on it.")
		return nil
	}
	if err := r.on(ctx, bin, "", func(s *server) error {
		return errors.Join(
			r.part("transactions", func() error { return r.transactions(ctx, s, "") }),
			r.part("delivery", func() error { return r.delivery(ctx, s, "") }),
			r.part("open", func() error { return r.openTransaction(ctx, s) }),
			r.part("append", func() error { return r.appends(ctx, s) }),
			r.part("tails", func() error { return r.tails(ctx, s) }),
			r.part("resume", func() error { return r.resumePostgres(ctx, s) }),
		)
	}); err != nil || !r.wants("slow") {
		return err
	}
	if _, missing := exec.LookPath("gcc"); missing != nil {
		r.notef("There is no gcc, so nothing is measured with slower fsyncs.")
		return nil //nolint:nilerr // the note says it
	}
	library, err := slowSync(r.dir)
	if err != nil {
		return err
	}
	const slow = ", 1 ms added to each fsync"
	return r.on(ctx, bin, library, func(s *server) error {
		return errors.Join(r.transactions(ctx, s, slow), r.delivery(ctx, s, slow))
	})
}

// on does something with a new server.
func (r *run) on(ctx context.Context, bin, preload string, do func(*server) error) (err error) {
	s, err := startServer(ctx, bin, r.dir, preload)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	r.report.Server = s.version
	return do(s)
}

func (r *run) part(name string, measure func() error) error {
	if !r.wants(name) {
		return nil
	}
	if err := measure(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
