package sqllog_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
)

// TestReviewBacklogIsNeverAdded: one step adds all that was committed. If that takes longer than a
// turn of the tail (4 s) or AppendTimeout (5 s), each attempt is cancelled and rolled back, on all
// nodes, and nothing is ever added.
func TestReviewBacklogIsNeverAdded(t *testing.T) {
	t.Parallel()
	rows := 1_500_000
	if n, err := strconv.Atoi(os.Getenv("REVIEW_ROWS")); err == nil {
		rows = n
	}
	address := newDatabase(t)
	db := openURL(t, address)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	_ = log.Close() // all nodes are down, and cron jobs go on sending; or they are up, and one transaction sends much
	if _, err := db.Exec(`insert into ginsse_inbox (subject, frame) select 'user:' || n, convert_to(E'event: e\ndata: 1\n\n', 'UTF8') from generate_series(1, $1::integer) n`, rows); err != nil {
		t.Fatal(err)
	}
	for attempt := range 3 {
		start := time.Now()
		log, err := sqllog.OpenPostgres(context.Background(), db, sqllog.Config{})
		t.Logf("opening, attempt %d: %v after %v", attempt, err, time.Since(start))
		if err == nil {
			_ = log.Close()
			return
		}
	}
	t.Errorf("no node can be opened")
	start := time.Now()
	run(t, db, `select * from ginsse_step(null, null, null, null, true)`)
	t.Logf("without a timeout the step takes %v", time.Since(start))
}
