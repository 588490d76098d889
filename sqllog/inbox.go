package sqllog

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// inboxInterval is how often the log looks how many records wait in the inbox.
	inboxInterval = 5 * time.Second
	// inboxTimeout bounds one look.
	inboxTimeout = time.Second
	// maxInbox is the most records that a look counts. More are as many.
	maxInbox = 10_000
	// inboxUnknown stands for a number that is not known.
	inboxUnknown = -1
)

// inbox is how many committed records waited in the inbox lately; inboxUnknown if that is not known.
type inbox struct{ waiting atomic.Int64 }

// Stats implements [eventlog.StatsLog]. It makes no request. On Postgres, the number of records in the
// inbox is that of the last 5 s, and at most 10,000.
func (l *Log) Stats() eventlog.Stats {
	s := l.window.Stats()
	s.Store.Inbox = int(l.inbox.waiting.Load())
	return s
}

// watchInbox looks into the inbox from time to time, until the log is closed. Neither a scrape nor the
// tail waits for it. It returns at once if there is no inbox.
func (l *Log) watchInbox() {
	ticker := time.NewTicker(inboxInterval)
	defer ticker.Stop()
	for {
		ctx, cancel := context.WithTimeout(l.life, inboxTimeout)
		n, err := l.dialect.countInbox(ctx, maxInbox)
		cancel()
		switch {
		case err != nil:
			n = inboxUnknown
		case n == inboxUnknown:
			return
		}
		l.inbox.waiting.Store(int64(n))
		select {
		case <-ticker.C:
		case <-l.life.Done():
			return
		}
	}
}

var _ eventlog.StatsLog = (*Log)(nil)
