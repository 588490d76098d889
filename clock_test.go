package ginsse_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse"
)

func TestClockFollowsTheTimeOfDayWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := ginsse.NewClock()
		expect := func(ahead time.Duration) {
			t.Helper()
			if got := time.Until(clock.Now()); got != ahead {
				t.Errorf("the clock is ahead by %v, want %v", got, ahead)
			}
		}
		expect(0)
		time.Sleep(999 * time.Millisecond)
		clock.Jump(time.Hour)
		expect(time.Hour)
		time.Sleep(time.Millisecond)
		expect(0)
		time.Sleep(time.Hour)
		expect(0)
	})
}
