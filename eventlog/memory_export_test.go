package eventlog

// Slots returns the number of entries that a subject has memory for.
func (l *MemoryLog) Slots(subject string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.histories[subject]
	return cap(h.array)
}
