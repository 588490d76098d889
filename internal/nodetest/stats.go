package nodetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// HangTail has the tail of a log hang at its next entry, by a watcher that does not return. entered is
// closed when it hangs. It goes on when release is called, and at the end of the test.
func HangTail(t testing.TB, log eventlog.Log) (entered <-chan struct{}, release func()) {
	hangs, goesOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stop := log.Watch(func(subject string, _ uint64) {
		if subject != "" {
			once.Do(func() {
				close(hangs)
				<-goesOn
			})
		}
	})
	t.Cleanup(stop)
	release = sync.OnceFunc(func() { close(goesOn) })
	t.Cleanup(release)
	return hangs, release
}

// AwaitLostContact waits until a log says that it has not heard of its store for two seconds.
func AwaitLostContact(t testing.TB, log eventlog.StatsLog) {
	t.Helper()
	Until(t, "a lost contact", func() bool {
		s := log.Stats().Store
		return !s.Connected && time.Since(s.Heard) >= 2*time.Second
	})
}

// StatsOfATailThatHangs tests the figures of a log whose tail hangs, beside those of another node. Both
// are empty. The log says how far it is behind, once a stream has asked for the head, and since when it
// has not heard of the store. It has all that it missed when the tail goes on.
func StatsOfATailThatHangs(t *testing.T, log, other eventlog.StatsLog) {
	entered, release := HangTail(t, log)
	appendNumbers(t, other, 1)
	<-entered
	appendNumbers(t, other, 10)
	Until(t, "a node that is behind", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if at, err := log.Head(ctx); err == nil {
			t.Fatalf("a node that is behind knows the head, %v", at)
		}
		return log.Stats().Store.Behind == 10 // if the store has answered in time
	})
	if s := log.Stats(); s.Entries != 1 {
		t.Errorf("one event has come: %+v", s)
	}
	AwaitLostContact(t, log)
	release()
	Until(t, "a node that has all", func() bool {
		s := log.Stats()
		return s.Entries == 11 && s.Store.Behind == 0 && s.Store.Connected
	})
	if s := other.Stats(); s.Entries != 11 || s.Bytes == 0 || s.Bytes > s.MaxBytes || s.Since.IsZero() || s.Store.Behind != 0 || s.Store.Inbox != -1 {
		t.Errorf("the other node: %+v, %+v", s, s.Store)
	}
}

// StatsOfOlderEvents tests the figures of an empty log that has RecentBytes for a few small entries: a
// client comes back whose position is not in memory.
func StatsOfOlderEvents(t *testing.T, log eventlog.StatsLog) {
	at, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	appendNumbers(t, log, 10)
	before := log.Stats()
	if before.Entries+int(before.Evicted.Size) != 10 || before.Evicted.Size == 0 {
		t.Errorf("10 events came, and not all are in memory: %+v", before)
	}
	q := eventlog.Query{Subjects: []string{all}, After: at, MaxEntries: 100, MaxBytes: 1 << 20}
	page, err := log.Read(t.Context(), q, nil)
	if err != nil || len(page.Entries) != 10 {
		t.Fatalf("%d events, gap %q, error %v", len(page.Entries), page.Gap, err)
	}
	if s := log.Stats().Store; s.Reads != before.Store.Reads+1 || s.ReadEntries != before.Store.ReadEntries+10 || s.ReadErrors != 0 {
		t.Errorf("one page of 10 was read: %+v", s)
	}
}

func appendNumbers(t testing.TB, log eventlog.Log, count int) {
	t.Helper()
	for range count {
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: all, Frame: []byte("data: a number\n\n")}); err != nil {
			t.Fatal(err)
		}
	}
}
