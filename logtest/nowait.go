package logtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// readsWithoutWaiting reads with NoWait, and then without, at each position of a log to which
// nothing is appended meanwhile.
func readsWithoutWaiting(t *testing.T, s Suite) {
	const count, kept = 100, 60
	log := s.New(t, Bounds{EventsPerSubject: kept})
	r := newReader(t, log, alice, bob)
	wantPageAtTheHead(t, s, r)
	positions := []eventlog.Cursor{r.at}
	for n := 1; n <= count; n++ {
		positions = append(positions, add(t, log, []string{alice, alice, alice, bob}[n%4], n))
	}
	const trimmed = 20 // the last of the 15 events of alice that are not kept
	for after, at := range positions {
		for _, most := range []int{1, 10, 1000} {
			q := eventlog.Query{Subjects: r.subjects, After: at, MaxEntries: most, MaxBytes: 1 << 20}
			page := readBothWays(t, log, q)
			if after >= trimmed {
				exact(t, s, page, "where no event is missing")
			}
			if page.Gap == "" {
				want(t, page.Entries, from(after+1, min(after+most, count))...)
			}
			if t.Failed() {
				t.Fatalf("at most %d events after event %d", most, after)
			}
		}
	}
	last := positions[count]
	for name, at := range map[string]eventlog.Cursor{
		"zero":          {},
		"another_epoch": {Epoch: last.Epoch ^ 1, Seq: last.Seq, Check: last.Check},
		"made_up":       {Epoch: last.Epoch, Seq: last.Seq, Check: last.Check ^ 1},
		"future":        {Epoch: last.Epoch, Seq: last.Seq + 1000, Check: last.Check},
	} {
		q := eventlog.Query{Subjects: r.subjects, After: at, MaxEntries: 10, MaxBytes: 1 << 20}
		if page := readBothWays(t, log, q); page.Gap == "" {
			t.Errorf("no gap at a position that is not of this log: %s", name)
		}
	}
	r.at = last
	want(t, r.all(t)) // so that it is at the head of what the log sees
	wantPageAtTheHead(t, s, r)
}

// wantPageAtTheHead fails unless a reader that is at the head gets a page with NoWait.
func wantPageAtTheHead(t *testing.T, s Suite, r *reader) {
	t.Helper()
	page, err := readWithoutWaiting(t, r.log, r.query())
	if err != nil {
		breaksf(t, clauseNoWaitHead, "with NoWait, the error at the head is %v", err)
		return
	}
	want(t, page.Entries)
	exact(t, s, page, "at the head")
}

// readBothWays reads a page with NoWait, and then without. It returns the second one.
func readBothWays(t *testing.T, log eventlog.Log, q eventlog.Query) eventlog.Page {
	t.Helper()
	first, noWaitErr := readWithoutWaiting(t, log, q)
	for start := time.Now(); hasLostContact(log, len(first.Entries), first.Gap, noWaitErr) && time.Since(start) < defaultPatience; {
		<-time.After(retryInterval)
		first, noWaitErr = readWithoutWaiting(t, log, q)
	}
	if noWaitErr != nil && !errors.Is(noWaitErr, eventlog.ErrWouldWait) {
		breaksf(t, clauseNoWait, "with NoWait, the error after %+v is %v", q.After, noWaitErr)
	}
	second, err := readPage(t, log, q, nil)
	switch {
	case errors.Is(err, eventlog.ErrWouldWait):
		breaksf(t, clauseWouldWait, "a query without NoWait got it, after %+v", q.After)
		t.FailNow()
	case err != nil:
		t.Fatalf("reading after %+v: %v", q.After, err)
	}
	if noWaitErr == nil && !isSamePage(first, second) {
		breaksf(t, clauseSamePage, "after %+v, the page with NoWait is %s; without, %s", q.After, describe(first), describe(second))
	}
	return second
}

// atOnce is how long a Read with NoWait may take. A log that asks a store which does not answer
// takes longer.
const atOnce = 500 * time.Millisecond

// readWithoutWaiting reads a page with NoWait. If that takes too long, it reads the page again, up to
// three times: the machine may have been busy.
func readWithoutWaiting(t *testing.T, log eventlog.Log, q eventlog.Query) (page eventlog.Page, err error) {
	t.Helper()
	q.NoWait = true
	var took time.Duration
	for range 4 {
		d := newDst(3, 5)
		start := time.Now()
		page, err = log.Read(t.Context(), q, d.entries)
		took = time.Since(start)
		if err == nil {
			page.Entries = d.added(t, page)
		} else if slices.ContainsFunc(d.entries, isOther) || slices.ContainsFunc(d.beyond, isOther) {
			breaksf(t, clauseNoWait, "what dst held, or the memory after dst, was overwritten before the error %v", err)
		}
		if took <= atOnce {
			return page, err
		}
	}
	breaksf(t, clauseNoWait, "a Read with NoWait took %v", took)
	return page, err
}

func describe(page eventlog.Page) string {
	return fmt.Sprintf("%v through %+v, more %v, gap %q", numbers(page.Entries), page.Through, page.More, page.Gap)
}

func isSamePage(a, b eventlog.Page) bool {
	return a.Through == b.Through && a.More == b.More && a.Gap == b.Gap &&
		slices.EqualFunc(a.Entries, b.Entries, func(a, b *eventlog.Entry) bool {
			return a.At == b.At && a.Subject == b.Subject && bytes.Equal(a.Block, b.Block)
		})
}

// readsAtOnce reads with NoWait before, while and after the log is partitioned. Until the log
// notices that, it may believe that its store will answer.
func readsAtOnce(t *testing.T, s Suite) {
	const count = 100
	log := s.New(t, Bounds{})
	positions := []eventlog.Cursor{head(t, log)}
	for n := 1; n <= count; n++ {
		positions = append(positions, add(t, log, alice, n))
	}
	read := func(after int) {
		q := eventlog.Query{Subjects: []string{alice}, After: positions[after], MaxEntries: 10, MaxBytes: 1 << 20}
		page, err := readWithoutWaiting(t, log, q)
		switch {
		case err != nil: // that is ErrWouldWait, or one of a log that is partitioned
		case page.Gap != "":
			exact(t, s, page, "where a log is partitioned")
		case len(page.Entries) > 0:
			want(t, page.Entries, from(after+1, min(after+10, count))...)
		case after < count && page.Through != q.After:
			breaksf(t, clausePartition, "a page without entries goes from %+v to %+v", q.After, page.Through)
		}
	}
	w := watch(log)
	defer w.stop()
	partitioned := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		pause := time.NewTicker(time.Millisecond) // leaves the processor to what Partition waits for
		defer pause.Stop()
		for n := 0; !t.Failed(); n++ {
			read(n * 7 % len(positions))
			select {
			case <-pause.C:
			case <-partitioned:
				return
			}
		}
	})
	reconnect := s.Partition(t, log)
	close(partitioned)
	reading.Wait()
	for after := 0; after < len(positions) && !t.Failed(); after++ {
		read(after)
	}
	reconnect()
	w.await(t, s.longPatience(), alice, positions[count].Seq)
	for _, after := range []int{0, count / 2, count - 1} {
		entries, gap := readerAt(log, positions[after], alice).follow(t, s, count-after)
		if exact(t, s, eventlog.Page{Gap: gap}, "after the partition"); gap == "" {
			want(t, entries, from(after+1, count)...)
		}
	}
}
