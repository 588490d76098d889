package logtest

import (
	"context"
	"errors"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/ssetest"
)

// The wrong ways to treat Query.NoWait, in front of a right log.

// isOld reports whether a log that has a store may have to ask it about a query.
func isOld(log eventlog.Log, q eventlog.Query) bool {
	head, err := log.Head(context.Background())
	return err == nil && q.After.Epoch == head.Epoch && q.After.Seq+30 < head.Seq
}

// withoutWaiting reads old positions in another way if the query has NoWait.
func withoutWaiting(read readFunc) readFunc {
	return func(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		if q.NoWait && isOld(log, q) {
			return read(log, q, dst)
		}
		return plain(log, q, dst)
	}
}

func wouldWaitAtTheHead(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.NoWait {
		return eventlog.Page{}, eventlog.ErrWouldWait
	}
	return plain(log, q, dst)
}

func wouldWaitUnasked(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if isOld(log, q) {
		return eventlog.Page{}, eventlog.ErrWouldWait
	}
	return plain(log, q, dst)
}

func wouldWaitIsAnother(eventlog.Log, eventlog.Query, []*eventlog.Entry) (eventlog.Page, error) {
	return eventlog.Page{}, errors.New("the page is not in memory")
}

func wouldWaitClears(_ eventlog.Log, _ eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	clear(dst)
	return eventlog.Page{}, eventlog.ErrWouldWait
}

func wouldWaitLate(eventlog.Log, eventlog.Query, []*eventlog.Entry) (eventlog.Page, error) {
	<-time.After(time.Second) // for a store that does not answer
	return eventlog.Page{}, eventlog.ErrWouldWait
}

// noWaitIsShort returns the entries that are in memory, and leaves out those before them.
func noWaitIsShort(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	page, err := plain(log, q, dst)
	if n := len(page.Entries); n > len(dst)+1 {
		page.Entries = append(page.Entries[:len(dst)], page.Entries[n-1])
	}
	return page, err
}

// noWaitIsCut loses nothing, but the page is another one.
func noWaitIsCut(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	q.MaxEntries = 1
	return plain(log, q, dst)
}

func noWaitIsEmpty(_ eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return eventlog.Page{Entries: dst, Through: q.After}, nil
}

func noWaitSkips(log eventlog.Log, _ eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	head, err := log.Head(context.Background())
	return eventlog.Page{Entries: dst, Through: head}, err
}

func noWaitIsAGap(log eventlog.Log, _ eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	head, err := log.Head(context.Background())
	return eventlog.Page{Entries: dst, Through: head, Gap: eventlog.GapTrimmed}, err
}

// waitingWhilePartitioned tests nodes that wait for their store while they are partitioned.
func waitingWhilePartitioned() Suite {
	return clusterSuite(func(n *ssetest.Node, _ bool) eventlog.Log {
		return &wrongNode{Node: n, read: func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
			if _, err := n.Head(ctx); errors.Is(err, ssetest.ErrPartitioned) {
				<-time.After(time.Second)
			}
			return n.Read(ctx, q, dst)
		}}
	})
}
