package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// rowOverhead is what an entry counts for beside its subject and frame: about what a row takes.
	rowOverhead = 64
	// trimBatch is how many rows one transaction removes. Others can write between two.
	trimBatch = 200
	// trimInterval is the longest time between two looks at what is to be removed.
	trimInterval = time.Second
)

// trimmer removes what is old until the log is closed.
func (l *Log) trimmer() {
	ticker := time.NewTicker(min(trimInterval, l.cfg.MaxAge/8))
	defer ticker.Stop()
	var first firstRows
	for failed := false; ; {
		select {
		case <-ticker.C:
		case <-l.life.Done():
			return
		}
		err := errors.Join(l.trim(l.life, &first), l.emptyReplaced(l.life))
		switch {
		case err != nil && !failed && l.life.Err() == nil:
			l.cfg.Logger.Warn("cannot remove old events", slog.Any("error", err))
		case err == nil && failed:
			l.cfg.Logger.Info("removing old events again")
		}
		failed = err != nil
	}
}

// firstRows says before which rows none is left.
type firstRows struct {
	seq      uint64 // of the log
	repeatAt int64  // time of a repeat
}

// trim removes old messages and repeats, the entries that are too old, and the oldest ones if there are too
// many. The newest entry stays, so that its position is known. Entries are removed in order,
// whatever their clocks say: [store.ReadOlder] relies on it.
//
// Rows that were removed are skipped by first. Otherwise the database would go through all of them,
// for as long as an old transaction keeps them.
func (l *Log) trim(ctx context.Context, first *firstRows) error {
	tip := l.window.Tip().Seq
	if first.seq > tip { // the database is another one
		*first = firstRows{}
	}
	var keep uint64
	err := l.db.QueryRowContext(ctx, l.tables(`select e.seq from {log} e where e.seq >= $1 and e.at > $2
		and e.total >= (select n.total from {log} n order by n.seq desc limit 1) - $3 order by e.seq limit 1`),
		first.seq, time.Now().Add(-l.cfg.MaxAge).UnixMicro(), l.cfg.MaxBytes).Scan(&keep)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		keep = tip // newer ones came after the query
	case err != nil:
		return err
	}
	if err := l.remove(ctx, "{log}", "seq", "seq", "seq >= $1 and seq < $2 and seq < (select max(n.seq) from {log} n)", first.seq, keep); err != nil {
		return err
	}
	first.seq = keep
	// The database's clock says what is a repeat, and may differ from this one.
	old := time.Now().Add(-2 * eventlog.DedupWindow).UnixMicro()
	if err := l.remove(ctx, "{repeats}", "subject, key", "at", "at >= $1 and at < $2", first.repeatAt, old); err != nil {
		return err
	}
	first.repeatAt = old
	newest := l.messages.seen.Load()
	return l.remove(ctx, "{messages}", "id", "id", "id < $1", int64(newest)-keepMessages.Microseconds())
}

// remove removes rows of a table, which a condition selects, in batches in an order. Nothing that it
// was to remove is left afterwards.
func (l *Log) remove(ctx context.Context, table, key, order, where string, args ...any) error {
	rows := "from " + table + " where " + where
	// The condition is repeated for rows that change meanwhile.
	batch := l.tables(fmt.Sprintf("delete from %s where (%s) in (select %s %s order by %s limit $%d) and %s", table, key, key, rows, order, len(args)+1, where))
	for {
		done, err := l.db.ExecContext(ctx, batch, append(slices.Clone(args), trimBatch)...)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		if n == trimBatch {
			continue
		}
		// Another node may have removed some of the batch.
		var more bool
		err = l.db.QueryRowContext(ctx, l.tables("select exists (select 1 "+rows+")"), args...).Scan(&more)
		if err != nil || !more {
			return err
		}
	}
}
