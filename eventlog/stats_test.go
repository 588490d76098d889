package eventlog_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Each entry that was appended is in memory, or has left it for one reason.
func TestMemoryLogStatsCountEachEntryOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(t, eventlog.MemoryLogConfig{EventsPerSubject: 20, MaxAge: time.Minute, MaxBytes: 64 << 10})
		random := rand.New(rand.NewPCG(1, 2))
		var appended uint64
		for range 200 {
			for range random.IntN(200) { // in some minutes more than fits, in some less
				r := eventlog.Record{Subject: fmt.Sprint("user:", random.IntN(random.IntN(100)+1)), Frame: event("x")}
				if random.IntN(3) == 0 {
					r.Key = fmt.Sprint(random.IntN(5))
				}
				if _, err := log.Append(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				appended++
			}
			s := log.Stats()
			e := s.Evicted
			if sum := uint64(s.Entries) + e.Size + e.Subject + e.Age + e.Replaced + e.Reset; sum != appended {
				t.Fatalf("%d entries were appended, and %d are counted: %+v", appended, sum, s)
			}
			if s.Bytes != log.HistoryBytes() || s.Bytes > s.MaxBytes || s.MaxBytes != 64<<10 {
				t.Fatalf("%d bytes are held: %+v", log.HistoryBytes(), s)
			}
			time.Sleep(time.Duration(random.IntN(50)) * time.Second)
		}
		if e := log.Stats().Evicted; e.Size == 0 || e.Subject == 0 || e.Age == 0 || e.Replaced == 0 || e.Reset != 0 {
			t.Errorf("after %d entries: %+v", appended, e)
		}
	})
}

func event(data string) []byte { return []byte("data: " + data + "\n\n") }

// Since is the time of the newest entry that has made room for others, and never longer ago than
// entries are kept.
func TestMemoryLogStatsSayHowFarItReachesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := time.Now()
		const users = 500
		log := newMemoryLog(t, eventlog.MemoryLogConfig{MaxAge: time.Hour, MaxBytes: 100 << 10})
		if since := log.Stats().Since; !since.Equal(made) {
			t.Errorf("an empty log reaches back to %v, and was made at %v", since, made)
		}
		start, err := log.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stored := make([]time.Time, users)
		for n := range users {
			time.Sleep(time.Second)
			stored[n] = time.Now()
			if _, err := log.Append(t.Context(), eventlog.Record{Subject: fmt.Sprint("user:", n), Frame: event("x")}); err != nil {
				t.Fatal(err)
			}
		}
		var newestLost time.Time
		lost := 0
		for n := range users {
			page, err := log.Read(t.Context(), eventlog.Query{Subjects: []string{fmt.Sprint("user:", n)}, After: start, MaxEntries: 1, MaxBytes: 1}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if page.Gap != "" {
				newestLost = stored[n]
				lost++
			}
		}
		s := log.Stats()
		if lost == 0 || uint64(lost) != s.Evicted.Size || s.Entries != users-lost || !s.Since.Equal(newestLost) {
			t.Errorf("%d entries are lost, the newest of %v: %+v", lost, newestLost, s)
		}
		time.Sleep(2 * time.Hour)
		if s := log.Stats(); !s.Since.Equal(time.Now().Add(-time.Hour)) {
			t.Errorf("entries are kept for an hour, and the log reaches back to %v at %v", s.Since, time.Now())
		}
	})
}
