package ginsse

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// turn is what a stream writes at one time. It is borrowed, so that an idle stream has none.
//
// The blocks of entries are the log's, and shared by all streams. Small ones are gathered into
// one write; large ones are written from where they are.
type turn struct {
	bytes   []byte            // written first: events of Send
	entries []*eventlog.Entry // then these
	own     []byte            // then the kit's own events, preludes, and transient events
	// transient are transient events that are part of the turn if the stream does not lag.
	transient []*eventlog.Entry

	// What is known of the events in bytes and own, and of all.
	counted int               // how many there are
	oldest  int64             // when the log has taken the oldest; 0 if that is not known
	traced  []*eventlog.Entry // those that have a trace
	resumes bool              // they were sent before the stream was opened
}

// The bounds of one turn. A stream whose client has stalled holds no more than one turn: at most
// maxTurnEvents references to entries, and copies of small blocks within maxTurnBytes.
const (
	maxTurnBytes  = 64 << 10
	maxTurnEvents = 512
	// largeBlock is the size from which a block is not copied.
	largeBlock = 16 << 10
)

var turns sync.Pool // of *turn

func borrowTurn() *turn {
	if t, ok := turns.Get().(*turn); ok {
		return t
	}
	return new(turn)
}

func (t *turn) release() {
	t.reset()
	turns.Put(t)
}

// reset empties the turn. It keeps the memory, except for what is larger than a turn needs.
func (t *turn) reset() {
	clear(t.entries)
	clear(t.transient)
	clear(t.traced)
	t.entries, t.transient, t.traced = t.entries[:0], t.transient[:0], t.traced[:0]
	t.counted, t.oldest, t.resumes = 0, 0, false
	if t.bytes = t.bytes[:0]; cap(t.bytes) > maxBufferBytes {
		t.bytes = nil
	}
	if t.own = t.own[:0]; cap(t.own) > maxBufferBytes {
		t.own = nil
	}
}

// size returns the bytes of the turn.
func (t *turn) size() int {
	n := len(t.bytes) + len(t.own)
	for _, e := range t.entries {
		n += len(e.Block)
	}
	return n
}

// appendFrame appends an entry without its ID, and counts it.
func (t *turn) appendFrame(e *eventlog.Entry) {
	t.own = e.AppendFrame(t.own)
	t.counted++
	if t.oldest == 0 && !t.resumes {
		t.oldest = e.Stored
	}
	if a := e.Attributes; a != nil && a.Trace != "" {
		t.traced = append(t.traced, e)
	}
}

// isEmpty reports whether there is nothing to write.
func (t *turn) isEmpty() bool { return len(t.bytes)+len(t.entries)+len(t.own) == 0 }

// sink takes the bytes of a turn.
type sink interface {
	// block takes a block of an entry that is large, or the only one. It is shared and must not be
	// changed.
	block(b []byte)
	// gathered takes small blocks, as a chunk without its size: after frameRoom bytes for that
	// come the blocks, and then CRLF.
	gathered(chunk []byte)
}

// frameRoom is room for the size of any chunk: eight hexadecimal digits and CRLF.
const frameRoom = 10

// writeTo writes the turn: small blocks together, large ones from where they are. It does the same
// each time that it is called.
func (t *turn) writeTo(w sink) {
	if len(t.bytes)+len(t.own) == 0 && len(t.entries) == 1 {
		w.block(t.entries[0].Block)
		return
	}
	var size [frameRoom]byte // comes later
	b := borrowBuffer()
	defer b.release()
	room := append(b.bytes, size[:]...) //nolint:gocritic // b.bytes gets it back below
	flush := func() {
		if len(room) > frameRoom {
			room = append(room, "\r\n"...)
			w.gathered(room)
			room = room[:frameRoom]
		}
	}
	room = append(room, t.bytes...)
	for _, e := range t.entries {
		if len(e.Block) < largeBlock {
			room = append(room, e.Block...)
			continue
		}
		flush()
		w.block(e.Block)
	}
	room = append(room, t.own...)
	flush()
	b.bytes = room
}

// next puts into t what the stream has to write now. more says that there is more than fits, or
// that the stream must look again. Only the stream's writer calls it.
func (s *Stream) next(ctx context.Context, t *turn) (more bool, err error) {
	news := s.unread.Swap(0) // before looking: later news notifies again
	if s.registry == nil {
		s.take(t)
		return false, nil
	}
	ended := s.ended.Load()
	var through eventlog.Cursor
	if !ended || s.at.Seq+1 < s.endsBefore() {
		through, err = s.readCommands(ctx, ended)
	}
	if s.ended.Load() && !reasonOf(s.Err()).drains() {
		return false, err
	}
	s.take(t)
	switch before := s.endsBefore(); {
	case err != nil:
		s.countBacklog(news, t.counted, true)
		return false, err
	case before != 0 && s.at.Seq+1 >= before:
		return false, nil
	case ended && !through.IsZero() && through.Epoch == s.at.Epoch && through.Seq+1 < before:
		return false, nil // a command may be there, but the node is partitioned
	}
	switch {
	case ended || s.preludes == nil || s.preludes.current == nil:
		if ended && s.holding() {
			return false, nil // the client comes back to the position that it had
		}
	case s.preludes.current.ready.Load():
		s.countBacklog(news, t.counted, true)
		return s.writePrelude(ctx, t, s.preludes.current)
	case s.holding():
		s.countBacklog(news, t.counted, true) // for what it reads later
		return false, nil
	}
	return s.readAll(ctx, t, news, ended)
}

// readAll puts into t the next entries of the log, and transient events if the stream does not lag.
// news are the notifications since the last time.
func (s *Stream) readAll(ctx context.Context, t *turn, news int64, ended bool) (more bool, err error) {
	before, moreTransients := s.transient, false
	if !ended && s.registry.transients.head.Load() > s.transient.Seq {
		// First, and written last: what was sent after a command comes after it.
		moreTransients = s.readTransients(ctx, t)
	}
	seen := s.registry.head.Load()
	more, err = s.read(ctx, t, ended)
	s.countBacklog(news, len(t.entries)+t.counted, more || err != nil)
	switch {
	case err == nil && !more && s.at.Seq >= seen: // or the node has lost its log
	case s.lags:
		s.missed = s.missed || slices.ContainsFunc(t.transient, isPresence)
		return more, err
	default: // they come with the rest of the turn
		s.transient = before
		return more, err
	}
	t.appendTransients(s)
	if s.missed && !ended && !moreTransients {
		s.missed = false
		t.own = s.appendPresent(t.own, true)
	}
	return moreTransients, nil
}

// readTransients puts into t the transient events that have come. They are written if the stream does
// not lag. It reports whether there are more.
func (s *Stream) readTransients(ctx context.Context, t *turn) (more bool) {
	page, err := s.registry.transients.log.Read(ctx, eventlog.Query{
		Subjects:   s.eventSubjects(),
		After:      s.transient,
		MaxEntries: maxTurnEvents,
		MaxBytes:   maxTurnBytes,
	}, t.transient)
	if err != nil {
		return false
	}
	t.transient, s.transient = page.Entries, page.Through
	s.missed = s.missed || page.Gap != ""
	return page.More
}

// appendTransients appends the transient events of the turn, without IDs. If the stream has missed some,
// those of presence are left out: a list of who is present follows.
func (t *turn) appendTransients(s *Stream) {
	for _, e := range t.transient {
		if s.mayHave(e) && !s.predates(e) && (!s.missed || !isPresence(e)) {
			t.appendFrame(e)
		}
	}
}

// countBacklog counts the events that wait to be written, after some news and some events of a turn.
func (s *Stream) countBacklog(news int64, events int, more bool) {
	backlog := int64(0)
	if more {
		backlog = max(0, s.backlog.Load()+news-int64(events))
	}
	s.backlog.Store(backlog)
}

// mayHave reports whether the stream gets an entry of its subjects.
func (s *Stream) mayHave(e *eventlog.Entry) bool {
	a := e.Attributes
	return a == nil || a.Except != s.id && (a.Expires == 0 || !a.HasExpired(time.Now()))
}

// readCommands looks ahead for commands if the stream was notified of one. On a shared log, an ended
// stream always looks: a command of another node may be before its end. It returns the zero Cursor
// if it did not look.
func (s *Stream) readCommands(ctx context.Context, ended bool) (through eventlog.Cursor, err error) {
	since := s.commanded.Swap(0)
	if since == 0 && (!ended || s.registry.cluster == nil) {
		return through, nil
	}
	if through, err = s.lookAhead(ctx, s.at, s.noWait); err != nil {
		s.commanded.CompareAndSwap(0, since)
	}
	return through, err
}

// read puts the next entries of the log into t. It ends at a command, and at the stream's end. ended
// says that the stream had ended when its commands were read.
func (s *Stream) read(ctx context.Context, t *turn, ended bool) (more bool, err error) {
	q := eventlog.Query{Subjects: s.subjects, After: s.at, MaxEntries: maxTurnEvents, MaxBytes: maxTurnBytes, NoWait: s.noWait}
	resuming := s.at.Seq < s.opening.Seq
	if resuming || ended && len(s.topicSubjects()) == 0 { // commands up to the opening were for earlier streams, and may be trimmed
		q.Subjects = s.eventSubjects()
	}
	page, err := s.registry.log.Read(ctx, q, t.entries)
	if err != nil {
		return false, err
	}
	s.lags = page.More
	if page.Gap != "" {
		return s.passGap(ctx, t, page, ended)
	}
	t.entries, more, t.resumes = page.Entries, page.More, resuming
	at := page.Through
	if resuming && at.Seq >= s.opening.Seq {
		t.cut(func(e *eventlog.Entry) bool { return e.At.Seq > s.opening.Seq })
		at, more = s.opening, true
	}
	s.cutEnd(t)
	command, refused := t.cut(s.isCommand), map[string]bool(nil)
	if command != nil {
		if refused, err = s.refusedTopics(ctx, command); err != nil {
			clear(t.entries)
			t.entries = t.entries[:0] // they are read again
			return false, err
		}
		at, more = command.At, true
	}
	s.at = at
	t.entries = slices.DeleteFunc(t.entries, func(e *eventlog.Entry) bool { return !s.mayHave(e) })
	switch n := len(t.entries); {
	case s.hidesPosition():
		t.hideIDs()
	case n > 0:
		s.sent = max(s.sent, t.entries[n-1].At.Seq)
	}
	if command != nil && command.At.Seq > s.opening.Seq {
		s.carryOut(t, command, refused, command.At.String()) //nolint:contextcheck // a prelude outlives ctx
		if s.preludes != nil {
			s.beginGranted() //nolint:contextcheck // as above
		}
	}
	s.cutEnd(t) // the stream may have ended meanwhile
	return more, nil
}

// cutEnd removes what an ended stream does not deliver.
func (s *Stream) cutEnd(t *turn) {
	if before := s.endsBefore(); before != 0 {
		cut := t.cut(func(e *eventlog.Entry) bool { return e.At.Seq >= before })
		s.cutOff = s.cutOff || cut != nil
	}
}

// hideIDs has the entries of the turn written without IDs.
func (t *turn) hideIDs() {
	for _, e := range t.entries {
		t.appendFrame(e)
	}
	clear(t.entries)
	t.entries = t.entries[:0]
}

// cut removes the first entry that at reports true for, and all after it. It returns that
// entry; nil if there is none.
func (t *turn) cut(at func(*eventlog.Entry) bool) *eventlog.Entry {
	i := slices.IndexFunc(t.entries, at)
	if i < 0 {
		return nil
	}
	first := t.entries[i]
	clear(t.entries[i:])
	t.entries = t.entries[:i]
	return first
}

// passGap moves the stream over a gap to the head of the log, and says so to the client. The
// commands in between are carried out. If one ends the stream, or one may be lost, the stream
// looks again whether it has missed events before its end. An ended stream has read its commands.
func (s *Stream) passGap(ctx context.Context, t *turn, page eventlog.Page, ended bool) (more bool, err error) {
	from := s.at
	if ended {
		s.at = page.Through
	} else {
		if err := s.skipTo(ctx, t, page.Through); err != nil {
			return false, err
		}
		if s.ended.Load() {
			s.at = from
			return true, nil
		}
	}
	s.registry.tellGap(s, page.Gap)
	if !ended && s.hasPrelude(true) {
		s.beginStart(false) //nolint:contextcheck // it outlives ctx
	}
	id := ""
	if !s.hidesPosition() {
		id, s.sent = s.at.String(), s.at.Seq
	}
	t.own = appendOwn(t.own, typeGap, id, gapData{Reason: page.Gap})
	s.missed = s.missed || s.registry.presence.IsUsed()
	if s.preludes != nil {
		s.beginGranted() //nolint:contextcheck // as above
	}
	return true, nil
}
