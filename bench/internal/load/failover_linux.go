package load

import (
	"fmt"
	"time"
)

// FailoverArgs says where streams reconnect that their server ends.
type FailoverArgs struct {
	Addrs        []string // of the servers, to which the streams connect in turn
	InFlight     int      // concurrent requests, at least 1
	Limit, Quiet time.Duration
}

// Failover is the result of [Loader.Failover].
type Failover struct {
	Reconnected int       // how often a stream has reconnected
	Back        time.Time // when the last one received its headers; zero if none has
}

// failover is what a loader keeps while streams reconnect.
type failover struct {
	waiting []*stream // those that have been ended, and are to reconnect
	before  int       // streams that were opened before
	started int       // requests since then
	back    time.Time
}

// inFlight is the number of requests without an answer.
func (f *failover) inFlight(l *Loader) int { return f.started - (l.open - f.before) }

// Failover reads like Wait. When a server ends a stream, the stream reconnects to another one
// at once, with its last event ID. Real clients wait for their reconnection time first.
func (l *Loader) Failover(args FailoverArgs) (result Failover, err error) {
	if l.addrs, err = parseAddresses(args.Addrs, l.args.From); err != nil {
		return result, err
	}
	f := &failover{before: l.open}
	l.failover = f
	defer func() { l.failover = nil }()
	err = l.read(args.Limit, args.Quiet, func() (bool, error) {
		for len(f.waiting) > 0 && f.inFlight(l) < args.InFlight {
			s := f.waiting[0]
			f.waiting = f.waiting[1:]
			f.started++
			if err := l.reconnect(s); err != nil {
				return false, fmt.Errorf("reconnecting stream %d: %w", s.index, err)
			}
		}
		return l.finished < l.reading || f.inFlight(l) > 0, nil
	})
	return Failover{Reconnected: l.open - f.before, Back: f.back}, err
}

// reconnect replaces a stream that has been ended by one that resumes, and keeps its counts.
func (l *Loader) reconnect(was *stream) error {
	s := newStream(was.index, was)
	s.keepIDs, s.stalled, s.finished = was.keepIDs, was.stalled, was.finished
	s.tally, s.received = was.tally, was.received
	l.streams[s.index] = s
	request, err := l.request(s)
	if err != nil {
		return err
	}
	return l.connect(s, request)
}
