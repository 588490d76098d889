package load

import (
	"bytes"
	"time"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

// stream is the client's end of one event stream. It decodes what arrives, piece
// by piece as it arrives, and checks the numbers of the events. It allocates
// nothing per event.
type stream struct {
	index   int
	fd      int  // 0 before it is connected, -1 after it is closed
	keepIDs bool // note last event IDs
	stalled bool // reads its headers and no more

	response response

	// The block of the event stream that is being read, from blank line to blank
	// line.
	line   []byte // the beginning of a line that is not complete, of at most lineBytes
	length int    // bytes of that line so far
	empty  bool   // nothing of it has come yet
	number int    // of its event; -1 is none
	bytes  int    // of its event's data
	sent   int64  // when that was due to be sent, in nanoseconds; 0 is unknown
	own    bool   // it is the server's own: "sse.open", "sse.gap"
	beat   bool   // it is a heartbeat that is an event: "sse.heartbeat"
	id     []byte // the last event ID that its end will set

	// What has come so far. Both are kept over a reconnection.
	lastID []byte // if IDs are kept
	next   int    // number of the next event

	tally    Tally
	received int // bytes of data of the events delivered
	closed   bool
	finished bool // has all that is expected
}

// lineBytes is how much of a line is kept: what is looked at stands at the beginning.
// The data of a large event would otherwise be held once for each stream.
const lineBytes = 256

// newStream returns a stream that has not been connected. It goes on from where was
// ended, if that is not nil.
func newStream(index int, was *stream) *stream {
	s := &stream{index: index, number: -1, empty: true}
	if was != nil {
		s.next, s.lastID = was.next, was.lastID
		s.id = bytes.Clone(was.lastID)
	}
	return s
}

// Tally counts what came of the events of a stream, or of many.
type Tally struct {
	Delivered  int // events that came in order, after all that came before
	Lost       int // numbers passed over, whether or not they came later
	Repeated   int // events that came after one of their number or above
	Gaps       int // gaps that the server announced
	Heartbeats int // events "sse.heartbeat", and blocks without data: a comment, or an ID alone
}

func (t *Tally) add(other Tally) {
	t.Delivered += other.Delivered
	t.Lost += other.Lost
	t.Repeated += other.Repeated
	t.Gaps += other.Gaps
	t.Heartbeats += other.Heartbeats
}

// sink is what streams report to.
type sink interface {
	// opened is called when the headers have come.
	opened(s *stream)
	// event is called for each event that counts as delivered.
	event(s *stream)
}

// feed takes in what has been read. What follows the end of the response is
// ignored.
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

// text takes in a piece of the event stream itself. All contestants end lines
// with LF.
func (s *stream) text(p []byte, to sink) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.hold(p)
			return
		}
		line := p[:end]
		if s.length > 0 {
			s.hold(line)
			line = s.line
		} else {
			s.length = len(line)
			line = line[:min(len(line), lineBytes)]
		}
		if len(line) > 0 {
			s.field(line)
		} else {
			s.endBlock(to)
		}
		s.line, s.length, p = s.line[:0], 0, p[end+1:]
	}
}

// hold keeps the beginning of a line, and counts the rest.
func (s *stream) hold(p []byte) {
	s.length += len(p)
	s.line = append(s.line, p[:min(len(p), lineBytes-len(s.line))]...)
}

// field takes in a line. First letters tell the fields apart that matter here.
func (s *stream) field(line []byte) {
	s.empty = false
	switch line[0] {
	case 'd':
		var ok bool
		data := value(line, "data:")
		s.number, s.sent, ok = servers.ParseData(data)
		s.bytes = s.length - (len(line) - len(data))
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
				s.beat = true
			}
		}
	}
}

func value(line []byte, name string) []byte {
	return bytes.TrimPrefix(line[min(len(name), len(line)):], []byte(" "))
}

// endBlock is where an ID counts too, section 9.2.6 of the HTML standard: an event
// that was cut off is asked for again.
func (s *stream) endBlock(to sink) {
	if s.keepIDs {
		s.lastID = append(s.lastID[:0], s.id...)
	}
	switch {
	case s.beat:
		s.tally.Heartbeats++
	case s.empty || s.own:
	case s.number >= 0:
		s.dispatch(to)
	default:
		s.tally.Heartbeats++
	}
	s.empty, s.number, s.own, s.beat = true, -1, false, false
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

// latency is how long the event under way has taken since it was due, by the clock
// that both processes share; 0 if its sender did not say when that was. Less than
// nothing, where that clock has been set back meanwhile, is next to nothing.
func (s *stream) latency(now time.Time) time.Duration {
	if s.sent == 0 || s.sent == servers.LastNanos {
		return 0
	}
	return max(time.Duration(now.UnixNano()-s.sent), 1)
}
