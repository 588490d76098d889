package ginsse_test

import (
	"errors"
	"fmt"
	"strings"
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
	if err != nil || page.Gap != "" || len(page.Entries) != 1 {
		t.Errorf("got %d entries, gap %q, %v", len(page.Entries), page.Gap, err)
	}
	if held := log.HistoryBytes(); held > 1<<20/4+1000 {
		t.Errorf("%d bytes are held", held)
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
		last, err := log.Append(t.Context(), "all", nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := log.Remembered(); n > ginsse.MaxRemembered+1 {
			t.Errorf("%d subjects are remembered", n)
		}
		for _, subject := range []string{"user:0", "user:4999", "user:5000", fmt.Sprint("user:", ginsse.MaxRemembered+4999)} {
			if page := read(subject, start); page.Gap != ginsse.GapTrimmed {
				t.Errorf("%s: the gap is %q", subject, page.Gap)
			}
			if page := read(subject, last.Cursor); page.Gap != "" {
				t.Errorf("%s: a gap %q after the head", subject, page.Gap)
			}
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
	entries := make([]*ginsse.Entry, 0, 128)
	b.Run("resume_100", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := log.Read(b.Context(), q, entries[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one_new", func(b *testing.B) {
		b.ReportAllocs()
		q := q
		q.After = ginsse.Cursor{Epoch: last.Cursor.Epoch, Seq: last.Cursor.Seq}
		page, err := log.Read(b.Context(), ginsse.Query{Subjects: q.Subjects, After: page.Through, Before: last.Cursor.Seq, MaxEvents: 200, MaxBytes: 1 << 20}, nil)
		if err != nil {
			b.Fatal(err)
		}
		q.After = page.Through
		for b.Loop() {
			if page, err := log.Read(b.Context(), q, entries[:0]); err != nil || len(page.Entries) != 1 {
				b.Fatal(len(page.Entries), err)
			}
		}
	})
}
