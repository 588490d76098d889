package eventlog

import (
	"hash/maphash"
	"sync"
)

// memoryShards finds the history of a subject. Every turn of every stream looks up each of its
// subjects here. The map is split, so that few of these readers share the cache line of one lock,
// and the subject that all streams read needs no lock.
type memoryShards struct {
	seed   maphash.Seed
	all    history // of SubjectAll; never removed
	shards [64]shard
}

type shard struct {
	mu        sync.RWMutex // guards histories
	histories map[string]*history

	_ [64]byte // keeps two shards out of one cache line
}

func newMemoryShards() *memoryShards {
	m := &memoryShards{seed: maphash.MakeSeed(), all: history{subject: SubjectAll}}
	for i := range m.shards {
		m.shards[i].histories = make(map[string]*history)
	}
	return m
}

func (m *memoryShards) shard(subject string) *shard {
	return &m.shards[maphash.String(m.seed, subject)%uint64(len(m.shards))]
}

// find returns the history of a subject; nil if there is none.
func (m *memoryShards) find(subject string) *history {
	if subject == SubjectAll {
		return &m.all
	}
	s := m.shard(subject)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.histories[subject]
}

func (m *memoryShards) add(h *history) {
	s := m.shard(h.subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histories[h.subject] = h
}

func (m *memoryShards) remove(h *history) {
	s := m.shard(h.subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.histories, h.subject)
}
