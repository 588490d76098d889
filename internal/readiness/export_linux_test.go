package readiness

// Waits returns how many times the set has asked the kernel for events.
func (s *Set) Waits() uint64 { return s.waits.Load() }
