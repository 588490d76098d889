package eventlog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

func appendTo(t testing.TB, log eventlog.Log, r eventlog.Record) eventlog.Cursor {
	t.Helper()
	if r.Frame == nil {
		r.Frame = []byte("data: x\n\n")
	}
	at, err := log.Append(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func readAll(t testing.TB, log eventlog.Log, q eventlog.Query) eventlog.Page {
	t.Helper()
	q.MaxEntries, q.MaxBytes = 1<<20, 1<<30
	page, err := log.Read(t.Context(), q, nil)
	if err != nil || page.More {
		t.Fatalf("more %v, error %v", page.More, err)
	}
	return page
}

func startOf(t testing.TB, log eventlog.Log) eventlog.Cursor {
	t.Helper()
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return eventlog.Cursor{Epoch: head.Epoch}
}

func TestMemoryLogFreesReplacedEntries(t *testing.T) {
	t.Parallel()
	const keys, updates = 10_000, 100_000
	log := newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: keys + 1})
	appendTo(t, log, eventlog.Record{Subject: "topic:t"})
	for n := range keys {
		appendTo(t, log, eventlog.Record{Subject: "topic:t", Key: fmt.Sprintf("k%04d", n)})
	}
	bytes, random := log.HistoryBytes(), rand.New(rand.NewPCG(1, 2))
	for range updates {
		appendTo(t, log, eventlog.Record{Subject: "topic:t", Key: fmt.Sprintf("k%04d", random.IntN(keys))})
	}
	if held := log.HistoryBytes(); held != bytes {
		t.Errorf("%d bytes are held, and %d before the updates", held, bytes)
	}
	if slots := log.Slots("topic:t"); slots > 3*keys {
		t.Errorf("%d slots for %d entries", slots, keys+1)
	}
	page := readAll(t, log, eventlog.Query{Subjects: []string{"topic:t"}, After: startOf(t, log)})
	if page.Gap != "" || len(page.Entries) != keys+1 {
		t.Errorf("read %d entries, gap %q", len(page.Entries), page.Gap)
	}
}

// What an entry counts for is given back, also if its frame had attributes.
func TestMemoryLogCountsWhatItHolds(t *testing.T) {
	t.Parallel()
	attributes := eventlog.Attributes{Except: "stream", Expires: 1}
	frame := append(attributes.Append(nil), "data: x\n\n"...)
	log := newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 2})
	appendTo(t, log, eventlog.Record{Subject: "topic:t", Key: "k", Frame: frame})
	one := log.HistoryBytes()
	appendTo(t, log, eventlog.Record{Subject: "topic:t", Key: "k", Frame: frame})
	if held := log.HistoryBytes(); held != one {
		t.Errorf("%d bytes are held for an entry of %d that was replaced", held, one)
	}
	appendTo(t, log, eventlog.Record{Subject: "topic:t", Key: "o", Frame: frame})
	appendTo(t, log, eventlog.Record{Subject: "topic:t", Key: "p", Frame: frame})
	if held := log.HistoryBytes(); held != 2*one {
		t.Errorf("%d bytes are held for 2 entries of %d", held, one)
	}
}

// keyModel is a MemoryLog beside all records that were ever appended to it.
type keyModel struct {
	*rand.Rand

	log      *eventlog.MemoryLog
	cfg      eventlog.MemoryLogConfig
	subjects []string
	records  []*modelRecord
}

type modelRecord struct {
	subject, key string
	at           eventlog.Cursor
	time         time.Time
	lost         bool // trimmed by count
	replaced     bool
}

func (m *keyModel) add(t *testing.T) {
	t.Helper()
	r := &modelRecord{subject: m.subjects[m.IntN(3)], time: time.Now()}
	if m.IntN(3) > 0 {
		r.key = fmt.Sprint("k", m.IntN(6))
	}
	r.at = appendTo(t, m.log, eventlog.Record{Subject: r.subject, Key: r.key})
	kept := 1
	for _, other := range slices.Backward(m.records) {
		switch {
		case other.subject != r.subject || other.replaced || other.lost:
		case r.key != "" && other.key == r.key:
			other.replaced = true
		default:
			if kept++; kept > m.cfg.EventsPerSubject {
				other.lost = true
			}
		}
	}
	m.records = append(m.records, r)
}

// check fails unless the log and the model agree on a query. After a record that had expired before
// it was replaced, a gap is allowed.
func (m *keyModel) check(t *testing.T, q eventlog.Query) {
	t.Helper()
	var want, got []eventlog.Cursor
	mustGap, mayGap := false, false
	for _, r := range m.records[q.After.Seq:] {
		if !slices.Contains(q.Subjects, r.subject) || q.Latest && r.key == "" {
			continue
		}
		lost := r.lost || time.Since(r.time) >= m.cfg.MaxAge
		mustGap = mustGap || lost && !r.replaced
		mayGap = mayGap || lost
		if !r.replaced && !lost {
			want = append(want, r.at)
		}
	}
	page := readAll(t, m.log, q)
	for _, e := range page.Entries {
		got = append(got, e.At)
	}
	switch {
	case page.Gap != "" && (q.Latest || !mayGap), page.Gap == "" && !q.Latest && mustGap:
		t.Fatalf("%+v has gap %q", q, page.Gap)
	case page.Gap == "" && !slices.Equal(got, want):
		t.Fatalf("%+v got %v, want %v", q, got, want)
	}
}

func TestMemoryLogReadsTheNewestOfEachKey(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed) // shown if it fails
			m := &keyModel{Rand: rand.New(rand.NewPCG(seed, 0)), subjects: []string{"user:a", "topic:b", "all"}}
			m.cfg = eventlog.MemoryLogConfig{EventsPerSubject: 3 + m.IntN(20), MaxAge: time.Minute}
			m.log = newMemoryLog(t, m.cfg)
			for range 200 {
				m.add(t)
				if m.IntN(4) == 0 {
					time.Sleep(time.Duration(m.IntN(10)) * time.Second)
				}
				after := startOf(t, m.log)
				if n := m.IntN(len(m.records) + 1); n > 0 {
					after = m.records[n-1].at
				}
				m.check(t, eventlog.Query{Subjects: m.subjects[m.IntN(3):], After: after, Latest: m.IntN(2) == 0})
			}
		})
	}
}

// A page has the newest entry of each key, also if one is replaced while the page is read.
func TestMemoryLogReadsEachKeyBesideItsUpdates(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	const keys = 5
	subjects := []string{"topic:a", "topic:b"}
	update := func(n int) {
		appendTo(t, log, eventlog.Record{Subject: subjects[n%2], Key: fmt.Sprint("k", n%keys)})
	}
	for n := range 2 * keys {
		update(n)
	}
	var working sync.WaitGroup
	end := make(chan struct{})
	working.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			default:
				update(n)
			}
		}
	})
	start := startOf(t, log)
	for n := range 5000 {
		page := readAll(t, log, eventlog.Query{Subjects: subjects, After: start, Latest: n%2 == 0})
		if page.Gap != "" || len(page.Entries) != 2*keys {
			t.Errorf("read %d entries of %d keys, gap %q", len(page.Entries), 2*keys, page.Gap)
			break
		}
	}
	close(end)
	working.Wait()
}

func TestMemoryLogKnowsARepeatForTheWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 1})
		calls := 0
		defer log.Watch(func(string, uint64) { calls++ })()
		r := eventlog.Record{Subject: "user:a", DedupKey: "d"}
		first := appendTo(t, log, r)
		appendTo(t, log, eventlog.Record{Subject: "user:a"}) // the first one leaves the log
		other := appendTo(t, log, eventlog.Record{Subject: "user:b", DedupKey: "d"})
		if other == first {
			t.Error("the DedupKey of another subject counts")
		}
		head, _ := log.Head(t.Context())
		time.Sleep(eventlog.DedupWindow - time.Second)
		if at := appendTo(t, log, r); at != first || calls != 3 {
			t.Errorf("the repeat is at %v, and the first at %v, with %d calls of a watcher", at, first, calls)
		}
		if after, _ := log.Head(t.Context()); after != head {
			t.Errorf("a repeat moved the head from %v to %v", head, after)
		}
		time.Sleep(time.Second)
		again := appendTo(t, log, r)
		if again == first {
			t.Error("a record is a repeat when the window is over")
		}
		if at := appendTo(t, log, r); at != again {
			t.Errorf("the repeat of the second is at %v, want %v", at, again)
		}
	})
}

func TestMemoryLogForgetsOldDedupKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: 1 << 20})
		const bound = 1 << 20 / 8
		add := func(n int) eventlog.Cursor {
			return appendTo(t, log, eventlog.Record{Subject: "user:a", DedupKey: fmt.Sprint("d", n, strings.Repeat("x", 100))})
		}
		var first []eventlog.Cursor
		for n := range 1000 {
			first = append(first, add(n))
			if bytes, _ := log.Repeats(); bytes > bound {
				t.Fatalf("%d bytes of DedupKeys after %d", bytes, n+1)
			}
		}
		_, known := log.Repeats()
		if known < 100 || known > 999 {
			t.Fatalf("%d of 1000 DedupKeys are known", known)
		}
		if add(1000-known) != first[1000-known] || add(999) != first[999] || add(1000-known-1) == first[1000-known-1] {
			t.Error("it was not the oldest that were forgotten")
		}
		time.Sleep(eventlog.DedupWindow)
		for range 20 { // each append removes some
			appendTo(t, log, eventlog.Record{Subject: "user:b"})
		}
		if bytes, known := log.Repeats(); bytes != 0 || known != 0 {
			t.Errorf("%d DedupKeys of %d bytes are kept after the window", known, bytes)
		}
	})
}

// A log that is too small for a DedupKey still knows the newest.
func TestMemoryLogKnowsTheNewestDedupKey(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: 1000})
	for n := range 3 {
		r := eventlog.Record{Subject: "user:a", DedupKey: fmt.Sprint(n)}
		if first := appendTo(t, log, r); appendTo(t, log, r) != first {
			t.Errorf("repeat %d was stored", n)
		}
	}
}

func TestMemoryLogStoresOneOfManyRepeats(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	var appending sync.WaitGroup
	positions := make([]eventlog.Cursor, 16)
	for i := range positions {
		appending.Go(func() {
			positions[i], _ = log.Append(context.Background(), eventlog.Record{Subject: "all", DedupKey: "d", Frame: []byte("data: x\n\n")})
		})
	}
	appending.Wait()
	page := readAll(t, log, eventlog.Query{Subjects: []string{"all"}, After: startOf(t, log)})
	if len(page.Entries) != 1 || slices.ContainsFunc(positions, func(at eventlog.Cursor) bool { return at != page.Entries[0].At }) {
		t.Errorf("%d entries, positions %v", len(page.Entries), positions)
	}
}
