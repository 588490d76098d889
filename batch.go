package ginsse

import (
	"context"
	"sync"
)

// batch is what one turn of a stream's writer works in. Streams share them, so
// that an idle stream has none.
type batch struct {
	bytes   []byte
	entries []*Entry
}

// The bounds of one turn. A stalled reader holds no more than one batch, or one
// event if that is larger.
const (
	maxBatchBytes  = 64 << 10
	maxBatchEvents = 512
)

var batches sync.Pool // of *batch

func borrowBatch() *batch {
	if b, ok := batches.Get().(*batch); ok {
		return b
	}
	return new(batch)
}

func (b *batch) release() {
	if cap(b.bytes) > 4*maxBatchBytes {
		return // the buffer of one huge event is not worth keeping
	}
	clear(b.entries)
	b.entries, b.bytes = b.entries[:0], b.bytes[:0]
	batches.Put(b)
}

// next puts into b what the stream has to write now. more says that there is
// more than fits. It is the writer's.
func (s *Stream) next(ctx context.Context, b *batch) (more bool, err error) {
	s.unread.Store(0) // before looking: what comes after it will call again
	b.bytes = s.take(b.bytes)
	if s.registry == nil {
		return false, nil
	}
	var page Page
	for reading := true; reading; {
		before := s.bound()
		page, err = s.registry.log.Read(ctx, Query{
			Subjects:  s.subjects,
			After:     s.at,
			Before:    before,
			MaxEvents: maxBatchEvents,
			MaxBytes:  maxBatchBytes,
		}, b.entries[:0])
		if err != nil {
			return false, err
		}
		// A stream that ended meanwhile may have been read too far.
		reading = s.bound() != before
	}
	s.at = page.Through
	if page.Gap != "" {
		s.registry.gaps.Add(1)
		b.bytes = appendControl(b.bytes, typeGap, s.at.String(), gapData{page.Gap})
		s.told = s.at.Seq
		return true, nil
	}
	b.entries = page.Entries
	for _, e := range page.Entries {
		b.bytes = appendField(b.bytes, "id: ", e.ID)
		b.bytes = append(b.bytes, e.Frame...)
		s.told = e.Cursor.Seq
	}
	return page.More, nil
}
