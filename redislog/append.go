package redislog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// pendingRecord is a record that waits for its place in the log.
type pendingRecord struct {
	record   eventlog.Record
	deadline time.Time // until when its caller waits

	at     eventlog.Cursor
	stored atomic.Pointer[error] // that too few replicas have it; nil if it is not known to be stored
	done   chan error            // has room for one
}

// failure returns the error of an Append that has ended with another one.
func (p *pendingRecord) failure(err error) error {
	if stored := p.stored.Load(); stored != nil {
		return *stored
	}
	return fmt.Errorf("%w: appending to Redis: %w", eventlog.ErrUnavailable, err)
}

const (
	// maxBatch is the most records of a batch, and so the most events of an entry.
	maxBatch = 256
	// maxBatchBytes is the size of a batch that takes no more records.
	maxBatchBytes = 256 << 10
	// keepBatch is how long Redis knows the last batch of a node. It is not sent again later.
	keepBatch = eventlog.DedupWindow
	// keepKeysLonger is how much longer the newest entries of keys are known than they are kept.
	keepKeysLonger = time.Minute
)

// Append implements [eventlog.Log]. Calls that wait at the same time share a request. Append waits
// until Redis has the event, with [Config.Wait] until replicas have it, and until this node has read
// it. The end of ctx ends the wait. If ctx has no deadline, [Config.AppendTimeout] is one. The event is
// stored once, however often it has to be sent.
//
// Errors: [eventlog.ErrUnavailable], after which it is not known whether the event was stored;
// [eventlog.ErrNotVisible]; [eventlog.ErrClosed]. After [eventlog.ErrInvalidRecord] and
// [eventlog.ErrTooLarge] nothing was stored.
func (l *Log) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if err := l.cfg.check(r); err != nil {
		return eventlog.Cursor{}, err
	}
	ctx, cancel := bound(ctx, l.cfg.AppendTimeout)
	defer cancel()
	generation := l.window.Generation()
	// The frame belongs to the caller again when Append returns, which may be before it is stored.
	p := &pendingRecord{record: r, done: make(chan error, 1)}
	p.record.Frame = append([]byte(nil), r.Frame...)
	p.deadline, _ = ctx.Deadline()
	select {
	case l.waiting <- p:
	case <-ctx.Done():
		return eventlog.Cursor{}, fmt.Errorf("%w: appending to Redis: %w", eventlog.ErrUnavailable, ctx.Err())
	case <-l.life.Done():
		return eventlog.Cursor{}, eventlog.ErrClosed
	}
	select {
	case err := <-p.done:
		if err != nil {
			return eventlog.Cursor{}, err
		}
	case <-ctx.Done():
		return eventlog.Cursor{}, p.failure(ctx.Err())
	}
	return l.window.Wait(ctx, generation, p.at, 0)
}

// appender stores records, all that wait in one batch. While a batch is on its way, the next records
// gather.
func (l *Log) appender() {
	for number := 1; ; number++ {
		select {
		case p := <-l.waiting:
			runtime.Gosched() // callers that can run join the batch
			batch := l.gather(p)
			err := l.storeBatch(number, batch)
			for _, p := range batch {
				p.done <- err
			}
		case <-l.life.Done():
			return
		}
	}
}

// gather returns the records that wait.
func (l *Log) gather(first *pendingRecord) []*pendingRecord {
	batch, bytes := []*pendingRecord{first}, len(first.record.Frame)
	for len(batch) < maxBatch && bytes < maxBatchBytes {
		select {
		case p := <-l.waiting:
			batch, bytes = append(batch, p), bytes+len(p.record.Frame)
		default:
			return batch
		}
	}
	return batch
}

// storeBatch sends a batch until Redis has it, or until no caller waits for it any more. By its number,
// Redis knows one that it has.
func (l *Log) storeBatch(number int, batch []*pendingRecord) error {
	deadline := time.Now().Add(keepBatch / 2)
	if last := latest(batch); last.Before(deadline) {
		deadline = last
	}
	ctx, cancel := context.WithDeadline(l.life, deadline)
	defer cancel()
	records := make([]eventlog.Record, len(batch))
	for i, p := range batch {
		records[i] = p.record
	}
	a := l.newAppend(number, records...)
	call := appendScript.call(a.keys, a.args...)
	for {
		last, err := l.sendBatch(ctx, call)
		switch {
		case err == nil && len(last) == len(a.counts):
			for i, at := range a.positions(last) {
				batch[i].at = at
			}
			return nil
		case err == nil:
			return fmt.Errorf("%w: appending to Redis: %w", eventlog.ErrUnavailable, errForm)
		case errors.Is(err, eventlog.ErrNotVisible):
			for _, p := range batch {
				p.stored.Store(&err)
			}
		case !isTemporary(err):
			return batch[0].failure(err)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			if l.life.Err() != nil {
				return eventlog.ErrClosed
			}
			return batch[0].failure(errors.Join(ctx.Err(), err))
		}
	}
}

func latest(batch []*pendingRecord) (last time.Time) {
	for _, p := range batch {
		if p.deadline.After(last) {
			last = p.deadline
		}
	}
	return last
}

// sendBatch sends a batch once. It returns the position of the last event of each entry.
func (l *Log) sendBatch(ctx context.Context, call []any) (at []eventlog.Cursor, err error) {
	err = l.server.do(ctx, func(ctx context.Context, client *redis.Client) error {
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		var wait [][]any
		if l.cfg.Wait > 0 {
			wait = [][]any{{"wait", l.cfg.Wait, (requestTimeout / 2).Milliseconds()}}
		}
		answer, rest, err := appendScript.run(ctx, client, call, wait...)
		if err != nil {
			return err
		}
		if at, err = l.parsePositions(answer); err != nil {
			return err
		}
		if l.cfg.Wait > 0 {
			if have, _ := rest[0].(int64); have < int64(l.cfg.Wait) {
				return fmt.Errorf("%w: %d replicas have it, and Config.Wait is %d", eventlog.ErrNotVisible, have, l.cfg.Wait)
			}
		}
		return nil
	})
	return at, err
}

// parsePositions reads the answer of append.lua.
func (l *Log) parsePositions(answer any) ([]eventlog.Cursor, error) {
	pair, _ := answer.([]any)
	if len(pair) != 2 {
		return nil, errForm
	}
	epoch, _ := pair[0].(string)
	ids, _ := pair[1].([]any)
	at := make([]eventlog.Cursor, len(ids))
	for i, id := range ids {
		text, _ := id.(string)
		var err error
		if at[i], err = parseID(l.epochOf(epoch), text); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// appendCall is a call of append.lua.
type appendCall struct {
	keys    []string
	indexes map[string]int // of keys, from 1
	args    []any
	counts  []int // how many records each entry has
}

// newAppend returns the call that appends records; with number 0 for a transaction.
func (l *Log) newAppend(number int, records ...eventlog.Record) *appendCall {
	a := &appendCall{keys: []string{l.keys.entries, l.keys.state, l.keys.batch}, indexes: make(map[string]int)}
	var of any = number
	if number == 0 {
		of = ""
	}
	a.args = append(a.args, newEpochText(), of, keepBatch.Milliseconds(), (l.cfg.MaxAge + keepKeysLonger).Milliseconds())
	for len(records) > 0 {
		n := oneEntry(records)
		a.add(&l.keys, records[:n])
		records = records[n:]
	}
	return a
}

// oneEntry returns how many of the first records share an entry.
func oneEntry(records []eventlog.Record) int {
	alone := func(r eventlog.Record) bool { return r.Key != "" || r.DedupKey != "" }
	switch n := slices.IndexFunc(records, alone); n {
	case -1:
		return len(records)
	case 0:
		return 1
	default:
		return n
	}
}

// add adds an entry.
func (a *appendCall) add(k *keys, records []eventlog.Record) {
	first, size := records[0], 0
	for _, r := range records {
		size += sizeOfEvent(r)
	}
	events := make([]byte, 0, size)
	for _, r := range records {
		events = appendEvent(events, r)
	}
	newest, repeat := 0, 0
	if first.Key != "" {
		newest = a.index(k.newest(first.Subject))
	}
	if first.DedupKey != "" {
		repeat = a.index(k.repeat(first.Subject, first.DedupKey))
	}
	a.args = append(a.args, events, len(records), rand.Uint32(), first.Key, newest, repeat)
	a.counts = append(a.counts, len(records))
}

// index returns the index of a key.
func (a *appendCall) index(key string) int {
	if a.indexes[key] == 0 {
		a.keys = append(a.keys, key)
		a.indexes[key] = len(a.keys)
	}
	return a.indexes[key]
}

// positions returns those of the records, from those of the last record of each entry.
func (a *appendCall) positions(last []eventlog.Cursor) (all []eventlog.Cursor) {
	for i, at := range last {
		first := at.Seq - uint64(a.counts[i]) + 1
		for seq := first; seq <= last[i].Seq; seq++ {
			at.Seq = seq
			all = append(all, at)
		}
	}
	return all
}

// newest is the key of the newest entries of a subject's keys: a sorted set of keys by number.
func (k *keys) newest(subject string) string { return k.prefix + "keys:" + subject }

// repeat is the key of a record with a DedupKey: the ID of its entry.
func (k *keys) repeat(subject, dedupKey string) string {
	hash := sha256.Sum256([]byte(subject + "\x00" + dedupKey)) // neither has a zero byte
	return k.prefix + "repeat:" + hex.EncodeToString(hash[:16])
}
