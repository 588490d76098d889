package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
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
		if err != nil && !failed && l.life.Err() == nil {
			l.cfg.Logger.Warn("cannot remove old events", slog.Any("error", err))
		}
		failed = err != nil
	}
}

// trim removes the entries that are too old, the oldest ones if there are too many, and old messages.
// Entries are removed in order, whatever their clocks say: [store.ReadOlder] relies
// on it.
//
// first is a sequence before which no entry is left. Rows that were removed are skipped by it.
// Otherwise the database would look at each of them, for as long as an old transaction keeps them.
func (l *Log) trim(ctx context.Context, first *uint64) error {
	tip := l.window.Tip().Seq
	if *first > tip { // the database is another one
		*first = 0
	}
	keep := sql.Null[uint64]{}
	err := l.db.QueryRowContext(ctx, l.tables(`select e.seq from {log} e where e.seq >= $1 and e.at > $2
		and e.total >= (select n.total from {log} n order by n.seq desc limit 1) - $3 order by e.seq limit 1`),
		*first, time.Now().Add(-l.cfg.MaxAge).UnixMicro(), l.cfg.MaxBytes).Scan(&keep)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		keep.V = tip + 1 // newer ones came after the query
	case err != nil:
		return err
	}
	err = l.remove(ctx, `delete from {log} where seq in (select e.seq from {log} e where e.seq >= $2 and e.seq < $3 order by e.seq limit $1)`, *first, keep.V)
	if err != nil {
		return err
	}
	*first = keep.V
	return l.remove(ctx, `delete from {messages} where id in (select g.id from {messages} g where g.id < $2 order by g.id limit $1)`,
		time.Now().Add(-keepMessages).UnixMicro())
}

// remove runs a statement that deletes $1 rows, until there are no more.
func (l *Log) remove(ctx context.Context, statement string, args ...any) error {
	args = append([]any{trimBatch}, args...)
	for {
		done, err := l.db.ExecContext(ctx, l.tables(statement), args...)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n < trimBatch {
			return err
		}
	}
}
