package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
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
	var first uint64
	for failed := false; ; {
		select {
		case <-ticker.C:
		case <-l.life.Done():
			return
		}
		err := l.trim(l.life, &first)
		switch {
		case err != nil && !failed && l.life.Err() == nil:
			l.cfg.Logger.Warn("cannot remove old events", slog.Any("error", err))
		case err == nil && failed:
			l.cfg.Logger.Info("removing old events again")
		}
		failed = err != nil
	}
}

// trim removes old messages, the entries that are too old, and the oldest ones if there are too
// many. The newest entry stays, so that its position is known. Entries are removed in order,
// whatever their clocks say: [store.ReadOlder] relies on it.
//
// first is a sequence before which no entry is left. Rows that were removed are skipped by it.
// Otherwise the database would go through all of them, for as long as an old transaction keeps
// them.
func (l *Log) trim(ctx context.Context, first *uint64) error {
	tip := l.window.Tip().Seq
	if *first > tip { // the database is another one
		*first = 0
	}
	var keep uint64
	err := l.db.QueryRowContext(ctx, l.tables(`select e.seq from {log} e where e.seq >= $1 and e.at > $2
		and e.total >= (select n.total from {log} n order by n.seq desc limit 1) - $3 order by e.seq limit 1`),
		*first, time.Now().Add(-l.cfg.MaxAge).UnixMicro(), l.cfg.MaxBytes).Scan(&keep)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		keep = tip // newer ones came after the query
	case err != nil:
		return err
	}
	if err := l.remove(ctx, "{log}", "seq", "seq >= $1 and seq < $2 and seq < (select max(n.seq) from {log} n)", *first, keep); err != nil {
		return err
	}
	*first = keep
	newest := l.messages.seen.Load()
	return l.remove(ctx, "{messages}", "id", "id < $1", int64(newest)-keepMessages.Microseconds())
}

// remove removes rows of a table, which a condition selects, in batches by the order of a key.
// Nothing that it was to remove is left afterwards.
func (l *Log) remove(ctx context.Context, table, key, where string, args ...any) error {
	rows := "from " + table + " where " + where
	batch := l.tables(fmt.Sprintf("delete from %s where (%s) in (select %s %s order by %s limit $%d)", table, key, key, rows, key, len(args)+1))
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
