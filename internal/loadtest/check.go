package loadtest

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/printable"
)

// checks is what a stream knows about the events that have arrived, over all of its connections.
type checks struct {
	lastID   []byte
	position eventlog.Cursor // of the last block with one
	// recent are the positions of the last events, to tell a repeat from disorder.
	recent     [32]uint64
	recentAt   int
	sequences  []sequence // by source; one alone if the stream expects events of one source only
	source     int        // the only source that the stream expects, or -1
	expects    bool       // it was open when sending began
	events     int
	reconnects string // the reason in an sse.reconnect, with what it is: why the connection will end
	closes     string // the same of an sse.close
}

// received checks the block that has just ended. The stream's tally is locked.
func (s *stream) received(now time.Time) {
	b, t := &s.block, s.tally
	if b.hasData && !b.isOwn() {
		s.events++
		t.events++
		t.bytes += b.bytes
		if s.events == s.run.cfg.Events {
			s.run.reached.Add(1)
		}
		s.checkMark(now)
	} else if b.hasData {
		t.own++
		s.checkOwn()
	}
	if b.hasID {
		s.checkID(b.hasData && !b.isOwn())
		s.lastID = append(s.lastID[:0], b.id...)
	}
}

// checkID checks that IDs grow. The kit's own events, such as heartbeats, carry the position of the
// stream, which may stay the same.
func (s *stream) checkID(isEvent bool) {
	c, err := eventlog.ParseCursor(string(s.block.id))
	if err != nil {
		if isEvent {
			s.tally.idsUnknown++
		}
		return
	}
	was := s.position
	if c.Epoch != was.Epoch { // another log, or the first one
		s.position, s.recent = c, [32]uint64{}
		was = eventlog.Cursor{}
	}
	switch {
	case c.Seq > was.Seq:
		s.position = c
	case !isEvent && c.Seq == was.Seq:
	case isEvent && (c.Seq == was.Seq || s.isRecent(c.Seq)):
		s.tally.idsRepeated++
	default:
		s.tally.idsBehind++
	}
	if isEvent {
		s.recent[s.recentAt%len(s.recent)] = c.Seq
		s.recentAt++
	}
}

func (s *stream) isRecent(seq uint64) bool {
	for _, recent := range s.recent {
		if recent == seq {
			return true
		}
	}
	return false
}

// checkMark finds the mark of an event that this run has sent.
func (s *stream) checkMark(now time.Time) {
	m, ok := parseMark(s.block.mark)
	if !ok || m.source >= len(s.run.sender.sources) || !s.block.hasType(s.run.sender.cfg.Type) {
		return
	}
	i := m.source
	if s.source >= 0 {
		if i != s.source {
			s.tally.foreign++
			return
		}
		i = 0
	}
	switch s.sequences[i].add(m.number, s.run.sender.sources[m.source].unsureNumbers) {
	case inOrder:
		s.tally.arrived++
	case late:
		s.tally.arrived++
		s.tally.late++
	case twice:
		s.tally.twice++
		return
	}
	s.tally.latency.record(now.Sub(s.run.begin) - m.due)
}

// checkOwn counts gaps, and keeps why the server ends the stream.
func (s *stream) checkOwn() {
	switch string(s.block.eventType) {
	case "sse.gap":
		countKind(s.tally.gaps, s.reason())
	case "sse.reconnect":
		s.reconnects = "sse.reconnect: " + s.reason()
	case "sse.close":
		s.closes = "sse.close: " + s.reason()
	}
}

// reason returns the reason in the data of one of the kit's own events.
func (s *stream) reason() string {
	var data struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(s.block.data, &data) != nil || data.Reason == "" {
		return "no reason"
	}
	return short(data.Reason)
}

// short returns a text of the server in printable ASCII, shortened.
func short(text string) string {
	if len(text) > 120 {
		text = text[:120] + "..."
	}
	if !printable.Is(text) {
		text = strconv.QuoteToASCII(text)
	}
	return text
}
