package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/logtest"
)

func TestMemoryLogConforms(t *testing.T) {
	t.Parallel()
	logtest.Run(t, logtest.Suite{New: func(t *testing.T, b logtest.Bounds) ginsse.Log {
		return newMemoryLog(t, ginsse.MemoryLogConfig(b))
	}})
}

func newMemoryLog(t testing.TB, cfg ginsse.MemoryLogConfig) *ginsse.MemoryLog {
	t.Helper()
	log, err := ginsse.NewMemoryLog(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestNewMemoryLogNamesTheFieldThatIsWrong(t *testing.T) {
	t.Parallel()
	for field, cfg := range map[string]ginsse.MemoryLogConfig{
		"EventsPerSubject": {EventsPerSubject: -1},
		"MaxAge":           {MaxAge: -1},
		"MaxBytes":         {MaxBytes: -1},
	} {
		if _, err := ginsse.NewMemoryLog(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestMemoryLogStaysWithinItsBytes(t *testing.T) {
	t.Parallel()
	const bound = 1 << 20
	log := newMemoryLog(t, ginsse.MemoryLogConfig{MaxBytes: bound})
	for n := range 20_000 {
		frame := make([]byte, n%2000)
		if _, err := log.Append(t.Context(), fmt.Sprintf("user:%d", n%5000), frame); err != nil {
			t.Fatal(err)
		}
		if held := log.HistoryBytes(); held > bound {
			t.Fatalf("%d bytes are held after %d events", held, n+1)
		}
	}
}

func TestMemoryLogRefusesAnEventLargerThanItself(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, ginsse.MemoryLogConfig{MaxBytes: 1000})
	if _, err := log.Append(t.Context(), "all", make([]byte, 1000)); !errors.Is(err, ginsse.ErrEventTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := log.Append(t.Context(), "all", make([]byte, 100)); err != nil {
		t.Errorf("the log did not survive: %v", err)
	}
}

func TestMemoryLogKeepsAFloodForOneFromTheHistoryOfOthers(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, ginsse.MemoryLogConfig{MaxBytes: 1 << 20})
	page, err := log.Read(t.Context(), ginsse.Query{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		if n == 1 {
			if _, err := log.Append(t.Context(), "user:victim", []byte("data: x\n\n")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.Append(t.Context(), "user:flooded", make([]byte, 10_000)); err != nil {
			t.Fatal(err)
		}
	}
	page, err = log.Read(t.Context(), ginsse.Query{Subjects: []string{"user:victim"}, After: page.Through, MaxEvents: 10, MaxBytes: 1000}, nil)
	if err != nil || page.Gap != "" || !strings.HasPrefix(string(page.Blocks), "data: x\nid: ") {
		t.Errorf("got %q, gap %q, %v", page.Blocks, page.Gap, err)
	}
	if held := log.HistoryBytes(); held > 1<<20/4+1000 {
		t.Errorf("%d bytes are held", held)
	}
}

// Senders look at the clock before they wait for their turn, so their events may
// come in another order than their times.
func TestMemoryLogAgesUnderConcurrentAppends(t *testing.T) {
	t.Parallel()
	log := newMemoryLog(t, ginsse.MemoryLogConfig{MaxAge: 200 * time.Millisecond, MaxBytes: 1 << 30})
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
					if _, err := log.Append(ctx, fmt.Sprintf("user:%d", sent.Add(1)/4), nil); err != nil {
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

// A user who was sent something once must not stay in memory for ever, and must
// not be told that all is well either.
func TestMemoryLogForgetsQuietSubjectsButNotTheirLoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, ginsse.MemoryLogConfig{MaxAge: time.Hour})
		read := func(subject string, after ginsse.Cursor) ginsse.Page {
			page, err := log.Read(t.Context(), ginsse.Query{Subjects: []string{subject}, After: after, MaxEvents: 10, MaxBytes: 100}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return page
		}
		start := read("user:0", ginsse.Cursor{}).Through
		for n := range ginsse.MaxRemembered + 5000 {
			if _, err := log.Append(t.Context(), fmt.Sprintf("user:%d", n), nil); err != nil {
				t.Fatal(err)
			}
		}
		pass(2 * time.Hour)
		var last ginsse.Cursor
		for range 2000 { // an append removes some of what is old, not all
			var err error
			if last, err = log.Append(t.Context(), "all", nil); err != nil {
				t.Fatal(err)
			}
		}
		if n := log.Remembered(); n > ginsse.MaxRemembered+1 {
			t.Errorf("%d subjects are remembered", n)
		}
		for _, subject := range []string{"user:0", "user:4999", "user:5000", fmt.Sprint("user:", ginsse.MaxRemembered+4999)} {
			if page := read(subject, start); page.Gap != ginsse.GapTrimmed {
				t.Errorf("%s: the gap is %q", subject, page.Gap)
			}
			if page := read(subject, last); page.Gap != "" {
				t.Errorf("%s: a gap %q after the head", subject, page.Gap)
			}
		}
		// A subject that was forgotten and comes back has still lost something.
		if _, err := log.Append(t.Context(), "user:0", []byte("data: back\n\n")); err != nil {
			t.Fatal(err)
		}
		if page := read("user:0", start); page.Gap != ginsse.GapTrimmed {
			t.Errorf("after an event for a forgotten subject the gap is %q", page.Gap)
		}
	})
}

// A burst must not outlive its age because a few events follow it.
func TestMemoryLogLetsGoOfABurstThatATrickleFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, ginsse.MemoryLogConfig{MaxAge: time.Hour})
		add := func(n int) {
			for range n {
				if _, err := log.Append(t.Context(), "user:alice", []byte("data: 1\n\n")); err != nil {
					t.Fatal(err)
				}
			}
		}
		add(1)
		one := log.HistoryBytes()
		add(3000)
		for range 2 {
			pass(50 * time.Minute)
			add(1)
		}
		if bytes := log.HistoryBytes(); bytes != 2*one {
			t.Errorf("%d bytes are held for two events, of %d each", bytes, one)
		}
	})
}

func BenchmarkMemoryLogAppend(b *testing.B) {
	b.ReportAllocs()
	log := newMemoryLog(b, ginsse.MemoryLogConfig{})
	frame := make([]byte, 100)
	for b.Loop() {
		if _, err := log.Append(b.Context(), "user:alice", frame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemoryLogRead(b *testing.B) {
	log := newMemoryLog(b, ginsse.MemoryLogConfig{})
	q := ginsse.Query{Subjects: []string{"user:alice", "all"}, MaxEvents: 512, MaxBytes: 64 << 10}
	page, err := log.Read(b.Context(), q, nil)
	if err != nil {
		b.Fatal(err)
	}
	q.After = page.Through
	for range 100 {
		if _, err := log.Append(b.Context(), "user:alice", make([]byte, 100)); err != nil {
			b.Fatal(err)
		}
	}
	last, err := log.Append(b.Context(), "all", make([]byte, 100))
	if err != nil {
		b.Fatal(err)
	}
	room := make([]byte, 0, 64<<10)
	b.Run("resume_100", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := log.Read(b.Context(), q, room); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one_new", func(b *testing.B) {
		b.ReportAllocs()
		q := q
		q.After = last
		page, err := log.Read(b.Context(), ginsse.Query{Subjects: q.Subjects, After: page.Through, Before: last.Seq, MaxEvents: 200, MaxBytes: 1 << 20}, nil)
		if err != nil {
			b.Fatal(err)
		}
		q.After = page.Through
		for b.Loop() {
			if page, err := log.Read(b.Context(), q, room); err != nil || page.Last != last {
				b.Fatal(page.Last, err)
			}
		}
	})
}
