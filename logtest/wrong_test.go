package logtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ginsse/ginsse/eventlog"
)

// wrong is a log with methods in place of another's; nil leaves the other's.
type wrong struct {
	eventlog.Log

	append func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error)
	head   func(ctx context.Context) (eventlog.Cursor, error)
	read   func(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error)
	watch  func(fn func(subject string, seq uint64)) (stop func())
}

func (w *wrong) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	if w.append != nil {
		return w.append(ctx, r)
	}
	return w.Log.Append(ctx, r)
}

func (w *wrong) Head(ctx context.Context) (eventlog.Cursor, error) {
	if w.head != nil {
		return w.head(ctx)
	}
	return w.Log.Head(ctx)
}

func (w *wrong) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if w.read != nil {
		return w.read(ctx, q, dst)
	}
	return w.Log.Read(ctx, q, dst)
}

func (w *wrong) Watch(fn func(subject string, seq uint64)) (stop func()) {
	if w.watch != nil {
		return w.watch(fn)
	}
	return w.Log.Watch(fn)
}

// The wrong ways to append and to return the head.

func refusesWithItsOwnError(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
		if _, _, ok := eventlog.SplitSubject(r.Subject); !ok {
			return eventlog.Cursor{}, errors.New("that is no subject")
		}
		return log.Append(ctx, r)
	}}
}

func refusesAndStores(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
		at, err := log.Append(ctx, r)
		if invalid := eventlog.CheckFrame(r.Frame); invalid != nil {
			return eventlog.Cursor{}, invalid
		}
		return at, err
	}}
}

// dropsAttributes stores frames without their line of attributes.
func dropsAttributes(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
		if line, rest, ok := bytes.Cut(r.Frame, []byte("\n")); ok && bytes.HasPrefix(line, []byte(":{")) {
			r.Frame = rest
		}
		return log.Append(ctx, r)
	}}
}

func headOfEmptyLogIsZero(log eventlog.Log) eventlog.Log {
	return &wrong{Log: log, head: func(ctx context.Context) (eventlog.Cursor, error) {
		at, err := log.Head(ctx)
		if at.Seq == 0 {
			return eventlog.Cursor{}, err
		}
		return at, err
	}}
}

// headBeforeTheLastEntry returns what the head was before the last append.
func headBeforeTheLastEntry(log eventlog.Log) eventlog.Log {
	var mu sync.Mutex
	before, err := log.Head(context.Background())
	return &wrong{
		Log: log,
		head: func(context.Context) (eventlog.Cursor, error) {
			mu.Lock()
			defer mu.Unlock()
			return before, err
		},
		append: func(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
			mu.Lock()
			defer mu.Unlock()
			before, err = log.Head(ctx)
			return log.Append(ctx, r)
		},
	}
}

// The wrong ways to read, in front of a right log.

type readFunc func(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error)

func plain(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return log.Read(context.Background(), q, dst)
}

// changingPages reads pages and changes them.
func changingPages(change func(log eventlog.Log, q eventlog.Query, page *eventlog.Page)) readFunc {
	return func(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		page, err := plain(log, q, dst)
		change(log, q, &page)
		return page, err
	}
}

// changingQueries reads with a query that it changes.
func changingQueries(change func(q *eventlog.Query)) readFunc {
	return func(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		change(&q)
		return plain(log, q, dst)
	}
}

// changingEntries reads entries and returns changed ones.
func changingEntries(change func(e *eventlog.Entry)) readFunc {
	return func(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
		page, err := plain(log, q, dst)
		for i := len(dst); i < len(page.Entries); i++ {
			e := *page.Entries[i]
			change(&e)
			page.Entries[i] = &e
		}
		return page, err
	}
}

func idFirst(e *eventlog.Entry) {
	line := idLine(e)[1:]
	e.Block = slices.Concat(line[:len(line)-1], bytes.TrimSuffix(e.Block, line), []byte("\n"))
}

func idOfAnother(e *eventlog.Entry) { e.At.Check ^= 1 }

func subjectWithoutKind(e *eventlog.Entry) { e.Subject = e.Subject[strings.Index(e.Subject, ":")+1:] }

func newestHidden(log eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	if n := len(page.Entries); n > 0 {
		if head, _ := log.Head(context.Background()); page.Entries[n-1].At == head && head.Seq%5 == 0 {
			page.Entries = page.Entries[:n-1]
		}
	}
}

func throughStays(_ eventlog.Log, q eventlog.Query, page *eventlog.Page) {
	if len(page.Entries) == 0 && page.Gap == "" {
		page.Through = q.After
	}
}

func subjectAfterSubject(_ eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	slices.SortStableFunc(page.Entries, func(a, b *eventlog.Entry) int { return cmp.Compare(a.Subject, b.Subject) })
}

func gapLeavesPosition(_ eventlog.Log, q eventlog.Query, page *eventlog.Page) {
	if page.Gap != "" {
		page.Through = q.After
	}
}

func gapHasMore(_ eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	page.More = page.More || page.Gap != ""
}

func gapNeedsBytes(_ eventlog.Log, q eventlog.Query, page *eventlog.Page) {
	if q.MaxBytes == 0 && page.Gap != "" {
		page.Gap = ""
	}
}

// throughLookedUpLater is wrong only if something is appended meanwhile.
func throughLookedUpLater(log eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	if page.Gap == "" && !page.More {
		runtime.Gosched()
		page.Through, _ = log.Head(context.Background())
	}
}

// zeroIsTheHead reads from the head if there is no position.
func zeroIsTheHead(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.After.IsZero() {
		head, err := log.Head(context.Background())
		return eventlog.Page{Entries: dst, Through: head}, err
	}
	return plain(log, q, dst)
}

func entriesSkipped(_ eventlog.Log, q eventlog.Query, page *eventlog.Page) {
	if q.After.Seq == 40 && len(page.Entries) > 0 {
		page.Entries = page.Entries[1:]
	}
}

func epochIsUnknown(_ eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	if page.Gap == eventlog.GapEpoch {
		page.Gap = eventlog.GapUnknown
	}
}

func dstDroppedWithoutEntries(_ eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	if page.Gap == "" && !slices.ContainsFunc(page.Entries, isOther) {
		page.Entries = nil
	}
}

func dstDroppedOnGap(_ eventlog.Log, _ eventlog.Query, page *eventlog.Page) {
	if page.Gap != "" {
		page.Entries = page.Entries[:0]
	}
}

func dstOverwritten(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return plain(log, q, dst[:0])
}

func dstOverwrittenWhenFull(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if len(dst) > 0 && len(dst) == cap(dst) {
		dst = dst[:0]
	}
	return plain(log, q, dst)
}

func dstNilGetsNothing(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	page, err := plain(log, q, dst)
	if dst == nil {
		page.Entries = nil
	}
	return page, err
}

func dstCounted(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	q.MaxEntries -= len(dst)
	return plain(log, q, dst)
}

func maxBytesOfOneSubjectOnly(q *eventlog.Query) {
	if len(q.Subjects) > 1 {
		q.MaxBytes = 1 << 30
	}
}

func maxEntriesOfOneSubjectOnly(q *eventlog.Query) {
	if len(q.Subjects) > 1 {
		q.MaxEntries = 1 << 30
	}
}

func maxBytesIgnored(q *eventlog.Query) { q.MaxBytes = 1 << 30 }

func noEntryWithoutBounds(log eventlog.Log, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	if q.MaxEntries <= 0 {
		return eventlog.Page{Entries: dst, Through: q.After}, nil
	}
	return plain(log, q, dst)
}
