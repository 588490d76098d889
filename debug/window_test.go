package debug_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/debug"
)

func TestWindowForgetsOldSeconds(t *testing.T) {
	t.Parallel()
	var w debug.Window
	now := time.Unix(1_000_000, 0)
	w.CountOpened(now.Add(-121*time.Second), 1) // too old
	w.CountOpened(now.Add(-120*time.Second), 2)
	w.CountOpened(now.Add(-time.Second), 3)
	w.CountOpened(now, 4) // is not over
	got := w.Opened(now)
	if len(got) != 120 || got[0] != 2 || got[119] != 3 {
		t.Errorf("%v", got)
	}
	var sum uint64
	for _, n := range got {
		sum += n
	}
	if sum != 5 {
		t.Errorf("the sum is %d, want 5", sum)
	}
	w.CountOpened(now.Add(8*time.Second), 7) // takes the slot of 120 seconds ago
	if got := w.Opened(now.Add(9 * time.Second)); got[119] != 7 {
		t.Errorf("a slot that is used again has %d, want 7", got[119])
	}
}

func TestWindowCountsFromSeveralGoroutines(t *testing.T) {
	t.Parallel()
	var w debug.Window
	now := time.Unix(1_000_000, 0)
	w.CountOpened(now.Add(-128*time.Second), 5) // is in the same slot
	var counting sync.WaitGroup
	for range 8 {
		counting.Go(func() {
			for range 1000 {
				w.CountOpened(now, 1)
			}
		})
	}
	counting.Wait()
	if got := w.Opened(now.Add(time.Second)); got[119] != 8000 {
		t.Errorf("%d, want 8000", got[119])
	}
}

// A clock that is an hour fast is set right. The slots have seconds that are yet to come.
func TestWindowGoesOnWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	var w debug.Window
	now := time.Unix(1_000_000, 0)
	for i := range 128 {
		w.CountOpened(now.Add(time.Hour+time.Duration(i)*time.Second), 5)
	}
	w.CountOpened(now, 1)
	w.CountOpened(now, 2)
	w.Delay(now, 100*time.Millisecond)
	if got := w.Opened(now.Add(time.Second)); got[119] != 3 {
		t.Errorf("%d, want 3", got[119])
	}
	if p50, _, _ := w.Delays(now.Add(time.Second)); p50 < 100*time.Millisecond {
		t.Errorf("the median delay is %v", p50)
	}
}

func TestDelaysAreThoseOfTheLastMinute(t *testing.T) {
	t.Parallel()
	var w debug.Window
	now := time.Unix(1_000_000, 0)
	w.Delay(now.Add(-61*time.Second), time.Hour) // too old for the quantiles, and not for the chart
	for i := range 1000 {
		w.Delay(now.Add(-time.Duration(i%50+1)*time.Second), time.Duration(i)*time.Millisecond)
	}
	p50, p99, each := w.Delays(now)
	for _, c := range []struct {
		name      string
		got, want time.Duration
	}{{"p50", p50, 500 * time.Millisecond}, {"p99", p99, 990 * time.Millisecond}} {
		if c.got < c.want || c.got > c.want*9/8+time.Millisecond {
			t.Errorf("%s is %v, want %v and up to an eighth more", c.name, c.got, c.want)
		}
	}
	if hour := time.Duration(each[59]) * time.Microsecond; hour < time.Hour || hour > time.Hour*9/8 {
		t.Errorf("the chart has %v, want an hour", hour)
	}
	if each[58] != 0 {
		t.Errorf("a second without a delivery has a delay of %d", each[58])
	}
}

func TestBucketsHoldTheirDurations(t *testing.T) {
	t.Parallel()
	for d := time.Microsecond; d < time.Hour; d += d/7 + 1 {
		low, high := debug.BucketRange(d)
		if d < low || d >= high || low > 0 && high-low > low/8 {
			t.Fatalf("%v is in the bucket from %v to %v", d, low, high)
		}
	}
	if _, high := debug.BucketRange(1000 * time.Hour); high < time.Hour {
		t.Errorf("the last bucket ends at %v", high)
	}
	if low, _ := debug.BucketRange(-time.Second); low != 0 {
		t.Errorf("a clock that went back is in the bucket from %v", low)
	}
}

func TestJournalKeepsTheNewestEntries(t *testing.T) {
	t.Parallel()
	var j debug.Journal
	for i := range debug.MaxEntries + 10 {
		j.AddEntry(fmt.Sprint("s", i%3), fmt.Sprint("u", i%2), fmt.Sprint(i))
	}
	all := j.FindEntries("", "")
	if len(all) != debug.MaxShown || all[0] != fmt.Sprint(debug.MaxEntries+9) || all[1] != fmt.Sprint(debug.MaxEntries+8) {
		t.Errorf("%v", all)
	}
	for _, c := range []struct{ stream, user, want string }{{"s0", "", "4104"}, {"", "u0", "4104"}, {"s1", "u1", "4105"}, {"s3", "", ""}} {
		got := j.FindEntries(c.stream, c.user)
		if c.want == "" && len(got) == 0 {
			continue
		}
		if len(got) == 0 || got[0] != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}

	var small debug.Journal
	for i := range 20 {
		small.AddEntry("s", strings.Repeat("u", 256), fmt.Sprint(i))
	}
	small.AddEntry("s", "u", strings.Repeat("ö", 1000))
	got := small.FindEntries("s", "")
	if len(got) != 21 || len(got[0]) > 210 || !strings.HasSuffix(got[0], "ö…") {
		t.Errorf("%d entries, the first of %d bytes", len(got), len(got[0]))
	}
	if n := len(small.FindEntries("", strings.Repeat("u", 256))); n != 20 {
		t.Errorf("%d entries of the user", n)
	}
	for range 40 {
		small.AddEntry("s", strings.Repeat("u", 256), "x")
	}
	if n := len(small.FindEntries("", "")); n != 23 { // of 257 or 258 bytes each, in 6 KiB
		t.Errorf("%d entries fit into an answer", n)
	}
}
