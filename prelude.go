package ginsse

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// prelude is what a stream gets before it goes on: the past of topics, the newest events, the state.
// A goroutine collects it. The stream's writer begins that, and writes the result.
//
// Until a prelude is written, nothing that the stream writes carries an ID: a client that loses its
// connection must come back to the position that it had before.
type prelude struct {
	// granted are the topics that it is for. With nil it is for the whole stream, which reads no events
	// meanwhile.
	granted []*granting

	ready atomic.Bool // set when the fields up to err are
	parts []preludePart
	head  eventlog.Cursor // of the log, when the parts were collected
	err   error

	begun bool          // the parts are written; the writer's, as news
	news  []preludeNews // what the stream writes then
}

// granting is a topic that was granted, and whose prelude is not written yet.
type granting struct {
	topic   string
	at      eventlog.Cursor // of the grant
	history *string         // see topicData
}

// preludePart is the part of a prelude that is about one topic; or about none, with "".
type preludePart struct {
	topic string
	gap   eventlog.GapReason // the past has one
	bytes []byte
}

// preludeNews are the events of a granted topic after a position, up to that of the stream.
type preludeNews struct {
	topic string
	after eventlog.Cursor
}

// preludes is what a stream knows about preludes. Only its writer uses it. Streams without any have
// none.
type preludes struct {
	state   StateFunc
	latest  bool
	history *string // of topics at the start; nil for none

	current  *prelude    // nil if none is collected
	granting []*granting // in order
	asked    bool        // the page has asked for its state again
}

// holding reports whether the stream reads no events, because a prelude comes first.
func (s *Stream) holding() bool {
	if s.preludes == nil || s.preludes.current == nil {
		return false
	}
	return s.preludes.current.granted == nil || s.preludes.current.begun
}

// hidesPosition reports whether nothing carries an ID, because a prelude is not written yet.
func (s *Stream) hidesPosition() bool {
	return s.preludes != nil && (s.preludes.current != nil || len(s.preludes.granting) > 0)
}

// hasPrelude reports whether the stream gets something first when it starts, or has a gap.
func (s *Stream) hasPrelude(gap bool) bool {
	p := s.preludes
	return p != nil && (p.state != nil || p.latest || p.history != nil && !gap)
}

// beginStart begins the prelude of the whole stream, with the past of its topics or without. It takes
// the place of one that is collected.
func (s *Stream) beginStart(past bool) {
	s.preludes.asked = false
	c := s.newCollector(new(prelude))
	c.wants = append(c.wants, preludeWant{subjects: []string{userSubject(s.user), eventlog.SubjectAll}, at: s.at})
	var history *string
	if past {
		history = s.preludes.history
	}
	for _, subject := range s.topicSubjects() {
		c.wants = append(c.wants, preludeWant{subject[len(topicPrefix):], []string{subject}, s.at, history, c.latest})
	}
	c.wants[0].latest = c.latest
	c.start()
}

// sendState sends what a page needs first, at its request: who is present, and the prelude of the whole
// stream. If another prelude is collected, it comes first.
func (s *Stream) sendState() {
	s.missed = s.missed || s.registry.presence.IsUsed()
	switch {
	case !s.hasPrelude(true):
	case s.hidesPosition():
		s.preludes.asked = true
	default:
		s.beginStart(false)
	}
}

// beginGranted begins the prelude of the topics that were granted, unless another one is collected.
func (s *Stream) beginGranted() {
	p := s.preludes
	if p.current != nil || len(p.granting) == 0 {
		return
	}
	c := s.newCollector(&prelude{granted: slices.Clone(p.granting)})
	for _, g := range p.granting {
		c.wants = append(c.wants, preludeWant{g.topic, []string{topicPrefix + g.topic}, g.at, g.history, c.latest && g.history != nil})
	}
	c.start()
}

// newCollector returns a collector of a prelude.
func (s *Stream) newCollector(p *prelude) *collector {
	s.preludes.current = p
	return &collector{s: s, state: s.preludes.state, latest: s.preludes.latest, prelude: p}
}

// writePrelude puts the next piece of a prelude that was collected into t: its parts, then in turns
// what has come in granted topics since, then the position.
func (s *Stream) writePrelude(ctx context.Context, t *turn, p *prelude) (more bool, err error) {
	switch {
	case p.err != nil:
		s.end(fmt.Errorf("%w: %w", ReasonOverloaded, p.err))
	case !p.begun:
		return s.writeParts(ctx, t, p)
	case len(p.news) > 0:
		return s.writeNews(ctx, t, p)
	default:
		s.preludes.current = nil
		if s.preludes.asked {
			s.beginStart(false) //nolint:contextcheck // a prelude outlives ctx
		} else {
			s.beginGranted() //nolint:contextcheck // as above
		}
		if !s.hidesPosition() {
			s.appendPosition(t)
		}
	}
	return true, nil
}

// writeParts writes the parts of a prelude. From here on, the stream reads the topics that were granted.
func (s *Stream) writeParts(ctx context.Context, t *turn, p *prelude) (more bool, err error) {
	revoked, err := s.revokedAhead(ctx, p.head)
	if err != nil || s.ended.Load() {
		return err == nil, err
	}
	p.begun = true
	for i, part := range p.parts {
		if p.granted != nil {
			g := p.granted[i]
			pending := slices.Index(s.preludes.granting, g)
			if pending < 0 {
				continue // it was revoked
			}
			s.preludes.granting = slices.Delete(s.preludes.granting, pending, pending+1)
			if revoked[g.topic] {
				s.appendTopics(t, topicsData{Refused: []string{g.topic}}, "")
				continue
			}
			s.addTopic(topicPrefix + g.topic)
			s.appendTopics(t, topicsData{Added: []string{g.topic}}, "")
			p.news = append(p.news, preludeNews{g.topic, g.at})
		}
		if !revoked[part.topic] {
			s.appendTopicGap(t, part.topic, part.gap)
			t.own = append(t.own, part.bytes...)
		}
	}
	return true, nil
}

// writeNews writes a page of what has come in a granted topic since its grant. If the log has lost some
// of it, the state that was sent is too old, and is collected again.
func (s *Stream) writeNews(ctx context.Context, t *turn, p *prelude) (more bool, err error) {
	news := &p.news[0]
	subject := topicPrefix + news.topic
	page, err := s.readBetween(ctx, subject, news.after, s.at, s.noWait)
	if err != nil {
		return false, err
	}
	for _, e := range page.Entries {
		if s.mayHave(e) {
			t.appendFrame(e)
		}
	}
	s.appendTopicGap(t, news.topic, page.Gap)
	if page.Gap != "" && s.preludes.state != nil {
		s.removeTopic(subject, false)
		s.preludes.granting = append(s.preludes.granting, &granting{topic: news.topic, at: s.at})
	}
	if news.after = page.Through; !page.More {
		p.news = p.news[1:]
	}
	return true, nil
}

// appendTopicGap tells the client that events of a topic are missing.
func (s *Stream) appendTopicGap(t *turn, topic string, gap eventlog.GapReason) {
	if gap != "" {
		s.registry.tellGap(s, gap)
		t.own = appendOwn(t.own, typeGap, "", gapData{Reason: gap, Topic: topic})
	}
}

// revokedAhead returns the topics that were taken from the stream by commands which it has not reached,
// up to a position at least: the state may have been read after them. If one of the commands ends the
// stream, it has ended.
func (s *Stream) revokedAhead(ctx context.Context, least eventlog.Cursor) (revoked map[string]bool, err error) {
	through, err := s.readCommandsFrom(ctx, s.topicCommands(), s.at, s.noWait, func(command *eventlog.Entry) error {
		s.carryOutEarly(command)
		stream, changes := topicChanges(command)
		for _, c := range changes {
			if !c.adds && (stream == "" || stream == s.id) {
				if revoked == nil {
					revoked = make(map[string]bool)
				}
				revoked[c.topic] = true
			}
		}
		return nil
	})
	if err == nil && !s.ended.Load() && through.Seq < least.Seq {
		err = errCommandsUnread
	}
	return revoked, err
}

// readBetween reads a page of the events of a subject between two positions. If the page reports no
// more, it has reached the second one.
func (s *Stream) readBetween(ctx context.Context, subject string, after, through eventlog.Cursor, noWait bool) (page eventlog.Page, err error) {
	if after.Epoch == through.Epoch && after.Seq >= through.Seq {
		return page, nil
	}
	page, err = s.readPage(ctx, eventlog.Query{Subjects: []string{subject}, After: after, NoWait: noWait})
	if err != nil || page.Gap != "" {
		return page, err
	}
	if page.Through.Seq >= through.Seq {
		page.More = false
		page.Entries = slices.DeleteFunc(page.Entries, func(e *eventlog.Entry) bool { return e.At.Seq > through.Seq })
	} else if !page.More {
		err = errCommandsUnread // the node is partitioned
	}
	return page, err
}

// collector collects one prelude, on a goroutine of its own.
type collector struct {
	s       *Stream
	state   StateFunc
	latest  bool
	prelude *prelude
	wants   []preludeWant
	left    int       // bytes
	once    sync.Once // hands the prelude over
}

// preludeWant is what a part of a prelude is made of.
type preludeWant struct {
	topic    string
	subjects []string
	at       eventlog.Cursor // the part shows what there was then, or later
	history  *string         // nil for none
	latest   bool
}

// The errors of a state.
var (
	errStateTimeout = errors.New("ginsse: the state took longer than RegistryConfig.StateTimeout")
	errStatePanic   = errors.New("ginsse: panic in the function given to WithState")
)

func (c *collector) start() {
	r := c.s.registry
	r.mu.Lock()
	r.active++ // Shutdown waits for it
	r.mu.Unlock()
	go c.run()
}

// run collects the prelude in its turn, and wakes the stream.
func (c *collector) run() {
	r := c.s.registry
	defer r.leave()
	ctx, cancel := context.WithCancel(r.life)
	defer cancel()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-c.s.Done():
			cancel()
		case <-finished:
		}
	}()
	select {
	case r.states <- struct{}{}:
		defer func() { <-r.states }()
	case <-ctx.Done():
		return
	}
	ctx, cancelTimeout := context.WithTimeoutCause(ctx, r.cfg.StateTimeout, errStateTimeout)
	defer cancelTimeout()
	// The stream ends in time also if the function ignores its context.
	defer context.AfterFunc(ctx, func() { c.finish(nil, eventlog.Cursor{}, context.Cause(ctx)) })()
	c.left = r.cfg.MaxStateBytes
	parts, err := c.collect(ctx)
	var head eventlog.Cursor
	if err == nil { // the state may be ahead of what this node has read of the log
		head, err = c.currentHead(ctx)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	c.finish(parts, head, err)
}

// currentHead is Registry.currentHead. While the node is partitioned, it tries again.
func (c *collector) currentHead(ctx context.Context) (eventlog.Cursor, error) {
	for {
		head, err := c.s.registry.currentHead(ctx)
		if err == nil {
			return head, nil
		}
		select {
		case <-time.After(retryHead):
		case <-ctx.Done():
			return head, err
		}
	}
}

// retryHead is how long a collector waits before it asks a failing log again.
const retryHead = 100 * time.Millisecond

// finish hands the prelude to the stream's writer. The first call counts.
func (c *collector) finish(parts []preludePart, head eventlog.Cursor, err error) {
	c.once.Do(func() {
		if err != nil && !c.s.ended.Load() {
			c.s.registry.logger.Warn("collecting the state of a stream", "stream", c.s.id, "error", err)
		}
		c.prelude.parts, c.prelude.head, c.prelude.err = parts, head, err
		c.prelude.ready.Store(true)
		c.s.interrupt()
	})
}

func (c *collector) collect(ctx context.Context) (parts []preludePart, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.s.registry.logPanic("WithState", p, debug.Stack())
			err = errStatePanic
		}
	}()
	for _, want := range c.wants {
		part, err := c.collectPart(ctx, want)
		if err != nil {
			return nil, err
		}
		c.left -= len(part.bytes)
		parts = append(parts, part)
	}
	return parts, nil
}

func (c *collector) collectPart(ctx context.Context, want preludeWant) (preludePart, error) {
	part := preludePart{topic: want.topic}
	if want.history != nil {
		if err := c.addHistory(ctx, &part, want); err != nil {
			return part, err
		}
	}
	if want.latest && (want.history == nil || *want.history != "" || part.gap != "") { // or the past has them
		if err := c.addLatest(ctx, &part, want); err != nil {
			return part, err
		}
	}
	if c.state != nil {
		st := State{s: c.s, topic: part.topic, bytes: part.bytes, most: c.left}
		if err := c.state(ctx, &st); err != nil {
			return part, err
		}
		part.bytes = st.bytes
	}
	return part, nil
}

// addHistory appends to a part the past of its topic, without IDs. If it is not all there, or is too
// large, the part has a gap instead.
func (c *collector) addHistory(ctx context.Context, part *preludePart, want preludeWant) error {
	after := eventlog.Cursor{Epoch: want.at.Epoch}
	if *want.history != "" {
		after, _ = eventlog.ParseCursor(*want.history) // it was checked
	}
	for more := true; more; {
		page, err := c.s.readBetween(ctx, want.subjects[0], after, want.at, false)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if c.s.mayHave(e) {
				part.bytes = e.AppendFrame(part.bytes)
			}
		}
		if part.gap = page.Gap; len(part.bytes) > c.left {
			part.gap = eventlog.GapTrimmed
		}
		if part.gap != "" {
			part.bytes = nil
			return nil
		}
		after, more = page.Through, page.More
	}
	return nil
}

// addLatest appends to a part the newest event of each key. If they are too large, the part has a gap
// instead.
func (c *collector) addLatest(ctx context.Context, part *preludePart, want preludeWant) error {
	before := len(part.bytes)
	after := eventlog.Cursor{Epoch: want.at.Epoch}
	for more := true; more; {
		page, err := c.s.readPage(ctx, eventlog.Query{Subjects: want.subjects, After: after, Latest: true})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.At.Seq <= want.at.Seq && c.s.mayHave(e) { // later ones follow
				part.bytes = e.AppendFrame(part.bytes)
			}
		}
		if len(part.bytes) > c.left {
			part.bytes, part.gap = part.bytes[:before], eventlog.GapTrimmed
			return nil
		}
		after, more = page.Through, page.More && page.Gap == ""
	}
	return nil
}
