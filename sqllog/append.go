package sqllog

import (
	"context"
	"fmt"

	"github.com/ginsse/ginsse/eventlog"
)

// pendingRecord is a record that waits for its place in the log.
type pendingRecord struct {
	record eventlog.Record
	check  uint32
	seq    uint64
	done   chan error // has room for one
}

const (
	// maxBatch is the most records that one transaction stores.
	maxBatch = 256
	// maxBatchBytes is the size of a batch that takes no more records.
	maxBatchBytes = 1 << 20
)

// Append implements [eventlog.Log]. Calls that wait at the same time share a transaction. It waits
// until the transaction is committed and this node has read the event. The end of ctx ends the
// wait. If ctx has no deadline, [Config.AppendTimeout] is one.
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
	generation, epoch := l.window.Generation(), l.window.Tip().Epoch
	// The frame belongs to the caller again when Append returns, which may be before it is stored.
	p := &pendingRecord{record: r, done: make(chan error, 1)}
	p.record.Frame = append([]byte(nil), r.Frame...)
	select {
	case l.waiting <- p:
	case <-ctx.Done():
		return eventlog.Cursor{}, fmt.Errorf("%w: appending to the database: %w", eventlog.ErrUnavailable, ctx.Err())
	case <-l.life.Done():
		return eventlog.Cursor{}, eventlog.ErrClosed
	}
	select {
	case err := <-p.done:
		if err != nil {
			return eventlog.Cursor{}, err
		}
	case <-ctx.Done():
		return eventlog.Cursor{}, fmt.Errorf("%w: appending to the database: %w", eventlog.ErrUnavailable, ctx.Err())
	}
	return l.window.Wait(ctx, generation, eventlog.Cursor{Epoch: epoch, Seq: p.seq, Check: p.check}, 0)
}

// appender stores records, all that wait in one transaction. While a transaction is committed, the
// next records gather.
func (l *Log) appender() {
	defer l.appending.release()
	for {
		select {
		case p := <-l.waiting:
			l.storeBatch(l.gather(p))
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

func (l *Log) storeBatch(batch []*pendingRecord) {
	ctx, cancel := context.WithTimeout(l.life, l.cfg.AppendTimeout)
	defer cancel()
	db, err := l.appending.get(ctx)
	if err == nil {
		err = l.dialect.append(ctx, db, batch)
	}
	if err != nil {
		l.appending.release()
		if err = fmt.Errorf("%w: appending to the database: %w", eventlog.ErrUnavailable, l.dialect.explain(err)); l.life.Err() != nil {
			err = eventlog.ErrClosed
		}
	}
	for _, p := range batch {
		p.done <- err
	}
	l.kick()
}
