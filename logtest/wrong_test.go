package logtest

import (
	"context"
	"runtime"

	"github.com/ginsse/ginsse"
)

// wrong is a log with methods put in front of another's; nil leaves the other's.
type wrong struct {
	ginsse.Log

	append func(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error)
	read   func(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error)
	watch  func(fn func(subject string, seq uint64)) (stop func())
}

func (w *wrong) Append(ctx context.Context, subject string, frame []byte) (ginsse.Cursor, error) {
	if w.append != nil {
		return w.append(ctx, subject, frame)
	}
	return w.Log.Append(ctx, subject, frame)
}

func (w *wrong) Read(ctx context.Context, q ginsse.Query, dst []byte) (ginsse.Page, error) {
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

// The wrong ways to read, in front of a right log.

func plain(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	return log.Read(context.Background(), q, dst)
}

func below(q ginsse.Query) bool {
	return !q.After.IsZero() && q.Before > 0 && q.Before <= max(q.After.Seq, 1)
}

func gapLeavesPosition(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if page.Gap != "" {
		page.Through = q.After
	}
	return page, err
}

func gapHasMore(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	page.More = page.More || page.Gap != ""
	return page, err
}

func gapsHiddenByBefore(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if below(q) {
		return ginsse.Page{Blocks: dst, Through: q.After}, nil
	}
	return plain(log, q, dst)
}

func beforeMovesBack(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if below(q) && page.Gap == "" {
		page.Through.Seq = q.Before - 1
	}
	return page, err
}

func beforeBelowGivesEvents(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if below(q) {
		q.Before = 0
	}
	return plain(log, q, dst)
}

func before1NotHandled(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if q.Before == 1 {
		q.Before = 0
	}
	return plain(log, q, dst)
}

func beforeBelowMovesToHead(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if below(q) {
		head, _ := plain(log, ginsse.Query{}, nil)
		page.Through = head.Through
	}
	return page, err
}

func beforeBelowHasMore(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	page.More = page.More || below(q) && page.Gap == ""
	return page, err
}

func beforeWithoutPositionEnds(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if q.After.IsZero() && q.Before > 0 {
		page.Through.Seq = min(page.Through.Seq, q.Before-1)
	}
	return page, err
}

func beforeBeyondIsReached(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if page.Gap == "" && !page.More && q.Before > page.Through.Seq+1 {
		page.Through.Seq = q.Before - 1
	}
	return page, err
}

// throughLookedUpLater is wrong only if something is appended meanwhile.
func throughLookedUpLater(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if page.Gap == "" && !page.More && q.Before == 0 {
		runtime.Gosched()
		head, _ := plain(log, ginsse.Query{}, nil)
		page.Through = head.Through
	}
	return page, err
}

func dstDroppedWithoutEvents(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if page.Last.IsZero() && page.Gap == "" && !q.After.IsZero() {
		page.Blocks = nil
	}
	return page, err
}

func dstDroppedWithoutPosition(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if q.After.IsZero() {
		page.Blocks = nil
	}
	return page, err
}

func dstDroppedOnGap(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if page.Gap != "" {
		page.Blocks = page.Blocks[:0]
	}
	return page, err
}

func dstOverwritten(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	return plain(log, q, dst[:0])
}

func dstOverwrittenWhenFull(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if len(dst) > 0 && len(dst) == cap(dst) {
		dst = dst[:0]
	}
	return plain(log, q, dst)
}

func dstNilGetsNothing(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	page, err := plain(log, q, dst)
	if dst == nil {
		page.Blocks = nil
	}
	return page, err
}

func dstCounted(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	q.MaxBytes -= len(dst)
	return plain(log, q, dst)
}

func maxBytesOfOneSubjectOnly(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if len(q.Subjects) > 1 {
		q.MaxBytes = 1 << 30
	}
	return plain(log, q, dst)
}

func maxEventsOfOneSubjectOnly(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if len(q.Subjects) > 1 {
		q.MaxEvents = 1 << 30
	}
	return plain(log, q, dst)
}

func maxBytesIgnored(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	q.MaxBytes = 1 << 30
	return plain(log, q, dst)
}

func noEventWithoutBounds(log ginsse.Log, q ginsse.Query, dst []byte) (ginsse.Page, error) {
	if q.MaxEvents <= 0 {
		return ginsse.Page{Blocks: dst, Through: q.After}, nil
	}
	return plain(log, q, dst)
}
