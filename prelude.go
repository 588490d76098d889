package ginsse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ginsse/ginsse/eventlog"
)

// prelude is what a stream gets before it goes on: the past of topics, the newest events, the state.
// A goroutine collects it. The stream's writer begins that, and writes the result.
type prelude struct {
	granted  []granting // the topics that it is for; nil for the whole stream, which reads no events meanwhile
	at       eventlog.Cursor
	subjects []string // of the stream's events, at the beginning

	ready atomic.Bool // set when the fields below are
	parts []preludePart
	err   error
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
	at    eventlog.Cursor    // what it shows is from then or later
	gap   eventlog.GapReason // the past has one
	bytes []byte
}

// preludes is what a stream knows about preludes. Only its writer uses it. Streams without any have
// none.
type preludes struct {
	state   StateFunc
	latest  bool
	history *string // of topics at the start; nil for none

	current  *prelude   // nil if none is collected
	granting []granting // in order
}

// holding reports whether the stream reads no events, because its prelude is not written yet. Its client
// does not know its position.
func (s *Stream) holding() bool {
	return s.preludes != nil && s.preludes.current != nil && s.preludes.current.granted == nil
}

// hasPrelude reports whether the stream gets something first when it starts, or has a gap.
func (s *Stream) hasPrelude(gap bool) bool {
	p := s.preludes
	return p != nil && (p.state != nil || p.latest || p.history != nil && !gap)
}

// beginStart begins the prelude of the whole stream, with the past of its topics or without.
func (s *Stream) beginStart(past bool) {
	s.sent = 0 // the client must get the position
	c := s.newCollector(&prelude{at: s.at, subjects: slices.Clone(s.eventSubjects())})
	if past {
		c.history = s.preludes.history
	}
	c.start()
}

// sendState sends what a page needs first, at its request: who is present, and the prelude of the whole
// stream.
func (s *Stream) sendState(t *turn) {
	t.own = s.appendPresent(t.own, true)
	if s.hasPrelude(true) && !s.holding() {
		s.takeGranting(t)
		s.beginStart(false)
	}
}

// takeGranting has the stream read the topics that were granted and whose prelude is not written yet: the
// prelude of the whole stream covers them.
func (s *Stream) takeGranting(t *turn) {
	if s.preludes == nil {
		return
	}
	for _, g := range s.preludes.granting {
		s.addTopic(topicPrefix + g.topic)
		s.appendTopics(t, topicsData{Added: []string{g.topic}}, "")
	}
	s.preludes.granting = nil
}

// beginGranted begins the prelude of the topics that were granted, unless another one is collected.
func (s *Stream) beginGranted() {
	if p := s.preludes; p.current == nil && len(p.granting) > 0 {
		s.newCollector(&prelude{granted: slices.Clone(p.granting)}).start()
	}
}

// newCollector returns a collector of a prelude. One that is collected already is discarded.
func (s *Stream) newCollector(p *prelude) *collector {
	s.preludes.current = p
	return &collector{s: s, state: s.preludes.state, latest: s.preludes.latest, prelude: p}
}

// finishPrelude writes a prelude that was collected.
func (s *Stream) finishPrelude(ctx context.Context, t *turn, p *prelude) error {
	if p.err != nil {
		s.end(fmt.Errorf("%w: %w", ReasonOverloaded, p.err))
		return nil
	}
	revoked, err := s.revokedAhead(ctx)
	if err != nil {
		return err
	}
	if p.granted == nil {
		for _, part := range p.parts {
			if !revoked[part.topic] {
				s.appendPart(t, part)
			}
		}
	} else if err := s.finishGranted(ctx, t, p, revoked); err != nil {
		return err
	}
	s.preludes.current = nil
	s.beginGranted()
	s.appendPosition(t)
	return nil
}

// finishGranted writes the prelude of topics that were granted, and what has come in them since. From
// here on the stream reads them. After an error nothing has changed.
func (s *Stream) finishGranted(ctx context.Context, t *turn, p *prelude, revoked map[string]bool) error {
	var added []preludePart
	for _, part := range p.parts {
		if !s.isGranting(part.topic) || revoked[part.topic] {
			continue // the command is ahead, or was carried out
		}
		news := &preludePart{topic: part.topic}
		if err := s.readPast(ctx, news, part.at, s.at, s.registry.cfg.MaxStateBytes, s.noWait); err != nil {
			return err
		}
		part.bytes = append(part.bytes, news.bytes...)
		part.gap = cmp.Or(part.gap, news.gap)
		added = append(added, part)
	}
	for _, part := range added {
		s.addTopic(topicPrefix + part.topic)
		s.appendTopics(t, topicsData{Added: []string{part.topic}}, "")
		s.appendPart(t, part)
	}
	asked := func(g granting) bool {
		return slices.ContainsFunc(p.granted, func(other granting) bool { return other.topic == g.topic && other.at == g.at })
	}
	for _, g := range s.preludes.granting {
		if asked(g) && revoked[g.topic] {
			s.appendTopics(t, topicsData{Refused: []string{g.topic}}, "")
		}
	}
	s.preludes.granting = slices.DeleteFunc(s.preludes.granting, asked)
	return nil
}

func (s *Stream) appendPart(t *turn, part preludePart) {
	if part.gap != "" {
		s.registry.gaps.Add(1)
		t.own = appendOwn(t.own, typeGap, "", gapData{Reason: part.gap, Topic: part.topic})
	}
	t.own = append(t.own, part.bytes...)
}

// revokedAhead returns the topics that were taken from the stream by commands which it has not reached:
// the state may have been read after them.
func (s *Stream) revokedAhead(ctx context.Context) (map[string]bool, error) {
	var revoked map[string]bool
	_, err := s.readCommandsFrom(ctx, s.topicCommands(), s.at, s.noWait, func(command *eventlog.Entry) error {
		if name, d := parseTopicCommand(command); name == revokeCommand && (d.Stream == "" || d.Stream == s.id) {
			if revoked == nil {
				revoked = make(map[string]bool)
			}
			revoked[d.Topic] = true
		}
		return nil
	})
	return revoked, err
}

// readPast appends to a part the events of its topic between two positions, without IDs. If they are
// not all there, or are larger than most bytes, the part has a gap instead.
func (s *Stream) readPast(ctx context.Context, part *preludePart, after, through eventlog.Cursor, most int, noWait bool) error {
	subjects := []string{topicPrefix + part.topic}
	for more := true; more && after.Seq < through.Seq; {
		page, err := s.readPage(ctx, eventlog.Query{Subjects: subjects, After: after, NoWait: noWait})
		if err != nil {
			return err
		}
		if part.gap = page.Gap; part.gap != "" {
			part.bytes = nil
			return nil
		}
		for _, e := range page.Entries {
			if e.At.Seq <= through.Seq && s.mayHave(e) {
				part.bytes = e.AppendFrame(part.bytes)
			}
		}
		if len(part.bytes) > most {
			part.bytes, part.gap = nil, eventlog.GapTrimmed
			return nil
		}
		after, more = page.Through, page.More
	}
	return nil
}

// collector collects one prelude, on a goroutine of its own.
type collector struct {
	s       *Stream
	state   StateFunc
	latest  bool
	history *string
	prelude *prelude
	parts   []preludePart
	left    int       // bytes
	once    sync.Once // hands the prelude over
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
	defer context.AfterFunc(ctx, func() { c.finish(nil, context.Cause(ctx)) })()
	c.left = r.cfg.MaxStateBytes
	err := c.collect(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	c.finish(c.parts, err)
}

// finish hands the prelude to the stream's writer. The first call counts.
func (c *collector) finish(parts []preludePart, err error) {
	c.once.Do(func() {
		if err != nil && !c.s.ended.Load() {
			c.s.registry.logger.Warn("collecting the state of a stream", "stream", c.s.id, "error", err)
		}
		c.prelude.parts, c.prelude.err = parts, err
		c.prelude.ready.Store(true)
		c.s.interrupt()
	})
}

func (c *collector) collect(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.s.registry.logPanic("WithState", p, debug.Stack())
			err = errStatePanic
		}
	}()
	p := c.prelude
	if p.granted != nil {
		for _, g := range p.granted {
			if err := c.add(ctx, preludePart{topic: g.topic, at: g.at}, g.history, []string{topicPrefix + g.topic}, c.latest && g.history != nil); err != nil {
				return err
			}
		}
		return nil
	}
	if err := c.add(ctx, preludePart{at: p.at}, nil, p.subjects[:fixedSubjects-1], c.latest); err != nil {
		return err
	}
	for _, subject := range p.subjects[fixedSubjects-1:] {
		if topic, ok := strings.CutPrefix(subject, topicPrefix); ok {
			if err := c.add(ctx, preludePart{topic: topic, at: p.at}, c.history, []string{subject}, c.latest); err != nil {
				return err
			}
		}
	}
	return nil
}

// add collects one part.
func (c *collector) add(ctx context.Context, part preludePart, history *string, subjects []string, latest bool) error {
	if history != nil && part.topic != "" {
		after := eventlog.Cursor{Epoch: part.at.Epoch}
		if *history != "" {
			after, _ = eventlog.ParseCursor(*history) // it was checked
		}
		if err := c.s.readPast(ctx, &part, after, part.at, c.left, false); err != nil {
			return err
		}
	}
	if latest && (history == nil || *history != "" || part.gap != "") { // or the past has them
		if err := c.addLatest(ctx, &part, subjects); err != nil {
			return err
		}
	}
	if c.state != nil {
		st := State{s: c.s, topic: part.topic, bytes: part.bytes, most: c.left}
		if err := c.state(ctx, &st); err != nil {
			return err
		}
		part.bytes = st.bytes
	}
	c.left -= len(part.bytes)
	c.parts = append(c.parts, part)
	return nil
}

// addLatest appends to a part the newest event of each key.
func (c *collector) addLatest(ctx context.Context, part *preludePart, subjects []string) error {
	after := eventlog.Cursor{Epoch: part.at.Epoch}
	for more := true; more; {
		page, err := c.s.readPage(ctx, eventlog.Query{Subjects: subjects, After: after, Latest: true})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if e.At.Seq <= part.at.Seq && c.s.mayHave(e) { // later ones follow
				part.bytes = e.AppendFrame(part.bytes)
			}
		}
		if len(part.bytes) > c.left {
			return fmt.Errorf("%w: the newest events of all keys have more than MaxStateBytes, %d", ErrEventTooLarge, c.s.registry.cfg.MaxStateBytes)
		}
		after, more = page.Through, page.More && page.Gap == ""
	}
	return nil
}
