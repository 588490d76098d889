package logtest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// keyedLog is what a case has appended to a log, with and without keys.
type keyedLog struct {
	s       Suite
	start   eventlog.Cursor
	records []keyedRecord
}

// keyedRecord is a record with its place in records as its number.
type keyedRecord struct {
	subject, key string
	at           eventlog.Cursor
	replaced     bool
}

var keyedSubjects = []string{alice, bob, all}

// newKeyedLog returns an empty list for a log to which nothing was appended.
func newKeyedLog(t *testing.T, s Suite, log eventlog.Log) *keyedLog {
	t.Helper()
	return &keyedLog{s: s, start: startOf(t, log)}
}

// startOf returns the position before the first entry.
func startOf(t *testing.T, log eventlog.Log) eventlog.Cursor {
	t.Helper()
	return eventlog.Cursor{Epoch: head(t, log).Epoch}
}

// addRecord appends a record and returns its position.
func addRecord(t *testing.T, log eventlog.Log, r eventlog.Record) eventlog.Cursor {
	t.Helper()
	at, err := log.Append(t.Context(), r)
	if err != nil {
		t.Fatalf("appending to %q with key %q and DedupKey %q: %v", r.Subject, r.Key, r.DedupKey, err)
	}
	return at
}

func (k *keyedLog) add(t *testing.T, log eventlog.Log, subject, key string) {
	t.Helper()
	at := addRecord(t, log, eventlog.Record{Subject: subject, Key: key, Frame: frame(len(k.records))})
	k.added(subject, key, at)
}

func (k *keyedLog) added(subject, key string, at eventlog.Cursor) {
	for i, r := range k.records {
		if key != "" && r.subject == subject && r.key == key {
			k.records[i].replaced = true
		}
	}
	k.records = append(k.records, keyedRecord{subject: subject, key: key, at: at})
}

// addMany appends records to all subjects, some without a key, and some with the same keys.
func (k *keyedLog) addMany(t *testing.T, count int, logs ...eventlog.Log) {
	t.Helper()
	for range count {
		n := len(k.records)
		k.add(t, logs[n%len(logs)], keyedSubjects[n*n%11%3], []string{"", "a", "b", "", "c"}[n*n%13%5])
	}
}

// after returns the numbers of the records that a reader gets after so many of them.
func (k *keyedLog) after(n int, latest bool) (list []int) {
	for ; n < len(k.records); n++ {
		if r := k.records[n]; !r.replaced && (!latest || r.key != "") {
			list = append(list, n)
		}
	}
	return list
}

// check reads from each position, in pages of different lengths.
func (k *keyedLog) check(t *testing.T, log eventlog.Log, latest bool) {
	t.Helper()
	head(t, log) // Read sees all records then
	for n := range len(k.records) + 1 {
		r := readerAt(log, k.start, keyedSubjects...)
		if n > 0 {
			r.at = k.records[n-1].at
		}
		r.max, r.latest = []int{100, 1, 3}[n%3], latest
		k.checkFrom(t, r, n)
		if t.Failed() {
			t.Fatalf("of %d records, after the first %d", len(k.records), n)
		}
	}
}

func (k *keyedLog) checkFrom(t *testing.T, r *reader, n int) {
	t.Helper()
	var found []*eventlog.Entry
	for more := true; more; {
		page := r.page(t)
		if exact(t, k.s, page, "where entries were only replaced"); page.Gap != "" {
			if r.latest && page.Gap == eventlog.GapTrimmed {
				breaksf(t, clauseLatest, "a query with Latest has gap %q", page.Gap)
			}
			return
		}
		found, more = append(found, page.Entries...), page.More
	}
	got, wanted := numbers(found), k.after(n, r.latest)
	if !slices.Equal(got, wanted) {
		broken := clauseKeys
		if r.latest {
			broken = clauseLatestStart
		}
		breaksf(t, broken, "read %v, want %v; latest %v", got, wanted, r.latest)
		return
	}
	for i, e := range found {
		if r := k.records[wanted[i]]; e.Key != r.key || e.Subject != r.subject || e.At != r.at {
			breaksf(t, clauseEntryKey, "record %d to %q with key %q at %+v was read as one to %q with key %q at %+v", wanted[i], r.subject, r.key, r.at, e.Subject, e.Key, e.At)
		}
	}
}

// keysReplace also has a reader at the head, which gets every record.
func keysReplace(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	k := newKeyedLog(t, s, log)
	r := newReader(t, log, keyedSubjects...)
	for range 3 {
		for range 20 {
			k.addMany(t, 1, log)
			want(t, r.all(t), len(k.records)-1)
		}
		k.check(t, log, false)
	}
}

// keysAreNoGap replaces many more entries than the log keeps of a subject.
func keysAreNoGap(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	k := newKeyedLog(t, s, log)
	k.add(t, log, alice, "")
	for n := range 60 {
		k.add(t, log, alice, fmt.Sprint("k", n*n%5))
	}
	k.check(t, log, false)
	k.check(t, log, true)
}

// keysAreBytes has keys that a log may confuse, as [subjectsAreBytes] has subjects.
func keysAreBytes(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	k := newKeyedLog(t, s, log)
	for _, key := range alike {
		k.add(t, log, alice, key)
	}
	r := readerAt(log, k.start, keyedSubjects...)
	k.checkFrom(t, r, 0)
	for _, key := range alike {
		k.add(t, log, alice, key)
	}
	r.at = k.start
	k.checkFrom(t, r, 0)
}

func keysUnderLoad(t *testing.T, s Suite) {
	count := 200
	if testing.Short() {
		count = 100
	}
	logs := openNodes(t, s, loadBounds)
	start := startOf(t, logs[0])
	const keys = 3 // of each appender
	update := func(log eventlog.Log, appender, n int) {
		key := fmt.Sprintf("%d-%d", appender, n%keys)
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: alice, Key: key, Frame: frame(n)}); err != nil {
			t.Errorf("appending: %v", err)
		}
	}
	for appender := range loadAppenders {
		for n := range keys {
			update(logs[0], appender, n)
		}
	}
	var appending, reading sync.WaitGroup
	end := make(chan struct{})
	for appender := range loadAppenders {
		appending.Go(func() {
			for n := keys; n < count && !t.Failed(); n++ {
				update(logs[(appender+n/keys)%len(logs)], appender, n)
			}
		})
	}
	for _, log := range logs {
		head(t, log) // so that its readers see a record of each key
		for _, latest := range []bool{false, true} {
			reading.Go(func() {
				l := keyReader{reader: readerAt(log, start, alice), start: start, keys: loadAppenders * keys, newest: make(map[string]int)}
				l.latest = latest
				for ended := false; !ended && !t.Failed(); {
					select {
					case <-end:
						ended = true
					default:
					}
					l.read(t, s)
				}
			})
		}
	}
	appending.Wait()
	for _, log := range logs {
		head(t, log)
	}
	close(end)
	reading.Wait()
}

// keyReader reads from the start again and again.
type keyReader struct {
	*reader

	start  eventlog.Cursor
	keys   int
	newest map[string]int // the number last read, by key
}

func (l *keyReader) read(t *testing.T, s Suite) {
	l.at = l.start
	page, err := readPage(t, l.log, l.query(), nil)
	if err != nil {
		t.Errorf("reading after %+v: %v", l.at, err)
		return
	}
	l.check(t, page)
	if exact(t, s, page, "where entries were only replaced"); page.Gap != "" {
		return
	}
	if len(page.Entries) != l.keys || page.More {
		breaksf(t, clauseLatestStart, "a page has %d entries of %d keys, latest %v, more %v", len(page.Entries), l.keys, l.latest, page.More)
	}
	for _, e := range page.Entries {
		n, last := number(e), l.newest[e.Key]
		if l.newest[e.Key] = n; n < last {
			breaksf(t, clauseKeys, "entry %d of key %q was read, and entry %d before", n, e.Key, last)
		}
	}
}

// latestIsRead has entries of three subjects, of which some have no key.
func latestIsRead(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	k := newKeyedLog(t, s, log)
	k.check(t, log, true) // of an empty log
	k.addMany(t, 30, log)
	k.check(t, log, true)
	k.addMany(t, 30, log)
	k.check(t, log, true)
}

// latestIsNoGap has more keys than the log keeps entries of a subject.
func latestIsNoGap(t *testing.T, s Suite) {
	const kept, count = 5, 20
	log := s.New(t, Bounds{EventsPerSubject: kept})
	start := startOf(t, log)
	positions := []eventlog.Cursor{start}
	for n := range count {
		positions = append(positions, addRecord(t, log, eventlog.Record{Subject: alice, Key: fmt.Sprint("k", n), Frame: frame(n)}))
	}
	for after, at := range positions {
		r := readerAt(log, at, alice)
		r.latest = true
		page := r.page(t)
		if page.Gap != "" {
			breaksf(t, clauseLatest, "a query with Latest has gap %q after entry %d", page.Gap, after)
			return
		}
		got := numbers(page.Entries)
		if wanted := from(max(after, count-kept), count-1); len(got) < len(wanted) || !slices.Equal(got[len(got)-len(wanted):], wanted) {
			breaksf(t, clauseLatestStart, "after entry %d, read %v of %d entries, of which the log keeps %d", after, got, count, kept)
		}
	}
	readerAt(log, start, alice).gap(t, eventlog.GapTrimmed)
}

// startIsBeforeTheFirst reads from the position before the first entry.
func startIsBeforeTheFirst(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	start := startOf(t, log)
	for n := range 4 { // empty at first
		r := readerAt(log, start, alice)
		page := r.page(t)
		if exact(t, s, page, "after the position before the first entry"); page.Gap == "" {
			if got := numbers(page.Entries); !slices.Equal(got, from(0, n-1)) {
				breaksf(t, clauseStart, "after that position, read %v of %d entries", got, n)
			}
		}
		add(t, log, alice, n)
	}
	other := start
	other.Epoch ^= 1
	readerAt(log, other, alice).gap(t, eventlog.GapEpoch)
	start.Check = 1
	readerAt(log, start, alice).gap(t, eventlog.GapUnknown)
}

// startIsAGap reads from the position before the first entry when entries were trimmed.
func startIsAGap(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 3})
	for n := range 10 {
		add(t, log, alice, n)
	}
	readerAt(log, startOf(t, log), bob, alice).gap(t, eventlog.GapTrimmed)
}

// peersReplace has both nodes append records with the same keys.
func peersReplace(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	peer := s.Peer(t, log)
	k := newKeyedLog(t, s, log)
	r := newReader(t, peer, keyedSubjects...)
	for n := range 40 {
		k.addMany(t, 1, log, peer)
		if n%8 == 7 {
			head(t, peer)
			r.all(t) // a reader goes on from there
		}
	}
	for _, log := range []eventlog.Log{log, peer} {
		k.check(t, log, false)
		k.check(t, log, true)
	}
}

func reopenedKeepsKeys(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	k := newKeyedLog(t, s, log)
	for range 2 {
		k.addMany(t, 25, log)
		log = s.Reopen(t, log)
		k.check(t, log, false)
		k.check(t, log, true)
	}
	k.addMany(t, 10, log)
	k.check(t, log, false)
}

// transactionsReplace puts records with keys in transactions, of which one is rolled back.
func transactionsReplace(t *testing.T, s Suite) {
	logs := openNodes(t, s, Bounds{})
	k := newKeyedLog(t, s, logs[0])
	r := newReader(t, logs[0], keyedSubjects...)
	k.add(t, logs[0], alice, "k")
	k.add(t, logs[0], bob, "k")
	want(t, r.all(t), 0, 1)
	put := func(tx *transaction, numbers ...int) {
		t.Helper()
		for _, n := range numbers {
			if err := tx.Outbox.Put(t.Context(), eventlog.Record{Subject: alice, Key: "k", Frame: frame(n)}); err != nil {
				t.Fatalf("putting record %d: %v", n, err)
			}
		}
	}
	tx := s.transaction(t, logs[0])
	put(tx, 99)
	for _, log := range logs {
		k.check(t, log, false) // nothing is replaced before the commit
	}
	tx.rollback(t)
	for _, log := range logs {
		k.check(t, log, false)
	}
	tx = s.transaction(t, logs[0])
	put(tx, 2, 3)
	tx.commit(t)
	for last := -1; last != 3; { // record 2 may be read before record 3 is visible
		entries, gap := r.follow(t, s, 1)
		if exact(t, s, eventlog.Page{Gap: gap}, "where nothing was trimmed"); gap != "" {
			return
		}
		e := entries[len(entries)-1]
		if last = number(e); last == 3 {
			k.added(alice, "k", e.At) // record 2, of which the position is nowhere any more
			k.added(alice, "k", e.At)
		}
	}
	for _, log := range logs {
		head(t, log)
		k.checkFrom(t, readerAt(log, k.start, keyedSubjects...), 0)
	}
}
