package natslog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ginsse/ginsse/eventlog"
)

const (
	// mostNewest is the most NATS subjects of which a replica sends the last message.
	mostNewest = 1024
	// mostNewestBytes bounds what a replica sends at a time, and what a page holds without need.
	mostNewestBytes = 4 << 20
	// keyRequests is for how many keys the leader is asked at the same time.
	keyRequests = 4
)

// keyedEntry is the newest entry of a key, up to the end of a page.
type keyedEntry struct {
	subject string
	seq     uint64
	entry   *eventlog.WindowEntry // nil if it is not loaded
}

// keyedEntries collects the newest entries of keys.
//
// Concurrency: add may be called from several goroutines.
type keyedEntries struct {
	mu    sync.Mutex // guards the fields below
	list  []keyedEntry
	bytes int
}

func (k *keyedEntries) add(e *eventlog.WindowEntry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := keyedEntry{e.Subject, e.At.Seq, e}
	if k.bytes += len(e.Block); k.bytes > mostNewestBytes {
		one.entry = nil // a page has few of many
	}
	k.list = append(k.list, one)
}

// bySubject returns the entries of each subject, in order.
func (k *keyedEntries) bySubject() map[string][]keyedEntry {
	slices.SortFunc(k.list, func(a, b keyedEntry) int { return cmp.Compare(a.seq, b.seq) })
	lists := make(map[string][]keyedEntry)
	for _, one := range k.list {
		lists[one.subject] = append(lists[one.subject], one)
	}
	return lists
}

// NextKeyed implements [eventlog.KeyedSource].
func (s *olderSource) NextKeyed(ctx context.Context, subject string, after uint64) (*eventlog.Entry, error) {
	e, err := s.nextKeyed(ctx, subject, after)
	if err != nil || e == nil {
		return nil, err
	}
	return &e.Entry, nil
}

// IsReplaced implements [eventlog.KeyedSource]. The source returns no entry that was replaced.
func (s *olderSource) IsReplaced(context.Context, *eventlog.Entry, uint64) (bool, error) {
	return false, nil
}

// nextKeyed returns the first event of a subject after a sequence that is the newest one of its
// key; nil if there is none.
func (s *olderSource) nextKeyed(ctx context.Context, subject string, after uint64) (*eventlog.WindowEntry, error) {
	if s.keyed == nil {
		if err := s.readKeys(ctx); err != nil {
			return nil, err
		}
	}
	for list := s.keyed[subject]; len(list) > 0; list = list[1:] {
		s.keyed[subject] = list
		first := &list[0]
		if first.seq <= after {
			continue
		}
		if first.entry == nil {
			e, err := s.broker.get(ctx, s.epoch, getRequest{Seq: first.seq})
			switch {
			case errors.Is(err, errNoMessage):
				continue // it has left the stream since
			case err != nil:
				return nil, err
			}
			first.entry = e
		}
		if len(first.entry.Block) > 0 { // it is an event
			return first.entry, nil
		}
	}
	delete(s.keyed, subject)
	return nil, nil //nolint:nilnil // there is none
}

// readKeys finds the newest entry of each key of all subjects that is after the query's position,
// up to the end of the page.
func (s *olderSource) readKeys(ctx context.Context) error {
	var filters []string
	for _, subject := range s.q.Subjects {
		of, err := natsSubject(s.broker.prefix, subject, "")
		if err != nil {
			return err
		}
		filters = append(filters, of+anyKey)
	}
	found, ok, err := s.newestOfReplicas(ctx, filters)
	if err == nil && !ok {
		found, err = s.newestOfLeader(ctx, filters)
	}
	if err == nil {
		s.keyed = found.bySubject()
	}
	return err
}

// newestOfReplicas asks any replica for the newest entries. It reports false if it cannot rely on
// the answers.
//
// A replica that lags would send entries that were replaced, and readers would miss those that
// replaced them. So the replica also has to send the message at the end of the page. The leader has
// sent that message too, so the replica has all messages before it.
func (s *olderSource) newestOfReplicas(ctx context.Context, filters []string) (found *keyedEntries, ok bool, err error) {
	if !s.replicas || s.failure != nil {
		return nil, false, nil
	}
	end, err := s.broker.get(ctx, s.epoch, getRequest{Seq: s.end})
	if err != nil {
		return nil, false, unlessGone(err)
	}
	found = new(keyedEntries)
	err = s.newestOfReplica(ctx, filters, end, found)
	if errors.Is(err, errTooManyForBatch) {
		keys, failure := s.keysOfLeader(ctx, filters)
		if failure != nil {
			return nil, false, failure
		}
		found = new(keyedEntries)
		for part := range slices.Chunk(keys, mostNewest/2) { // of a request that fits in a message
			if err = s.newestOfReplica(ctx, part, end, found); err != nil {
				break
			}
		}
	}
	switch {
	case errors.Is(err, errBrokenBatch), errors.Is(err, errTooManyForBatch):
		return nil, false, nil
	case err != nil:
		s.failure = err
		return nil, false, nil
	}
	s.usedReplica = true
	return found, true, nil
}

// newestOfReplica asks any replica for the newest entry of each NATS subject that the filters
// match. It returns errBrokenBatch if the replica does not send the message at the end of the page.
func (s *olderSource) newestOfReplica(ctx context.Context, filters []string, end *eventlog.WindowEntry, found *keyedEntries) error {
	of, err := natsSubject(s.broker.prefix, end.Subject, end.Key)
	if err != nil {
		return errBrokenBatch // it is not of a subject of the log
	}
	answer, err := s.broker.getBatch(ctx, s.epoch, batchRequest{
		Seq: s.q.After.Seq + 1, LastFor: append([]string{of}, filters...), UpTo: s.end, Batch: mostNewest + 1, MaxBytes: mostNewestBytes,
	})
	if err != nil {
		return err
	}
	n := len(answer.entries)
	if n == 0 || !isSame(answer.entries[n-1], end) {
		return errBrokenBatch
	}
	for _, e := range answer.entries {
		of, err := natsSubject(s.broker.prefix, e.Subject, e.Key)
		if err == nil && slices.ContainsFunc(filters, func(filter string) bool { return matchesFilter(filter, of) }) {
			found.add(e)
		}
	}
	return nil
}

// newestOfLeader asks the leader for all keys, and for the newest entry of each.
func (s *olderSource) newestOfLeader(ctx context.Context, filters []string) (*keyedEntries, error) {
	keys, err := s.keysOfLeader(ctx, filters)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan string, len(keys))
	for _, key := range keys {
		next <- key
	}
	close(next)
	var found keyedEntries
	var asking sync.WaitGroup
	for range min(keyRequests, len(keys)) {
		asking.Go(func() {
			for key := range next {
				e, err := s.newestOfKey(ctx, key)
				switch {
				case err != nil:
					cancel(err)
					return
				case e != nil && e.At.Seq > s.q.After.Seq:
					found.add(e)
				}
			}
		})
	}
	asking.Wait()
	return &found, context.Cause(ctx)
}

// keysOfLeader asks the leader for the NATS subjects that the filters match.
func (s *olderSource) keysOfLeader(ctx context.Context, filters []string) (keys []string, err error) {
	for _, filter := range filters {
		list, err := s.broker.subjects(ctx, filter)
		if err != nil {
			return nil, err
		}
		keys = append(keys, list...)
	}
	return keys, nil
}

// newestOfKey asks the leader for the newest message of a NATS subject up to the end of the page;
// nil if there is none after the query's position.
func (s *olderSource) newestOfKey(ctx context.Context, of string) (newest *eventlog.WindowEntry, err error) {
	e, err := s.broker.get(ctx, s.epoch, getRequest{LastFor: of})
	if err != nil || e.At.Seq <= s.end {
		return e, unlessGone(err)
	}
	// The key has a newer entry, which readers of this node do not see yet.
	for low, high := s.q.After.Seq+1, s.end; low <= high; {
		middle := low + (high-low)/2
		e, err := s.broker.get(ctx, s.epoch, getRequest{Seq: middle, NextFor: of})
		switch {
		case unlessGone(err) != nil:
			return nil, err
		case e != nil && e.At.Seq <= s.end:
			newest, low = e, e.At.Seq+1
		default:
			high = middle - 1
		}
	}
	return newest, nil
}

// unlessGone returns an error of a request, but nil if it is that there is no such message.
func unlessGone(err error) error {
	if errors.Is(err, errNoMessage) {
		return nil
	}
	return err
}

var _ eventlog.KeyedSource = (*olderSource)(nil)
