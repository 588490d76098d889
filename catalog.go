package ginsse

import (
	"hash/maphash"
	"sync"
)

// catalog is the histories of a log by subject. Every turn of every stream looks
// its subjects up here, and on a machine of many cores even a lock that is never
// held for long costs more than what it guards: so there are many, and for the
// subject that all streams read there is none.
type catalog struct {
	seed   maphash.Seed
	all    history // never removed
	shards [64]shard
}

type shard struct {
	mu        sync.RWMutex
	histories map[string]*history

	_ [64]byte // or else two of them share a line of the cache
}

func newCatalog() *catalog {
	c := &catalog{seed: maphash.MakeSeed(), all: history{subject: subjectAll}}
	for i := range c.shards {
		c.shards[i].histories = make(map[string]*history)
	}
	return c
}

func (c *catalog) shard(subject string) *shard {
	return &c.shards[maphash.String(c.seed, subject)%uint64(len(c.shards))]
}

// find returns the history of a subject; nil if there is none.
func (c *catalog) find(subject string) *history {
	if subject == subjectAll {
		return &c.all
	}
	s := c.shard(subject)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.histories[subject]
}

func (c *catalog) add(h *history) {
	s := c.shard(h.subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histories[h.subject] = h
}

func (c *catalog) remove(h *history) {
	s := c.shard(h.subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.histories, h.subject)
}
