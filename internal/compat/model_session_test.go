package compat_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// phase is the state of a stream on the server, as far as the model knows.
type phase int

const (
	opening phase = iota // not known to be attached yet
	joining              // attached, and held in its first read
	live
	gone
)

// position is a last event ID that a session asks to resume from.
type position struct {
	id  string // "" for none
	seq uint64
	gap eventlog.GapReason // the gap that must follow, if the log must refuse the position
}

// ending is an end that the model expects of a stream.
type ending struct {
	reason    ginsse.Reason
	reconnect bool
	from, to  uint64 // the last event before it lies in this range
}

// unknown is the position of an end that happens during a read.
const unknown = math.MaxUint64

// chain is what a page has received across its reconnections: the events from its start position
// on, except those that sse.gap covers.
type chain struct {
	name     string
	subjects []string
	newest   *session // the page's latest connection
	started  bool
	start    uint64
	got      []uint64
	gaps     [][2]uint64 // (from, to]
	last     position    // its last event ID
}

// session is one stream of a page, with what the model expects of it.
type session struct {
	n        int
	user     string
	topics   []string
	subjects []string
	asked    position
	since    uint64 // the head at the time of the request
	client   *clientEnd
	gate     *gate
	chain    *chain

	// The state on the server.
	phase   phase
	endings []ending
	ended   bool      // one of the endings has happened
	late    bool      // it may have ended for not reading or not draining in time
	limited time.Time // when it was first read slowly or held; zero if never

	// The state on the client, as of the events that look has checked.
	seen      int        // events checked by look
	at        uint64     // everything up to here was delivered or covered by a gap
	opened    bool       // sse.open came
	lastHeard time.Time  // when the last event was received
	wantsGap  bool       // sse.open came without a position
	dropped   bool       // sse.gap came for events left undelivered at the end
	closed    *ending    // sse.close or sse.reconnect came
	over      bool       // the client reads no more
	ids       []position // its last event IDs so far, oldest first
	alone     []string   // sent to this stream alone and not yet received
}

// fragile reports whether the stream may end at any time without an ending of the model.
func (s *session) fragile() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.client.left || s.client.leaves || s.late
}

// flows reports whether the client receives everything at once.
func (s *session) flows() bool {
	holding, _ := s.gate.state()
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return !holding && !s.client.left && s.client.allow < 0
}

// sure reports whether the stream is certainly attached.
func (s *session) sure() bool {
	return (s.phase == joining || s.phase == live) && len(s.endings) == 0 && !s.fragile()
}

// counts reports whether a receipt for an event sent now must count the stream, and whether it may.
func (s *session) counts(subject string) (must, may bool) {
	if !slices.Contains(s.subjects, subject) || s.phase == gone {
		return false, false
	}
	return s.phase == live && s.sure(), true
}

// end makes the model expect the end of the stream. Nothing later is delivered, not even by a read
// that is under way. It reports whether the end is certain.
func (s *session) end(reason ginsse.Reason, reconnect bool, head uint64) (sure bool) {
	if s.ended || s.phase == gone {
		return false
	}
	sure = s.sure()
	s.endings = append(s.endings, ending{reason, reconnect, head, head})
	if sure {
		s.ended, s.phase = true, gone
	}
	return sure
}

// last returns the position that the page would resume from, as of the last look.
func (s *session) last() position {
	if len(s.ids) > 0 {
		return s.ids[len(s.ids)-1]
	}
	return s.asked
}

// look checks what the client has read since the last look, and reports broken promises.
func (s *session) look(h *history) error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	for _, e := range s.client.events[s.seen:] {
		if s.closed != nil {
			return fmt.Errorf("got %s after its end", e.Type)
		}
		if err := s.take(h, e); err != nil {
			return err
		}
		s.seen++
	}
	if s.client.status != "" {
		return fmt.Errorf("got the response %s", s.client.status)
	}
	if err := s.moved(h, s.client.lastID); err != nil {
		return err
	}
	s.over = s.client.ended
	switch err := s.client.err; {
	case !s.over || s.client.left:
	case s.closed != nil && !errors.Is(err, io.EOF) && !s.late:
		return fmt.Errorf("after its last event the response ended with %w", err)
	case s.closed == nil && !s.late:
		return fmt.Errorf("ended without sse.close or sse.reconnect: %w", err)
	}
	return nil
}

// take checks one event.
func (s *session) take(h *history, e received) error {
	switch {
	case !s.opened && e.Type != "sse.open" && e.Type != "sse.reconnect":
		return fmt.Errorf("began with %s", e.Type)
	case s.wantsGap && e.Type != "sse.gap":
		return fmt.Errorf("got %s where sse.gap must follow sse.open", e.Type)
	case s.dropped && e.Type != "sse.close":
		return fmt.Errorf("got %s where sse.close must follow sse.gap", e.Type)
	case s.opened && s.limited.IsZero() && e.at.Sub(s.lastHeard) > maxHeartbeat:
		return fmt.Errorf("got %s after a silence of %v", e.Type, e.at.Sub(s.lastHeard))
	}
	s.lastHeard = e.at
	if e.Type != "sse.gap" && e.Type != "sse.open" && e.Type != "n" {
		if err := s.moved(h, e.LastEventID); err != nil {
			return err
		}
	}
	switch e.Type {
	case "sse.open":
		return s.takeOpen(h, e)
	case "sse.gap":
		return s.takeGap(h, e)
	case "n":
		return s.takeEvent(h, e)
	case "alone":
		if len(s.alone) == 0 || s.alone[0] != e.Data {
			return fmt.Errorf("got %s, sent to it alone, want one of %v", e.Data, s.alone)
		}
		s.alone = s.alone[1:]
	case "sse.heartbeat":
		if e.Data != "" {
			return fmt.Errorf("got sse.heartbeat with data %q", e.Data)
		}
	case "sse.close", "sse.reconnect":
		return s.takeEnd(h, e)
	default:
		return fmt.Errorf("got an event of type %q", e.Type)
	}
	return nil
}

func (s *session) takeOpen(h *history, e received) error {
	if s.opened {
		return errors.New("got sse.open twice")
	}
	s.opened = true
	var data struct {
		Stream    string `json:"stream"`
		Resumed   bool   `json:"resumed"`
		Heartbeat int64  `json:"heartbeat"`
	}
	if err := json.Unmarshal([]byte(e.Data), &data); err != nil || data.Stream == "" {
		return fmt.Errorf("sse.open without a session ID: %w", err)
	}
	if data.Heartbeat != maxHeartbeat.Milliseconds() {
		return fmt.Errorf("sse.open announces heartbeats after %d ms", data.Heartbeat)
	}
	s.at = s.asked.seq
	if e.LastEventID == "" {
		s.wantsGap = true
		switch {
		case data.Resumed:
			return errors.New("has resumed, and got no position")
		case s.asked.id == "":
			return errors.New("began at the head, and got no position")
		}
		return nil
	}
	seq, err := s.position(h, e.LastEventID)
	if err != nil {
		return err
	}
	switch {
	case s.asked.gap != "":
		return fmt.Errorf("sse.open has a position, want a gap of reason %q", s.asked.gap)
	case s.asked.id != "" && (!data.Resumed || e.LastEventID != s.asked.id):
		return fmt.Errorf("asked for %d, opened at %d, resumed: %v", s.asked.seq, seq, data.Resumed)
	case s.asked.id == "" && (data.Resumed || seq < s.since):
		return fmt.Errorf("asked for the head, %d or later, opened at %d, resumed: %v", s.since, seq, data.Resumed)
	case s.asked.id == "":
		s.at = seq
		s.begin(seq)
	}
	return nil
}

func (s *session) takeGap(h *history, e received) error {
	var data struct {
		Reason eventlog.GapReason `json:"reason"`
	}
	if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
		return fmt.Errorf("sse.gap with data %q: %w", e.Data, err)
	}
	if data.Reason == "undelivered" {
		if e.LastEventID != s.last().id || !s.late {
			return fmt.Errorf("gap of reason %q at %d with the ID %q", data.Reason, s.at, e.LastEventID)
		}
		s.dropped = true
		return nil
	}
	seq, err := s.position(h, e.LastEventID)
	if err != nil {
		return err
	}
	from := s.at
	s.at = seq
	refused := s.wantsGap && s.asked.gap != ""
	switch {
	case refused && data.Reason != s.asked.gap:
		return fmt.Errorf("gap of reason %q, want %q", data.Reason, s.asked.gap)
	case refused && seq < s.since:
		return fmt.Errorf("gap up to %d, want the head, %d or later", seq, s.since)
	case refused:
		s.begin(seq)
	case len(s.topics) > 0 && seq >= from && h.lostBetween([]string{"command:" + s.user}, from, uint64(len(h.records)), e.at) &&
		(data.Reason == eventlog.GapTrimmed || data.Reason == "topics" && s.wantsGap):
		s.chain.gaps = append(s.chain.gaps, [2]uint64{from, seq}) // a change of topics may have been lost
	case data.Reason != eventlog.GapTrimmed:
		return fmt.Errorf("gap of reason %q at %d", data.Reason, from)
	case seq <= from:
		return fmt.Errorf("gap from %d to %d", from, seq)
	case !h.lostBetween(s.subjects, from, seq, e.at):
		return fmt.Errorf("gap from %d to %d, where nothing was lost", from, seq)
	default:
		s.chain.gaps = append(s.chain.gaps, [2]uint64{from, seq})
	}
	s.wantsGap = false
	return nil
}

func (s *session) takeEvent(h *history, e received) error {
	seq, err := s.parse(h, e.LastEventID)
	if err != nil {
		return err
	}
	want := h.next(s.subjects, s.at)
	switch {
	case want == nil:
		return fmt.Errorf("got %d, %s, at %d, where nothing is left", seq, shorten(e.Data), s.at)
	case seq != want.seq:
		return fmt.Errorf("got %d at %d, want %d, and there was no gap", seq, s.at, want.seq)
	case want.id != "" && e.LastEventID != want.id:
		return fmt.Errorf("got %d with another ID than its sender", seq)
	case e.Data != want.data:
		return fmt.Errorf("got %d as %s, want %s", seq, shorten(e.Data), shorten(want.data))
	case s.ended && !slices.ContainsFunc(s.endings, func(end ending) bool { return seq <= end.to }):
		return fmt.Errorf("got %d, sent after its end", seq)
	// A client that was never slow or held receives an event right after the log is read.
	case s.limited.IsZero() && e.at.Sub(want.sent) >= h.cfg.MaxAge:
		return fmt.Errorf("got %d, %v after it was sent", seq, e.at.Sub(want.sent))
	}
	s.at = seq
	s.ids = append(s.ids, position{id: e.LastEventID, seq: seq})
	s.chain.got = append(s.chain.got, seq)
	s.chain.last = s.last()
	return nil
}

func (s *session) takeEnd(h *history, e received) error {
	var data struct {
		Reason ginsse.Reason `json:"reason"`
		Retry  int64         `json:"retry"` // milliseconds
	}
	if err := json.Unmarshal([]byte(e.Data), &data); err != nil {
		return fmt.Errorf("%s with data %q: %w", e.Type, e.Data, err)
	}
	reconnect := e.Type == "sse.reconnect"
	i := slices.IndexFunc(s.endings, func(end ending) bool { return end.reason == data.Reason && end.reconnect == reconnect })
	if i < 0 {
		return fmt.Errorf("ended with %s for %q, want one of %v", e.Type, data.Reason, s.endings)
	}
	if retry := s.client.retry.Milliseconds(); reconnect != (data.Retry > 0) || reconnect && data.Retry != retry {
		return fmt.Errorf("%s asks for a reconnect after %d ms, but its retry field for %d ms", e.Type, data.Retry, retry)
	}
	s.closed, s.ended, s.phase = &s.endings[i], true, gone
	// Without a reconnect, everything must have been delivered or covered by sse.gap. With a
	// reconnect, the page can get the rest later.
	if !s.opened || s.late && reconnect || s.dropped {
		return nil
	}
	if left := h.next(s.subjects, s.at); left != nil && left.seq <= s.closed.from {
		return fmt.Errorf("ended at %d, without %d, sent before the end", s.at, left.seq)
	}
	if len(s.alone) > 0 {
		return fmt.Errorf("ended without %v, sent to it alone", s.alone)
	}
	return nil
}

// moved records the client's last event ID, which also moves without an event. It must not pass an
// event that was not delivered.
func (s *session) moved(h *history, id string) error {
	if id == "" || s.last().id == id {
		return nil
	}
	seq, err := s.position(h, id)
	if err != nil {
		return err
	}
	if seq < s.at {
		return fmt.Errorf("the last event ID went back from %d to %d", s.at, seq)
	}
	if missed := h.next(s.subjects, s.at); missed != nil && missed.seq <= seq {
		return fmt.Errorf("the last event ID went from %d to %d, past %d", s.at, seq, missed.seq)
	}
	s.at = seq
	return nil
}

// position records a last event ID that did not come with an event.
func (s *session) position(h *history, id string) (uint64, error) {
	seq, err := s.parse(h, id)
	if err == nil {
		s.ids = append(s.ids, position{id: id, seq: seq})
		s.chain.last = s.last()
	}
	return seq, err
}

func (s *session) parse(h *history, id string) (uint64, error) {
	cursor, err := eventlog.ParseCursor(id)
	if err != nil {
		return 0, fmt.Errorf("the last event ID: %w", err)
	}
	if cursor.Seq > h.head() {
		return 0, fmt.Errorf("the last event ID is %d, of %d events", cursor.Seq, h.head())
	}
	return cursor.Seq, nil
}

// begin starts the session's chain.
func (s *session) begin(seq uint64) {
	if !s.chain.started {
		s.chain.started, s.chain.start = true, seq
	}
}

// check reports what is missing when nothing moves.
func (s *session) check(h *history) error {
	switch {
	case !s.flows() || s.late:
		return nil
	case s.closed != nil && !s.over:
		return errors.New("has not ended after its last event")
	case s.closed != nil:
		return nil
	case s.ended:
		return fmt.Errorf("has ended for %v, and got no sse.close or sse.reconnect", s.endings)
	case !s.opened:
		return errors.New("got no sse.open")
	case s.wantsGap:
		return errors.New("got no sse.gap after an sse.open without position")
	case s.limited.IsZero() && time.Since(s.lastHeard) > maxHeartbeat:
		return fmt.Errorf("is silent for %v", time.Since(s.lastHeard))
	}
	if left := h.next(s.subjects, s.at); left != nil {
		return fmt.Errorf("is at %d and did not get %d", s.at, left.seq)
	}
	if len(s.alone) > 0 {
		return fmt.Errorf("did not get %v, sent to it alone", s.alone)
	}
	return nil
}

// check compares what a page has received with what was sent.
func (c *chain) check(h *history) error {
	if !c.started {
		return nil
	}
	var want []uint64
	for at := c.start; ; {
		r := h.next(c.subjects, at)
		if r == nil || r.seq > c.last.seq {
			break
		}
		at = r.seq
		if !slices.ContainsFunc(c.gaps, func(gap [2]uint64) bool { return gap[0] < at && at <= gap[1] }) {
			want = append(want, at)
		}
	}
	if !slices.Equal(c.got, want) {
		return fmt.Errorf("%s, from %d to %d with gaps %v: dispatched %v, sent %v", c.name, c.start, c.last.seq, c.gaps, c.got, want)
	}
	return nil
}
