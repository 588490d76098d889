package sqllog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// emptyAfter is after when the frame of a row is removed that was replaced. A node that has read
	// less up to then may miss it.
	emptyAfter = 10 * time.Second
	// maxKeyed bounds the rows with keys that are remembered. Older ones are forgotten: what they have
	// replaced stays until the next row of the same key, or until it is trimmed.
	maxKeyed = 100_000
)

// keyed holds the rows with keys that the tail has read lately. What they have replaced becomes empty
// after emptyAfter.
type keyed struct {
	mu   sync.Mutex
	rows []keyedRow
}

type keyedRow struct {
	subject, key string
	seq          uint64
	read         time.Time
}

func (k *keyed) add(seq uint64, r eventlog.Record) {
	if r.Key == "" || len(r.Frame) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.rows) >= maxKeyed {
		k.rows = append([]keyedRow(nil), k.rows[maxKeyed/2:]...)
	}
	k.rows = append(k.rows, keyedRow{r.Subject, r.Key, seq, time.Now()})
}

// take returns at most so many sequences of rows that were read before a time, only the newest of each
// key, and forgets those rows.
func (k *keyed) take(before time.Time, most int) (seqs []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	type name struct{ subject, key string }
	place := make(map[name]int)
	n := 0
	for ; n < len(k.rows) && k.rows[n].read.Before(before); n++ {
		row := k.rows[n]
		i, ok := place[name{row.subject, row.key}]
		switch {
		case ok:
			seqs[i] = row.seq
		case len(seqs) == most:
			k.rows = k.rows[n:]
			return seqs
		default:
			place[name{row.subject, row.key}] = len(seqs)
			seqs = append(seqs, row.seq)
		}
	}
	if k.rows = k.rows[n:]; len(k.rows) == 0 {
		k.rows = nil
	}
	return seqs
}

// emptyReplaced removes the frames of rows that were replaced. The rows stay: clients may hold their
// positions.
func (l *Log) emptyReplaced(ctx context.Context) error {
	before := time.Now().Add(-emptyAfter)
	for {
		seqs := l.keyed.take(before, trimBatch)
		if len(seqs) == 0 {
			return nil
		}
		if err := l.dialect.empty(ctx, seqs); err != nil {
			return fmt.Errorf("emptying events that were replaced: %w", err)
		}
	}
}
