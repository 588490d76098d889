package sqllog

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// tailPage is how many entries the tail reads with one query.
	tailPage = 512
	// tailTimeout bounds one turn of the tail.
	tailTimeout = 4 * time.Second
	// retryPause is the pause after a failure.
	retryPause = 100 * time.Millisecond
)

// tail reads new entries into the window until the log is closed.
func (l *Log) tail() {
	poll := time.NewTicker(l.cfg.PollInterval)
	defer poll.Stop()
	for {
		select {
		case <-l.kick:
		case <-poll.C:
		case <-l.life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.life, tailTimeout)
		err := l.follow(ctx)
		cancel()
		if l.life.Err() != nil {
			return
		}
		if l.setFailure(err); err != nil {
			select {
			case <-time.After(retryPause):
			case <-l.life.Done():
			}
		}
	}
}

// follow adds the entries after the tip to the window.
func (l *Log) follow(ctx context.Context) error {
	tip := l.window.Tip()
	now, err := l.dialect.state(ctx, tip.Seq)
	if err != nil {
		return fmt.Errorf("reading the state of the log: %w", err)
	}
	if now.epoch != tip.Epoch || now.last < tip.Seq || now.check != 0 && tip.Check != 0 && now.check != tip.Check {
		if tip, err = l.reset(ctx, now); err != nil {
			return err
		}
	}
	for tip.Seq < now.last {
		added, err := l.readPage(ctx, tip)
		if err != nil {
			return fmt.Errorf("reading new events: %w", err)
		}
		if added == 0 { // what was there has been removed
			l.window.SkipTo(tip.Seq, now.last)
		}
		tip = l.window.Tip()
	}
	l.sizes.removedBefore(now.first)
	l.window.ConfirmContact()
	return nil
}

// reset has the window begin as far back as its memory reaches: the log is opened, or the database is
// another one, or was restored.
func (l *Log) reset(ctx context.Context, now state) (eventlog.Cursor, error) {
	first, err := l.recentFrom(ctx, now)
	if err != nil {
		return eventlog.Cursor{}, err
	}
	start := eventlog.Cursor{Epoch: now.epoch, Seq: first - 1}
	if start.Seq > 0 {
		at, err := l.dialect.state(ctx, start.Seq)
		if err != nil {
			return eventlog.Cursor{}, err
		}
		start.Check = at.check
	}
	if err := l.countSizes(ctx, start.Seq); err != nil {
		return eventlog.Cursor{}, err
	}
	l.window.Reset(start, eventlog.WindowBounds{Bytes: l.cfg.RecentBytes, MaxAge: l.cfg.MaxAge})
	return start, nil
}

// recentFrom returns the sequence from which on the entries are about as large as the window's memory.
func (l *Log) recentFrom(ctx context.Context, now state) (uint64, error) {
	var count int64
	var bytes sql.Null[float64]
	err := l.db.QueryRowContext(ctx, l.cfg.tables(`select count(*), sum(length(frame))
		from (select frame from {log} order by seq desc limit 1000) as newest`)).Scan(&count, &bytes)
	if err != nil {
		return 0, err
	}
	each := eventlog.WindowEntryOverhead
	if count > 0 {
		each += int(bytes.V) / int(count)
	}
	fits := uint64(l.cfg.RecentBytes/each) + 1
	return max(now.first, now.last+1-min(now.last, fits)), nil
}

// readPage adds the next entries to the window, and returns how many there were.
func (l *Log) readPage(ctx context.Context, after eventlog.Cursor) (added int, err error) {
	rows, err := l.db.QueryContext(ctx, l.cfg.tables(`select seq, chk, at, subject, frame from {log}
		where seq > $1 order by seq limit $2`), after.Seq, tailPage)
	if err != nil {
		return 0, err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	for ; rows.Next(); added++ {
		e, size, err := l.scan(rows, after.Epoch)
		if err != nil {
			return added, err
		}
		l.sizes.add(e.At.Seq, size)
		l.window.Add(e)
	}
	return added, rows.Err()
}

// scan returns a row as an entry, and what it counts for in MaxBytes. The entry of a row that is not an
// event has no block.
func (l *Log) scan(rows *sql.Rows, epoch uint32) (*eventlog.WindowEntry, int64, error) {
	at := eventlog.Cursor{Epoch: epoch}
	var stored int64
	var r eventlog.Record
	if err := rows.Scan(&at.Seq, &at.Check, &stored, &r.Subject, &r.Frame); err != nil {
		return nil, 0, err
	}
	e := &eventlog.WindowEntry{Entry: eventlog.Entry{At: at, Subject: r.Subject}, Time: time.UnixMicro(stored), Tag: at.Check}
	if err := l.cfg.check(r); err != nil {
		l.strange.Do(func() {
			l.cfg.Logger.Warn("a row of the log is not an event, and is not delivered", slog.Uint64("seq", at.Seq), slog.Any("error", err))
		})
	} else {
		e.Entry = *eventlog.NewEntry(at, r)
	}
	return e, sizeOf(r), nil
}
