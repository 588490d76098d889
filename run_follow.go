package ginsse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// follower reads a run from the log.
//
// Its methods return two errors. end says why no more events come: errRunOver, [ErrRunStopped],
// [ErrRunFailed], [ErrRunNotFound], [ErrRunGone], or the Reason of a command to disconnect. err is an
// error of the log, or of delivering events.
type follower struct {
	r       *Registry
	run     runID
	subject string
	control string
	user    string
	stream  *Stream // nil if commands to the user do not concern it
	news    *waker
	// deliver takes the next events. It may wait.
	deliver func(ctx context.Context, events []runEvent) error

	at      eventlog.Cursor // read through
	next    int64           // number of the next event
	known   bool            // an entry of the run was read
	seen    time.Time       // when an entry was last read
	warned  bool            // the log could not be read
	overdue atomic.Bool     // the user's commands will be read beside

	mu         sync.Mutex      // guards the field below
	commandsAt eventlog.Cursor // the user's commands were read through
}

// runEvent is an event of a run, without its blank line.
type runEvent struct {
	id   runEventID
	text []byte // of the log, and must not be changed
}

func (r *Registry) newFollower(userID, id string) (*follower, error) {
	if err := checkName("user ID", userID); err != nil {
		return nil, err
	}
	run, err := parseRunID(id)
	if err != nil {
		return nil, err
	}
	f := &follower{r: r, run: run, user: userID, news: newWaker(), seen: time.Now()}
	f.subject, f.control = run.subjects(userID)
	return f, nil
}

// watch has the follower woken up for entries of the run, and commands to the user's streams, of which
// s is one. It is called before the log is read.
func (f *follower) watch(s *Stream) (stop func()) {
	stopRun := f.r.wakers.add(f.subject, f.news)
	if s == nil {
		return stopRun
	}
	f.stream = s
	f.deliver = func(ctx context.Context, events []runEvent) error {
		b := borrowBuffer()
		defer b.release()
		b.bytes = appendRunEvents(b.bytes, events)
		return s.enqueue(ctx, b.bytes, Event{})
	}
	// A client that is slow keeps the follower waiting. So the commands are also read beside.
	stopCommands := f.r.wakers.add(commandSubject(f.user), &waker{news: f.news.news, called: func() {
		if f.overdue.CompareAndSwap(false, true) {
			time.AfterFunc(drainTime, f.readOverdueCommands)
		}
	}})
	return func() {
		stopRun()
		stopCommands()
	}
}

func appendRunEvents(b []byte, events []runEvent) []byte {
	for _, event := range events {
		b = append(b, event.text...)
		b = append(appendField(b, idField, event.id.String()), '\n')
	}
	return b
}

func (f *follower) readOverdueCommands() {
	f.overdue.Store(false)
	if f.stream.ended.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(f.r.life, lookAheadTimeout)
	defer cancel()
	if _, reason, err := f.readCommands(ctx); err == nil && reason != "" {
		f.stream.end(reason)
	}
}

// first begins to follow, and returns the first events in wire form instead of delivering them.
func (f *follower) first(ctx context.Context, lastID string) (events []byte, end, err error) {
	deliver := f.deliver
	defer func() { f.deliver = deliver }()
	f.deliver = func(_ context.Context, list []runEvent) error {
		events = appendRunEvents(events, list)
		return nil
	}
	end, err = f.begin(ctx, lastID)
	return events, end, err
}

// begin finds the run and the position in it, and reads the first events.
func (f *follower) begin(ctx context.Context, lastID string) (end, err error) {
	f.at = f.run.begin
	if lastID != "" {
		id, ok := parseRunEventID(lastID)
		if !ok {
			return errRunPosition, nil
		}
		f.at, f.next = id.after, id.next
	}
	head, err := f.r.currentHead(ctx)
	if err != nil {
		return nil, err
	}
	f.commandsAt = head
	if f.at.Epoch == head.Epoch && f.at.Seq > head.Seq {
		if lastID != "" {
			return errRunPosition, nil
		}
		return ErrRunNotFound, nil
	}
	from := f.next
	for more := true; more && f.next == from; {
		if more, end, err = f.turn(ctx); end != nil || err != nil {
			return end, err
		}
	}
	if f.known {
		return nil, nil
	}
	if lastID == "" {
		if f.at.Epoch == head.Epoch && f.at.Seq < head.Seq {
			return nil, errRunUnread
		}
		return ErrRunNotFound, nil
	}
	switch err := f.find(ctx, head); {
	case errors.Is(err, ErrRunNotFound), errors.Is(err, ErrRunGone):
		return err, nil
	default:
		return nil, err
	}
}

// errRunPosition: the client has made its position up, or it is of another run.
var errRunPosition = fmt.Errorf("%w: the last event ID is not one of the run's", ErrRunGone)

// find returns an error unless the user has the run, or may have had it for so long that the log has
// lost its beginning.
func (f *follower) find(ctx context.Context, head eventlog.Cursor) error {
	_, err := f.readFirst(ctx, head)
	return err
}

// readFirst reads the first entry of the run. Without an error, there is an entry or GapTrimmed.
func (f *follower) readFirst(ctx context.Context, head eventlog.Cursor) (eventlog.Page, error) {
	if f.run.begin.Epoch == head.Epoch && f.run.begin.Seq > head.Seq {
		return eventlog.Page{}, ErrRunNotFound
	}
	page, err := f.r.log.Read(ctx, eventlog.Query{Subjects: []string{f.subject}, After: f.run.begin, MaxEntries: 1, MaxBytes: 1}, nil)
	switch {
	case err != nil, page.Gap == eventlog.GapTrimmed, len(page.Entries) > 0:
		return page, err
	case page.Gap == eventlog.GapEpoch:
		return page, fmt.Errorf("%w: %s", ErrRunGone, page.Gap)
	case page.Through.Seq < head.Seq && !page.More:
		return page, errRunUnread
	default:
		return page, ErrRunNotFound
	}
}

// errRunUnread: the node has lost its log since it has asked for the head.
var errRunUnread = errors.New("ginsse: the run could not be read up to the head of the log")

// findForStop is find for a command to the run. A run whose beginning the log has lost must run on
// this node, or have given a sign of life since: each made-up ID would be another subject of the log.
func (f *follower) findForStop(ctx context.Context, head eventlog.Cursor) error {
	if f.r.wakers.has(f.control) {
		return nil
	}
	page, err := f.readFirst(ctx, head)
	if err != nil || len(page.Entries) > 0 {
		return err
	}
	page, err = f.r.log.Read(ctx, eventlog.Query{
		Subjects: []string{f.subject}, After: eventlog.Cursor{Epoch: head.Epoch}, Latest: true, MaxEntries: 1, MaxBytes: 1,
	}, nil)
	if err == nil && len(page.Entries) == 0 {
		err = fmt.Errorf("%w: %s", ErrRunGone, eventlog.GapTrimmed)
	}
	return err
}

// follow delivers events until the run, or the right to follow it, has ended.
func (f *follower) follow(ctx context.Context) (end, err error) {
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		more, end, err := f.turn(ctx)
		if err == nil && end == nil && !more && f.isSilent() {
			end, err = f.checkLost(ctx)
			more = err == nil && !f.isSilent() // it was not lost
		}
		var failed deliveryError
		switch {
		case end != nil:
			return end, nil
		case errors.As(err, &failed):
			return nil, failed.error
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case more:
			continue
		}
		wait := never
		if f.r.presence != nil {
			wait = runSilence - time.Since(f.seen)
		}
		if err != nil || wait <= 0 {
			wait = retryRead
		}
		if err != nil && !f.warned {
			f.warned = true
			f.r.logger.LogAttrs(ctx, slog.LevelWarn, "reading a run", slog.String("user", f.user), slog.Any("error", err))
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.news.news:
		case <-ctx.Done():
		}
	}
}

// deliveryError is an error of deliver: nothing can be delivered any more.
type deliveryError struct{ error }

func (e deliveryError) Unwrap() error { return e.error }

// turn delivers the next events. more says that there are more than it has read.
func (f *follower) turn(ctx context.Context) (more bool, end, err error) {
	page, err := f.r.log.Read(ctx, eventlog.Query{
		Subjects: []string{f.subject}, After: f.at, MaxEntries: maxTurnEvents, MaxBytes: maxTurnBytes,
	}, nil)
	if err == nil && page.More && page.Through == f.at {
		err = errNoProgress
	}
	if err != nil {
		return false, nil, err
	}
	// What is read after the events has every command before them.
	var command uint64
	var reason Reason
	if f.stream != nil {
		if command, reason, err = f.readCommands(ctx); err != nil {
			return false, nil, err
		}
	}
	if page.Gap != "" {
		return false, f.gone(page.Gap), nil
	}
	for _, e := range page.Entries {
		if reason != "" && e.At.Seq > command {
			return false, reason, nil
		}
		if end, err = f.entry(ctx, e); end != nil || err != nil {
			return false, end, err
		}
	}
	f.at = page.Through
	if reason != "" {
		return false, reason, nil
	}
	return page.More, nil, nil
}

// gone returns the end for a gap.
func (f *follower) gone(gap eventlog.GapReason) error {
	if gap == eventlog.GapUnknown && !f.known && f.next == 0 {
		return ErrRunNotFound // the ID of the run was made up
	}
	return fmt.Errorf("%w: %s", ErrRunGone, gap)
}

// entry delivers the events of an entry, without those that the reader has.
func (f *follower) entry(ctx context.Context, e *eventlog.Entry) (end, err error) {
	h, texts := parseRunEntry(e)
	f.known, f.seen = true, time.Now()
	if h.kind == runEvents || h.kind == runEnd {
		if h.first > f.next {
			return fmt.Errorf("%w: events %d to %d are missing", ErrRunGone, f.next, h.first), nil
		}
		var events []runEvent
		for _, text := range texts[min(f.next-h.first, int64(len(texts))):] {
			f.next++
			// Such a position is from before the entry. A client that comes back with it gets the
			// entry again, and knows by the number what it has.
			id := runEventID{f.at, f.next}
			if h.kind == runEvents && f.next == h.first+int64(len(texts)) {
				id.after = e.At
			}
			events = append(events, runEvent{id, text})
		}
		if len(events) > 0 {
			if err := f.deliver(ctx, events); err != nil {
				return nil, deliveryError{err}
			}
		}
	}
	if h.kind != runEnd {
		f.at = e.At
		return nil, nil
	}
	switch h.state {
	case runDone:
		return errRunOver, nil
	case runStopped:
		return ErrRunStopped, nil
	case runLost:
		return errRunLost, nil
	default:
		return ErrRunFailed, nil
	}
}

// readCommands reads the commands to the user's streams. If one of them disconnects the stream, it
// returns the command's sequence and its reason.
func (f *follower) readCommands(ctx context.Context) (command uint64, reason Reason, err error) {
	f.mu.Lock()
	at := f.commandsAt
	f.mu.Unlock()
	for more := true; more; {
		page, err := f.r.log.Read(ctx, eventlog.Query{
			Subjects: []string{commandSubject(f.user)}, After: at, MaxEntries: maxTurnEvents, MaxBytes: maxTurnBytes,
		}, nil)
		if err == nil && page.More && page.Through == at {
			err = errNoProgress
		}
		if err != nil {
			return 0, "", err
		}
		if page.Gap != "" {
			return 0, ReasonReauthenticate, nil // it may have been a command to disconnect
		}
		for _, e := range page.Entries {
			if reason, ok := disconnectReason(e); ok {
				return e.At.Seq, reason, nil // and it is read again
			}
		}
		at, more = page.Through, page.More
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.Epoch != f.commandsAt.Epoch || at.Seq > f.commandsAt.Seq {
		f.commandsAt = at
	}
	return 0, "", nil
}

// isSilent reports whether the run's node may have crashed. Only a shared log outlives a node.
func (f *follower) isSilent() bool {
	return f.r.presence != nil && time.Since(f.seen) >= runSilence
}

// checkLost finds out whether the run's node has crashed. This node must be connected to the log, and
// must have read up to its head. If it has, checkLost says so to all who follow the run, and to its
// node, which may have been frozen.
func (f *follower) checkLost(ctx context.Context) (end, err error) {
	head, err := f.r.currentHead(ctx)
	if err != nil {
		return nil, err
	}
	for more := true; more; {
		if more, end, err = f.turn(ctx); end != nil || err != nil {
			return end, err
		}
	}
	if !f.isSilent() || f.at.Seq < head.Seq {
		return nil, nil
	}
	if f.known {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		lost := appendRunHeader(nil, runHeader{kind: runEnd, first: f.next, state: runLost})
		_, _ = f.r.append(ctx, eventlog.Record{Subject: f.subject, Frame: append(lost, '\n')}) // others find out themselves
		_, _ = f.r.append(ctx, eventlog.Record{Subject: f.control, Frame: append(appendRunHeader(nil, runHeader{kind: runLost}), '\n')})
	}
	return errRunLost, nil
}
