package load

import (
	"bytes"
	"time"

	"github.com/ginsse/ginsse/bench/internal/servers"
	"github.com/ginsse/ginsse/internal/loadtest"
)

// stream is the client's end of one event stream. It decodes the stream piece by piece as
// it arrives, and checks the numbers of the events. It allocates nothing per event.
type stream struct {
	index   int
	fd      int  // 0 before it is connected, -1 after it is closed
	keepIDs bool // keep last event IDs
	stalled bool // reads only its headers

	response response

	// State of the current block, from blank line to blank line.
	lines     loadtest.Lines
	empty     bool   // nothing has arrived of the block
	number    int    // of the event; -1 without an event
	bytes     int    // of the event's data
	sent      int64  // when the event was due, in nanoseconds; 0 is unknown
	own       bool   // it is an event of the server itself: "sse.open", "sse.gap"
	heartbeat bool   // it is the event "sse.heartbeat"
	id        []byte // the last event ID that the end of the block sets

	// What has arrived so far. A stream that resumes continues from here.
	lastID []byte // with keepIDs
	next   int    // number of the next event

	tally    Tally
	received int // bytes of data of the events delivered
	closed   bool
	finished bool // has received what is expected, or has ended
}

// lineBytes is how much of a line is kept. Only the beginning is decoded, and otherwise each
// stream would hold the data of a large event.
const lineBytes = 256

// newStream returns a stream that is not connected. If was is not nil, the stream resumes
// where that one ended.
func newStream(index int, was *stream) *stream {
	s := &stream{index: index, number: -1, empty: true, lines: loadtest.Lines{Keep: lineBytes}}
	if was != nil {
		s.next, s.lastID = was.next, was.lastID
		s.id = bytes.Clone(was.lastID)
	}
	return s
}

// Tally counts the events of one or more streams.
type Tally struct {
	Delivered  int // events with a higher number than all before them
	Lost       int // numbers that were skipped, even if they arrived later
	Repeated   int // events with a number not higher than one before
	Gaps       int // gaps that the server announced
	Heartbeats int // events "sse.heartbeat", and blocks without data: comments or an ID alone
}

func (t *Tally) add(other Tally) {
	t.Delivered += other.Delivered
	t.Lost += other.Lost
	t.Repeated += other.Repeated
	t.Gaps += other.Gaps
	t.Heartbeats += other.Heartbeats
}

// sink receives what streams report.
type sink interface {
	// opened is called when the headers have arrived.
	opened(s *stream)
	// event is called for each delivered event.
	event(s *stream)
}

// feed decodes what has been read. It ignores what follows the end of the response.
func (s *stream) feed(p []byte, to sink) error {
	for len(p) > 0 && !s.closed {
		before := s.response.opened()
		body, rest, err := s.response.next(p)
		if err != nil {
			return err
		}
		if !before && s.response.opened() {
			to.opened(s)
		}
		s.text(body, to)
		s.closed, p = s.response.ended(), rest
	}
	return nil
}

// text decodes a piece of the event stream.
func (s *stream) text(p []byte, to sink) {
	s.lines.Split(p, func(line []byte, length int) {
		if length > 0 {
			s.field(line, length)
		} else {
			s.endBlock(to)
		}
	})
}

// field decodes a line. The first letter is enough to tell the relevant fields apart.
func (s *stream) field(line []byte, length int) {
	s.empty = false
	switch line[0] {
	case 'd':
		var ok bool
		data := value(line, "data:")
		s.number, s.sent, ok = servers.ParseData(data)
		s.bytes = length - (len(line) - len(data))
		s.own = s.own || !ok
	case 'i':
		if s.keepIDs {
			s.id = append(s.id[:0], value(line, "id:")...)
		}
	case 'e':
		if bytes.HasPrefix(line, []byte("event: sse.")) {
			s.own = true
			switch string(line) {
			case "event: sse.gap":
				s.tally.Gaps++
			case "event: sse.heartbeat":
				s.heartbeat = true
			}
		}
	}
}

func value(line []byte, name string) []byte {
	return bytes.TrimPrefix(line[min(len(name), len(line)):], []byte(" "))
}

// endBlock ends a block. Only now its ID becomes the last event ID (section 9.2.6 of the
// HTML standard), so that an incomplete event is requested again.
func (s *stream) endBlock(to sink) {
	if s.keepIDs {
		s.lastID = append(s.lastID[:0], s.id...)
	}
	switch {
	case s.heartbeat:
		s.tally.Heartbeats++
	case s.empty || s.own:
	case s.number >= 0:
		s.dispatch(to)
	default:
		s.tally.Heartbeats++
	}
	s.empty, s.number, s.own, s.heartbeat = true, -1, false, false
}

func (s *stream) dispatch(to sink) {
	if s.number < s.next {
		s.tally.Repeated++
		return
	}
	s.tally.Lost += s.number - s.next
	s.next = s.number + 1
	s.tally.Delivered++
	s.received += s.bytes
	to.event(s)
}

// latency returns how long ago the current event was due, by the clock that both processes
// share, or 0 if the event does not say. If the clock was set back it is 1 ns.
func (s *stream) latency(now time.Time) time.Duration {
	if s.sent == 0 || s.sent == servers.LastNanos {
		return 0
	}
	return max(time.Duration(now.UnixNano()-s.sent), 1)
}
