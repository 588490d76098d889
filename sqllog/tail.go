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
	// manyEntries is how many new entries make the tail look half as often as it would without
	// transactions: it takes more at once.
	manyEntries = 8
)

// kick has the tail read at once what is new in the log.
func (l *Log) kick() { notify(l.kicked) }

// hurry has the tail look for what transactions have committed every shortPoll for a while.
func (l *Log) hurry() {
	now := int64(time.Since(l.made))
	if before := l.putAt.Swap(now); before == 0 || time.Duration(now-before) >= shortPollTime {
		notify(l.hurried)
	}
}

// pause is how long the tail waits before it looks again. took and added are how long the last look
// took, and how many new entries there were. Looking uses half of the time at most: what transactions
// commit meanwhile is added to the log together.
func (l *Log) pause(took time.Duration, added uint64) time.Duration {
	put := l.putAt.Load()
	if put == 0 || time.Since(l.made)-time.Duration(put) >= shortPollTime {
		return l.cfg.PollInterval
	}
	if added >= manyEntries {
		took = max(took, l.cfg.PollInterval/2)
	}
	return min(max(shortPoll, took), l.cfg.PollInterval)
}

// tail reads new entries into the window until the log is closed. When the timer fires, it first adds
// what transactions have committed.
func (l *Log) tail() {
	timer := time.NewTimer(l.pause(0, 0))
	defer timer.Stop()
	for {
		look := false
		select {
		case <-l.kicked:
		case <-timer.C:
			look = true
		case <-l.hurried:
			timer.Reset(l.pause(0, 0))
			continue
		case <-l.life.Done():
			return
		}
		start, before := time.Now(), l.window.Tip().Seq
		ctx, cancel := context.WithTimeout(l.life, tailTimeout)
		err := l.follow(ctx, look)
		cancel()
		if l.life.Err() != nil {
			return
		}
		if err != nil || look {
			l.setFailure(err)
		}
		switch {
		case err != nil:
			timer.Reset(retryPause)
		case look:
			timer.Reset(l.pause(time.Since(start), l.window.Tip().Seq-before))
		}
	}
}

// follow adds the entries after the tip to the window, and before that to the log what transactions
// have committed if look is set. That alone shows that the log works.
func (l *Log) follow(ctx context.Context, look bool) error {
	for step := look; ; step = false {
		tip := l.window.Tip()
		now, added, err := l.readTail(ctx, tip, step)
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
		switch reached := l.window.Tip().Seq; {
		case reached >= now.last:
			if look {
				l.window.ConfirmContact()
			}
			return nil
		// A query does not see what it adds to the log itself. The next one does.
		case added == 0 && !step: // what was there has been removed
			l.window.SkipTo(reached, now.last)
		}
	}
}

// readTail adds the entries after a position to the window. It returns what the database says about
// that position, and how many entries there were. If the position is not the database's, it adds none.
// step is for [dialect.state].
func (l *Log) readTail(ctx context.Context, tip eventlog.Cursor, step bool) (now position, added int, err error) {
	rows, err := l.db.QueryContext(ctx, l.tables(`select s.epoch, s.last, s.message,
		(select t.chk from {log} t where t.seq = $1), e.seq, e.chk, e.at, e.subject, e.frame
		from `+l.dialect.state(step)+` s left join
		(select n.seq, n.chk, n.at, n.subject, n.frame from {log} n where n.seq > $1 order by n.seq limit $2) e on true
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
		if err := rows.Scan(&now.epoch, &now.last, &now.message, &now.check, &seq, &check, &at, &subject, &r.Frame); err != nil {
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
