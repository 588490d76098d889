package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// rowOverhead is what an entry counts for beside its subject and frame. An SQLite file has about 60
	// bytes for it, with the index.
	rowOverhead = 64
	// trimBatch is how many entries one transaction removes. Others can write between two.
	trimBatch = 200
	// trimInterval is the longest time between two looks at what is to be removed.
	trimInterval = time.Second
)

func sizeOf(r eventlog.Record) int64 { return int64(len(r.Frame) + len(r.Subject) + rowOverhead) }

// sizes knows how many bytes the log holds, for groups of entries: the oldest ones are removed when there
// are too many.
type sizes struct {
	mu     sync.Mutex
	groups map[uint64]int64 // by sequence / groupSize
	oldest uint64           // no group is older
	total  int64
}

const groupSize = 128

func (s *sizes) add(seq uint64, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[seq/groupSize] += size
	s.total += size
}

// removedBefore notes that entries before a sequence were removed.
func (s *sizes) removedBefore(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; s.oldest < first/groupSize; s.oldest++ {
		s.total -= s.groups[s.oldest]
		delete(s.groups, s.oldest)
	}
}

// firstWithin returns the first sequence to keep so that the rest has at most so many bytes. newest is
// always kept.
func (s *sizes) firstWithin(most int64, newest uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	group := s.oldest
	for total := s.total; total > most && group < newest/groupSize; group++ {
		total -= s.groups[group]
	}
	return group * groupSize
}

// countSizes counts the entries up to a sequence.
func (l *Log) countSizes(ctx context.Context, through uint64) error {
	rows, err := l.db.QueryContext(ctx, l.cfg.tables(fmt.Sprintf(`select seq / %d, sum(length(frame) + length(subject) + %d)
		from {log} where seq <= $1 group by 1`, groupSize, rowOverhead)), through)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	groups, total, oldest := make(map[uint64]int64), int64(0), through/groupSize
	for rows.Next() {
		var group uint64
		var bytes int64
		if err := rows.Scan(&group, &bytes); err != nil {
			return err
		}
		groups[group], total, oldest = bytes, total+bytes, min(oldest, group)
	}
	l.sizes.mu.Lock()
	defer l.sizes.mu.Unlock()
	l.sizes.groups, l.sizes.total, l.sizes.oldest = groups, total, oldest
	return rows.Err()
}

// trimmer removes old entries until the log is closed.
func (l *Log) trimmer() {
	ticker := time.NewTicker(min(trimInterval, l.cfg.MaxAge/8))
	defer ticker.Stop()
	failed := false
	for {
		select {
		case <-ticker.C:
		case <-l.life.Done():
			return
		}
		err := l.trim(l.life)
		if err != nil && !failed && l.life.Err() == nil {
			l.cfg.Logger.Warn("cannot remove old events", slog.Any("error", err))
		}
		failed = err != nil
	}
}

// trim removes the entries that are too old, and the oldest ones if there are too many. Entries are removed
// in order, whatever their clocks say: [store.ReadOlder] relies on it.
func (l *Log) trim(ctx context.Context) error {
	newest := l.window.Tip().Seq
	first := l.sizes.firstWithin(l.cfg.MaxBytes, newest)
	var young uint64
	err := l.db.QueryRowContext(ctx, l.cfg.tables(`select seq from {log} where at > $1 order by seq limit 1`),
		time.Now().Add(-l.cfg.MaxAge).UnixMicro()).Scan(&young)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		young = newest + 1 // newer ones came after the query
	case err != nil:
		return err
	}
	first = max(first, young)
	for {
		done, err := l.db.ExecContext(ctx, l.cfg.tables(`delete from {log} where seq in
			(select seq from {log} where seq < $1 order by seq limit $2)`), first, trimBatch)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n < trimBatch {
			return err
		}
	}
}
