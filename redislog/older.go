package redislog

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// store answers what the window cannot.
type store struct{ *Log }

// Last implements [eventlog.Store].
func (s store) Last(ctx context.Context) (at eventlog.Cursor, err error) {
	err = s.server.do(ctx, func(ctx context.Context, client *redis.Client) error {
		now, err := s.askState(ctx, client, change{})
		at = now.last
		return err
	})
	return at, err
}

// ReadOlder implements [eventlog.Store]. Numbers have no holes, and the oldest entries are removed
// first. So the page is complete if it begins with the entry after the position.
func (s store) ReadOlder(ctx context.Context, q eventlog.Query, head eventlog.Cursor, dst []*eventlog.Entry) (page eventlog.Page, err error) {
	err = s.server.do(ctx, func(ctx context.Context, client *redis.Client) error {
		r := olderReader{Log: s.Log, client: client, generation: s.window.Generation(), q: &q, head: head, held: len(dst), stop: time.Now().Add(pageTime)}
		r.page = eventlog.Page{Entries: dst, Through: head}
		read := r.all
		if q.Latest {
			read = r.latest
		}
		if err := read(ctx); err != nil {
			return err
		}
		if page = r.page; page.Gap != "" {
			page = eventlog.Page{Entries: dst, Through: head, Gap: page.Gap}
		}
		return nil
	})
	return page, err
}

// pageTime is after when a page that holds an entry counts as full.
const pageTime = time.Second

// olderReader reads one page.
type olderReader struct {
	*Log

	client     *redis.Client
	generation uint64 // of the window
	q          *eventlog.Query
	head       eventlog.Cursor
	held       int // entries of the page that are not the reader's
	bytes      int
	stop       time.Time
	page       eventlog.Page
}

// all reads the entries after the position, of all subjects, and keeps those that the query wants.
func (r *olderReader) all(ctx context.Context) error {
	first, err := r.afterPosition(ctx)
	if err != nil {
		return err
	}
	for next := first; next <= r.head.Seq; {
		events, err := r.older.from(ctx, r.client, next, r.head, next > first)
		if err != nil {
			return err
		}
		if next == first && len(events) > 0 && events[0].At.Seq == next {
			if r.page.Gap = r.gapBefore(events[0]); r.page.Gap != "" {
				return nil
			}
		}
		kept, complete := r.wanted(events, next)
		if len(events) == 0 || !complete {
			r.page.Gap = eventlog.GapTrimmed
			return nil
		}
		if kept, err = r.leaveOutReplaced(ctx, kept); err != nil {
			return err
		}
		for _, e := range kept {
			if !r.add(e) {
				return nil
			}
		}
		next += uint64(len(events))
		if len(r.page.Entries) > r.held && next <= r.head.Seq && time.Now().After(r.stop) {
			r.end()
			return nil
		}
	}
	return nil
}

// afterPosition returns the number after the position of the query.
func (r *olderReader) afterPosition(ctx context.Context) (uint64, error) {
	if r.q.After.Seq > 0 {
		return r.q.After.Seq + 1, nil
	}
	now, err := r.askState(ctx, r.client, change{})
	if err == nil && now.last.Epoch != r.head.Epoch {
		err = eventlog.ErrReplaced // the tail resets the window when it looks at the state of the log
	}
	return now.base + 1, err
}

// wanted returns the events that the query wants, of some that begin with a number. complete is false
// if a number is missing, or an event that the query wants is too old.
func (r *olderReader) wanted(events []storedEvent, first uint64) (wanted []*eventlog.WindowEntry, complete bool) {
	for i, e := range events {
		if e.At.Seq != first+uint64(i) {
			return nil, false
		}
		if !slices.Contains(r.q.Subjects, e.Subject) {
			continue
		}
		if time.Since(e.Time) >= r.cfg.MaxAge {
			return nil, false
		}
		wanted = append(wanted, e.WindowEntry)
	}
	return wanted, true
}

// gapBefore returns why an event may not continue the position of the query.
func (r *olderReader) gapBefore(next storedEvent) eventlog.GapReason {
	switch {
	case r.q.After.Seq > 0 && next.previous != r.q.After.Check:
		return eventlog.GapUnknown
	case r.total.Load()-next.total > r.cfg.MaxBytes: // it is about to be trimmed
		return eventlog.GapTrimmed
	}
	return ""
}

// add adds an entry to the page. It reports false if the page is full.
func (r *olderReader) add(e *eventlog.WindowEntry) bool {
	if len(e.Block) == 0 { // it is not an event
		return true
	}
	n := len(r.page.Entries) - r.held
	if r.bytes += len(e.Block); n > 0 && (n >= r.q.MaxEntries || r.bytes > r.q.MaxBytes) {
		r.end()
		return false
	}
	r.page.Entries = append(r.page.Entries, &e.Entry)
	return true
}

// end ends the page before the head.
func (r *olderReader) end() {
	r.page.Through, r.page.More = r.page.Entries[len(r.page.Entries)-1].At, true
}

// leaveOutReplaced returns the entries of which Redis has no newer one of their subject and key.
func (r *olderReader) leaveOutReplaced(ctx context.Context, entries []*eventlog.WindowEntry) ([]*eventlog.WindowEntry, error) {
	pipe := r.client.Pipeline()
	newest := make(map[*eventlog.WindowEntry]*redis.FloatCmd)
	for _, e := range entries {
		if e.Key != "" {
			newest[e] = pipe.ZScore(ctx, r.keys.newest(e.Subject), e.Key)
		}
	}
	if len(newest) == 0 {
		return entries, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	var kept []*eventlog.WindowEntry
	last := r.head.Seq
	for _, e := range entries {
		if score := newest[e]; score != nil {
			if seq := uint64(score.Val()); seq > e.At.Seq {
				last = max(last, seq)
				continue
			}
		}
		kept = append(kept, e)
	}
	return kept, r.awaitVisible(ctx, last)
}

// awaitVisible waits until readers see what replaces an entry of the page, if that has come since this
// node has read the head.
func (r *olderReader) awaitVisible(ctx context.Context, seq uint64) error {
	if seq <= r.head.Seq {
		return nil
	}
	_, err := r.window.Wait(ctx, r.generation, eventlog.Cursor{Epoch: r.head.Epoch, Seq: seq}, 0)
	return err
}

// older reads parts of the log that are older than the window, and holds the last ones: many clients
// resume at the same time, and share them.
//
// Concurrency: from may be called from several goroutines.
type older struct {
	log  *Log
	pace pace

	mu    sync.Mutex // guards the fields below
	parts map[partKey]*part
	order []*part // the oldest request first
	bytes int
}

const (
	// partSize is how many numbers a part has, or fewer where events are large.
	partSize = 256
	// firstEntries is how many entries the first request for a part asks for.
	firstEntries = 32
	// partBytes bounds what is held of parts that no reader reads.
	partBytes = 16 << 20
	// partOverhead is what a part counts for beside its entries: clients can make up positions of parts
	// that have none.
	partOverhead = 8 << 10
)

// partKey names the entries of an epoch whose IDs' numbers, divided by a size, are one number. So a
// part may begin with events of smaller numbers, and its last numbers may be in the next part.
type partKey struct {
	epoch        uint32
	size, number uint64
}

// part is events of consecutive numbers. Reading it may have failed.
type part struct {
	partKey

	ready  chan struct{} // closed after the fields below were set
	events []storedEvent
	bytes  int
	cut    bool // there are more events, because these are large
	err    error
}

// from returns some events from a number on, up to the head; none if that number is not in the log. If
// the reader goes on, it reads ahead.
func (o *older) from(ctx context.Context, client *redis.Client, seq uint64, head eventlog.Cursor, goesOn bool) ([]storedEvent, error) {
	perRequest := max(1, min(partSize, mostBytes/max(1, o.log.average.Load())))
	most, _ := o.pace.limit(int(perRequest))
	key := partKey{epoch: head.Epoch, size: 1 << (bits.Len(uint(most)) - 1)}
	key.number = seq / key.size
	// The entry with the number may be in the next part.
	for end := key.number + 2; key.number < end && (key.number+1)*key.size <= head.Seq; key.number++ {
		p := o.start(ctx, client, key)
		if next := key; goesOn {
			if next.number++; (next.number+1)*next.size <= head.Seq {
				o.start(ctx, client, next)
			}
		}
		select {
		case <-p.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if p.err != nil {
			return nil, p.err
		}
		if i := sort.Search(len(p.events), func(i int) bool { return p.events[i].At.Seq >= seq }); i < len(p.events) {
			return p.events[i:], nil
		}
		if p.cut {
			break
		}
	}
	// The part is not complete yet, or was cut, or the entry has more events than a part has numbers.
	return o.log.events(ctx, client, &o.pace, head.Epoch, seq, min(head.Seq, seq+maxBatch-1), min(most, firstEntries))
}

// start returns a part that is held, or is being read.
func (o *older) start(ctx context.Context, client *redis.Client, key partKey) *part {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p, ok := o.parts[key]; ok {
		return p
	}
	p := &part{partKey: key, bytes: partOverhead, ready: make(chan struct{})}
	if o.parts == nil {
		o.parts = make(map[partKey]*part)
	}
	o.parts[key] = p
	o.order = append(o.order, p)
	ctx = context.WithoutCancel(ctx) // others may wait for it, too
	o.log.running.Go(func() {
		p.read(ctx, client, o)
		o.hold(p)
		close(p.ready) // not before it is counted: another call of hold may forget it
	})
	return p
}

// read reads the part: few entries first, and the others if they are likely to be small.
func (p *part) read(ctx context.Context, client *redis.Client, o *older) {
	from, to := p.number*p.size, (p.number+1)*p.size-1
	var more bool
	p.events, more, p.err = o.log.entries(ctx, client, &o.pace, p.epoch, from, to, firstEntries)
	if n := len(p.events); p.err == nil && more && n > 0 {
		if p.cut = bytesOf(p.events) > mostBytes/8; !p.cut {
			var rest []storedEvent
			rest, _, p.err = o.log.entries(ctx, client, &o.pace, p.epoch, p.events[n-1].At.Seq+1, to, int(p.size))
			p.events = append(p.events, rest...)
		}
	}
	p.bytes += bytesOf(p.events) + len(p.events)*eventlog.WindowEntryOverhead
}

// hold forgets parts until those that are left are within the bound. It forgets one that could not be
// read.
func (o *older) hold(p *part) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.parts[p.partKey] != p { // reset was called meanwhile
		return
	}
	if o.bytes += p.bytes; p.err != nil {
		delete(o.parts, p.partKey)
	}
	for o.bytes > partBytes && len(o.order) > 0 {
		oldest := o.order[0]
		select {
		case <-oldest.ready:
		default:
			return // it is on its way
		}
		o.order = o.order[1:]
		o.bytes -= oldest.bytes
		if o.parts[oldest.partKey] == oldest {
			delete(o.parts, oldest.partKey)
		}
	}
}

// reset forgets all parts: the log is another one.
func (o *older) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parts, o.order, o.bytes = nil, nil, 0
}

var _ eventlog.Store = store{}
