package timerwheel_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/ginsse/ginsse/internal/timerwheel"
)

const (
	tick = timerwheel.Tick
	lap  = timerwheel.Lap
)

// pass lets fake time pass, and then waits for everything that is due by then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// firing is one value that a wheel has passed to fire.
type firing struct {
	value int
	at    time.Time
}

// recorder keeps what a wheel fires.
type recorder struct {
	mu      sync.Mutex // guards the fields below
	firings []firing
	calls   int
}

func (r *recorder) fire(due []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	for _, value := range due {
		r.firings = append(r.firings, firing{value, time.Now()})
	}
}

// take returns what was fired since the last call, and in how many calls of fire.
func (r *recorder) take() ([]firing, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	firings, calls := r.firings, r.calls
	r.firings, r.calls = nil, 0
	return firings, calls
}

func TestEntryFiresOnceAndWithinOneTick(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{
		math.MinInt64, -1, 0, 1, tick - 1, tick, tick + 1, time.Second, 15 * time.Second,
		lap - tick, lap - 1, lap, lap + 1, lap + tick, 2*lap - 1, 3 * lap, 3*lap + 5*tick + 7,
		time.Hour, 26*time.Hour + 11*time.Millisecond,
	} {
		for _, started := range []time.Duration{0, 1, tick - 1, 3 * tick, 5*lap + 9} {
			t.Run(fmt.Sprint(after, " from ", started), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var r recorder
					w := timerwheel.New(r.fire)
					pass(started)
					e := timerwheel.Entry[int]{Value: 7}
					w.Set(&e, after)
					due := time.Now().Add(max(after, 0))
					pass(max(after, 0) + tick)
					pass(3 * lap) // for what would be fired again
					firings, _ := r.take()
					if len(firings) != 1 || firings[0].value != 7 {
						t.Fatalf("fired %v, want 7 once", firings)
					}
					if late := firings[0].at.Sub(due); late < 0 || late > tick {
						t.Errorf("fired %v after the deadline, want 0 to %v", late, tick)
					}
				})
			})
		}
	}
}

// A time that does not fit into a sum with the present time is as good as never.
func TestLongestTimeDoesNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		w := timerwheel.New(r.fire)
		pass(time.Hour)
		e := timerwheel.Entry[int]{Value: 1}
		w.Set(&e, math.MaxInt64)
		pass(24 * time.Hour)
		if firings, _ := r.take(); len(firings) != 0 {
			t.Errorf("fired %v, want nothing for a century", firings)
		}
		w.Set(&e, time.Second)
		pass(time.Second + tick)
		if firings, _ := r.take(); len(firings) != 1 {
			t.Errorf("fired %v after a new time was set, want one value", firings)
		}
	})
}

func TestSetReplacesTheEarlierTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		w := timerwheel.New(r.fire)
		later, sooner := timerwheel.Entry[int]{Value: 1}, timerwheel.Entry[int]{Value: 2}
		w.Set(&later, time.Second)
		w.Set(&later, time.Minute)
		w.Set(&sooner, time.Minute)
		w.Set(&sooner, time.Second)
		for _, step := range []struct {
			pass time.Duration
			want []int
		}{{time.Second - 1, nil}, {tick, []int{2}}, {58 * time.Second, nil}, {time.Second + tick, []int{1}}, {time.Hour, nil}} {
			pass(step.pass)
			var got []int
			firings, _ := r.take()
			for _, f := range firings {
				got = append(got, f.value)
			}
			if !slices.Equal(got, step.want) {
				t.Fatalf("after another %v: fired %v, want %v", step.pass, got, step.want)
			}
		}
	})
}

func TestStoppedEntryDoesNotFire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		w := timerwheel.New(r.fire)
		entries := make([]timerwheel.Entry[int], 4) // in one slot
		for i := range entries {
			entries[i].Value = i
			w.Set(&entries[i], time.Second)
		}
		for _, i := range []int{3, 1, 3} { // the first of the list, one in the middle, and again
			w.Stop(&entries[i])
		}
		pass(time.Hour)
		firings, _ := r.take()
		var got []int
		for _, f := range firings {
			got = append(got, f.value)
		}
		if slices.Sort(got); !slices.Equal(got, []int{0, 2}) {
			t.Errorf("fired %v, want those that were not stopped: 0 and 2", got)
		}
		w.Stop(&entries[0]) // has fired
		w.Stop(new(timerwheel.Entry[int]))
		w.Set(&entries[3], 0)
		pass(tick)
		if firings, _ := r.take(); len(firings) != 1 || firings[0].value != 3 {
			t.Errorf("fired %v, want 3, which was scheduled again", firings)
		}
	})
}

func TestEntriesOfOneTickFireTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		var r recorder
		w := timerwheel.New(r.fire)
		entries := make([]timerwheel.Entry[int], n)
		for i := range entries {
			entries[i].Value = i
			w.Set(&entries[i], time.Second-time.Duration(i))
		}
		pass(time.Second + tick)
		firings, calls := r.take()
		if calls != 1 || len(firings) != n {
			t.Fatalf("%d calls with %d values, want one with %d", calls, len(firings), n)
		}
		seen := make([]bool, n)
		for _, f := range firings {
			if seen[f.value] {
				t.Fatalf("%d fired twice", f.value)
			}
			seen[f.value] = true
		}
	})
}

func TestFireMaySetAndStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w *timerwheel.Wheel[*int]
		var beats, others int
		var beat, other timerwheel.Entry[*int]
		w = timerwheel.New(func(due []*int) {
			for _, n := range due {
				if *n++; n == &beats {
					w.Stop(&other)
					w.Set(&beat, time.Second)
				}
			}
		})
		beat.Value, other.Value = &beats, &others
		w.Set(&beat, time.Second)
		w.Set(&other, time.Minute)
		pass(time.Hour)
		w.Stop(&beat)
		synctest.Wait()
		if most, least := 3600, 3500; beats < least || beats > most || others != 0 {
			t.Errorf("%d heartbeats and %d of the entry that was stopped, want %d to %d and none", beats, others, least, most)
		}
	})
}

// Calls of fire may overlap, so a slow one delays no deadline.
func TestSlowFireDelaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		w := timerwheel.New(func(due []int) {
			r.fire(due)
			if due[0] == 1 {
				time.Sleep(time.Minute)
			}
		})
		slow, next := timerwheel.Entry[int]{Value: 1}, timerwheel.Entry[int]{Value: 2}
		w.Set(&slow, time.Second)
		w.Set(&next, 2*time.Second)
		pass(2*time.Second + tick)
		if firings, _ := r.take(); len(firings) != 2 {
			t.Errorf("fired %v, want both values", firings)
		}
		pass(time.Minute)
	})
}

// The runtime may start the timer's goroutine much too late, for example after the process was
// stopped.
func TestLateTimerFiresAllThatIsDue(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{tick, time.Second, lap - tick, lap, 5*lap + 3*tick} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var r recorder
				w := timerwheel.New(r.fire)
				entries := make([]timerwheel.Entry[int], 1000)
				wake, due := 10*time.Second+late, 0
				for i := range entries {
					after := 10*time.Second + time.Duration(i)*lap/100
					if w.Set(&entries[i], after); (after+tick-1)/tick <= wake/tick {
						due++
					}
				}
				if !w.StopTimer() {
					t.Fatal("the timer is not set")
				}
				pass(wake)
				w.Run()
				if firings, calls := r.take(); calls != 1 || len(firings) != due {
					t.Errorf("%d calls with %d values, want one with %d", calls, len(firings), due)
				}
				pass(10 * lap)
				if firings, _ := r.take(); len(firings) != len(entries)-due {
					t.Errorf("%d values were fired later, want %d", len(firings), len(entries)-due)
				}
			})
		})
	}
}

// An idle wheel costs nothing, and one that waits is woken once a lap at most for each slot.
func TestTimerIsSetOnlyForScheduledEntries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		w := timerwheel.New(r.fire)
		if w.StopTimer() {
			t.Error("the timer of a new wheel is set")
		}
		near, far := timerwheel.Entry[int]{Value: 1}, timerwheel.Entry[int]{Value: 2}
		var stopped timerwheel.Entry[int]
		w.Set(&far, time.Hour)
		if in := w.TimerIn(); in < time.Hour || in > time.Hour+tick {
			t.Errorf("the timer is due in %v, want an hour", in)
		}
		w.Set(&near, time.Second)
		if in := w.TimerIn(); in < time.Second || in > time.Second+tick {
			t.Errorf("the timer is due in %v, want a second", in)
		}
		w.Set(&stopped, 5*time.Second)
		w.Stop(&stopped)
		pass(time.Second + tick)
		slot := (time.Hour - time.Second) % lap
		if in := w.TimerIn(); in < slot-2*tick || in > slot+tick {
			t.Errorf("the timer is due in %v, want %v, when the wheel reaches the slot with the entry", in, slot)
		}
		w.Set(&near, time.Second)
		w.Stop(&near)
		w.Stop(&far)
		if w.StopTimer() {
			t.Error("the timer is set although both entries were stopped")
		}
		w.Set(&near, time.Second)
		pass(time.Minute)
		if w.StopTimer() {
			t.Error("the timer is set although the only entry has fired")
		}
		if firings, _ := r.take(); len(firings) != 2 {
			t.Errorf("fired %v, want 1 twice", firings)
		}
	})
}

func TestSetAndStopDoNotAllocate(t *testing.T) {
	w := timerwheel.New(func([]int) {})
	entries := make([]timerwheel.Entry[int], 100)
	i := 0
	allocs := testing.AllocsPerRun(1000, func() {
		e := &entries[i%len(entries)]
		w.Set(e, time.Minute+time.Duration(i)*time.Second)
		w.Set(e, time.Hour-time.Duration(i)*time.Second) // sometimes the earliest, so the timer is set
		if i++; i%3 == 0 {
			w.Stop(e)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
	for i := range entries {
		w.Stop(&entries[i])
	}
	if w.StopTimer() {
		t.Error("the timer is set although all entries were stopped")
	}
}

func TestEntryIsSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(timerwheel.Entry[*int]{}); size > 32 {
		t.Errorf("an entry takes %d bytes, want at most 32", size)
	}
}

// The wheel does what a map of deadlines says, over random calls and times.
func TestRandomCallsFireAsTheModelSays(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { runModel(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// model is a wheel beside the deadlines that it should keep.
type model struct {
	*testing.T
	wheel *timerwheel.Wheel[int]

	mu        sync.Mutex // guards the fields below, and calls with the model's random
	random    *rand.Rand
	entries   []timerwheel.Entry[int]
	deadlines map[int]time.Time
	fired     int
	ending    bool // fire schedules nothing more
}

func runModel(t *testing.T, random *rand.Rand) {
	m := &model{T: t, random: random, entries: make([]timerwheel.Entry[int], 60), deadlines: map[int]time.Time{}}
	m.wheel = timerwheel.New(m.fire)
	for i := range m.entries {
		m.entries[i].Value = i
	}
	for range 3000 {
		m.step()
	}
	m.mu.Lock()
	m.ending = true
	m.mu.Unlock()
	pass(4 * time.Hour)
	m.check()
	if len(m.deadlines) > 0 || m.wheel.StopTimer() {
		t.Errorf("%d entries are left, or the timer is set", len(m.deadlines))
	}
	if m.fired < 500 {
		t.Errorf("only %d entries fired", m.fired)
	}
}

func (m *model) step() {
	m.mu.Lock()
	i, action, wait := m.random.IntN(len(m.entries)), m.random.IntN(10), m.wait()
	switch {
	case action < 6:
		m.setLocked(i)
	case action < 8:
		m.wheel.Stop(&m.entries[i])
		delete(m.deadlines, i)
	}
	m.mu.Unlock()
	if action >= 7 {
		pass(wait)
		m.check()
	}
}

func (m *model) setLocked(i int) {
	var after time.Duration
	switch m.random.IntN(6) {
	case 0:
		after = -time.Duration(m.random.IntN(2))
	case 1:
		after = time.Duration(m.random.Int64N(int64(4 * tick)))
	case 2:
		after = time.Duration(m.random.IntN(200)) * tick
	case 3:
		after = time.Duration(m.random.Int64N(int64(lap)))
	case 4:
		after = time.Duration(m.random.IntN(4))*lap + time.Duration(m.random.IntN(5)-2)*tick/2
	case 5:
		after = time.Duration(m.random.Int64N(int64(3 * time.Hour)))
	}
	m.wheel.Set(&m.entries[i], after)
	m.deadlines[i] = time.Now().Add(max(after, 0))
}

// wait returns for how long time passes.
func (m *model) wait() time.Duration {
	switch n := m.random.IntN(100); {
	case n < 40:
		return time.Duration(m.random.IntN(8)) * tick / 4
	case n < 70:
		return time.Duration(m.random.Int64N(int64(time.Second)))
	case n < 98:
		return time.Duration(m.random.Int64N(int64(lap + lap/4)))
	default:
		return time.Duration(m.random.Int64N(int64(time.Hour)))
	}
}

func (m *model) fire(due []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range due {
		deadline, ok := m.deadlines[i]
		if late := time.Since(deadline); !ok || late < 0 || late > tick {
			m.Errorf("%d fired %v after its deadline, scheduled: %t", i, late, ok)
		}
		delete(m.deadlines, i)
		if m.fired++; m.random.IntN(4) == 0 && !m.ending {
			m.setLocked(i)
		}
	}
}

// check reports entries that should have fired by now.
func (m *model) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, deadline := range m.deadlines {
		if late := time.Since(deadline); late >= tick {
			m.Errorf("%d has not fired %v after its deadline", i, late)
			delete(m.deadlines, i)
		}
	}
}

// Some goroutines wait for each of their entries to fire, while others set and stop theirs. Time is
// real here, so that the calls run at once.
func TestConcurrentCallsLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	const waiters, rounds, entries, churns = 4, 20, 50, 20_000
	type value struct {
		fired chan struct{} // has room for a second value, which would be a mistake
		churn *atomic.Int64
	}
	var churned atomic.Int64
	w := timerwheel.New(func(due []value) {
		for _, v := range due {
			if v.churn != nil {
				v.churn.Add(1)
			} else {
				v.fired <- struct{}{}
			}
		}
	})
	done := make(chan struct{})
	var churning, waiting sync.WaitGroup
	shared := make([]timerwheel.Entry[value], churns) // so many that most have their time to fire
	for i := range shared {
		shared[i].Value.churn = &churned
	}
	for seed := range uint64(2) {
		churning.Go(func() {
			random := rand.New(rand.NewPCG(seed, 0))
			for {
				select {
				case <-done:
					return
				default:
				}
				if e := &shared[random.IntN(churns)]; random.IntN(3) > 0 {
					w.Set(e, time.Duration(random.IntN(40))*time.Millisecond)
				} else {
					w.Stop(e)
				}
			}
		})
	}
	for seed := range uint64(waiters) {
		waiting.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1))
			own := make([]timerwheel.Entry[value], entries)
			for i := range own {
				own[i].Value.fired = make(chan struct{}, 2)
			}
			for range rounds {
				start := time.Now()
				for i := range own {
					w.Set(&own[i], time.Hour)
					w.Set(&own[i], time.Duration(i%8)*4*time.Millisecond)
				}
				for _, i := range random.Perm(entries) {
					<-own[i].Value.fired
					if since, least := time.Since(start), time.Duration(i%8)*4*time.Millisecond; since < least {
						t.Errorf("fired after %v, want at least %v", since, least)
					}
				}
			}
			for i := range own {
				w.Stop(&own[i])
				if len(own[i].Value.fired) > 0 {
					t.Error("an entry fired twice")
				}
			}
		})
	}
	waiting.Wait()
	close(done)
	churning.Wait()
	for i := range shared {
		w.Stop(&shared[i])
	}
	if churned.Load() == 0 {
		t.Error("none of the shared entries fired")
	}
}
