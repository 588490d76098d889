package timerwheel

import "time"

const (
	Tick = tick
	Lap  = slotCount * tick
)

// StopTimer stops the wheel's timer. It reports whether the timer was set.
func (w *Wheel[T]) StopTimer() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.timer.Stop()
}

// TimerIn returns how long it takes until the tick that the timer is set to.
func (w *Wheel[T]) TimerIn() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.armed)*tick - time.Since(w.start)
}

// Run does what the timer does when it is due.
func (w *Wheel[T]) Run() { w.run() }
