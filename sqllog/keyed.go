package sqllog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// emptyAfter is how long the frame of a row stays that was replaced. A node that lags by more does
	// not deliver it. It delivers the newer one.
	emptyAfter = 10 * time.Second
	// maxKeyed bounds the rows with keys that are remembered. Older ones are forgotten: what they have
	// replaced stays until it is trimmed.
	maxKeyed = 1 << 18
)

// keyed holds the rows with keys that the tail has read lately. The trimmer takes them after
// emptyAfter, and empties what they have replaced.
type keyed struct {
	mu   sync.Mutex // guards rows
	rows []keyedRow // in the order in which they were read
}

type keyedRow struct {
	seq  uint64
	read time.Time
}

func (k *keyed) add(seq uint64, r eventlog.Record) {
	if r.Key == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.rows) >= maxKeyed {
		k.rows = append([]keyedRow(nil), k.rows[maxKeyed/2:]...)
	}
	k.rows = append(k.rows, keyedRow{seq, time.Now()})
}

// take returns the sequences of at most so many rows that were read before a time, and forgets them.
func (k *keyed) take(before time.Time, most int) (seqs []uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(seqs) < most && len(k.rows) > 0 && k.rows[0].read.Before(before) {
		seqs = append(seqs, k.rows[0].seq)
		k.rows = k.rows[1:]
	}
	if len(k.rows) == 0 {
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
