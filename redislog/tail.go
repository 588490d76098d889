package redislog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// mostEntries and mostBytes bound what one request reads, about. A slow link has to carry that
	// within requestTimeout.
	mostEntries = 512
	mostBytes   = 512 << 10
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
			t := tail{Log: l, conn: conn, caughtUp: caughtUp}
			err = t.follow(l.life)
			_ = conn.Close() // it may be broken
			l.server.failed(client, err)
		}
		if l.life.Err() != nil {
			return
		}
		l.setFailure(err)
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
			t.window.ConfirmContact()
			if t.failure.Load() != nil {
				t.running.Go(t.resubscribe)
			}
			t.setFailure(nil)
			t.caughtUp()
		}
		if err := t.read(ctx, tip); err != nil {
			return fmt.Errorf("reading new events: %w", err)
		}
	}
}

// read adds the next entries to the window. If there are none, it waits.
func (t *tail) read(ctx context.Context, tip eventlog.Cursor) error {
	count, timeout := t.newest.limit(t.perRequest())
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
	t.newest.note(stored, nil)
	if n := len(stored); n > 1 {
		t.average.Store((stored[n-1].total - stored[0].total) / int64(n-1))
	}
	for _, e := range stored {
		switch {
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
	oldest, err := t.entries(ctx, t.conn, &t.newest, now.last.Epoch, 0, now.last.Seq, 1)
	if err != nil {
		return err
	}
	if len(oldest) > 0 {
		first := oldest[0]
		// Entries count for less in the log than in the window, so these are too many.
		average := max(now.total-first.total, 0) / int64(now.last.Seq-first.At.Seq+1)
		t.average.Store(average)
		most := uint64(int64(bounds.Bytes)/(average+eventlog.WindowEntryOverhead-entryOverhead)) + 1
		if start.Seq = first.At.Seq - 1; now.last.Seq-start.Seq > most {
			start.Seq = now.last.Seq - most
		}
		next, err := t.entries(ctx, t.conn, &t.newest, now.last.Epoch, start.Seq+1, start.Seq+1, 1)
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

// perRequest returns how many entries of the average size one request reads.
func (l *Log) perRequest() int {
	return int(max(1, min(mostEntries, mostBytes/max(1, l.average.Load()))))
}

// pace is how much requests ask for, and how long their answers may take. The entries there may be much
// larger than the average.
//
// Concurrency: its methods may be called from several goroutines.
type pace struct{ halvings atomic.Int32 }

// mostHalvings make 1 of mostEntries.
const mostHalvings = 9

// limit returns how many entries to ask for, if the average allows so many.
func (p *pace) limit(most int) (count int, timeout time.Duration) {
	halvings := p.halvings.Load()
	return max(1, most>>halvings), requestTimeout * time.Duration(1+halvings)
}

// note has later requests ask for less after an answer that was too large, or took too long.
func (p *pace) note(answer []storedEntry, err error) {
	bytes := 0
	for _, e := range answer {
		bytes += len(e.Block)
	}
	var network net.Error
	halvings := p.halvings.Load()
	switch {
	case errors.As(err, &network) && network.Timeout():
		p.halvings.CompareAndSwap(halvings, min(halvings+2, mostHalvings))
	case bytes > 2*mostBytes:
		p.halvings.CompareAndSwap(halvings, min(halvings+1, mostHalvings))
	case err == nil && bytes < mostBytes/8:
		p.halvings.CompareAndSwap(halvings, max(halvings-1, 0))
	}
}

// entries reads entries of the numbers from one to another, at most so many.
func (l *Log) entries(ctx context.Context, client cmdable, p *pace, epoch uint32, from, to uint64, most int) (entries []storedEntry, err error) {
	_, timeout := p.limit(most)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() { p.note(entries, err) }()
	answer, err := client.Do(ctx, "xrange", l.keys.entries, from, strconv.FormatUint(to, 10)+endOfNumber, "count", most).Result()
	if err != nil {
		return nil, err
	}
	return l.parse(epoch, answer)
}

type cmdable interface {
	Do(ctx context.Context, args ...any) *redis.Cmd
}

// storedEntry is an entry as it comes from Redis.
type storedEntry struct {
	*eventlog.WindowEntry

	previous uint32 // check of the entry before
	total    int64  // bytes of the entries up to this one
}

// parse reads an answer of XRANGE.
func (l *Log) parse(epoch uint32, answer any) ([]storedEntry, error) {
	list, ok := answer.([]any)
	if !ok {
		return nil, errForm
	}
	entries := make([]storedEntry, 0, len(list))
	for _, one := range list {
		e, err := l.parseEntry(epoch, one)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// parseEntry reads one entry. One that is not an event has no block: it keeps its place in the order
// and is not delivered.
func (l *Log) parseEntry(epoch uint32, answer any) (s storedEntry, err error) {
	pair, _ := answer.([]any)
	if len(pair) != 2 {
		return s, errForm
	}
	id, _ := pair[0].(string)
	fields, _ := pair[1].([]any)
	at, err := parseID(epoch, id)
	if err != nil {
		return s, err
	}
	var r eventlog.Record
	e := &eventlog.WindowEntry{Tag: at.Check}
	for i := 0; i+1 < len(fields); i += 2 {
		name, _ := fields[i].(string)
		value, _ := fields[i+1].(string)
		switch name {
		case "a":
			at, rest, _ := strings.Cut(value, " ")
			previous, rest, _ := strings.Cut(rest, " ")
			total, subject, _ := strings.Cut(rest, " ")
			ms, err1 := strconv.ParseInt(at, 10, 64)
			check, err2 := strconv.ParseUint(previous, 10, 32)
			bytes, err3 := strconv.ParseInt(total, 10, 64)
			if err := errors.Join(err1, err2, err3); err != nil {
				return s, fmt.Errorf("%w: entry %.60q: %w", errForm, id, err)
			}
			e.Time, s.previous, s.total, r.Subject = time.UnixMilli(ms), uint32(check), bytes, subject
		case "k":
			r.Key = value
		case "f":
			r.Frame = []byte(value)
		}
	}
	e.Entry = eventlog.Entry{At: at, Subject: r.Subject, Key: r.Key}
	if err := l.cfg.check(r); err != nil {
		l.warned.Do(func() {
			l.cfg.Logger.Warn("an entry of the log is not an event, and is not delivered; further ones are not logged", slog.String("id", id), slog.Any("error", err))
		})
	} else {
		e.Entry = *eventlog.NewEntry(at, r)
	}
	s.WindowEntry = e
	return s, nil
}

// parseID reads the ID of an entry: its number and its check.
func parseID(epoch uint32, id string) (eventlog.Cursor, error) {
	number, check, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return eventlog.Cursor{}, fmt.Errorf("%w: the ID %.60q", errForm, id)
	}
	c, err := strconv.ParseUint(check, 10, 64)
	if err != nil {
		return eventlog.Cursor{}, fmt.Errorf("%w: the ID %.60q", errForm, id)
	}
	return eventlog.Cursor{Epoch: epoch, Seq: seq, Check: uint32(c)}, nil
}
