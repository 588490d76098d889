package logtest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"sort"
	"sync"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// storeNode is a SharedLog that is right as long as its store is. It behaves like a log across a
// network: it sees events later than they are stored, calls its watchers on a goroutine of its
// own, sometimes once for many events, and gives up when a context ends.
type storeNode struct {
	store *store
	peer  bool
	news  chan struct{} // has room for one: reports or messages are there
	end   chan struct{} // closed by close

	closing  sync.Once
	running  sync.WaitGroup
	watchers eventlog.Watchers

	mu          sync.Mutex // guards the fields below
	changed     sync.Cond  // seen or partitioned has changed, or a wait was abandoned
	seen        uint64     // what Read can see
	partitioned bool       // from the store
	reports     []report
	messages    []delivery
	receivers   map[*storeReceiver]bool
}

// report says that an event was stored.
type report struct {
	subject string
	seq     uint64
}

func (n *storeNode) close() {
	n.closing.Do(func() { close(n.end) })
	n.running.Wait()
}

func (n *storeNode) isPartitioned() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.partitioned
}

// report is called by the store.
func (n *storeNode) report(subject string, seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reports = append(n.reports, report{subject, seq})
	n.notifyLocked()
}

func (n *storeNode) notifyLocked() {
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// run handles reports and messages until the node is closed.
func (n *storeNode) run() {
	var late []delivery
	var later <-chan time.Time
	for {
		select {
		case <-n.news:
		case <-later:
			n.deliver(late)
			late, later = nil, nil
			continue
		case <-n.end:
			return
		}
		for range rand.IntN(4) {
			runtime.Gosched() // the network takes its time
		}
		now, rest := n.takeMessages()
		n.deliver(now)
		if late = append(late, rest...); later == nil && len(late) > 0 {
			later = time.After(5 * time.Millisecond)
		}
		n.see()
	}
}

// see makes the reported events visible, and then calls the watchers.
func (n *storeNode) see() {
	n.mu.Lock()
	reports := n.reports
	n.reports = nil
	tooEarly := n.peer && n.store.fault == faultPeerIsWokenTooEarly
	if tooEarly {
		n.mu.Unlock()
		n.call(reports)
		for range 1000 {
			runtime.Gosched()
		}
		n.mu.Lock()
	}
	for _, r := range reports {
		n.seen = max(n.seen, r.seq)
	}
	n.changed.Broadcast()
	n.mu.Unlock()
	if !tooEarly {
		n.call(reports)
	}
}

func (n *storeNode) call(reports []report) {
	if len(reports) > 3 {
		reports = []report{{"", reports[len(reports)-1].seq}}
	}
	for _, r := range reports {
		if r.seq > 0 {
			n.watchers.Call(r.subject, r.seq)
		}
	}
}

func (n *storeNode) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if err := n.store.check(r); err != nil {
		return eventlog.Cursor{}, err
	}
	release, err := n.store.write(ctx)
	if err != nil {
		return eventlog.Cursor{}, err
	}
	r.Frame = bytes.Clone(r.Frame)
	seq, err := n.store.append(n, r)
	release()
	if err != nil {
		return eventlog.Cursor{}, err
	}
	if err := n.await(ctx, seq, false); err != nil {
		return eventlog.Cursor{}, err
	}
	return n.store.cursor(seq, n.peer), ctx.Err()
}

// await waits until the node sees a sequence. A wait that connected is set for ends when the node
// is partitioned.
func (n *storeNode) await(ctx context.Context, seq uint64, connected bool) error {
	defer context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})()
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.seen < seq || connected && n.partitioned {
		if err := ctx.Err(); err != nil {
			return err
		}
		if connected && n.partitioned {
			return errPartitioned
		}
		n.changed.Wait()
	}
	return nil
}

func (n *storeNode) Head(ctx context.Context) (eventlog.Cursor, error) {
	s := n.store
	s.mu.Lock()
	head := s.head
	s.mu.Unlock()
	n.mu.Lock()
	seen, partitioned := n.seen, n.partitioned
	n.mu.Unlock()
	switch {
	case partitioned && s.fault == faultHeadWhilePartitioned, s.fault == faultHeadAsSeen && !partitioned:
		return s.cursor(seen, n.peer), nil
	case s.fault == faultHeadUnread && !partitioned:
		return s.cursor(head, n.peer), nil
	}
	if err := n.await(ctx, head, true); err != nil {
		return eventlog.Cursor{}, err
	}
	return s.cursor(head, n.peer), nil
}

func (n *storeNode) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if err := ctx.Err(); err != nil {
		return eventlog.Page{}, err
	}
	n.mu.Lock()
	view, partitioned := n.seen, n.partitioned
	n.mu.Unlock()
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimLocked("")
	if partitioned {
		return n.partitionedLocked(q, dst), nil
	}
	if q.NoWait && q.After != s.cursor(view, n.peer) {
		return eventlog.Page{}, eventlog.ErrWouldWait // the contract allows it everywhere but at the head
	}
	page := eventlog.Page{Entries: dst, Through: q.After}
	switch {
	case q.After.Epoch != s.epoch:
		page.Gap = eventlog.GapEpoch
	case q.After.Seq > s.head, q.After != s.cursor(q.After.Seq, n.peer),
		s.fault == faultReplacedHasNoPosition && s.isReplacedLocked(q.After):
		page.Gap = eventlog.GapUnknown
	case q.After.Seq > view:
		if n.peer && s.fault == faultPeerKnowsNoNews {
			page.Gap = eventlog.GapUnknown
			break
		}
		return page, nil // the node has not seen it yet
	case n.hasGapLocked(q):
		page.Gap = eventlog.GapTrimmed
	}
	if page.Gap != "" {
		page.Through = s.cursor(view, n.peer)
		return page, nil
	}
	n.collectLocked(q, view, &page)
	return page, nil
}

// collectLocked puts the events after a query's position, up to the view, on a page.
func (n *storeNode) collectLocked(q eventlog.Query, view uint64, page *eventlog.Page) {
	s := n.store
	held, bytes := len(page.Entries), 0
	first := sort.Search(len(s.events), func(i int) bool { return s.events[i].seq > q.After.Seq })
	for i, e := range s.events[first:] {
		if e.seq > view {
			break
		}
		if !s.wantedLocked(q, e) || n.leavesOutLocked(q, e, view) || n.peer && s.losesLocked(first+i) {
			continue
		}
		count := len(page.Entries) - held
		bytes += len(e.Frame) + eventlog.BlockOverhead
		if count > 0 && (count >= q.MaxEntries || bytes > q.MaxBytes) {
			page.More, page.Through = true, page.Entries[held+count-1].At
			return
		}
		entry := eventlog.NewEntry(s.cursor(e.seq, n.peer), e.Record)
		page.Entries = append(page.Entries, &entry)
	}
	if n.peer && s.fault == faultPeerSkipsBacklog && len(page.Entries) > held+5 {
		page.Entries = page.Entries[:held]
	}
	if view > q.After.Seq {
		page.Through = s.cursor(view, n.peer)
	}
}

func (n *storeNode) Watch(fn func(subject string, seq uint64)) (stop func()) {
	return n.watchers.Watch(fn)
}

var _ eventlog.SharedLog = (*storeNode)(nil)
