package redislog

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// store answers what the window cannot.
type store struct{ *Log }

// begin has Close wait for a read, and end it.
func (s store) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.life.Err() != nil {
		return nil, nil, ErrClosed
	}
	s.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() {
		stop()
		cancel()
		s.running.Done()
	}, nil
}

// Last implements [eventlog.Store].
func (s store) Last(ctx context.Context) (at eventlog.Cursor, err error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return at, err
	}
	defer end()
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
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return page, err
	}
	defer end()
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

// errReplaced: the tail resets the window when it looks at the state of the log.
var errReplaced = errors.New("the log is another one, or was rolled back")

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
		part, err := r.older.part(ctx, r.client, next, r.head)
		if err != nil {
			return err
		}
		entries := part.from(next)
		if next == first && len(entries) > 0 && entries[0].At.Seq == next {
			if r.page.Gap = r.gapBefore(entries[0]); r.page.Gap != "" {
				return nil
			}
		}
		kept, complete := r.wanted(entries, next)
		if len(entries) == 0 || !complete {
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
		next += uint64(len(entries))
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
		err = errReplaced
	}
	return now.base + 1, err
}

// wanted returns the entries that the query wants, of some that begin with a number. complete is false
// if a number is missing, or an entry that the query wants is too old.
func (r *olderReader) wanted(entries []storedEntry, first uint64) (wanted []*eventlog.WindowEntry, complete bool) {
	for i, e := range entries {
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

// gapBefore returns why an entry may not continue the position of the query.
func (r *olderReader) gapBefore(next storedEntry) eventlog.GapReason {
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
	if _, err := r.window.Wait(ctx, r.generation, seq, 0); !errors.Is(err, eventlog.ErrNotHeld) {
		return err
	}
	return nil
}

// older reads parts of the log that are older than the window, and holds the last ones: many clients
// resume at the same time, and share them.
//
// Concurrency: part may be called from several goroutines.
type older struct {
	log  *Log
	pace pace

	mu    sync.Mutex // guards the fields below
	parts map[partKey]*part
	order []*part // the oldest request first
	bytes int
}

const (
	// partSize is how many numbers a part has, or fewer where entries are large.
	partSize = 128
	// partBytes bounds what is held of parts that no reader reads.
	partBytes = 16 << 20
	// partOverhead is what a part counts for beside its entries: clients can make up positions of parts
	// that have none.
	partOverhead = 8 << 10
)

// partKey names the entries of an epoch whose numbers, divided by a size, are one number.
type partKey struct {
	epoch        uint32
	size, number uint64
}

// part is entries of consecutive numbers. Reading it may have failed.
type part struct {
	partKey

	ready   chan struct{} // closed after the fields below were set
	entries []storedEntry
	bytes   int
	err     error
}

// part returns the part with a number of an entry, up to the head.
func (o *older) part(ctx context.Context, client *redis.Client, seq uint64, head eventlog.Cursor) (*part, error) {
	most, _ := o.pace.limit(min(o.log.perRequest(), partSize))
	key := partKey{epoch: head.Epoch, size: 1 << (bits.Len(uint(most)) - 1)}
	key.number = seq / key.size
	if (key.number+1)*key.size > head.Seq { // it is not complete yet
		entries, err := o.log.entries(ctx, client, &o.pace, head.Epoch, seq, head.Seq, most)
		return &part{entries: entries}, err
	}
	p := o.start(ctx, client, key)
	if next := key; seq%key.size == 0 { // the reader came from the part before, and goes on to the next
		if next.number++; (next.number+1)*next.size <= head.Seq {
			o.start(ctx, client, next)
		}
	}
	select {
	case <-p.ready:
		return p, p.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
		p.entries, p.err = o.log.entries(ctx, client, &o.pace, key.epoch, key.number*key.size, (key.number+1)*key.size-1, int(key.size))
		for _, e := range p.entries {
			p.bytes += len(e.Block) + eventlog.WindowEntryOverhead
		}
		o.hold(p)
		close(p.ready) // not before it is counted: another call of hold may forget it
	})
	return p
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

// from returns the entries from a number on.
func (p *part) from(seq uint64) []storedEntry {
	for i := range p.entries {
		if p.entries[i].At.Seq >= seq {
			return p.entries[i:]
		}
	}
	return nil
}

var _ eventlog.Store = store{}
