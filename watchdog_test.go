package ginsse

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watched is the watchdog of a stream on a connection that the kernel does not know.
type watched struct {
	watchdog
	aborts, closes atomic.Int64
}

func newWatched(timeout time.Duration, shared bool) *watched {
	w := &watched{}
	w.s = newStream(nil, "", time.Time{}, &StreamConfig{WriteTimeout: timeout})
	w.timeout, w.shared = timeout, shared
	w.abort = func() { w.aborts.Add(1) }
	w.closeConn = func() { w.closes.Add(1) }
	return w
}

// abortedAfter returns how long it takes until a write is made to fail, or -1 if it is not within
// d.
func (w *watched) abortedAfter(d time.Duration) time.Duration {
	for start := time.Now(); time.Since(start) < d; <-time.After(d / 2000) {
		synctest.Wait()
		if w.aborts.Load() > 0 {
			return time.Since(start)
		}
	}
	return -1
}

func TestWatchdogEndsAWriteAtItsTimeout(t *testing.T) {
	t.Parallel()
	for _, shared := range []bool{false, true} {
		for _, timeout := range []time.Duration{10 * time.Millisecond, 2 * time.Second, 30 * time.Second, 10 * time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(timeout, shared)
				w.begin(100)
				got := w.abortedAfter(2 * timeout)
				if got < timeout || got > timeout*5/4+timeout/1000 {
					t.Errorf("a write was ended after %v, with a timeout of %v", got, timeout)
				}
				w.end()
				if !w.release() {
					t.Error("it does not say that it has ended a write")
				}
			})
		}
	}
}

// The timeout applies to a write, not to the stream.
func TestWatchdogIgnoresWritesThatReturn(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(timeout, false)
		for range 200 {
			w.begin(100)
			<-time.After(rand.N(timeout * 9 / 10))
			w.end()
			<-time.After(rand.N(timeout))
		}
		// No write is in progress.
		<-time.After(10 * timeout)
		synctest.Wait()
		if w.awake.Load() {
			t.Error("it looks at an idle stream")
		}
		if n := w.aborts.Load(); n > 0 || w.release() {
			t.Errorf("%d writes were ended", n)
		}
	})
}

// Without a timeout a stalled client keeps its write, but not after the end of the stream.
func TestWatchdogWithoutTimeoutEndsWritesOfEndedStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(0, false)
		w.begin(100)
		<-time.After(24 * time.Hour)
		synctest.Wait()
		if w.aborts.Load() > 0 {
			t.Error("a write of an open stream was ended")
		}
		w.s.end(ReasonShutdown)
		if got := w.abortedAfter(time.Hour); got < drainTime || got > 2*drainTime {
			t.Errorf("the write was ended %v after the stream", got)
		}
		w.release()
	})
}

// The end of a stream limits how long its last writes may take: an expired credential does not wait
// for the write timeout. What a producer has sent may take longer.
func TestWatchdogEndsAWriteOfAStreamThatHasEnded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason    Reason
		timeout   time.Duration
		low, high time.Duration
	}{
		{ReasonExpired, time.Hour, drainTime, drainTime * 3 / 2},
		{ReasonShutdown, time.Minute, drainTime, drainTime * 3 / 2},
		{"own", time.Hour, closeTime, closeTime + drainTime/2},
		{ReasonExpired, time.Second, time.Second, 5 * time.Second / 4},
		{ReasonDone, time.Minute, time.Minute, 75 * time.Second},
		{ReasonFailed, time.Minute, time.Minute, 75 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWatched(test.timeout, false)
			w.begin(100)
			w.s.end(test.reason)
			if got := w.abortedAfter(2 * test.timeout); got < test.low || got > test.high+test.timeout/1000 {
				t.Errorf("%q with a timeout of %v: ended after %v, want %v to %v", string(test.reason), test.timeout, got, test.low, test.high)
			}
			w.end()
			w.release()
		})
	}
}

// The end of a stream waits behind other bytes of its connection. If the connection is stuck, only
// closing it frees the handler.
func TestWatchdogClosesTheConnectionIfAWriteDoesNotFail(t *testing.T) {
	t.Parallel()
	const timeout = 4 * time.Second
	for _, returns := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWatched(timeout, true)
			w.begin(100)
			if w.abortedAfter(2*timeout) < 0 {
				t.Fatal("the write was not ended")
			}
			if returns {
				w.end()
			}
			<-time.After(timeout / 4)
			synctest.Wait()
			if n := w.closes.Load(); n != 0 == returns {
				t.Errorf("the write returns: %v; the connection was closed %d times", returns, n)
			}
			<-time.After(10 * timeout)
			w.end()
			w.release()
			if w.aborts.Load() != 1 || w.closes.Load() > 1 {
				t.Errorf("%d aborts, closed %d times", w.aborts.Load(), w.closes.Load())
			}
		})
	}
}

// The watchdog does not touch a response after release.
func TestReleasedWatchdogEndsNoWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(time.Second, true)
		w.begin(100)
		<-time.After(300 * time.Millisecond)
		w.stop(w.last-1, true) // from a check of the previous write
		write := w.last
		w.end()
		if w.release() || w.timer.Stop() {
			t.Error("a timer is left behind")
		}
		// Checks that began before the write returned.
		w.write.Store(write)
		w.check()
		w.stop(write, true)
		w.end()
		if w.timer.Stop() {
			t.Error("a sample that was late has set the timer")
		}
		w.begin(100)
		<-time.After(time.Minute)
		synctest.Wait()
		if w.aborts.Load() > 0 || w.closes.Load() > 0 || w.timer.Stop() {
			t.Error("a write that is not the stream's was ended")
		}
	})
}

// sample is one check of a write: the kernel's information, and whether it shows progress.
type lookAt struct {
	write uint64
	there delivery
	want  bool
}

func TestWatchdogDistinguishesSlowFromStalled(t *testing.T) {
	t.Parallel()
	at := func(taken, waiting uint64) delivery { return delivery{taken: taken, waiting: waiting} }
	onTheWay := func(taken, waiting uint64, heard time.Duration) delivery {
		return delivery{taken, waiting, true, heard}
	}
	const kib, size = 1 << 10, 8 << 10 // of the write, including framing
	for _, test := range []struct {
		name   string
		shared bool
		looks  []lookAt
	}{
		{"nothing_taken", false, []lookAt{{1, at(500, 9000), true}, {1, at(500, 9000), false}, {1, at(500, 9000), false}}},
		{"a_byte_at_a_time", false, []lookAt{{1, at(500, 9000), true}, {1, at(501, 8999), true}, {1, at(502, 8998), true}}},
		{"taken_and_stopped", false, []lookAt{{1, at(0, 9000), true}, {1, at(700, 9000), true}, {1, at(700, 9000), false}}},
		{"another_write", false, []lookAt{{1, at(0, 9000), true}, {1, at(0, 9000), false}, {2, at(0, 9000), true}, {2, at(0, 9000), false}}},
		{"unknown", false, []lookAt{{1, delivery{}, true}, {1, delivery{}, false}, {2, delivery{}, true}}},
		// New bytes are not acknowledged, but the peer acknowledges old ones, and would take more.
		{"lost_and_sent_again", false, []lookAt{{1, at(0, 9000), true}, {1, onTheWay(0, 9000, 0), true}, {1, onTheWay(0, 9000, 0), true}}},
		{"lost_and_not_heard", false, []lookAt{{1, at(0, 9000), true}, {1, onTheWay(0, 9000, time.Millisecond), false}, {1, onTheWay(0, 9000, time.Second), false}}},

		// A connection with a backlog: the write waits behind other streams.
		{"shared_and_behind", true, []lookAt{{1, at(0, 64*kib), true}, {1, at(100, 64*kib), true}, {1, at(500*kib, 64*kib), true}, {1, at(500*kib, 64*kib), false}}},
		{"behind_for_more_than_a_share", true, []lookAt{{1, at(0, 64*kib), true}, {1, at(4000*kib, 64*kib), true}, {1, at(4200*kib, 64*kib), false}, {1, at(9000*kib, 64*kib), false}}},
		// A connection that would take more: only bytes for the write itself show progress, in
		// pieces of a window's size.
		{"shared_and_idle", true, []lookAt{{1, at(1, 0), true}, {1, at(1, 0), false}}},
		{"idle_but_for_small_writes_of_others", true, []lookAt{{1, at(1, 0), true}, {1, at(61, 60), false}, {1, at(900, 0), false}, {1, at(3000, 100), false}}},
		{"idle_and_the_window_widens", true, []lookAt{{1, at(kib, 0), true}, {1, at(5*kib, 0), true}, {1, at(5*kib, 0), false}, {1, at(9*kib, 0), true}, {1, at(9*kib, 0), false}}},
		{"idle_and_others_take_much", true, []lookAt{{1, at(1, 0), true}, {1, at(100*kib, 0), false}, {1, at(200*kib, 0), false}}},
		{"behind_and_then_idle", true, []lookAt{{1, at(0, 64*kib), true}, {1, at(64*kib, 0), true}, {1, at(72*kib, 0), true}, {1, at(80*kib, 0), false}}},
		{"idle_with_others_on_the_way", true, []lookAt{{1, at(1, 0), true}, {1, onTheWay(100, 90, 0), false}}},
		{"behind_and_on_the_way", true, []lookAt{{1, at(1, 64*kib), true}, {1, onTheWay(1, 64*kib, 0), true}, {1, onTheWay(5000*kib, 64*kib, 0), false}}},
		{"another_write_of_many", true, []lookAt{{1, at(1, 0), true}, {1, at(100*kib, 0), false}, {2, at(100*kib, 0), true}, {2, at(104*kib, 0), true}}},
	} {
		w := newWatched(time.Second, test.shared)
		w.size.Store(size)
		now := time.Unix(1, 0)
		for n, sample := range test.looks {
			now = now.Add(time.Second)
			w.observe(sample.write, sample.there, now)
			if got := w.progress.made.Equal(now); got != sample.want {
				t.Errorf("%s, sample %d: progress %v, want %v", test.name, n, got, sample.want)
			}
		}
	}
}

// A connection that would take more is not closed because of a stalled stream. A connection that
// makes slow progress is not closed either.
func TestWatchdogRecognisesAStuckConnection(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		before, after delivery
		stuck         bool
	}{
		{"unknown", delivery{}, delivery{}, true},
		{"takes_nothing", delivery{taken: 500, waiting: 90_000}, delivery{taken: 500, waiting: 90_000}, true},
		{"goes_on", delivery{taken: 500, waiting: 90_000}, delivery{taken: 501, waiting: 90_000}, false},
		{"idle", delivery{taken: 500}, delivery{taken: 500}, false},
		{"little_waits", delivery{taken: 500, waiting: 100}, delivery{taken: 500, waiting: 200}, false},
		{"lost_and_heard", delivery{taken: 500, waiting: 9000}, delivery{taken: 500, waiting: 9000, onTheWay: true}, false},
	} {
		w := newWatched(time.Second, true)
		then := time.Unix(1, 0)
		w.observe(1, test.before, then)
		w.observe(1, test.after, then.Add(w.timeout))
		if stuck := w.progress.moved.Equal(then); stuck != test.stuck {
			t.Errorf("%s: stuck %v, want %v", test.name, stuck, test.stuck)
		}
	}
}

// Writes begin and return while the watchdog checks. Run it with the race detector as well.
func TestWatchdogEndsAtMostOneWrite(t *testing.T) {
	t.Parallel()
	for range 20 {
		w := newWatched(50*time.Microsecond, false) // it checks all the time
		for range 2000 {
			w.begin(100)
			w.end()
		}
		if fired, aborts := w.release(), w.aborts.Load(); aborts > 1 || fired != (aborts == 1) {
			t.Errorf("%d writes were ended, and release says %v", aborts, fired)
		}
	}
}

// BenchmarkWatchdog measures what the watchdog costs each write.
func BenchmarkWatchdog(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(map[bool]string{false: "http1", true: "http2"}[shared], func(b *testing.B) {
			w := newWatched(30*time.Second, shared)
			defer w.release()
			b.ReportAllocs()
			for b.Loop() {
				w.begin(100)
				w.end()
			}
		})
	}
}

// A write that begins while the watchdog checks the previous one is watched, too.
func TestWatchdogWatchesAWriteThatBeginsDuringACheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(time.Second, false)
		w.begin(100)
		w.end()
		w.timer.Stop() // it has fired, and checked the first write
		w.begin(100)   // assumes that the timer is running
		w.stop(w.last-1, false)
		if d := w.abortedAfter(3 * time.Second); d < 0 {
			t.Error("the second write was not ended")
		}
		w.end()
		w.release()
	})
}
