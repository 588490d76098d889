package presence

import "time"

// graces are the users and members whose last stream at this node has ended, and who have not left
// yet. Tracker.mu guards it.
type graces struct {
	until map[key]time.Time // when each leaves
	queue []grace           // in order of time; one whose time is not that of until is obsolete
}

type grace struct {
	key
	until time.Time
}

// leaveLocked has a user or a member leave after the grace.
func (t *Tracker) leaveLocked(k key) {
	if t.cfg.Grace <= 0 {
		t.goneLocked(k)
		return
	}
	until := time.Now().Add(t.cfg.Grace)
	t.graces.until[k] = until
	t.graces.queue = append(t.graces.queue, grace{k, until})
	t.scheduleLocked(until)
}

func (t *Tracker) goneLocked(k key) {
	if k.topic == "" {
		t.userGoneLocked(k.user)
	} else {
		t.memberGoneLocked(k)
	}
}

// endGraces removes those whose grace has passed. It releases the lock after each batch.
func (t *Tracker) endGraces(now time.Time) {
	for t.endSomeGraces(now) {
	}
}

func (t *Tracker) endSomeGraces(now time.Time) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := &t.graces
	for range batchSize {
		if len(g.queue) == 0 {
			if g.queue != nil { // releases what many leaves at a time have made large
				*g = graces{until: make(map[key]time.Time)}
			}
			return false
		}
		first := g.queue[0]
		if first.until.After(now) {
			return false
		}
		g.queue[0] = grace{}
		g.queue = g.queue[1:]
		if until, ok := g.until[first.key]; ok && until.Equal(first.until) {
			delete(g.until, first.key)
			t.goneLocked(first.key)
		}
	}
	return true
}
