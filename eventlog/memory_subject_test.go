package eventlog

import (
	"math/rand/v2"
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

func TestHistoryUsesTheSlotsOfRemovedEntriesAgain(t *testing.T) { // not parallel: it counts allocations
	random := rand.New(rand.NewPCG(1, 2))
	var h history
	var want []*memoryEntry
	seq := uint64(0)
	for phase := range 400 {
		grows := phase%2 == 0
		for range random.IntN(300) {
			if grows == (random.IntN(10) > 0) {
				seq++
				e := &memoryEntry{Entry: Entry{At: Cursor{Seq: seq}}}
				h.append(e)
				want = append(want, e)
			} else if len(want) > 0 {
				if got := h.remove(); got != want[0] {
					t.Fatalf("removed entry %d, want %d", got.At.Seq, want[0].At.Seq)
				}
				want = want[1:]
			}
			if !slices.Equal(h.entries, want) {
				t.Fatalf("in phase %d the history is not what was appended and not removed", phase)
			}
			held := 0
			for _, e := range h.array[:cap(h.array)] {
				if e != nil {
					held++
				}
			}
			if held != len(want) {
				t.Fatalf("the array holds %d entries, the history %d", held, len(want))
			}
		}
	}
	e := new(memoryEntry)
	for range 100 {
		h.append(e)
	}
	if allocs := testing.AllocsPerRun(1000, func() { h.append(e); h.remove() }); allocs > 0 {
		t.Errorf("a history that does not grow allocates %v times for each entry", allocs)
	}
}
