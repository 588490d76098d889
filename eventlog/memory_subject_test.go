package eventlog

import (
	"fmt"
	"maps"
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
			h.append(&Entry{At: Cursor{Seq: seq}}, 0)
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
					got = append(got, e.seq)
				}
				if !slices.Equal(got, want) {
					t.Errorf("of %v in (%d, %d]: got %v, want %v", held, after, end, got, want)
				}
			}
		}
	}
}

// testHistory is a history with what it should hold. One in three entries has one of a few keys.
type testHistory struct {
	*rand.Rand
	history

	seq  uint64
	want []*Entry
}

func (h *testHistory) add(t *testing.T) {
	t.Helper()
	h.seq++
	e := &Entry{At: Cursor{Seq: h.seq}}
	if n := h.IntN(9); n < 3 {
		e.Key = fmt.Sprint("key", n*h.IntN(20))
		replaced := slices.IndexFunc(h.want, func(held *Entry) bool { return held.Key == e.Key })
		switch removed := h.replace(e.Key, h.seq); {
		case replaced < 0 && removed != nil:
			t.Fatalf("entry %d of key %q replaced entry %d, which is not held", h.seq, e.Key, removed.At.Seq)
		case replaced >= 0 && removed != h.want[replaced]:
			t.Fatalf("entry %d of key %q did not replace entry %d, but %+v", h.seq, e.Key, h.want[replaced].At.Seq, removed)
		case replaced >= 0:
			h.want = slices.Delete(h.want, replaced, replaced+1)
		}
	}
	h.append(e, 0)
	h.want = append(h.want, e)
}

func (h *testHistory) removeOldest(t *testing.T) {
	t.Helper()
	if got := h.remove(); got != h.want[0] {
		t.Fatalf("removed entry %d, want %d", got.At.Seq, h.want[0].At.Seq)
	}
	h.want = h.want[1:]
}

// check fails unless the history holds what it should, in slots of which at most half are empty.
func (h *testHistory) check(t *testing.T) {
	t.Helper()
	var got []*Entry
	for i, s := range h.slots {
		if s.entry != nil {
			got = append(got, s.entry)
		} else if i == 0 || i == len(h.slots)-1 {
			t.Fatalf("slot %d of %d is empty", i, len(h.slots))
		}
	}
	if !slices.Equal(got, h.want) || h.size() != len(h.want) {
		t.Fatal("the history is not what was appended and not removed")
	}
	if len(h.slots) > 2*len(h.want)+1 {
		t.Fatalf("%d slots for %d entries", len(h.slots), len(h.want))
	}
	held := 0
	for _, s := range h.array[:cap(h.array)] {
		if s.entry != nil {
			held++
		}
	}
	if held != len(h.want) {
		t.Fatalf("the array holds %d entries, the history %d", held, len(h.want))
	}
	keys := make(map[string]uint64)
	for _, e := range h.want {
		if e.Key != "" {
			keys[e.Key] = e.At.Seq
		}
	}
	if h.keyed != nil && !maps.Equal(h.keyed.newest, keys) || h.keyed == nil && len(keys) > 0 {
		t.Fatalf("the keys are %v, want %v", h.keyed, keys)
	}
}

func TestHistoryUsesTheSlotsOfRemovedEntriesAgain(t *testing.T) { // not parallel: it counts allocations
	h := testHistory{Rand: rand.New(rand.NewPCG(1, 2))}
	for phase := range 200 {
		grows := phase%2 == 0
		for range h.IntN(300) {
			if grows == (h.IntN(10) > 0) {
				h.add(t)
			} else if len(h.want) > 0 {
				h.removeOldest(t)
			}
			h.check(t)
		}
	}
	var unkeyed history
	e := new(Entry)
	for range 100 {
		unkeyed.append(e, 0)
	}
	if allocs := testing.AllocsPerRun(1000, func() { unkeyed.append(e, 0); unkeyed.remove() }); allocs > 0 {
		t.Errorf("a history that does not grow allocates %v times for each entry", allocs)
	}
}
