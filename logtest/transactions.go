package logtest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// transaction is a Transaction that is rolled back with the test, unless it has ended before.
type transaction struct {
	Transaction

	s     Suite
	ended bool
}

func (s Suite) transaction(t *testing.T, log eventlog.Log) *transaction {
	t.Helper()
	tx := &transaction{Transaction: s.Begin(t, log), s: s}
	t.Cleanup(func() {
		if !tx.ended {
			_ = tx.Rollback()
		}
	})
	return tx
}

// put puts numbered records, alternately to alice and to all.
func (tx *transaction) put(t *testing.T, list ...int) {
	t.Helper()
	for _, n := range list {
		ctx, cancel := context.WithTimeout(t.Context(), tx.s.patience)
		err := tx.Outbox.Put(ctx, record(subjectOf(n), n))
		cancel()
		if err != nil {
			t.Fatalf("putting record %d: %v", n, err)
		}
	}
}

func subjectOf(n int) string { return []string{alice, all}[n%2] }

func (tx *transaction) commit(t *testing.T) {
	t.Helper()
	tx.end(t, "Commit", tx.Commit)
}

func (tx *transaction) rollback(t *testing.T) {
	t.Helper()
	tx.end(t, "Rollback", tx.Rollback)
}

// end ends the test if the transaction waits for something.
func (tx *transaction) end(t *testing.T, name string, end func() error) {
	t.Helper()
	tx.ended = true
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	late := time.NewTimer(tx.s.patience)
	defer late.Stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	case <-late.C:
		t.Fatalf("%s has not returned after %v", name, tx.s.patience)
	}
}

// undo puts records that it rolls back to a savepoint, if the store has savepoints.
func (tx *transaction) undo(t *testing.T, list ...int) {
	t.Helper()
	if tx.Savepoint == nil {
		return
	}
	rollback := tx.savepoint(t)
	tx.put(t, list...)
	rollback()
}

func (tx *transaction) savepoint(t *testing.T) (rollback func()) {
	t.Helper()
	back, err := tx.Savepoint()
	if err != nil {
		t.Fatalf("Savepoint: %v", err)
	}
	return func() {
		t.Helper()
		if err := back(); err != nil {
			t.Fatalf("rolling back to a savepoint: %v", err)
		}
	}
}

// headInTime is head while a transaction is open.
func headInTime(t *testing.T, s Suite, log eventlog.Log) eventlog.Cursor {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.patience)
	defer cancel()
	at, err := tryHead(ctx, log)
	if err != nil {
		breaksf(t, clauseOpenTransaction, "Head returned %v", err)
		t.FailNow()
	}
	return at
}

// addInTime is add while a transaction is open.
func addInTime(t *testing.T, s Suite, log eventlog.Log, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.patience)
	defer cancel()
	if _, err := log.Append(ctx, record(subjectOf(n), n)); err != nil {
		t.Fatalf("appending event %d: %v", n, err)
	}
}

// nodeReaders has a reader at each node of a log, from its start. It keeps what they have read.
type nodeReaders struct {
	s       Suite
	logs    []eventlog.Log
	start   eventlog.Cursor
	readers []*reader
	numbers []int
	at      []eventlog.Cursor // at the first node
}

func newNodeReaders(t *testing.T, s Suite) *nodeReaders {
	t.Helper()
	a := &nodeReaders{s: s, logs: openNodes(t, s, Bounds{})}
	a.start = head(t, a.logs[0])
	for _, log := range a.logs {
		a.readers = append(a.readers, readerAt(log, a.start, alice, all))
	}
	return a
}

// log returns one of the nodes' logs.
func (a *nodeReaders) log(i int) eventlog.Log { return a.logs[i%len(a.logs)] }

// wantNext fails unless these are the next entries at each node.
func (a *nodeReaders) wantNext(t *testing.T, list ...int) {
	t.Helper()
	a.numbers = append(a.numbers, list...)
	for i, r := range a.readers {
		for _, e := range followed(t, a.s, r, list...) {
			if i == 0 {
				a.at = append(a.at, e.At)
			}
		}
	}
}

// followed fails unless these are the next entries of a reader that waits for Watch.
func followed(t *testing.T, s Suite, r *reader, list ...int) []*eventlog.Entry {
	t.Helper()
	entries, gap := r.follow(t, s, len(list))
	if exact(t, s, eventlog.Page{Gap: gap}, "where nothing was trimmed"); gap != "" {
		return nil
	}
	if !slices.Equal(numbers(entries), list) {
		t.Fatalf("read %v, want %v", numbers(entries), list)
	}
	return entries
}

// wantNothing fails if there is an entry to read, for the readers or from the present head on.
func (a *nodeReaders) wantNothing(t *testing.T) {
	t.Helper()
	for i, r := range a.readers {
		for _, r := range []*reader{r, readerAt(r.log, headInTime(t, a.s, r.log), alice, all)} {
			if entries := r.all(t); len(entries) > 0 {
				t.Fatalf("node %d: read %v, and nothing was committed", i, numbers(entries))
			}
		}
	}
}

// end fails unless readers that come now read what these have read, at the same positions.
func (a *nodeReaders) end(t *testing.T) {
	t.Helper()
	for _, log := range a.logs {
		entries := readerAt(log, a.start, alice, all).all(t)
		want(t, entries, a.numbers...)
		if len(a.at) == len(a.numbers) {
			wantPositions(t, entries, a.at)
		}
	}
}

// uncommittedIsNotSeen has readers at positions from before the first Put, from between Put and the
// commit, and from between two records.
func uncommittedIsNotSeen(t *testing.T, s Suite) {
	a := newNodeReaders(t, s)
	for round := range 6 {
		n := 10 * round
		watchers := make([]*watcher, len(a.logs))
		for i, log := range a.logs {
			watchers[i] = watch(log)
			defer watchers[i].stop()
		}
		later := make([]*reader, len(a.logs))
		// check is for the time before the commit.
		check := func() {
			t.Helper()
			a.wantNothing(t)
			for i, w := range watchers {
				reported, now := w.latest(), headInTime(t, s, a.logs[i])
				if reported > now.Seq {
					breaksf(t, clauseWatch, "Watch reported position %d before the commit; the head is %d", reported, now.Seq)
				}
				later[i] = readerAt(a.logs[i], now, alice, all)
			}
		}
		tx := s.transaction(t, a.log(round))
		tx.put(t, n, n+1, n+2)
		check()
		if !s.OneWriter {
			for i, log := range a.logs {
				addInTime(t, s, log, n+3+i)
				a.wantNext(t, n+3+i)
			}
			check()
		}
		tx.commit(t)
		a.wantNext(t, n, n+1, n+2)
		for i, r := range later {
			entries := followed(t, s, r, n, n+1, n+2)
			for place, e := range entries {
				watchers[i].await(t, s.patience, e.Subject, e.At.Seq)
				want(t, readerAt(r.log, e.At, alice, all).all(t), from(n+place+1, n+2)...)
			}
		}
		add(t, a.log(round+1), subjectOf(n), n+9) // shows that none came twice
		a.wantNext(t, n+9)
	}
	a.end(t)
}

// rolledBackIsNeverSeen ends transactions in each way in which they lose records.
func rolledBackIsNeverSeen(t *testing.T, s Suite) {
	a := newNodeReaders(t, s)
	for round, run := range []func(tx *transaction, n int) (committed []int){
		func(tx *transaction, n int) []int {
			tx.put(t, n, n+1)
			tx.rollback(t)
			return nil
		},
		func(tx *transaction, _ int) []int {
			tx.commit(t)
			return nil
		},
		func(tx *transaction, n int) []int {
			tx.put(t, n)
			tx.undo(t, n+1, n+2)
			tx.put(t, n+3)
			tx.commit(t)
			return []int{n, n + 3}
		},
		func(tx *transaction, n int) []int {
			tx.undo(t, n, n+1)
			tx.commit(t)
			return nil
		},
		func(tx *transaction, n int) []int {
			tx.put(t, n)
			tx.undo(t, n+1)
			tx.rollback(t)
			return nil
		},
		func(tx *transaction, n int) []int {
			if tx.Savepoint == nil {
				tx.rollback(t)
				return nil
			}
			tx.put(t, n)
			outer := tx.savepoint(t)
			tx.put(t, n+1)
			tx.undo(t, n+2)
			tx.put(t, n+3)
			outer()
			tx.put(t, n+4)
			_ = tx.savepoint(t) // nothing is rolled back to it
			tx.put(t, n+5)
			tx.commit(t)
			return []int{n, n + 4, n + 5}
		},
	} {
		for i, log := range a.logs {
			n := 100*i + 10*round
			if committed := run(s.transaction(t, log), n); len(committed) > 0 {
				a.wantNext(t, committed...)
			}
			a.wantNothing(t)
			add(t, a.log(i+1), subjectOf(n), n+9)
			a.wantNext(t, n+9)
		}
	}
	a.end(t)
}

// putRefuses appends and puts what no registry sends. What Append refuses, Put has to refuse.
func putRefuses(t *testing.T, s Suite) {
	const most = 256 << 10
	log := s.New(t, Bounds{MaxBytes: most})
	for n, r := range append(invalidRecords(t), eventlog.Record{Subject: bob, Frame: longFrame(2 * most)}) {
		var refusal error
		_, err := log.Append(t.Context(), r)
		for _, known := range []error{eventlog.ErrInvalidRecord, eventlog.ErrTooLarge} {
			if errors.Is(err, known) {
				refusal = known
			}
		}
		if refusal == nil {
			continue
		}
		name := r.Frame[:min(len(r.Frame), 30)]
		before := newReader(t, log, alice, bob)
		tx := s.transaction(t, log)
		tx.put(t, 2*n)
		if err := tx.Outbox.Put(t.Context(), r); !errors.Is(err, refusal) {
			t.Errorf("putting %q to %q: error %v; Append refuses it with %v", name, r.Subject, err, refusal)
		}
		// The store may refuse to commit after the error.
		tx.ended = true
		if err := tx.Commit(); err != nil {
			if entries := before.all(t); len(entries) > 0 {
				t.Errorf("%q to %q was refused, Commit returned %v, and there is %v", name, r.Subject, err, numbers(entries))
			}
			continue
		}
		followed(t, s, before, 2*n)
		want(t, before.all(t))
	}
}

// putFrameBelongsToTheCaller overwrites each frame after Put has returned.
func putFrameBelongsToTheCaller(t *testing.T, s Suite) {
	log := s.New(t, Bounds{})
	r := newReader(t, log, alice)
	for n := 10; n < 30; n += 4 {
		tx := s.transaction(t, log)
		for i := range 4 {
			given := record(alice, n+i)
			if err := tx.Outbox.Put(t.Context(), given); err != nil {
				t.Fatal(err)
			}
			copy(given.Frame, "data: 99")
		}
		tx.commit(t)
	}
	followed(t, s, r, from(10, 29)...)
}

// lateCommits has transactions commit in another order than that in which they put. What commits
// later comes after what has been read.
func lateCommits(t *testing.T, s Suite) {
	a := newNodeReaders(t, s)
	for round := range 10 {
		n := 10 * round
		first := s.transaction(t, a.log(round))
		first.put(t, n)
		a.wantNothing(t) // and positions were given out
		if !s.OneWriter {
			second := s.transaction(t, a.log(round+1))
			second.put(t, n+1, n+2)
			second.commit(t)
			a.wantNext(t, n+1, n+2)
			addInTime(t, s, a.log(round/2), n+3)
			a.wantNext(t, n+3)
		}
		if round%3 == 0 {
			first.undo(t, n+4)
		}
		first.put(t, n+5)
		if s.OneWriter {
			a.wantNothing(t)
			first.commit(t)
			a.wantNext(t, n, n+5)
			continue
		}
		third, fourth := s.transaction(t, a.log(round)), s.transaction(t, a.log(round+1))
		third.put(t, n+6)
		fourth.put(t, n+7)
		if round%2 == 0 {
			first.put(t, n+8)
		}
		fourth.commit(t)
		a.wantNext(t, n+7)
		first.commit(t)
		if round%2 == 0 {
			a.wantNext(t, n, n+5, n+8)
		} else {
			a.wantNext(t, n, n+5)
		}
		third.commit(t)
		a.wantNext(t, n+6)
	}
	a.end(t)
}

// openTransaction leaves a transaction open at each node while both write and read.
func openTransaction(t *testing.T, s Suite) {
	a := newNodeReaders(t, s)
	var open []*transaction
	for i, log := range a.logs {
		tx := s.transaction(t, log)
		tx.put(t, 1000+i)
		open = append(open, tx)
	}
	for n := range 20 {
		if n%4 < 2 {
			addInTime(t, s, a.log(n), n)
		} else {
			tx := s.transaction(t, a.log(n))
			tx.put(t, n)
			tx.commit(t)
		}
		for _, log := range a.logs {
			headInTime(t, s, log)
		}
		a.wantNext(t, n)
	}
	for i, tx := range open {
		tx.commit(t)
		a.wantNext(t, 1000+i)
	}
	a.end(t)
}
