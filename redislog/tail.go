package redislog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// mostEntries and mostBytes bound what one request reads, about; see pace. A slow link has to carry
	// that within requestTimeout.
	mostEntries = 128
	mostBytes   = 512 << 10
	// fewEntries is what the tail asks for at first: nobody knows how large the entries of a backlog are.
	fewEntries = 4
	// checkInterval is the longest time between two looks at the state of the log, and how long a
	// request waits for new entries.
	checkInterval = 400 * time.Millisecond
	// retryPause is the pause after a failure.
	retryPause = 50 * time.Millisecond
	// endOfNumber is the largest check, as a part of an ID: all entries of a number are up to there.
	endOfNumber = "-18446744073709551615"
)

// newEpochText returns an epoch that no log has had.
func newEpochText() string { return rand.Text() }

// tail reads new entries into the window until the log is closed. It calls caughtUp when the window
// has what Redis had.
func (l *Log) tail(caughtUp func()) {
	for l.life.Err() == nil {
		client, err := l.server.get(l.life)
		if err == nil {
			conn := client.Conn()
			t := tail{Log: l, conn: conn, caughtUp: caughtUp, most: fewEntries}
			err = t.follow(l.life)
			_ = conn.Close() // it may be broken
			l.server.failed(client, err)
		}
		if l.life.Err() != nil {
			return
		}
		l.window.NoteFailure(err)
		select {
		case <-time.After(retryPause):
		case <-l.life.Done():
		}
	}
}

// tail is the reading of new entries on one connection. Another connection may be to another server,
// so each begins with a look at the state of the log.
type tail struct {
	*Log

	conn     *redis.Conn
	caughtUp func()

	checked time.Time // when the state was looked at
	target  uint64    // the last number at that time
	most    int       // how many entries the next request asks for
}

// follow reads until there is an error.
func (t *tail) follow(ctx context.Context) error {
	for {
		if time.Since(t.checked) >= checkInterval {
			if err := t.check(ctx); err != nil {
				return fmt.Errorf("reading the state of the log: %w", err)
			}
		}
		tip := t.window.Tip()
		if tip.Seq >= t.target {
			if t.window.Failure() != nil {
				t.running.Go(t.resubscribe)
			}
			t.window.ConfirmContact()
			t.caughtUp()
		}
		if err := t.read(ctx, tip); err != nil {
			return fmt.Errorf("reading new events: %w", err)
		}
	}
}

// read adds the next entries to the window. If there are none, it waits.
func (t *tail) read(ctx context.Context, tip eventlog.Cursor) error {
	count, timeout := t.newest.limit(t.most)
	ctx, cancel := context.WithTimeout(ctx, checkInterval+timeout)
	defer cancel()
	answer, err := t.conn.Do(ctx, "xread", "count", count, "block", checkInterval.Milliseconds(),
		"streams", t.keys.entries, strconv.FormatUint(tip.Seq, 10)+endOfNumber).Slice()
	switch {
	case errors.Is(err, redis.Nil):
		if tip.Seq < t.target { // the log ends with entries that an operator has removed
			t.window.SkipTo(tip.Seq, t.target)
		}
		t.checked = time.Time{} // a key that was deleted has no new entries
		return nil
	case err != nil:
		t.newest.note(nil, err)
		return err
	}
	streams, ok := answer[0].([]any)
	if !ok || len(streams) != 2 {
		return errForm
	}
	stored, err := t.parse(tip.Epoch, streams[1])
	if err != nil {
		return err
	}
	if len(stored) == 0 { // what follows is not from this log
		return errForm
	}
	t.newest.note(stored, nil)
	if list, _ := streams[1].([]any); len(list) < count {
		t.most = fewEntries // this was the end
	} else if bytesOf(stored) < mostBytes {
		t.most = min(2*t.most, mostEntries)
	}
	last := stored[len(stored)-1]
	if bytes := last.total - t.total.Load(); bytes > 0 && last.At.Seq > tip.Seq { // else the window was reset
		t.average.Store(bytes / int64(last.At.Seq-tip.Seq))
	}
	t.window.NoteLast(last.At.Seq)
	for _, e := range stored {
		switch {
		case e.At.Seq <= tip.Seq: // the window begins within an entry
			continue
		case e.At.Seq == tip.Seq+1 && tip.Check != 0 && e.previous != tip.Check:
			return t.rollBack(ctx, tip)
		case e.At.Seq != tip.Seq+1 && e.At.Seq > t.target:
			// Entries were trimmed before this node has read them, or the log is another one.
			t.checked = time.Time{}
			return nil
		}
		t.total.Store(e.total)
		t.window.Add(e.WindowEntry)
		tip = e.At
	}
	return nil
}

// check looks at the state of the log, and resets the window if the log is another one, or is not
// what the window has.
func (t *tail) check(ctx context.Context) error {
	now, err := t.askState(ctx, t.conn, change{})
	if err != nil {
		return err
	}
	if now.replid != now.server.id {
		if now, err = t.adopt(ctx, now); err != nil {
			return err
		}
	}
	tip := t.window.Tip()
	if tip.Epoch == now.last.Epoch && (now.last.Seq < tip.Seq || now.last.Seq == tip.Seq && tip.Check != 0 && tip.Check != now.last.Check) {
		t.cfg.Logger.Warn("the log in Redis was rolled back: all streams get a gap")
		if now, err = t.askState(ctx, t.conn, change{of: now, newEpoch: true}); err != nil {
			return err
		}
	}
	if tip.Epoch != now.last.Epoch {
		if tip.Epoch != 0 {
			t.cfg.Logger.Warn("the log in Redis was deleted or replaced: all streams get a gap")
		}
		if err := t.reset(ctx, now); err != nil {
			return err
		}
	}
	t.checked, t.target = time.Now(), now.last.Seq
	t.window.NoteLast(t.target)
	return nil
}

// adopt gives the log the replication ID of its server: it was restarted or promoted. The log gets
// another epoch if events may be lost.
func (t *tail) adopt(ctx context.Context, now state) (state, error) {
	promoted := strings.Trim(now.server.before, "0") != ""
	loses := now.replid != "" && now.last.Seq != now.base && (promoted && t.cfg.Wait == 0 || !now.server.appending)
	if loses {
		t.cfg.Logger.Warn("the Redis server was promoted, or restarted without an append-only file: events may be lost, and all streams get a gap")
	}
	after, err := t.askState(ctx, t.conn, change{of: now, newEpoch: loses})
	if err != nil {
		return now, err
	}
	return after, nil
}

// rollBack gives the log another epoch: an event does not continue what this node has.
func (t *tail) rollBack(ctx context.Context, tip eventlog.Cursor) error {
	t.checked = time.Time{}
	now, err := t.askState(ctx, t.conn, change{})
	if err != nil || now.last.Epoch != tip.Epoch { // another node has noticed it, too
		return err
	}
	t.cfg.Logger.Warn("the log in Redis was rolled back and continued: all streams get a gap")
	_, err = t.askState(ctx, t.conn, change{of: now, newEpoch: true})
	return err
}

// reset has the window begin as far back as its memory reaches.
func (t *tail) reset(ctx context.Context, now state) error {
	bounds := eventlog.WindowBounds{Bytes: int(min(int64(t.cfg.RecentBytes), t.cfg.MaxBytes)), MaxAge: t.cfg.MaxAge}
	start := eventlog.Cursor{Epoch: now.last.Epoch, Seq: now.base}
	oldest, err := t.events(ctx, t.conn, &t.newest, now.last.Epoch, 0, now.last.Seq, 1)
	if err != nil {
		return err
	}
	if len(oldest) > 0 {
		first := oldest[0]
		// Events count for less in the log than in the window, so these are too many.
		average := max(now.total-first.total, 0) / int64(now.last.Seq-first.At.Seq+1)
		t.average.Store(average)
		most := uint64(int64(bounds.Bytes)/(average+eventlog.WindowEntryOverhead-eventOverhead)) + 1
		if start.Seq = first.At.Seq - 1; now.last.Seq-start.Seq > most {
			start.Seq = now.last.Seq - most
		}
		next, err := t.events(ctx, t.conn, &t.newest, now.last.Epoch, start.Seq+1, start.Seq+1, 1)
		if err != nil {
			return err
		}
		if len(next) > 0 { // else it was trimmed, and nobody has the position
			start.Check = next[0].previous
		}
	} else {
		start = now.last // all were trimmed
	}
	t.total.Store(now.total)
	t.older.reset()
	t.window.Reset(start, bounds)
	return nil
}

// pace is how much requests ask for, and how long their answers may take. Nobody knows how large the
// entries are before they are read.
//
// Concurrency: its methods may be called from several goroutines.
type pace struct{ halvings atomic.Int32 }

// mostHalvings make 1 of what requests ask for.
const mostHalvings = 9

// limit returns how much to ask for, if nothing is known against so much.
func (p *pace) limit(most int) (count int, timeout time.Duration) {
	halvings := p.halvings.Load()
	return max(1, most>>halvings), requestTimeout * time.Duration(1+halvings)
}

// note has later requests ask for less after an answer that was too large, or took too long.
func (p *pace) note(answer []storedEvent, err error) {
	bytes := bytesOf(answer)
	var network net.Error
	halvings := p.halvings.Load()
	switch {
	case errors.As(err, &network) && network.Timeout():
		p.halvings.CompareAndSwap(halvings, min(halvings+2, mostHalvings))
	case bytes > 2*mostBytes:
		p.halvings.CompareAndSwap(halvings, min(halvings+1, mostHalvings))
	case len(answer) > 0 && bytes < mostBytes/8:
		p.halvings.CompareAndSwap(halvings, max(halvings-1, 0))
	}
}

func bytesOf(events []storedEvent) (bytes int) {
	for _, e := range events {
		bytes += len(e.Block)
	}
	return bytes
}

// events reads the events with the numbers from one to another, those of at most so many entries.
func (l *Log) events(ctx context.Context, client cmdable, p *pace, epoch uint32, from, to uint64, most int) ([]storedEvent, error) {
	events, _, err := l.entries(ctx, client, p, epoch, from, to+maxBatch-1, most)
	for len(events) > 0 && events[0].At.Seq < from {
		events = events[1:]
	}
	for len(events) > 0 && events[len(events)-1].At.Seq > to {
		events = events[:len(events)-1]
	}
	return events, err
}

// entries reads the entries whose IDs have the numbers from one to another, at most so many. more says
// that there may be more.
func (l *Log) entries(ctx context.Context, client cmdable, p *pace, epoch uint32, from, to uint64, most int) (events []storedEvent, more bool, err error) {
	_, timeout := p.limit(most)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() { p.note(events, err) }()
	answer, err := client.Do(ctx, "xrange", l.keys.entries, from, strconv.FormatUint(to, 10)+endOfNumber, "count", most).Result()
	if err != nil {
		return nil, false, err
	}
	if events, err = l.parse(epoch, answer); err != nil {
		return nil, false, err
	}
	list, _ := answer.([]any)
	return events, len(list) == most, nil
}

type cmdable interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}
