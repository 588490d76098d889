package natslog

import (
	"context"
	"time"

	"github.com/ginsse/ginsse"
)

// Read implements [ginsse.Log]. Positions near the head are served from memory. Others
// take requests to the broker: about 9 for a page of one subject, if the servers send
// batches, or else one for each event. Read returns after a few seconds at most.
//
// Errors: [ErrUnavailable] without a position, or if the broker does not answer;
// [ErrClosed].
func (l *Log) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page := ginsse.Page{Blocks: dst, Through: q.After}
	if l.closed() {
		return page, ErrClosed
	}
	l.mu.RLock()
	if !l.inTouch() {
		l.mu.RUnlock()
		if q.After.IsZero() {
			return page, l.outOfTouch()
		}
		return page, nil
	}
	head := l.recent.cursor(l.recent.head)
	if q.After.IsZero() {
		l.mu.RUnlock()
		page.Through = head
		return page, nil
	}
	here, gap := l.recent.place(q.After)
	if here || gap == ginsse.GapTrimmed && isOwn(&q) { // as in prove
		defer l.mu.RUnlock()
		return collect(ctx, l.recent, &q, page, head, time.Time{})
	}
	l.mu.RUnlock()
	switch {
	case gap != "":
		page.Through, page.Gap = head, gap
		return page, nil
	case q.After.Seq > head.Seq:
		return l.readAhead(ctx, &q, page, head)
	default:
		return l.readBroker(ctx, &q, page, head)
	}
}

// source is where events are read from.
type source interface {
	// next returns the first event of a subject behind a sequence; nil if there is none.
	next(ctx context.Context, subject string, after uint64) (*entry, error)
	// lost reports whether events of a subject behind a position may have left the
	// history.
	lost(ctx context.Context, subject string, after ginsse.Cursor) (bool, error)
	// check returns the check of the cursor at a sequence; 0 if it is not known.
	check(ctx context.Context, seq uint64) (uint32, error)
}

// collect puts into the page the events that the query asks for, in order, or says
// that some of them are gone. After stop, unless zero, a page that has an event is
// full.
func collect(ctx context.Context, from source, q *ginsse.Query, page ginsse.Page, head ginsse.Cursor, stop time.Time) (ginsse.Page, error) {
	dst, end := page.Blocks, head.Seq
	if q.Before != 0 {
		end = min(end, q.Before-1)
	}
	if end > q.After.Seq {
		if err := merge(ctx, from, q, &page, end, stop); err != nil {
			return ginsse.Page{}, err
		}
	}
	// Afterwards, because what was there to be read may have been trimmed meanwhile.
	for _, subject := range q.Subjects {
		lost, err := from.lost(ctx, subject, q.After)
		if err != nil {
			return ginsse.Page{}, err
		}
		if lost {
			return ginsse.Page{Blocks: dst, Through: head, Gap: ginsse.GapTrimmed}, nil
		}
	}
	switch {
	case page.More:
		page.Through = page.Last
	case end == head.Seq && end > q.After.Seq:
		page.Through = head
	case end > q.After.Seq:
		check, err := from.check(ctx, end)
		if err != nil {
			return ginsse.Page{}, err
		}
		if page.Through = page.Last; check != 0 {
			page.Through = ginsse.Cursor{Epoch: head.Epoch, Seq: end, Check: check}
		} else if page.Last.IsZero() {
			page.Through = q.After
		}
	}
	return page, nil
}

// merge appends the events of all subjects in (q.After, end], in order.
func merge(ctx context.Context, from source, q *ginsse.Query, page *ginsse.Page, end uint64, stop time.Time) error {
	var inline [8]*entry // most streams read a handful of subjects
	first := inline[:0]  // of each subject
	for _, subject := range q.Subjects {
		e, err := from.next(ctx, subject, q.After.Seq)
		if err != nil {
			return err
		}
		if e != nil && e.seq <= end {
			first = append(first, e)
		}
	}
	for events, bytes := 0, 0; len(first) > 0; events++ {
		i := 0
		for j, e := range first {
			if e.seq < first[i].seq {
				i = j
			}
		}
		e := first[i]
		bytes += len(e.block)
		if events > 0 && (events >= q.MaxEvents || bytes > q.MaxBytes || !stop.IsZero() && time.Now().After(stop)) {
			page.More = true
			return nil
		}
		page.Blocks = append(page.Blocks, e.block...)
		page.Last = ginsse.Cursor{Epoch: q.After.Epoch, Seq: e.seq, Check: e.check}
		following, err := from.next(ctx, e.subject, e.seq)
		if err != nil {
			return err
		}
		if first[i] = following; following == nil || following.seq > end {
			first[i] = first[len(first)-1]
			first = first[:len(first)-1]
		}
	}
	return nil
}
