package load

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/bench/internal/servers"
)

const head = "HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: text/event-stream; charset=utf-8\r\n" +
	"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"

// chunk is text in chunked coding; "" is the last chunk.
func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

// event returns an event with a number, and an ID made from it. The kit writes the ID last,
// some contestants first.
func event(number int) string {
	return fmt.Sprintf("data: %s\nid: e%d\n\n", servers.AppendData(nil, number, 0, 50), number)
}

// recorder is a sink.
type recorder struct {
	opens   int
	numbers []int
}

func (r *recorder) opened(*stream) { r.opens++ }
func (r *recorder) event(s *stream) {
	r.numbers = append(r.numbers, s.number)
}

// result is what a test can observe of a stream.
type result struct {
	Err     string
	Opens   int
	Numbers []int // of the events delivered
	Tally   Tally
	Bytes   int
	LastID  string
	Next    int
	Closed  bool
}

// decode feeds the pieces of a response to a stream that keeps IDs.
func decode(pieces ...string) result {
	s := newStream(0, nil)
	s.keepIDs = true
	return decodeBy(s, pieces...)
}

func decodeBy(s *stream, pieces ...string) result {
	var to recorder
	h := result{}
	for _, piece := range pieces {
		p := []byte(piece)
		err := s.feed(p, &to)
		// The loader reads into the same buffer again.
		for i := range p {
			p[i] = '#'
		}
		if err != nil {
			h.Err = err.Error()
			break
		}
	}
	h.Opens, h.Numbers, h.Tally, h.Bytes, h.LastID, h.Next, h.Closed = to.opens, to.numbers, s.tally, s.received, string(s.lastID), s.next, s.closed
	return h
}

// everything has each kind of block that a server may send.
var everything = head +
	chunk(": welcome\n\n") +
	chunk("retry: 3000\nevent: sse.open\ndata: {\"resumed\":false}\nid: a-1\n\n") +
	chunk(event(0)+event(1)) +
	chunk("id: 7\nevent:message\ndata:"+string(servers.AppendData(nil, 2, 1234567, 300))) + chunk("\n") + chunk("\n") +
	chunk(": heartbeat\n\n") +
	chunk("event: sse.gap\ndata: {\"reason\":\"trimmed\"}\nid: a-2\n\n") +
	chunk("event: sse.heartbeat\ndata:\nid: a-2\n\n") +
	chunk(event(5)+event(4)+event(6)) +
	chunk("id: a-3\n\n") +
	chunk("retry: 4500\nevent: sse.reconnect\ndata: {\"reason\":\"shutdown\",\"retry\":4500}\n\n") +
	chunk("")

func TestStreamOutcomeDoesNotDependOnHowItIsSplit(t *testing.T) {
	t.Parallel()
	whole := decode(everything)
	want := result{
		Opens:   1,
		Numbers: []int{0, 1, 2, 5, 6},
		Tally:   Tally{Delivered: 5, Lost: 2, Repeated: 1, Gaps: 1, Heartbeats: 4},
		Bytes:   4*50 + 300, // not those of the event that was repeated
		LastID:  "a-3",
		Next:    7,
		Closed:  true,
	}
	if !reflect.DeepEqual(whole, want) {
		t.Fatalf("in one piece: %+v\nwant: %+v", whole, want)
	}
	for i := range len(everything) {
		if got := decode(everything[:i], everything[i:]); !reflect.DeepEqual(got, want) {
			t.Fatalf("split at %d: %+v\nwant: %+v", i, got, want)
		}
	}
	if got := decode(strings.Split(everything, "")...); !reflect.DeepEqual(got, want) {
		t.Fatalf("byte by byte: %+v\nwant: %+v", got, want)
	}
}

func TestStreamCountsEvents(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text    string
		numbers []int
		tally   Tally
	}{
		"nothing":              {"", nil, Tally{}},
		"in_order":             {event(0) + event(1), []int{0, 1}, Tally{Delivered: 2}},
		"first_lost":           {event(1), []int{1}, Tally{Delivered: 1, Lost: 1}},
		"several_lost":         {event(0) + event(4), []int{0, 4}, Tally{Delivered: 2, Lost: 3}},
		"repeated_at_once":     {event(0) + event(0), []int{0}, Tally{Delivered: 1, Repeated: 1}},
		"repeated_later":       {event(0) + event(1) + event(0), []int{0, 1}, Tally{Delivered: 2, Repeated: 1}},
		"out_of_order":         {event(0) + event(2) + event(1), []int{0, 2}, Tally{Delivered: 2, Lost: 1, Repeated: 1}},
		"gap":                  {event(0) + "event: sse.gap\ndata: {}\n\n" + event(3), []int{0, 3}, Tally{Delivered: 2, Lost: 2, Gaps: 1}},
		"comment":              {": heartbeat\n\n", nil, Tally{Heartbeats: 1}},
		"id_alone":             {"id: 7\n\n", nil, Tally{Heartbeats: 1}},
		"heartbeat":            {"event: sse.heartbeat\ndata:\nid: 7\n\n" + event(0), []int{0}, Tally{Delivered: 1, Heartbeats: 1}},
		"incomplete_heartbeat": {"event: sse.heartbeat\ndata:\nid: 7\n", nil, Tally{}},
		"comment_with_data":    {": first\n" + event(0), []int{0}, Tally{Delivered: 1}},
		"blank_lines":          {"\n\n\n", nil, Tally{}},
		"opened":               {"event: sse.open\ndata: {}\n\n", nil, Tally{}},
		"own_with_numbers":     {"event: sse.close\ndata: " + string(servers.AppendData(nil, 9, 0, 40)) + "\n\n", nil, Tally{}},
		"own_after_numbers":    {"data: " + string(servers.AppendData(nil, 9, 0, 40)) + "\nevent: sse.close\n\n", nil, Tally{}},
		"of_another_type":      {"event: message\n" + event(0), []int{0}, Tally{Delivered: 1}},
		"short_data":           {"data: hello\n\n" + event(0), []int{0}, Tally{Delivered: 1}},
		"data_of_letters":      {"data: " + strings.Repeat("x", 60) + "\n\n" + event(0), []int{0}, Tally{Delivered: 1}},
		"incomplete":           {strings.TrimSuffix(event(0), "\n"), nil, Tally{}},
		"single_letters":       {"d\ne\ni\nr\n\n", nil, Tally{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := head
			if test.text != "" {
				response += chunk(test.text)
			}
			got := decode(response)
			if got.Err != "" || !reflect.DeepEqual(got.Numbers, test.numbers) || got.Tally != test.tally {
				t.Errorf("%q gives %+v, want the numbers %v and %+v", test.text, got, test.numbers, test.tally)
			}
		})
	}
}

func TestStreamCountsTheBytesOfALongLine(t *testing.T) {
	t.Parallel()
	const size = 100_000
	text := chunk("data: " + string(servers.AppendData(nil, 0, 0, size)) + "\n\n")
	s := newStream(0, nil)
	got := decodeBy(s, head+text[:size/2], text[size/2:])
	if want := (Tally{Delivered: 1}); got.Tally != want || got.Bytes != size {
		t.Errorf("%+v of %d bytes, want %+v of %d", got.Tally, got.Bytes, want, size)
	}
}

func TestStreamKeepsLastEventIDsIfRequested(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text, want string
	}{
		"of_an_event":       {event(3), "e3"},
		"of_the_last_one":   {event(3) + event(4), "e4"},
		"alone":             {event(3) + "id: f\n\n", "f"},
		"first_of_a_block":  {"id: f\n" + event(3)[:len("data: ")+50] + "\n\n", "f"},
		"of_an_own_event":   {"event: sse.open\ndata: {}\nid: a\n\n", "a"},
		"of_a_heartbeat":    {event(3) + "event: sse.heartbeat\ndata:\nid: h\n\n", "h"},
		"emptied":           {event(3) + "id\n\n", ""},
		"incomplete_block":  {event(3) + strings.TrimSuffix(event(4), "\n"), "e3"},
		"without_one_after": {event(3) + ": heartbeat\n\n", "e3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := decode(head + chunk(test.text)).LastID; got != test.want {
				t.Errorf("the last event ID is %q, want %q", got, test.want)
			}
			if got := decodeBy(newStream(0, nil), head+chunk(test.text)).LastID; got != "" {
				t.Errorf("without keepIDs the last event ID is %q", got)
			}
		})
	}
}

func TestStreamResumesWhereItEnded(t *testing.T) {
	t.Parallel()
	was := newStream(4, nil)
	was.keepIDs = true
	decodeBy(was, head+chunk(event(0)+event(1)+strings.TrimSuffix(event(2), "\n")))
	back := newStream(4, was)
	back.keepIDs = true
	if string(back.lastID) != "e1" || back.next != 2 {
		t.Fatalf("it resumes with the ID %q and the number %d", back.lastID, back.next)
	}
	got := decodeBy(back, head, chunk(": welcome\n\n"))
	if got.LastID != "e1" {
		t.Errorf("after a block without an ID the last event ID is %q", got.LastID)
	}
	got = decodeBy(back, chunk(event(1)+event(2)))
	if want := (Tally{Delivered: 1, Repeated: 1, Heartbeats: 1}); got.Tally != want || got.LastID != "e2" {
		t.Errorf("%+v, want %+v and the ID e2", got, want)
	}
}

func TestStreamEndsWithTheLastChunk(t *testing.T) {
	t.Parallel()
	got := decode(head + chunk(event(0)) + "0\r\n\r\n" + "what follows")
	if got.Err != "" || !got.Closed || got.Tally.Delivered != 1 {
		t.Errorf("%+v", got)
	}
	if got := decode(head + chunk(event(0))); got.Closed {
		t.Errorf("the stream ended without a last chunk: %+v", got)
	}
}

func TestStreamRejectsOtherResponses(t *testing.T) {
	t.Parallel()
	for name, response := range map[string]string{
		"status":       strings.Replace(head, "200 OK", "401 Unauthorized", 1),
		"no_content":   "HTTP/1.1 204 No Content\r\n\r\n",
		"version":      strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1),
		"content_type": strings.Replace(head, "text/event-stream", "text/html", 1),
		"not_chunked":  strings.Replace(head, "Transfer-Encoding: chunked", "Content-Length: 5", 1),
		"not_http":     "SSH-2.0-OpenSSH\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decode(response + chunk(event(0)))
			want := fmt.Sprintf("not an event stream: %q", strings.TrimSuffix(response, "\r\n\r\n"))
			if got.Err != want || got.Opens != 0 || got.Tally.Delivered != 0 {
				t.Errorf("%+v, want the error %q", got, want)
			}
		})
	}
}

func TestStreamRejectsInvalidChunkSizes(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"empty":      "\r",
		"letters":    "xyz\r",
		"extension":  "5;a=b\r",
		"negative":   "-1\r",
		"upper_case": "1F\r", // no contestant writes it
		"space":      " 5\r",
		"too_large":  "10000000\r",
		"text":       "data: 5",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := fmt.Sprintf("not the size of a chunk: %q", line)
			got := decode(head + chunk(event(0)) + line + "\n" + event(1))
			if got.Err != want || got.Tally.Delivered != 1 {
				t.Errorf("%+v, want the error %q after one event", got, want)
			}
		})
	}
	if got := decode(head + "fffffff\r\n" + event(0)); got.Err != "" || got.Tally.Delivered != 1 {
		t.Errorf("the largest size: %+v", got)
	}
	if got := decode(head + "1\n:\r\n"); got.Err != "" {
		t.Errorf("a size that ends with LF alone: %+v", got)
	}
}

func TestStreamAllocatesNothingPerEvent(t *testing.T) {
	s := newStream(0, nil)
	s.keepIDs = true
	var to counter
	feed := func(p []byte) {
		if err := s.feed(p, &to); err != nil {
			t.Fatal(err)
		}
	}
	feed([]byte(head))
	events := []byte(chunk(event(0)+": heartbeat\n\n") + chunk(event(0)))
	allocations := testing.AllocsPerRun(100, func() {
		s.next = 0
		feed(events)
		// Split at places where the stream has to keep something.
		for at := 1; at < len(events); at += 5 {
			s.next = 0
			feed(events[:at])
			feed(events[at:])
		}
	})
	if allocations > 0 {
		t.Errorf("%v allocations per run", allocations)
	}
	if to == 0 {
		t.Error("no event was delivered")
	}
}

// counter is a sink.
type counter int

func (*counter) opened(*stream)  {}
func (c *counter) event(*stream) { *c++ }

func TestStreamComputesLatencyFromTheTimeInTheEvent(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	s := newStream(0, nil)
	for name, test := range map[string]struct {
		sent int64
		want time.Duration
	}{
		"known":         {now.Add(-3 * time.Millisecond).UnixNano(), 3 * time.Millisecond},
		"unknown":       {0, 0},
		"in_the_future": {now.Add(time.Millisecond).UnixNano(), 1},
	} {
		s.sent = test.sent
		if got := s.latency(now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func FuzzStreamFeed(f *testing.F) {
	f.Add([]byte(everything), uint16(200))
	f.Add([]byte(head+"5\r\n: a\n\n\r\n0\r\n\r\nmore"), uint16(len(head)+1))
	f.Add([]byte(head+"fffffff\r\n"+event(0)), uint16(len(head)+8))
	f.Add([]byte("HTTP/1.1 401 Unauthorized\r\n\r\n"), uint16(3))
	f.Add([]byte(chunk(event(3)+event(1))), uint16(4)) // the test prepends headers
	f.Fuzz(func(t *testing.T, response []byte, cut uint16) {
		if len(response) > 4<<10 {
			t.Skip("endless headers are scanned again for each byte")
		}
		for _, text := range []string{string(response), head + string(response)} {
			at := int(cut) % (len(text) + 1)
			whole := decode(text)
			if got := decode(text[:at], text[at:]); !reflect.DeepEqual(got, whole) {
				t.Errorf("split at %d: %+v\nin one piece: %+v", at, got, whole)
			}
			if got := decode(strings.Split(text, "")...); !reflect.DeepEqual(got, whole) {
				t.Errorf("in small pieces: %+v\nin one piece: %+v", got, whole)
			}
		}
	})
}
