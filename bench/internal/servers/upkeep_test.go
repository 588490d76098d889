package servers

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineIsSetOnceASecondAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var until time.Time
		sets := 0
		d := &deadline{timeout: 10 * time.Second, set: func(at time.Time) error {
			until = at
			sets++
			return nil
		}}
		pass := func(every time.Duration, times int) {
			for range times {
				if err := d.push(); err != nil {
					t.Fatal(err)
				}
				if left := time.Until(until); left < 10*time.Second || left > 11*time.Second {
					t.Fatalf("a write may take %v", left)
				}
				time.Sleep(every)
			}
		}
		pass(10*time.Millisecond, 1000) // ten seconds
		if sets < 9 || sets > 10 {
			t.Errorf("the deadline was set %d times in ten seconds", sets)
		}
		time.Sleep(time.Minute)
		sets = 0
		pass(time.Minute, 5) // it has expired each time
		if sets != 5 {
			t.Errorf("the deadline was set %d times for five writes a minute apart", sets)
		}
	})
}

func TestPushReturnsErrorsOfTheDeadline(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	d := &deadline{timeout: 10 * time.Second, set: func(time.Time) error { return refused }}
	if err := d.push(); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
}

func TestFirstHeartbeatIsAtARandomTime(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]Settings{"default": {}, "set": {Heartbeat: 200 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := 15 * time.Second
			if settings.Heartbeat > 0 {
				want = settings.Heartbeat
			}
			synctest.Test(t, func(t *testing.T) {
				const streams = 400
				var quarters [4]int
				for range streams {
					opened := time.Now()
					heartbeats := newHeartbeats(settings)
					first := (<-heartbeats.C).Sub(opened)
					if first < 0 || first >= want {
						t.Fatalf("the first heartbeat comes after %v of %v", first, want)
					}
					quarters[4*first/want]++
					for range 3 {
						last := time.Now()
						heartbeats.next()
						if got := (<-heartbeats.C).Sub(last); got != want {
							t.Fatalf("the next heartbeat comes after %v, want %v", got, want)
						}
					}
					heartbeats.stop()
				}
				for i, n := range quarters {
					if n < streams/10 {
						t.Errorf("%d of %d begin in quarter %d", n, streams, i+1)
					}
				}
			})
		})
	}
}

func TestHeartbeatsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	heartbeats := newHeartbeats(Settings{Silent: true, Heartbeat: time.Millisecond})
	if heartbeats.C != nil {
		t.Error("there is a channel to wait for")
	}
	heartbeats.stop()
}
