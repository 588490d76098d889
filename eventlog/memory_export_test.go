package eventlog

// Slots returns the number of entries that a subject has memory for.
func (l *MemoryLog) Slots(subject string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.histories[subject]
	return cap(h.array)
}

// Repeats returns the cost of the DedupKeys that the log knows, and their number.
func (l *MemoryLog) Repeats() (bytes int64, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.repeats.bytes, len(l.repeats.byKey)
}
