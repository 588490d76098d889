package logtest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// dedupRecord is a record of alice with a DedupKey.
func dedupRecord(n int, dedupKey string) eventlog.Record {
	return eventlog.Record{Subject: alice, DedupKey: dedupKey, Frame: frame(n)}
}

// wantRepeat fails unless a record is a repeat of the one at a position.
func wantRepeat(t *testing.T, log eventlog.Log, r eventlog.Record, first eventlog.Cursor) {
	t.Helper()
	if at := addRecord(t, log, r); at != first {
		breaksf(t, clauseRepeatAt, "the first record with DedupKey %q is at %+v, and the repeat got %+v", r.DedupKey, first, at)
	}
}

func repeatsAreOne(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	r := newReader(t, log, alice, bob)
	first := addRecord(t, log, dedupRecord(1, "d"))
	wantRepeat(t, log, dedupRecord(2, "d"), first)
	ofBob := addRecord(t, log, eventlog.Record{Subject: bob, DedupKey: "d", Frame: frame(3)})
	addRecord(t, log, dedupRecord(4, "e"))
	add(t, log, alice, 5)
	wantRepeat(t, log, dedupRecord(6, "d"), first)
	wantRepeat(t, log, eventlog.Record{Subject: bob, DedupKey: "d", Key: "k", Frame: frame(7)}, ofBob)
	entries := r.all(t)
	want(t, entries, 1, 3, 4, 5)

	keyed := dedupRecord(10, "replaced")
	keyed.Key = "k"
	first = addRecord(t, log, keyed)
	addRecord(t, log, eventlog.Record{Subject: alice, Key: "k", Frame: frame(11)})
	wantRepeat(t, log, keyed, first)
	want(t, r.all(t), 11)

	first = addRecord(t, log, dedupRecord(12, "trimmed"))
	for n := 13; n < 45; n++ {
		add(t, log, alice, n)
		if n%8 == 0 {
			r.all(t)
		}
	}
	wantRepeat(t, log, dedupRecord(99, "trimmed"), first)
	r = newReader(t, log, alice, bob)
	wantRepeat(t, log, dedupRecord(99, "trimmed"), first)
	add(t, log, alice, 45)
	want(t, r.all(t), 45)
}

// repeatsAreBytes has DedupKeys that a log may confuse.
func repeatsAreBytes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	for n, name := range alike {
		addRecord(t, log, dedupRecord(n, name))
	}
	want(t, r.all(t), from(0, len(alike)-1)...)
}

// repeatsAtOnce has many goroutines append the same records, on all nodes.
func repeatsAtOnce(t *testing.T, s Suite) {
	const rounds, appenders = 20, 8
	logs := openNodes(t, s, Bounds{})
	r := newReader(t, logs[0], alice)
	for n := range rounds {
		var positions [appenders]eventlog.Cursor
		var appending sync.WaitGroup
		for i := range positions {
			appending.Go(func() {
				var err error
				if positions[i], err = logs[i%len(logs)].Append(t.Context(), dedupRecord(n, fmt.Sprint("d", n))); err != nil {
					t.Errorf("appending: %v", err)
				}
			})
		}
		appending.Wait()
		for _, at := range positions {
			if at != positions[0] {
				breaksf(t, clauseRepeatAt, "the same record got the positions %+v and %+v", positions[0], at)
				break
			}
		}
		head(t, logs[0])
		entries := r.all(t)
		if len(entries) != 1 || number(entries[0]) != n {
			breaksf(t, clauseRepeats, "a record that was appended %d times is stored %d times", appenders, len(entries))
		}
		if t.Failed() {
			return
		}
		wantPositions(t, entries, positions[:1])
	}
}

func peersKnowRepeats(t *testing.T, s Suite) {
	bothWays(t, s, func(t *testing.T, from, to eventlog.Log) {
		r := newReader(t, to, alice)
		for n := 1; n <= 10; n++ {
			key := fmt.Sprint(t.Name(), n)
			first := addRecord(t, from, dedupRecord(n, key))
			wantRepeat(t, to, dedupRecord(99, key), first)
			wantRepeat(t, from, dedupRecord(99, key), first)
			want(t, r.all(t), n)
		}
	})
}

func reopenedKnowsRepeats(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	start := head(t, log)
	first := addRecord(t, log, dedupRecord(1, "d"))
	add(t, log, alice, 2)
	log = s.Reopen(t, log)
	wantRepeat(t, log, dedupRecord(3, "d"), first)
	want(t, readerAt(log, start, alice).all(t), 1, 2)
}

// transactionsKnowRepeats puts repeats, of a record of the same transaction and of earlier ones.
func transactionsKnowRepeats(t *testing.T, s Suite) {
	logs := openNodes(t, s, Bounds{})
	log := logs[0]
	r := newReader(t, log, alice)
	put := func(tx *transaction, records ...eventlog.Record) {
		t.Helper()
		for _, r := range records {
			if err := tx.Outbox.Put(t.Context(), r); err != nil {
				t.Fatalf("putting %q: %v", r.Frame, err)
			}
		}
	}
	next := func(n int) eventlog.Cursor {
		t.Helper()
		entries := followed(t, s, r, n)
		if len(entries) == 0 {
			return eventlog.Cursor{}
		}
		return entries[0].At
	}
	tx := s.transaction(t, log)
	put(tx, dedupRecord(1, "d"), dedupRecord(2, "d"))
	tx.commit(t)
	first := next(1)
	for _, log := range logs {
		wantRepeat(t, log, dedupRecord(3, "d"), first)
	}
	tx = s.transaction(t, log)
	put(tx, dedupRecord(4, "d"), dedupRecord(5, ""))
	tx.commit(t)
	next(5)

	tx = s.transaction(t, log)
	put(tx, dedupRecord(6, "e"))
	tx.rollback(t)
	stored := addRecord(t, log, dedupRecord(7, "e"))
	if at := next(7); at != stored {
		t.Errorf("a record was stored at %+v, and is at %+v", stored, at)
	}
	add(t, log, alice, 8)
	next(8)
}
