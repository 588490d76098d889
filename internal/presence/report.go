package presence

import (
	"slices"
	"time"
)

const (
	// Crowd is the number of members from which a topic's changes are reported as a whole.
	Crowd = 100
	// crowdInterval is the shortest time between two reports of a crowd.
	crowdInterval = 5 * time.Second
)

// Change says how the members of a topic have changed.
type Change struct {
	Topic string
	Count int // of members now
	// Joined are new members, and those whose value has changed. Left are those that are gone.
	// Both are sorted by user. They may also have what a reader knows already.
	Joined, Left []Member
	// Whole says that the topic is a crowd of at least [Crowd] members, or was one until now. Then
	// Present has up to Crowd of them, sorted by user, instead of Joined and Left.
	Whole   bool
	Present []Member
}

// report is what the readers of a topic at this node are to be told.
type report struct {
	wanted  bool             // there may be readers; else nothing is noted
	wants   uint64           // calls of Watch
	pending bool             // the topic is in chores.topics
	due     time.Time        // when pending is reported
	last    time.Time        // when the last one was made
	whole   bool             // changes are not noted, because the topic is or was a crowd
	before  map[string]known // what readers know of the users who have changed
}

// known is what the readers of a topic know of a user; the zero claim is nothing.
type known struct {
	claim

	varies bool // some know something else, from Watch
}

// hasChanged reports whether a user's place differs from what all readers know. p is nil for a user who
// is not there.
func (k known) hasChanged(p *place) bool {
	if p == nil {
		return !k.isZero()
	}
	return k.isZero() || k.value != p.winner().value
}

// noteLocked notes that a member has changed. before is what readers knew of the user.
func (t *Tracker) noteLocked(tp *topic, user string, before claim) {
	r := &tp.report
	if t.cfg.Changed == nil || !r.wanted {
		return
	}
	if len(tp.members) >= Crowd || len(r.before) >= Crowd {
		r.whole, r.before = true, nil
	}
	if !r.whole {
		if r.before == nil {
			r.before = make(map[string]known)
		}
		if _, noted := r.before[user]; !noted {
			r.before[user] = known{claim: before}
		}
	}
	if !r.pending {
		r.pending = true
		r.due = time.Now().Add(gatherTime)
		if next := r.last.Add(crowdInterval); r.whole && next.After(r.due) {
			r.due = next
		}
		t.chores.topics = append(t.chores.topics, tp)
		t.scheduleLocked(r.due)
	}
}

// Watch returns up to [Crowd] members of a topic, sorted by user, and the number of all. From then on
// [Config.Changed] gets each later change, as long as [Config.HasReaders] reports true for the
// topic. It may also get changes that the members returned have in them.
func (t *Tracker) Watch(name string) (members []Member, count int) {
	t.mu.RLock()
	tp := t.topics[name]
	t.mu.RUnlock()
	if tp == nil {
		return nil, 0 // the first change of a topic is always reported
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if tp = t.topics[name]; tp == nil {
		return nil, 0
	}
	r := &tp.report
	r.wants++
	if !r.wanted {
		r.wanted, r.whole, r.before = true, len(tp.members) >= Crowd, nil
	}
	for user, k := range r.before {
		if k.hasChanged(tp.members[user]) {
			k.varies = true
			r.before[user] = k
		}
	}
	return tp.someLocked(), len(tp.members)
}

// someLocked returns up to Crowd members, sorted by user.
func (tp *topic) someLocked() []Member {
	members := make([]Member, 0, min(len(tp.members), Crowd))
	for user, p := range tp.members {
		if len(members) == Crowd {
			break
		}
		members = append(members, Member{user, p.winner().value})
	}
	sortMembers(members)
	return members
}

// report calls Changed for the topics that are due.
func (t *Tracker) report(now time.Time) {
	for _, tp := range t.takeDue(now) {
		t.mu.RLock()
		wants := tp.report.wants
		t.mu.RUnlock()
		hasReaders := t.cfg.HasReaders(tp.name)
		if change, ok := t.takeChange(tp, now, hasReaders, wants); ok {
			t.cfg.Changed(change)
		}
	}
}

// takeDue removes the topics that are due from those that are pending.
func (t *Tracker) takeDue(now time.Time) (due []*topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chores.topics = slices.DeleteFunc(t.chores.topics, func(tp *topic) bool {
		if tp.report.due.After(now) {
			return false
		}
		due = append(due, tp)
		return true
	})
	return due
}

// takeChange returns what has changed at a topic since the last report, if it is to be reported. A
// topic without readers is not noted any more, unless Watch was called since wants was read.
func (t *Tracker) takeChange(tp *topic, now time.Time, hasReaders bool, wants uint64) (change Change, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &tp.report
	before, whole := r.before, r.whole
	r.pending, r.before, r.whole = false, nil, len(tp.members) >= Crowd
	defer t.tidyLocked(tp)
	if !hasReaders && r.wants == wants {
		r.wanted = false
		return Change{}, false
	}
	r.last = now
	change = Change{Topic: tp.name, Count: len(tp.members)}
	if whole || r.whole {
		change.Whole, change.Present = true, tp.someLocked()
		return change, true
	}
	for user, k := range before {
		switch p := tp.members[user]; {
		case !k.varies && !k.hasChanged(p):
		case p == nil:
			change.Left = append(change.Left, Member{user, k.value})
		default:
			change.Joined = append(change.Joined, Member{user, p.winner().value})
		}
	}
	sortMembers(change.Joined)
	sortMembers(change.Left)
	return change, len(change.Joined)+len(change.Left) > 0
}

// chores is what a tracker has to do at some time: ending graces, and reporting changes. One timer
// runs while there is something. Tracker.mu guards it.
type chores struct {
	topics  []*topic // with a pending report
	timer   *time.Timer
	at      time.Time // when the timer fires; zero if it does not run
	working bool      // a goroutine is in work
	stopped bool
}

// scheduleLocked has the timer fire at a time, or earlier.
func (t *Tracker) scheduleLocked(at time.Time) {
	c := &t.chores
	switch {
	case c.stopped || c.working: // work schedules what is left when it is done
	case c.timer == nil:
		c.at = at
		c.timer = time.AfterFunc(time.Until(at), t.work)
	case c.at.IsZero() || at.Before(c.at):
		c.at = at
		c.timer.Reset(time.Until(at))
	}
}

// work does what is due. It is called by the timer.
func (t *Tracker) work() {
	t.mu.Lock()
	c := &t.chores
	if c.stopped || c.working {
		t.mu.Unlock()
		return
	}
	c.working = true
	t.mu.Unlock()

	now := time.Now()
	t.endGraces(now)
	t.report(now)

	t.mu.Lock()
	defer t.mu.Unlock()
	c.working, c.at = false, time.Time{}
	if len(t.graces.queue) > 0 {
		t.scheduleLocked(t.graces.queue[0].until)
	}
	for _, tp := range c.topics {
		t.scheduleLocked(tp.report.due)
	}
}

// Stop ends all reports and graces: those who are leaving stay. A call of Changed that is in progress
// may end after Stop has returned. Stop may be repeated.
func (t *Tracker) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.chores.stopped = true
	if t.chores.timer != nil {
		t.chores.timer.Stop()
	}
}
