package main

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// requester identifies a caller of the queue by the client's address and the account name in
// its request. The zero value stands for the program itself.
type requester struct{ address, name string }

// newRequester returns the requester for the address and the name of a request. All IPv6
// addresses of one /64 count as one address, because providers give each customer at least a
// /64. All names that no account can have count as one name.
func newRequester(address, name string) requester {
	if ip, err := netip.ParseAddr(address); err == nil {
		ip = ip.Unmap().WithZone("")
		if network, err := ip.Prefix(64); err == nil && ip.Is6() {
			address = network.String()
		} else {
			address = ip.String()
		}
	}
	if !validName.MatchString(name) {
		name = ""
	}
	return requester{address, strings.ToLower(name)}
}

// queue gives a few slots to callers, one call each. Addresses take turns, and so do the
// names within an address. So a caller waits for at most one call of each other address.
//
// A full queue refuses one call with [errBusy]. It chooses the address with the most waiting
// calls, within it the name with the most, and of that name the newest call. So a new call is
// refused only if no other address, and no other name of its address, has more calls waiting.
//
// Concurrency: enter may be called from several goroutines.
type queue struct {
	places int // how many calls can wait

	mu      sync.Mutex
	free    int       // unused slots
	waiting []*ticket // in order of arrival
	// turns holds, for each address with a call waiting and for each name within it, the number
	// of its last turn, or of its arrival. The lowest number is next.
	turns map[requester]int
	turn  int // the last number used
}

// ticket is a waiting call of enter.
type ticket struct {
	requester
	ready chan struct{} // closed by the queue when the wait ends
	err   error         // why the call gets no slot, or nil; set before ready is closed
}

// newQueue returns a queue that has slots for running calls and places for waiting calls.
func newQueue(slots, places int) *queue {
	return &queue{places: places, free: slots, turns: make(map[requester]int)}
}

// enter waits for a slot and takes it. The caller must call leave when it is done. Errors:
// [errBusy], or the cause of ctx.
func (q *queue) enter(ctx context.Context, from requester) (leave func(), err error) {
	mine := &ticket{requester: from, ready: make(chan struct{})}
	q.mu.Lock()
	q.join(mine)
	q.mu.Unlock()
	select {
	case <-mine.ready:
	case <-ctx.Done():
		q.mu.Lock()
		defer q.mu.Unlock()
		if i := slices.Index(q.waiting, mine); i >= 0 {
			q.remove(i)
			return nil, context.Cause(ctx)
		}
	}
	if mine.err != nil {
		return nil, mine.err
	}
	return sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.free++
		q.call()
	}), nil
}

// keys returns the two keys of a ticket in turns: its address, and its name within the address.
func (t *ticket) keys() [2]requester {
	return [2]requester{{address: t.address, name: allNames}, t.requester}
}

// allNames stands for an address as a whole. No account has this name.
const allNames = "*"

// join adds a ticket, calls it if a slot is free, and refuses a ticket if too many wait. The
// caller holds mu.
func (q *queue) join(t *ticket) {
	q.waiting = append(q.waiting, t)
	for _, key := range t.keys() {
		if _, waits := q.turns[key]; !waits {
			q.turn++
			q.turns[key] = q.turn
		}
	}
	q.call()
	if len(q.waiting) <= q.places {
		return
	}
	i := q.busiest()
	refused := q.waiting[i]
	q.remove(i)
	refused.err = errBusy
	close(refused.ready)
}

// call gives the free slots to the next tickets. The caller holds mu.
func (q *queue) call() {
	for q.free > 0 && len(q.waiting) > 0 {
		i := q.next()
		called := q.waiting[i]
		q.free--
		q.turn++
		for _, key := range called.keys() {
			q.turns[key] = q.turn
		}
		q.remove(i)
		close(called.ready)
	}
}

// next returns the index of the ticket whose address, and within it name, has the lowest turn.
// The caller holds mu.
func (q *queue) next() int {
	best := 0
	for i, t := range q.waiting {
		if q.before(t, q.waiting[best]) {
			best = i
		}
	}
	return best
}

func (q *queue) before(a, b *ticket) bool {
	for i, key := range a.keys() {
		if mine, other := q.turns[key], q.turns[b.keys()[i]]; mine != other {
			return mine < other
		}
	}
	return false // the same address and name: the order of arrival
}

// busiest returns the index of the ticket to refuse in a full queue; see [queue]. The caller
// holds mu.
func (q *queue) busiest() int {
	counts := make(map[requester]int)
	for _, t := range q.waiting {
		for _, key := range t.keys() {
			counts[key]++
		}
	}
	worst := 0
	for i, t := range q.waiting {
		keys, most := t.keys(), q.waiting[worst].keys()
		if c := counts[keys[0]] - counts[most[0]]; c > 0 || c == 0 && counts[keys[1]] >= counts[most[1]] {
			worst = i
		}
	}
	return worst
}

// remove removes a ticket, and the turns of its address and name if no other ticket has them. The
// caller holds mu.
func (q *queue) remove(i int) {
	removed := q.waiting[i]
	q.waiting = slices.Delete(q.waiting, i, i+1)
	for at, key := range removed.keys() {
		if !slices.ContainsFunc(q.waiting, func(t *ticket) bool { return t.keys()[at] == key }) {
			delete(q.turns, key)
		}
	}
}
