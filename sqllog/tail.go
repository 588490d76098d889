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
	// shortPoll is how often the tail looks for a transaction that is about to be committed, and
	// shortPollTime for how long.
	shortPoll     = 2 * time.Millisecond
	shortPollTime = 100 * time.Millisecond
)

// kick has the tail look for new entries at once.
func (l *Log) kick() {
	select {
	case l.kicked <- struct{}{}:
	default:
	}
}

// pause is how long the tail waits before it looks again.
func (l *Log) pause() time.Duration {
	if put := l.putAt.Load(); put != 0 && time.Since(l.made)-time.Duration(put) < shortPollTime {
		return min(shortPoll, l.cfg.PollInterval)
	}
	return l.cfg.PollInterval
}

// tail reads new entries into the window until the log is closed.
func (l *Log) tail() {
	timer := time.NewTimer(l.pause())
	defer timer.Stop()
	for {
		select {
		case <-l.kicked:
		case <-timer.C:
		case <-l.life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.life, tailTimeout)
		err := l.follow(ctx)
		cancel()
		if l.life.Err() != nil {
			return
		}
		l.setFailure(err)
		if timer.Reset(l.pause()); err != nil {
			timer.Reset(retryPause)
		}
	}
}

// follow adds the entries after the tip to the window.
func (l *Log) follow(ctx context.Context) error {
	move := true
	for empty := 0; ; {
		tip := l.window.Tip()
		now, added, err := l.readTail(ctx, tip, move)
		if err != nil {
			return err
		}
		if now.epoch != tip.Epoch || now.last < tip.Seq || now.check.Valid && tip.Check != 0 && now.check.V != tip.Check {
			if err := l.reset(ctx); err != nil {
				return err
			}
			continue
		}
		if now.message != l.messages.seen.Load() {
			if err := l.receive(ctx, now.message); err != nil {
				return err
			}
		}
		move = !now.moved // what it has moved is read first
		switch reached := l.window.Tip().Seq; {
		case now.moved:
		case reached >= now.last:
			l.window.ConfirmContact()
			return nil
		case added > 0:
			empty = 0
		// On Postgres the query does not see what was added to the log while it ran. The next one does.
		case empty == 0:
			empty = 1
		default: // what was there has been removed
			l.window.SkipTo(reached, now.last)
		}
	}
}

// readTail adds the entries after a position to the window. It returns what the database says about
// that position, and how many entries there were. If the position is not the database's, it adds none.
// It asks for none with a query that has moved events: until all of the answer was sent, which this
// node may not take, that query holds up others.
func (l *Log) readTail(ctx context.Context, tip eventlog.Cursor, move bool) (now position, added int, err error) {
	rows, err := l.db.QueryContext(ctx, l.tables(`select s.epoch, s.last, s.message, s.moved,
		(select t.chk from {log} t where t.seq = $1), e.seq, e.chk, e.at, e.subject, e.frame
		from `+l.dialect.state(move)+` s left join
		(select n.seq, n.chk, n.at, n.subject, n.frame from {log} n where n.seq > $1 order by n.seq limit $2) e on not s.moved
		order by e.seq`), tip.Seq, tailPage)
	if err != nil {
		return now, 0, fmt.Errorf("reading new events: %w", err)
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	for rows.Next() {
		var seq sql.Null[uint64]
		var check sql.Null[uint32]
		var at sql.Null[int64]
		var r eventlog.Record
		var subject sql.Null[string]
		if err := rows.Scan(&now.epoch, &now.last, &now.message, &now.moved, &now.check, &seq, &check, &at, &subject, &r.Frame); err != nil {
			return now, added, fmt.Errorf("reading new events: %w", err)
		}
		if !seq.Valid || now.epoch != tip.Epoch || now.check.Valid && tip.Check != 0 && now.check.V != tip.Check {
			break
		}
		r.Subject = subject.V
		l.window.Add(l.entry(eventlog.Cursor{Epoch: now.epoch, Seq: seq.V, Check: check.V}, at.V, r))
		added++
	}
	if err := rows.Err(); err != nil {
		return now, added, fmt.Errorf("reading new events: %w", err)
	}
	return now, added, nil
}

// reset has the window begin as far back as its memory reaches: the log is opened, or the database
// is another one, or was restored.
func (l *Log) reset(ctx context.Context) error {
	bounds := eventlog.WindowBounds{
		Bytes:             int(min(int64(l.cfg.RecentBytes), l.cfg.MaxBytes)),
		EntriesPerSubject: int64(l.cfg.EventsPerSubject),
		MaxAge:            l.cfg.MaxAge,
	}
	// The newest entries that fit. total counts less than the window does, so these are too many.
	var first sql.Null[uint64]
	err := l.db.QueryRowContext(ctx, l.tables(`select min(e.seq) from (select n.seq, n.total from {log} n order by n.seq desc limit $1) e
		where e.total > (select n.total from {log} n order by n.seq desc limit 1) - $2`),
		bounds.Bytes/eventlog.WindowEntryOverhead+1, bounds.Bytes).Scan(&first)
	if err != nil {
		return fmt.Errorf("reading which events are recent: %w", err)
	}
	now, err := l.position(ctx, l.db, max(first.V, 1)-1)
	if err != nil {
		return fmt.Errorf("reading the state of the log: %w", err)
	}
	start := eventlog.Cursor{Epoch: now.epoch, Seq: now.last}
	if first.Valid {
		start.Seq, start.Check = first.V-1, now.check.V
	}
	l.window.Reset(start, bounds)
	l.messages.seen.Store(now.message)
	return nil
}

// entry returns a row as an entry. The entry of a row that is not an event has no block.
func (l *Log) entry(at eventlog.Cursor, stored int64, r eventlog.Record) *eventlog.WindowEntry {
	e := &eventlog.WindowEntry{
		Entry: eventlog.Entry{At: at, Subject: r.Subject},
		Time:  time.UnixMicro(stored),
		Tag:   at.Check,
	}
	if err := l.cfg.check(r); err != nil {
		l.strange.Do(func() {
			l.cfg.Logger.Warn("a row of the log is not an event, and is not delivered", slog.Uint64("seq", at.Seq), slog.Any("error", err))
		})
	} else {
		e.Entry = *eventlog.NewEntry(at, r)
	}
	return e
}
