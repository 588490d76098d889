package logtest

import (
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// headIsAtOrAfterEachEntry begins with an empty log.
func headIsAtOrAfterEachEntry(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	empty := newReader(t, log, alice)
	if empty.at.IsZero() {
		t.Fatal("the head of an empty log is the zero Cursor")
	}
	want(t, empty.all(t))
	for n := 1; n <= 10; n++ {
		checkHead(t, log, empty.at, add(t, log, []string{alice, bob}[n%2], n))
		want(t, newReader(t, log, alice, bob).all(t))
	}
	want(t, empty.all(t), 2, 4, 6, 8, 10)
}

// headAfterPeers appends at one node and asks the other for its head at once, with no Watch call
// to wait for.
func headAfterPeers(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	peer := s.Peer(t, log)
	start := head(t, log)
	for n := 1; n <= 30; n++ {
		one, other := log, peer
		if n%3 == 0 {
			one, other = peer, log
		}
		checkHead(t, other, start, add(t, one, alice, n))
	}
	want(t, readerAt(peer, head(t, peer), alice).all(t))
	// And while both append.
	var appending sync.WaitGroup
	for _, pair := range [][2]eventlog.Log{{log, peer}, {peer, log}} {
		appending.Go(func() {
			for n := range 30 {
				at, err := pair[0].Append(t.Context(), record(bob, n))
				if err != nil {
					t.Error(err)
					return
				}
				checkHead(t, pair[1], start, at)
			}
		})
	}
	appending.Wait()
}

// checkHead fails unless the head is at or after an entry, and Read reaches it from a start.
func checkHead(t *testing.T, log eventlog.Log, start, entry eventlog.Cursor) {
	t.Helper()
	head, err := tryHead(t.Context(), log)
	if err != nil {
		t.Errorf("the head of the log: %v", err)
		return
	}
	if head.Seq < entry.Seq || head.Epoch != entry.Epoch {
		t.Errorf("the head is %+v; Append had returned %+v", head, entry)
	}
	page, err := readPage(t, log, eventlog.Query{Subjects: []string{alice, bob}, After: start, MaxEntries: 1000, MaxBytes: 1 << 20}, nil)
	if err != nil {
		t.Errorf("reading up to the head: %v", err)
		return
	}
	if page.Through.Seq < head.Seq {
		breaksf(t, clauseHeadRead, "Read came to %d, Head had returned %d", page.Through.Seq, head.Seq)
	}
}
