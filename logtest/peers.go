package logtest

import (
	"context"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
)

// bothWays runs a test in which one node of a log appends, and then the other.
func bothWays(t *testing.T, s Suite, run func(t *testing.T, from, to eventlog.Log)) {
	t.Helper()
	log := s.New(t, Bounds{})
	peer := s.Peer(t, log)
	t.Run("there", func(t *testing.T) { run(t, log, peer) })
	t.Run("back", func(t *testing.T) { run(t, peer, log) })
}

func peersShare(t *testing.T, s Suite) {
	bothWays(t, s, func(t *testing.T, from, to eventlog.Log) {
		r := newReader(t, to, alice, all)
		w := watch(to)
		defer w.stop()
		for n := 1; n <= 20; n++ {
			subject := []string{alice, all}[n%2]
			at := add(t, from, subject, n)
			w.await(t, s.patience, subject, at.Seq)
			page := r.page(t) // the entry became visible before the call
			if exact(t, s, page, "where one entry is new"); page.Gap == "" {
				want(t, page.Entries, n)
				wantPositions(t, page.Entries, []eventlog.Cursor{at})
			}
		}
	})
}

// peerResumes has a client that has just read at one node resume at the other, which may not have
// seen its position yet.
func peerResumes(t *testing.T, s Suite) {
	bothWays(t, s, func(t *testing.T, one, other eventlog.Log) {
		const count = 50
		positions := []eventlog.Cursor{head(t, one)}
		for n := 1; n <= count; n++ {
			at := add(t, one, alice, n)
			positions = append(positions, at)
			page := readerAt(other, at, alice).page(t)
			exact(t, s, page, "at a position that was just given out")
			want(t, page.Entries)
		}
		for after, at := range positions[:count] {
			entries, gap := readerAt(other, at, alice).follow(t, s, count-after)
			if exact(t, s, eventlog.Page{Gap: gap}, "where nothing was trimmed"); gap == "" {
				want(t, entries, from(after+1, count)...)
				wantPositions(t, entries, positions[after+1:])
			}
		}
	})
}

// peerReportsGaps trims at one node and reads at the other, which may still have what is gone at
// the first.
func peerReportsGaps(t *testing.T, s Suite) {
	log := s.New(t, Bounds{EventsPerSubject: 10})
	peer := s.Peer(t, log)
	r := newReader(t, peer, bob, alice)
	add(t, log, bob, 1)
	for n := 2; n <= 26; n++ {
		add(t, log, alice, n)
	}
	entries, gap := r.follow(t, s, 26)
	want(t, entries, from(1, len(entries))...)
	if gap == "" {
		return
	}
	if gap != eventlog.GapTrimmed {
		t.Errorf("gap is %q", gap)
	}
	// The reader is past the gap, and does not keep meeting it.
	w := watch(peer)
	defer w.stop()
	last := add(t, log, alice, 27)
	w.await(t, s.patience, alice, last.Seq)
	for gap != "" {
		gap = r.page(t).Gap
	}
	if r.at.Seq < last.Seq {
		t.Errorf("the reader is at %d after Watch reported entry %d", r.at.Seq, last.Seq)
	}
}

// partitionedLog partitions one node while the other appends.
func partitionedLog(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	peer := s.Peer(t, log)
	for n, pair := range [][2]eventlog.Log{{log, peer}, {peer, log}} {
		partitioned, connected := pair[0], pair[1]
		start := newReader(t, partitioned, alice)
		add(t, connected, alice, 10*n)
		want(t, newReader(t, partitioned, alice).all(t)) // so that it has seen that entry
		w := watch(partitioned)
		defer w.stop()
		reconnect := s.Partition(t, partitioned)
		last := add(t, connected, alice, 10*n+1)
		r := readerAt(partitioned, start.at, alice)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), s.patience)
			at, err := partitioned.Head(ctx)
			cancel()
			if err == nil {
				breaksf(t, clausePartitionHead, "it returned %+v", at)
			}
			page, err := r.try(t)
			if err == nil && (len(page.Entries) > 0 || page.Gap != "" || page.Through != start.at) {
				t.Errorf("a page of a partitioned log: %d entries, gap %q, through %+v after %+v",
					len(page.Entries), page.Gap, page.Through, start.at)
			}
		}
		reconnect()
		w.await(t, s.longPatience(), alice, last.Seq)
		entries, gap := start.follow(t, s, 2)
		if exact(t, s, eventlog.Page{Gap: gap}, "after the partition"); gap == "" {
			want(t, entries, 10*n, 10*n+1)
		}
		checkHead(t, partitioned, start.at, last)
	}
}
