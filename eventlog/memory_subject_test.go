package eventlog

import (
	"slices"
	"testing"
)

// A reader has asked for the head before it looks at a history, which may have grown meanwhile.
func TestHistoryReturnsTheEntriesBetweenTwoSequences(t *testing.T) {
	t.Parallel()
	for _, held := range [][]uint64{nil, {4}, {4, 6}, {2, 4, 6, 8, 10}} {
		var h history
		for _, seq := range held {
			h.append(&memoryEntry{Entry: Entry{At: Cursor{Seq: seq}}})
		}
		for after := range uint64(12) {
			for end := after; end < 12; end++ {
				var want, got []uint64
				for _, seq := range held {
					if seq > after && seq <= end {
						want = append(want, seq)
					}
				}
				for _, e := range h.between(after, end) {
					got = append(got, e.At.Seq)
				}
				if !slices.Equal(got, want) {
					t.Errorf("of %v in (%d, %d]: got %v, want %v", held, after, end, got, want)
				}
			}
		}
	}
}
