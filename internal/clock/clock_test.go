package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginsse/ginsse/internal/clock"
)

func TestClockFollowsTheTimeOfDayWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		expect := func(ahead time.Duration) {
			t.Helper()
			if got := time.Duration(c.UnixNano(c.Age()) - time.Now().UnixNano()); got != ahead {
				t.Errorf("the clock is ahead by %v, want %v", got, ahead)
			}
		}
		expect(0)
		time.Sleep(999 * time.Millisecond)
		c.Jump(time.Hour)
		expect(time.Hour)
		time.Sleep(time.Millisecond)
		expect(0)
		time.Sleep(time.Hour)
		expect(0)
	})
}

func TestTimeOfAnOldAgeFollowsTheTimeOfDay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clock.New()
		time.Sleep(time.Minute)
		age, want := c.Age(), time.Now()
		c.UnixNano(age)
		time.Sleep(time.Minute)
		c.Jump(time.Hour) // and nothing else asks for the time
		if got := c.Time(age); !got.Equal(want) {
			t.Errorf("an age of a minute ago is dated %v, and was at %v", got, want)
		}
	})
}
