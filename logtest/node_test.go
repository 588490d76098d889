package logtest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"sort"
	"sync"
	"time"

	"github.com/ginsse/ginsse"
)

// node is a right SharedLog, as long as its store is, of the kind that a network makes:
// it hears of events later than they are stored, calls its watchers on a goroutine of
// its own, sometimes once for many events, and gives up when a context ends.
type node struct {
	store *store
	peer  bool
	news  chan struct{} // has room for one: the inbox is not empty
	end   chan struct{} // closed by close

	closing sync.Once
	running sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	changed  sync.Cond  // seen has, or a wait was abandoned
	seen     uint64     // what Read goes by
	inbox    []posting
	watchers map[*watch]bool
	letters  []letter
	boxes    map[*box]bool
}

type posting struct {
	subject string
	seq     uint64
}

type watch struct {
	fn func(subject string, seq uint64)
}

func (n *node) close() {
	n.closing.Do(func() { close(n.end) })
	n.running.Wait()
}

// post is called by the store.
func (n *node) post(subject string, seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inbox = append(n.inbox, posting{subject, seq})
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// run hears of events and messages until the node is closed.
func (n *node) run() {
	var late []letter
	var later <-chan time.Time
	for {
		select {
		case <-n.news:
		case <-later:
			n.hand(late)
			late, later = nil, nil
			continue
		case <-n.end:
			return
		}
		for range rand.IntN(4) {
			runtime.Gosched() // the network takes its time
		}
		prompt, rest := n.take()
		n.hand(prompt)
		if late = append(late, rest...); later == nil && len(late) > 0 {
			later = time.After(5 * time.Millisecond)
		}
		n.mu.Lock()
		inbox := n.inbox
		n.inbox = nil
		watchers := make([]*watch, 0, len(n.watchers))
		for w := range n.watchers {
			watchers = append(watchers, w)
		}
		if n.peer && n.store.fault == faultPeerIsToldTooEarly {
			n.mu.Unlock()
			call(watchers, inbox)
			for range 1000 {
				runtime.Gosched()
			}
			n.mu.Lock()
			watchers = nil
		}
		for _, p := range inbox {
			n.seen = max(n.seen, p.seq)
		}
		n.changed.Broadcast()
		n.mu.Unlock()
		call(watchers, inbox)
	}
}

func call(watchers []*watch, inbox []posting) {
	if len(inbox) > 3 {
		inbox = []posting{{"", inbox[len(inbox)-1].seq}}
	}
	for _, w := range watchers {
		for _, p := range inbox {
			if p.seq > 0 {
				w.fn(p.subject, p.seq)
			}
		}
	}
}

func (n *node) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	seq, err := n.store.append(n, subject, bytes.Clone(frame))
	if err != nil {
		return ginsse.Cursor{}, err
	}
	defer context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})()
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.seen < seq {
		if err := ctx.Err(); err != nil {
			return ginsse.Cursor{}, err
		}
		n.changed.Wait()
	}
	return n.store.cursor(seq, n.peer), ctx.Err()
}

func (n *node) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if err := ctx.Err(); err != nil {
		return ginsse.Page{}, err
	}
	n.mu.Lock()
	view := n.seen
	n.mu.Unlock()
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimLocked("")
	if s.cut {
		return n.awayLocked(q, dst)
	}
	page := ginsse.Page{Blocks: dst, Through: q.After}
	switch {
	case q.After.IsZero():
		page.Through = s.cursor(view, n.peer)
		return page, nil
	case q.After.Epoch != s.epoch:
		page.Gap = ginsse.GapEpoch
	case q.After.Seq > s.head, q.After != s.cursor(q.After.Seq, n.peer):
		page.Gap = ginsse.GapUnknown
	case q.After.Seq > view:
		if n.peer && s.fault == faultPeerKnowsNoNews {
			page.Gap = ginsse.GapUnknown
		}
		return page, nil // it has not heard of it yet
	case q.After.Seq < s.lostLocked(q, n.peer):
		page.Gap = ginsse.GapTrimmed
	case n.peer && s.fault == faultPeerResumesAtTheHead && q.Before == 1:
		page.Through = s.cursor(view, n.peer)
		return page, nil
	}
	if page.Gap != "" {
		page.Through = s.cursor(view, n.peer)
		return page, nil
	}
	end := view
	if q.Before > 0 {
		end = min(end, q.Before-1)
	}
	first := sort.Search(len(s.events), func(i int) bool { return s.events[i].seq > q.After.Seq })
	count := 0
	for _, e := range s.events[first:] {
		if e.seq > end {
			break
		}
		if !s.wantedLocked(q, e) || n.peer && s.fault == faultPeerHearsNoControl && e.key == "control" {
			continue
		}
		at := s.cursor(e.seq, n.peer)
		blocks := ginsse.AppendBlock(page.Blocks, at, e.frame)
		if count > 0 && (count >= q.MaxEvents || len(blocks)-len(dst) > q.MaxBytes) {
			page.More, page.Through = true, page.Last
			return page, nil
		}
		count++
		page.Blocks, page.Last = blocks, at
	}
	if end > q.After.Seq {
		page.Through = s.cursor(end, n.peer)
	}
	return page, nil
}

func (n *node) Watch(fn func(subject string, seq uint64)) (stop func()) {
	w := &watch{fn}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watchers[w] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, w)
	}
}
