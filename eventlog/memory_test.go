package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

func newMemoryLog(t testing.TB, cfg eventlog.MemoryLogConfig) *eventlog.MemoryLog {
	t.Helper()
	log, err := eventlog.NewMemoryLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestNewMemoryLogNamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]eventlog.MemoryLogConfig{
		"EventsPerSubject": {EventsPerSubject: -1},
		"MaxAge":           {MaxAge: -1},
		"MaxBytes":         {MaxBytes: -1},
	} {
		if _, err := eventlog.NewMemoryLog(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestMemoryLogStaysWithinItsBytes(t *testing.T) {
	t.Parallel()
	const bound = 1 << 20
	log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: bound})
	for n := range 20_000 {
		frame := make([]byte, n%2000)
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: fmt.Sprintf("user:%d", n%5000), Frame: frame}); err != nil {
			t.Fatal(err)
		}
		if held := log.HistoryBytes(); held > bound {
			t.Fatalf("%d bytes are held after %d events", held, n+1)
		}
	}
}

func TestMemoryLogRefusesARecordLargerThanItself(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: 1000})
	if _, err := log.Append(t.Context(), eventlog.Record{Subject: "all", Frame: make([]byte, 1000)}); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := log.Append(t.Context(), eventlog.Record{Subject: "all", Frame: make([]byte, 100)}); err != nil {
		t.Errorf("the log did not survive: %v", err)
	}
}

func TestMemoryLogFloodOfOneSubjectDoesNotEvictOthers(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxBytes: 1 << 20})
	start, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		if n == 1 {
			if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:victim", Frame: []byte("data: x\n\n")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:flooded", Frame: make([]byte, 10_000)}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := log.Read(t.Context(), eventlog.Query{Subjects: []string{"user:victim"}, After: start, MaxEntries: 10, MaxBytes: 1000}, nil)
	if err != nil || page.Gap != "" || len(page.Entries) != 1 || !strings.HasPrefix(string(page.Entries[0].Block), "data: x\nid: ") {
		t.Errorf("got %+v, %v", page, err)
	}
	if held := log.HistoryBytes(); held > 1<<20/4+1000 {
		t.Errorf("%d bytes are held", held)
	}
}

// Appenders read the clock before they take the lock, so entries may not be in the order of
// their times.
func TestMemoryLogAgesUnderConcurrentAppends(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: 200 * time.Millisecond, MaxBytes: 1 << 30})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var sent atomic.Int64 // so that several send to one user at the same time
	done := make(chan struct{})
	go func() {
		defer close(done)
		var appending sync.WaitGroup
		for range 4 {
			appending.Go(func() {
				for ctx.Err() == nil {
					if _, err := log.Append(ctx, eventlog.Record{Subject: fmt.Sprintf("user:%d", sent.Add(1)/4)}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		appending.Wait()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("an append does not return")
	}
}

// A subject whose entries have all expired leaves memory. Its loss is still reported.
func TestMemoryLogForgetsEmptySubjectsButNotTheirLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: time.Hour})
		read := func(subject string, after eventlog.Cursor) eventlog.Page {
			page, err := log.Read(t.Context(), eventlog.Query{Subjects: []string{subject}, After: after, MaxEntries: 10, MaxBytes: 100}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return page
		}
		start, err := log.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for n := range eventlog.MaxRemembered + 5000 {
			if _, err := log.Append(t.Context(), eventlog.Record{Subject: fmt.Sprintf("user:%d", n), Frame: nil}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Hour)
		var last eventlog.Cursor
		for range 2000 { // an append removes some of what is old, not all
			var err error
			if last, err = log.Append(t.Context(), eventlog.Record{Subject: "all", Frame: nil}); err != nil {
				t.Fatal(err)
			}
		}
		if n := log.Remembered(); n > eventlog.MaxRemembered+1 {
			t.Errorf("%d subjects are remembered", n)
		}
		for _, subject := range []string{"user:0", "user:4999", "user:5000", fmt.Sprint("user:", eventlog.MaxRemembered+4999)} {
			if page := read(subject, start); page.Gap != eventlog.GapTrimmed {
				t.Errorf("%s: the gap is %q", subject, page.Gap)
			}
			if page := read(subject, last); page.Gap != "" {
				t.Errorf("%s: a gap %q after the head", subject, page.Gap)
			}
		}
		// A subject that was forgotten and comes back has still lost something.
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:0", Frame: []byte("data: back\n\n")}); err != nil {
			t.Fatal(err)
		}
		if page := read("user:0", start); page.Gap != eventlog.GapTrimmed {
			t.Errorf("after an event for a forgotten subject the gap is %q", page.Gap)
		}
	})
}

// A burst does not outlive its age because a few entries follow it.
func TestMemoryLogRemovesAnOldBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: time.Hour})
		add := func(n int) {
			for range n {
				if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:alice", Frame: []byte("data: 1\n\n")}); err != nil {
					t.Fatal(err)
				}
			}
		}
		add(1)
		one := log.HistoryBytes()
		add(3000)
		for range 2 {
			time.Sleep(50 * time.Minute)
			add(1)
		}
		if bytes := log.HistoryBytes(); bytes != 2*one {
			t.Errorf("%d bytes are held for two events, of %d each", bytes, one)
		}
	})
}

// Entries beyond their age are a gap, whether or not an append has removed them.
func TestMemoryLogReadsNoOldEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: time.Hour})
		q := eventlog.Query{Subjects: []string{"user:alice", "all"}, MaxEntries: 10, MaxBytes: 1000}
		var err error
		if q.After, err = log.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		last, err := log.Append(t.Context(), eventlog.Record{Subject: "user:alice", Frame: []byte("data: 1\n\n")})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			wait    time.Duration
			entries int
			gap     eventlog.GapReason
		}{{time.Hour - 1, 1, ""}, {1, 0, eventlog.GapTrimmed}} {
			time.Sleep(step.wait)
			page, err := log.Read(t.Context(), q, nil)
			if err != nil || len(page.Entries) != step.entries || page.Gap != step.gap || page.Through != last {
				t.Errorf("after %v more: got %+v, %v", step.wait, page, err)
			}
		}
	})
}

func TestMemoryLogReadsSubjectsInOrder(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	start, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const frames, appended = 100, 1000
	q := eventlog.Query{After: start, MaxEntries: appended, MaxBytes: 1 << 20}
	for n := range 10 {
		q.Subjects = append(q.Subjects, fmt.Sprintf("topic:%d", n))
	}
	q.Subjects = append(q.Subjects, "topic:0") // a mistake that must do no harm
	var wanted []eventlog.Cursor
	for n := range appended {
		// The subjects have different numbers of entries. The reader does not read the last subject.
		subject := fmt.Sprintf("topic:%d", n*n/7%11)
		at, err := log.Append(t.Context(), eventlog.Record{Subject: subject, Frame: make([]byte, frames)})
		if err != nil {
			t.Fatal(err)
		}
		if subject != "topic:10" {
			wanted = append(wanted, at)
		}
	}
	const block = frames + eventlog.BlockOverhead
	for name, bounds := range map[string]struct{ entries, bytes, page int }{
		"one_page":           {appended, appended * block, len(wanted)},
		"pages_of_7_entries": {7, appended * block, 7},
		"pages_of_3_blocks":  {appended, 3*block + 1, 3},
		"pages_of_one_block": {appended, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			q := q
			q.MaxEntries, q.MaxBytes = bounds.entries, bounds.bytes
			var found []eventlog.Cursor
			for more := true; more; {
				page, err := log.Read(t.Context(), q, nil)
				if err != nil || page.Gap != "" || page.More != (len(found)+bounds.page < len(wanted)) {
					t.Fatalf("after %d of %d entries: gap %q, more %v, %v", len(found), len(wanted), page.Gap, page.More, err)
				}
				if page.More && len(page.Entries) != bounds.page {
					t.Fatalf("a page of %d entries", len(page.Entries))
				}
				for _, e := range page.Entries {
					found = append(found, e.At)
				}
				q.After, more = page.Through, page.More
			}
			if !slices.Equal(found, wanted) {
				t.Errorf("the entries are not in order: %v", found)
			}
		})
	}
}

// A reader beside appenders sees the entries of all its subjects once and in order.
func TestMemoryLogReadsBesideAppends(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, eventlog.MemoryLogConfig{})
	start, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const appends = 1000
	subjects := []string{"command:alice", "user:alice", "all"}
	var working sync.WaitGroup
	for _, subject := range subjects {
		working.Go(func() {
			for range appends {
				if _, err := log.Append(t.Context(), eventlog.Record{Subject: subject, Frame: []byte("data: 1\n\n")}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 4 {
		working.Go(func() {
			q := eventlog.Query{Subjects: subjects, After: start, MaxEntries: 64, MaxBytes: 1 << 20}
			for seq := start.Seq; seq < start.Seq+appends*uint64(len(subjects)); {
				page, err := log.Read(t.Context(), q, nil)
				if err != nil || page.Gap != "" {
					t.Errorf("a gap %q, %v", page.Gap, err)
					return
				}
				for _, e := range page.Entries {
					if seq++; e.At.Seq != seq {
						t.Errorf("entry %d comes where %d was expected", e.At.Seq, seq)
						return
					}
				}
				if q.After = page.Through; q.After.Seq != seq {
					t.Errorf("the page ends at %d and says %d", seq, q.After.Seq)
					return
				}
				runtime.Gosched()
			}
		})
	}
	working.Wait()
}

// A subject whose burst has expired does not keep the memory of the burst.
func TestMemoryLogFreesTheSlotsOfABurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: time.Hour})
		for range 3000 {
			if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:alice"}); err != nil {
				t.Fatal(err)
			}
		}
		most := log.Slots("user:alice")
		time.Sleep(time.Hour)
		if _, err := log.Append(t.Context(), eventlog.Record{Subject: "user:alice"}); err != nil {
			t.Fatal(err)
		}
		if least := log.Slots("user:alice"); most < 3000 || least > 200 {
			t.Errorf("%d slots for a burst, and %d for the entry after it", most, least)
		}
	})
}
