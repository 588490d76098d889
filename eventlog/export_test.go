package eventlog

// HistoryBytes returns the cost of the entries that the log holds.
func (l *MemoryLog) HistoryBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// Remembered returns the number of subjects that the log has a history of.
func (l *MemoryLog) Remembered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.active.size + l.emptied.size
}

// MaxRemembered is the bound of histories without entries.
const MaxRemembered = maxRemembered
