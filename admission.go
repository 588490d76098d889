package ginsse

import (
	"fmt"
	"time"
)

// admission decides which streams a registry takes. Registry.mu guards it.
type admission struct {
	maxStreams   int // 0 or less is no limit, as below
	maxPerUser   int
	refuseNewest bool

	opens    opens
	controls opens          // requests to ControlHandler
	served   int            // streams whose handler has not returned, or if compact, not closed yet
	held     int            // places of streams that have ended while hooks of theirs run
	heldBy   map[string]int // the same by user; none is 0
}

func newAdmission(cfg RegistryConfig) admission {
	return admission{
		maxStreams:   cfg.MaxStreams,
		maxPerUser:   cfg.MaxStreamsPerUser,
		refuseNewest: cfg.RefuseNewest,
		opens:        opens{perMinute: cfg.MaxOpensPerMinute},
		controls:     opens{perMinute: cfg.MaxOpensPerMinute},
		heldBy:       make(map[string]int),
	}
}

// check reports why a stream is not let in. others are the user's streams, total is the number of
// all, also those that follow runs. If the user has as many streams as allowed, check returns the oldest, which the new one
// replaces.
func (a *admission) check(s *Stream, others []*Stream, total int) (oldest *Stream, err error) {
	if held := len(others) + a.heldBy[s.user]; a.maxPerUser > 0 && held >= a.maxPerUser {
		if a.refuseNewest {
			return nil, fmt.Errorf("%w: the user has %d", ErrTooManyStreams, held)
		}
		if oldest = oldestWithoutHooks(others); oldest == nil {
			return nil, fmt.Errorf("%w: %w: hooks of the user's streams have not returned", ReasonOverloaded, ErrTooManyStreams)
		}
	}
	if err := a.checkTotal(total, oldest != nil); err != nil {
		return nil, err
	}
	return oldest, nil
}

// checkTotal reports why a stream does not get in beside the total of those that there are. replaces
// says that one of them ends for it.
func (a *admission) checkTotal(total int, replaces bool) error {
	// Ended streams may still write to slow clients: there may be as many again.
	switch held := total + a.held; {
	case a.maxStreams <= 0:
	case held >= a.maxStreams && !replaces:
		return fmt.Errorf("%w: %w: the registry has %d; RegistryConfig.MaxStreams allows no more",
			ReasonOverloaded, ErrTooManyStreams, held)
	case a.served >= 2*a.maxStreams:
		return fmt.Errorf("%w: %w: the registry writes %d, of which many have ended; it does so for twice "+
			"RegistryConfig.MaxStreams", ReasonOverloaded, ErrTooManyStreams, a.served)
	}
	return nil
}

// oldestWithoutHooks returns the oldest stream whose place becomes free when it ends.
func oldestWithoutHooks(streams []*Stream) (oldest *Stream) {
	for _, s := range streams {
		if s.hooks == 0 && (oldest == nil || s.opened.Before(oldest.opened)) {
			oldest = s
		}
	}
	return oldest
}

// hold changes the number of hooks of a stream that run, or will. While it is above 0, a
// stream that has ended keeps its place.
func (a *admission) hold(s *Stream, change int32) {
	s.hooks += change
	holds := s.detached && s.hooks > 0
	switch {
	case holds == s.holds:
	case holds:
		a.held++
		a.heldBy[s.user]++
	default:
		a.held--
		if a.heldBy[s.user]--; a.heldBy[s.user] == 0 {
			delete(a.heldBy, s.user)
		}
	}
	s.holds = holds
}

// mayOpen reports why a stream may not be opened now, and if its user opens streams too often,
// when the next one may be.
func (r *Registry) mayOpen(s *Stream) (after time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != stateOpen {
		return 0, ReasonShutdown
	}
	if after := r.admission.opens.take(s.user, s.opened); after > 0 {
		return after, fmt.Errorf("%w: the user opens streams too often", ReasonThrottled)
	}
	return 0, nil
}

// attach makes a stream a subscriber of its subjects, or reports why it is not let in. A user with
// as many streams as allowed gets the new one in place of the oldest: connections that are dead but
// not yet noticed must not keep a living page out.
func (r *Registry) attach(s *Stream) error {
	oldest, err := r.tryAttach(s)
	if oldest != nil {
		oldest.end(ReasonReplaced)
	}
	return err
}

// tryAttach is attach, except that the caller ends the stream that was replaced. The user is not
// offline in between.
func (r *Registry) tryAttach(s *Stream) (replaced *Stream, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != stateOpen {
		return nil, ReasonShutdown
	}
	total, _ := r.subscribers.totals()
	replaced, err = r.admission.check(s, r.Streams(s.user), total+r.followers.total)
	if err != nil {
		return nil, err
	}
	r.subscribers.add(s)
	r.joinPresenceLocked(s)
	if r.cfg.ConnectFunc != nil {
		r.admission.hold(s, 1) // until it has been called
	}
	r.admission.served++
	r.active++
	r.opened.Add(1)
	if replaced != nil {
		r.detachLocked(replaced)
	}
	return replaced, nil
}

// release ends the hold of attach.
func (r *Registry) release(s *Stream) {
	if r.cfg.ConnectFunc == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admission.hold(s, -1)
}

// detach removes a stream from the subscribers. It may be repeated.
func (r *Registry) detach(s *Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detachLocked(s)
}

func (r *Registry) detachLocked(s *Stream) {
	if !r.subscribers.remove(s) {
		return
	}
	r.leavePresenceLocked(s)
	s.detached = true
	r.admission.hold(s, 0)
}

// doneServing notes that an attached stream is no longer served: its handler has returned, or if it
// is compact, its connection is closed.
func (r *Registry) doneServing() {
	r.mu.Lock()
	r.admission.served--
	r.mu.Unlock()
	r.leave()
}

// leave notes that a stream is no longer served, or that a hook has returned.
func (r *Registry) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active--
	r.wakeIdleLocked()
}

func (r *Registry) wakeIdleLocked() {
	if r.idle != nil && r.active == 0 {
		select {
		case <-r.idle:
		default:
			close(r.idle)
		}
	}
}
