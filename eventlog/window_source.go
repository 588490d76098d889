package eventlog

import (
	"context"
	"time"
)

// ReadSource collects a page from a source: the entries of all subjects after the query's position,
// up to head, in order. The caller has verified the position. ReadSource asks for losses at the end,
// because entries may leave the store meanwhile. After 1 s a page that holds an entry counts as full.
//
// If the source is a [KeyedSource], ReadSource leaves out entries that were replaced.
func ReadSource(ctx context.Context, from Source, q Query, head Cursor, dst []*Entry) (Page, error) {
	r := &sourceReader{Source: from, q: &q, head: head, held: len(dst), stop: time.Now().Add(pageTime)}
	r.keyed, _ = from.(KeyedSource)
	r.page = Page{Entries: dst, Through: head}
	if err := r.merge(ctx); err != nil {
		return Page{}, err
	}
	if q.Latest {
		return r.page, nil
	}
	for _, subject := range q.Subjects {
		switch lost, err := from.Lost(ctx, subject, q.After); {
		case err != nil:
			return Page{}, err
		case lost:
			return Page{Entries: dst, Through: head, Gap: GapTrimmed}, nil
		}
	}
	return r.page, nil
}

// sourceReader reads one page from a source.
type sourceReader struct {
	Source

	keyed KeyedSource // the source; nil if it is none
	q     *Query
	head  Cursor
	held  int       // entries of the page that are not the source's
	stop  time.Time // when the page counts as full
	page  Page
}

func (r *sourceReader) merge(ctx context.Context) error {
	var firsts []*Entry // of each subject
	for _, subject := range r.q.Subjects {
		e, err := r.next(ctx, subject, r.q.After.Seq)
		if err != nil {
			return err
		}
		if e != nil {
			firsts = append(firsts, e)
		}
	}
	for n, bytes := 0, 0; len(firsts) > 0; n++ {
		first := 0
		for i, e := range firsts {
			if e.At.Seq < firsts[first].At.Seq {
				first = i
			}
		}
		e := firsts[first]
		bytes += len(e.Block)
		if n > 0 && (n >= r.q.MaxEntries || bytes > r.q.MaxBytes || time.Now().After(r.stop)) {
			r.page.Through, r.page.More = r.page.Entries[len(r.page.Entries)-1].At, true
			return nil
		}
		r.page.Entries = append(r.page.Entries, e)
		next, err := r.next(ctx, e.Subject, e.At.Seq)
		if err != nil {
			return err
		}
		if firsts[first] = next; next == nil {
			firsts[first] = firsts[len(firsts)-1]
			firsts = firsts[:len(firsts)-1]
		}
	}
	return nil
}

// next returns the first entry of a subject after a sequence that the query wants; nil if there is
// none up to the head. It may return an entry that was replaced, if the page counts as full.
func (r *sourceReader) next(ctx context.Context, subject string, after uint64) (*Entry, error) {
	next := r.Next
	if r.q.Latest && r.keyed != nil {
		next = r.keyed.NextKeyed
	}
	for {
		e, err := next(ctx, subject, after)
		if err != nil || e == nil || e.At.Seq > r.head.Seq {
			return nil, err
		}
		if len(r.page.Entries) > r.held && time.Now().After(r.stop) {
			return e, nil // merge ends the page before it
		}
		wanted, err := r.wants(ctx, e)
		if err != nil {
			return nil, err
		}
		if wanted {
			return e, nil
		}
		after = e.At.Seq
	}
}

func (r *sourceReader) wants(ctx context.Context, e *Entry) (bool, error) {
	switch {
	case e.Key == "":
		return !r.q.Latest, nil
	case r.keyed == nil:
		return true, nil
	}
	replaced, err := r.keyed.IsReplaced(ctx, e, r.head.Seq)
	return !replaced, err
}
