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
	// shortPoll is how often the tail polls when a transaction is about to be committed, and
	// shortPollTime for how long.
	shortPoll     = 2 * time.Millisecond
	shortPollTime = 100 * time.Millisecond
)

// kick has the tail read at once what is new in the log.
func (l *Log) kick() { notify(l.kicked) }

// expectCommit has the tail poll every shortPoll for a while.
func (l *Log) expectCommit() {
	now := time.Since(l.opened)
	if before := l.lastPut.Swap(int64(now)); now-time.Duration(before) >= shortPollTime {
		notify(l.hurried) // it would sleep for a whole PollInterval
	}
}

// pause is how long the tail waits before it polls again, after a poll that took a time. It polls
// for a third of the time at most.
func (l *Log) pause(took time.Duration) time.Duration {
	if time.Since(l.opened)-time.Duration(l.lastPut.Load()) < shortPollTime {
		return min(max(shortPoll, 2*took), l.cfg.PollInterval)
	}
	return l.cfg.PollInterval
}

// tail reads new entries into the window until the log is closed. When the timer fires, it also
// polls for what transactions have committed.
func (l *Log) tail() {
	defer l.reading.release()
	timer := time.NewTimer(l.pause(0))
	defer timer.Stop()
	for {
		poll := false
		select {
		case <-l.kicked:
		case <-timer.C:
			poll = true
		case <-l.hurried:
			timer.Reset(l.pause(0))
			continue
		case <-l.life.Done():
			return
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(l.life, tailTimeout)
		err := l.follow(ctx, poll)
		cancel()
		switch {
		case l.life.Err() != nil:
			return
		case err != nil:
			l.window.NoteFailure(err)
			timer.Reset(retryPause)
		case poll:
			timer.Reset(l.pause(time.Since(start)))
		}
	}
}

// follow adds the entries after the tip to the window, after a poll if poll is set. Only a poll
// confirms contact: it shows that the database takes events.
func (l *Log) follow(ctx context.Context, poll bool) (err error) {
	defer func() {
		if err != nil {
			l.reading.release()
			err = l.dialect.explain(err)
		}
	}()
	db, err := l.reading.get(ctx)
	if err != nil {
		return err
	}
	var target uint64
	if poll {
		now, err := l.pollNews(ctx, db)
		if err != nil {
			return fmt.Errorf("polling for new events: %w", err)
		}
		if now == nil { // nearly always
			l.window.ConfirmContact()
			return nil
		}
		target = now.last
	}
	if err := l.catchUp(ctx, db, target); err != nil {
		return err
	}
	if poll {
		l.window.ConfirmContact()
	}
	return nil
}

// pollNews returns the state of the log; nil if the window and the receivers have all of it.
func (l *Log) pollNews(ctx context.Context, db *sql.Conn) (*position, error) {
	tip := l.window.Tip()
	if same, err := l.dialect.unchanged(ctx, db); err != nil || same && tip.Epoch != 0 {
		return nil, err
	}
	now, err := l.poll(ctx, db, tip.Seq)
	if err != nil || now.continues(tip) && now.last == tip.Seq && now.message == l.messages.seen.Load() {
		return nil, err
	}
	return &now, nil
}

// catchUp adds entries to the window up to a target; 0 for what the database has when it is asked
// first. What comes meanwhile is for the next turn, so that a node that reads slower than others
// write still has contact.
func (l *Log) catchUp(ctx context.Context, db *sql.Conn, target uint64) error {
	for {
		tip := l.window.Tip()
		now, added, err := l.readTail(ctx, db, tip)
		switch {
		case err != nil:
			return fmt.Errorf("reading new events: %w", err)
		case !now.continues(tip):
			if err := l.reset(ctx, db); err != nil {
				return err
			}
			continue
		case target == 0:
			target = now.last
		}
		if now.message != l.messages.seen.Load() {
			if err := l.receive(ctx, db, now.message); err != nil {
				return err
			}
		}
		if added == 0 && now.last > tip.Seq { // what was there has been removed
			l.window.SkipTo(tip.Seq, now.last)
		}
		if reached := l.window.Tip().Seq; reached >= min(target, now.last) {
			if reached < now.last {
				l.kick()
			}
			return nil
		}
	}
}

// continues reports whether the database's history still contains a position.
func (p *position) continues(at eventlog.Cursor) bool {
	return p.epoch == at.Epoch && p.last >= at.Seq && (!p.check.Valid || at.Check == 0 || p.check.V == at.Check)
}

// readTail adds the entries after a position to the window. It returns what the database says about
// that position, and how many entries there were. If the position is not the database's, it adds
// none.
func (l *Log) readTail(ctx context.Context, db queries, tip eventlog.Cursor) (now position, added int, err error) {
	rows, err := db.QueryContext(ctx, l.tables(`select s.epoch, s.last, s.message,
		(select t.chk from {log} t where t.seq = $1), e.seq, e.chk, e.at, e.subject, coalesce(e.key, ''), e.frame
		from `+l.dialect.state(false)+` s left join
		(select n.seq, n.chk, n.at, n.subject, n.key, n.frame from {log} n where n.seq > $1 order by n.seq limit $2) e on true
		order by e.seq`), tip.Seq, tailPage)
	if err != nil {
		return now, 0, err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	for rows.Next() {
		var seq sql.Null[uint64]
		var check sql.Null[uint32]
		var at sql.Null[int64]
		var r eventlog.Record
		var subject sql.Null[string]
		if err := rows.Scan(&now.epoch, &now.last, &now.message, &now.check, &seq, &check, &at, &subject, &r.Key, &r.Frame); err != nil {
			return now, added, err
		}
		if !seq.Valid || !now.continues(tip) {
			break
		}
		l.window.NoteLast(now.last)
		r.Subject = subject.V
		l.window.Add(l.entry(eventlog.Cursor{Epoch: now.epoch, Seq: seq.V, Check: check.V}, at.V, r))
		l.keyed.add(seq.V, r)
		added++
	}
	return now, added, rows.Err()
}

// reset has the window begin as far back as its memory reaches: the log is opened, or the database
// is another one, or was restored.
func (l *Log) reset(ctx context.Context, db queries) error {
	bounds := eventlog.WindowBounds{
		Bytes:  int(min(int64(l.cfg.RecentBytes), l.cfg.MaxBytes)),
		MaxAge: l.cfg.MaxAge,
	}
	// The newest entries that fit. total counts less than the window does, so these are too many.
	var first sql.Null[uint64]
	err := db.QueryRowContext(ctx, l.tables(`select min(e.seq) from (select n.seq, n.total from {log} n order by n.seq desc limit $1) e
		where e.total > (select n.total from {log} n order by n.seq desc limit 1) - $2`),
		bounds.Bytes/eventlog.WindowEntryOverhead+1, bounds.Bytes).Scan(&first)
	if err != nil {
		return fmt.Errorf("reading which events are recent: %w", err)
	}
	now, err := l.poll(ctx, db, max(first.V, 1)-1)
	if err != nil {
		return fmt.Errorf("reading the state of the log: %w", err)
	}
	start := eventlog.Cursor{Epoch: now.epoch}
	if first.Valid {
		start.Seq, start.Check = first.V-1, now.check.V
	}
	l.window.Reset(start, bounds)
	l.messages.seen.Store(now.message)
	return nil
}

// entry returns a row as an entry. The entry of a row that was replaced, or is not an event, has no
// block.
func (l *Log) entry(at eventlog.Cursor, stored int64, r eventlog.Record) *eventlog.WindowEntry {
	e := &eventlog.WindowEntry{
		Entry: eventlog.Entry{At: at, Subject: r.Subject},
		Time:  time.UnixMicro(stored),
	}
	if len(r.Frame) == 0 && r.Key != "" {
		return e // what it has replaced has gone too, or goes when this node reads the newer row
	}
	e.Key = r.Key // it replaces earlier ones in any case, as in [store.ReadOlder]
	if err := l.cfg.check(r); err != nil {
		l.warned.Do(func() {
			l.cfg.Logger.Warn("a row of the log is not an event, and is not delivered", slog.Uint64("seq", at.Seq), slog.Any("error", err))
		})
	} else {
		e.Entry = eventlog.NewEntry(at, r)
	}
	return e
}
