package client

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"
)

// rules has the sentences of sections 9.2.5 and 9.2.6 in order, each with a stream that tests it.
// The last step is the last event ID at the end.
var rules = []struct {
	name, sentence, stream string
	want                   []string
}{
	{
		"decoded_as_utf8", "Streams must be decoded using the UTF-8 decode algorithm.",
		"event: \u00e9\nid: \u20ac\ndata: \U0001F600\n: \u00e9\n\n",
		[]string{`comment "é"`, `event "é" "😀" "€"`, `end "€"`},
	},
	{
		"invalid_bytes_are_replaced", "(UTF-8 decode: an error becomes U+FFFD.)",
		"event: \xff\nid: \xfe\ndata: a\xc3\n:\x80\n\n",
		[]string{"comment \"\ufffd\"", "event \"\ufffd\" \"a\ufffd\" \"\ufffd\"", "end \"\ufffd\""},
	},
	{
		"maximal_subparts_are_replaced_by_one", "(UTF-8 decode: the bytes of an incomplete character are one error.)",
		"data: \xF0\x9F\x98!\xE2\x82\n\n",
		[]string{"event \"message\" \"\ufffd!\ufffd\" \"\"", `end ""`},
	},
	{
		"impossible_bytes_are_replaced_each", "(UTF-8 decode: no overlong forms, no surrogates, nothing over U+10FFFF.)",
		"data: \xff\xff\ndata: \xC0\xAF\ndata: \xE0\x80\xAF\ndata: \xED\xA0\x80\ndata: \xF0\x80\x80\x80\ndata: \xF4\x90\x80\x80\ndata: \xF5\x80\n\n",
		[]string{
			"event \"message\" \"\ufffd\ufffd\\n\ufffd\ufffd\\n\ufffd\ufffd\ufffd\\n\ufffd\ufffd\ufffd\\n\ufffd\ufffd\ufffd\ufffd\\n\ufffd\ufffd\ufffd\ufffd\\n\ufffd\ufffd\" \"\"",
			`end ""`,
		},
	},
	{
		"line_end_ends_a_character_cut_short", "(UTF-8 decode: a byte that does not belong is looked at again.)",
		"data: \xE2\x82\ndata: \xF0\x9F\r\n\r\n",
		[]string{"event \"message\" \"\ufffd\\n\ufffd\" \"\"", `end ""`},
	},
	{
		"valid_text_is_left_alone", "(UTF-8 decode: U+FFFD, U+0000 and U+FEFF are characters.)",
		"data: \uFFFD\x00\uFEFF\u2028\u0085\n\n",
		[]string{"event \"message\" \"\ufffd\\x00\\ufeff\\u2028\\u0085\" \"\"", `end ""`},
	},
	{
		"one_byte_order_mark_is_stripped", "The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark (BOM), if any.",
		"\uFEFFdata: 1\n\n",
		[]string{`event "message" "1" ""`, `end ""`},
	},
	{
		"second_byte_order_mark_is_not", "(One.)",
		"\uFEFF\uFEFFdata: 1\n\ndata: 2\n\n",
		[]string{`event "message" "2" ""`, `end ""`},
	},
	{
		"later_byte_order_mark_is_not", "(Leading.)",
		"data: 1\n\n\uFEFFdata: 2\n\n",
		[]string{`event "message" "1" ""`, `end ""`},
	},
	{
		"half_a_byte_order_mark_is_none", "(All three bytes.)",
		"\xEF\xBBdata: 1\n\ndata: 2\n\n",
		[]string{`event "message" "2" ""`, `end ""`},
	},
	{
		"nothing_but_a_byte_order_mark", "(Any.)",
		"\uFEFF", []string{`end ""`},
	},
	{
		"byte_order_mark_and_comment", "(Any.)",
		"\uFEFF:x\n", []string{`comment "x"`, `end ""`},
	},
	{
		"crlf_ends_a_line", "A U+000D CARRIAGE RETURN U+000A LINE FEED (CRLF) character pair [...]",
		"data: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n",
		[]string{`event "message" "1\n2" ""`, `event "message" "3" ""`, `end ""`},
	},
	{
		"lf_ends_a_line", "a single U+000A LINE FEED (LF) character not preceded by a U+000D CARRIAGE RETURN (CR) character [...]",
		"data: 1\ndata: 2\n\ndata: 3\n\n",
		[]string{`event "message" "1\n2" ""`, `event "message" "3" ""`, `end ""`},
	},
	{
		"cr_ends_a_line", "and a single U+000D CARRIAGE RETURN (CR) character not followed by a U+000A LINE FEED (LF) character being the ways in which a line can end.",
		"data: 1\rdata: 2\r\rdata: 3\r\r",
		[]string{`event "message" "1\n2" ""`, `event "message" "3" ""`, `end ""`},
	},
	{
		"line_ends_may_be_mixed", "(Any.)",
		"data: 1\r\n\rdata: 2\n\r\ndata: 3\r\ndata: 4\n\rdata: 5\r\r\n",
		[]string{`event "message" "1" ""`, `event "message" "2" ""`, `event "message" "3\n4" ""`, `event "message" "5" ""`, `end ""`},
	},
	{
		"nothing_else_ends_a_line", "(The ways.)",
		"data: 1\vdata: 2\fdata: 3\u0085data: 4\u2028data: 5\n\n",
		[]string{`event "message" "1\vdata: 2\fdata: 3\u0085data: 4\u2028data: 5" ""`, `end ""`},
	},
	{
		"empty_buffers_to_begin_with", "When a stream is parsed, a data buffer, an event type buffer, and a last event ID buffer must be associated with it. They must be initialized to the empty string.",
		"\n\r\n\r\ndata: 1\n\n",
		[]string{`event "message" "1" ""`, `end ""`},
	},
	{
		"blank_line_dispatches", "If the line is empty (a blank line): Dispatch the event, as defined below.",
		"data: 1\n\ndata: 2\n\n\n\ndata: 3\n\n",
		[]string{`event "message" "1" ""`, `event "message" "2" ""`, `event "message" "3" ""`, `end ""`},
	},
	{
		"line_of_a_space_is_not_blank", "(Empty.)",
		"data: 1\n \ndata: 2\n\n",
		[]string{`event "message" "1\n2" ""`, `end ""`},
	},
	{
		"line_that_starts_with_a_colon_is_ignored", "If the line starts with a U+003A COLON character (:): Ignore the line.",
		":\n: a\n:b\n:  c:d\n:data: 1\n\ndata: 2\n:e\n\n",
		[]string{`comment ""`, `comment "a"`, `comment "b"`, `comment " c:d"`, `comment "data: 1"`, `comment "e"`, `event "message" "2" ""`, `end ""`},
	},
	{
		"field_is_before_the_first_colon", "Collect the characters on the line before the first U+003A COLON character (:), and let field be that string.",
		"data:1:2\ndata::3\nid:4:5\n\n",
		[]string{`event "message" "1:2\n:3" "4:5"`, `end "4:5"`},
	},
	{
		"one_space_is_removed", "If value starts with a U+0020 SPACE character, remove it from value.",
		"data:test\n\ndata: test\n\ndata:  test\n\ndata:\ttest\n\ndata: test \n\ndata: \n\n",
		[]string{
			`event "message" "test" ""`, `event "message" "test" ""`, `event "message" " test" ""`,
			`event "message" "\ttest" ""`, `event "message" "test " ""`, `event "message" "" ""`, `end ""`,
		},
	},
	{
		"no_colon_is_a_field_name", "Otherwise, the string is not empty but does not contain a U+003A COLON character (:): Process the field using [...] the whole line as the field name, and the empty string as the field value.",
		"id: 1\ndata: 1\n\nevent: x\nevent\nid\ndata\n\n",
		[]string{`event "message" "1" "1"`, `event "message" "" ""`, `end ""`},
	},
	{
		"event_sets_the_event_type", `If the field name is "event": Set the event type buffer to field value.`,
		"event: a\nevent: add\ndata: 1\n\n",
		[]string{`event "add" "1" ""`, `end ""`},
	},
	{
		"data_is_appended_with_lf", `If the field name is "data": Append the field value to the data buffer, then append a single U+000A LINE FEED (LF) character to the data buffer.`,
		"data: YHOO\ndata: +2\nfoo\n: bar\ndata\ndata: 10\n\n",
		[]string{`comment "bar"`, `event "message" "YHOO\n+2\n\n10" ""`, `end ""`},
	},
	{
		"id_without_nul_sets_the_id", `If the field name is "id": If the field value does not contain U+0000 NULL, then set the last event ID buffer to the field value. Otherwise, ignore the field.`,
		"id: 7\ndata: 1\n\nid: 8\x00\ndata: 2\n\nid: \x00\ndata: 3\n\nid: 9\nid: 1\x000\ndata: 4\n\n",
		[]string{`event "message" "1" "7"`, `event "message" "2" "7"`, `event "message" "3" "7"`, `event "message" "4" "9"`, `end "9"`},
	},
	{
		"retry_of_ascii_digits", `If the field name is "retry": If the field value consists of only ASCII digits, then interpret the field value as an integer in base ten, and set the event stream's reconnection time to that integer. Otherwise, ignore the field.`,
		"retry: 1500\nretry: 007\nretry: 0\nretry: +2\nretry: -2\nretry: 3s\nretry: 1.5\nretry: 1_0\nretry: \u0663\nretry:  4\nretry: 4 \nretry:\nretry\n",
		[]string{`retry 1500000000`, `retry 7000000`, `retry 0`, `end ""`},
	},
	{
		"retry_too_large_is_the_largest", "(Integer.)",
		"retry: 9223372036854\nretry: 9223372036855\nretry: 92233720368547758080\nretry: " + strings.Repeat("9", 400) + "\n",
		[]string{`retry 9223372036854000000`, `retry 9223372036854775807`, `retry 9223372036854775807`, `retry 9223372036854775807`, `end ""`},
	},
	{
		"other_fields_are_ignored", "Otherwise: The field is ignored.",
		"foo: 1\nDATA: 2\n data: 3\ndata : 4\ndat: 5\ndataa: 6\nevents: 7\ni: 8\nidx: 9\nretrying: 10\nretryy: 11\ndata: 12\n\n",
		[]string{`event "message" "12" ""`, `end ""`},
	},
	{
		"unfinished_block_is_discarded", "Once the end of the file is reached, any pending data must be discarded. (If the file ends in the middle of an event, before the final empty line, the incomplete event is not dispatched.)",
		"id: 1\ndata: 1\n\nid: 2\nevent: x\ndata: 2\n",
		[]string{`event "message" "1" "1"`, `end "1"`},
	},
	{
		"unfinished_line_is_discarded", "(Line by line.)",
		"data: 1\n\n:a\nretry: 1\n:b",
		[]string{`event "message" "1" ""`, `comment "a"`, `retry 1000000`, `end ""`},
	},
	{
		"id_is_set_though_nothing_is_dispatched", "Set the last event ID string of the event source to the value of the last event ID buffer.",
		"id: 7\n\ndata: 1\n\nid: 8\n\n",
		[]string{`event "message" "1" "7"`, `end "8"`},
	},
	{
		"id_is_not_reset", "The buffer does not get reset, so the last event ID string of the event source remains set to this value until the next time it is set by the server.",
		"id: 7\ndata: 1\n\ndata: 2\n\ndata: 3\nid\n\ndata: 4\n\n",
		[]string{`event "message" "1" "7"`, `event "message" "2" "7"`, `event "message" "3" ""`, `event "message" "4" ""`, `end ""`},
	},
	{
		"empty_data_buffer_dispatches_nothing", "If the data buffer is an empty string, set the data buffer and the event type buffer to the empty string and return.",
		"event: add\nid: 3\n\ndata: 1\n\n",
		[]string{`event "message" "1" "3"`, `end "3"`},
	},
	{
		"last_lf_of_the_data_is_removed", "If the data buffer's last character is a U+000A LINE FEED (LF) character, then remove the last character from the data buffer.",
		"data\n\ndata\ndata\n\ndata:\ndata: 1\ndata\n\n",
		[]string{`event "message" "" ""`, `event "message" "\n" ""`, `event "message" "\n1\n" ""`, `end ""`},
	},
	{
		"type_is_message_if_not_set", `Initialize event's type attribute to "message" [...] If the event type buffer has a value other than the empty string, change the type of the newly created event to equal the value of the event type buffer.`,
		"event: message\ndata: 1\n\nevent:\ndata: 2\n\ndata: 3\n\n",
		[]string{`event "message" "1" ""`, `event "message" "2" ""`, `event "message" "3" ""`, `end ""`},
	},
	{
		"type_is_reset", "Set the data buffer and the event type buffer to the empty string.",
		"event: add\ndata: 1\n\ndata: 2\n\nevent: add\ndata: 3\n\nevent: remove\ndata: 4\n\nevent: add\ndata: 5\n\n",
		[]string{`event "add" "1" ""`, `event "message" "2" ""`, `event "add" "3" ""`, `event "remove" "4" ""`, `event "add" "5" ""`, `end ""`},
	},
	{
		"four_blocks_of_the_standard", "(The example.)",
		": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
		[]string{`comment "test stream"`, `event "message" "first event" "1"`, `event "message" "second event" ""`, `event "message" " third event" ""`, `end ""`},
	},
	{
		"ids_beside_large_data", "(What is shared, and what is not, shows nowhere.)",
		"id: 1\nevent: add\ndata: " + strings.Repeat("x", 5000) + "\n\ndata: 2\n\nid: 1\nevent: add\ndata: 3\n\nid: 4\n\nevent: add\ndata\n\n",
		[]string{`event "add" "` + strings.Repeat("x", 5000) + `" "1"`, `event "message" "2" "1"`, `event "add" "3" "1"`, `event "add" "" "4"`, `end "4"`},
	},
	{
		"long_lines_nobody_wants", "(Passed over.)",
		"data: 1\n" + strings.Repeat("x", 9000) + "\nxxxxxx\n" + strings.Repeat("y", 5000) + ":\r\ndata: 2\r\n\r\n",
		[]string{`event "message" "1\n2" ""`, `end ""`},
	},
}

func TestDecoderFollowsTheStandard(t *testing.T) {
	t.Parallel()
	for _, test := range rules {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			check := func(way string, r io.Reader) {
				t.Helper()
				if got, err := trace(r, DecoderConfig{}); err != io.EOF || !slices.Equal(got, test.want) {
					t.Fatalf("%s, %s: got %q, %v\nwant %q", test.sentence, way, got, err, test.want)
				}
			}
			check("at once", strings.NewReader(test.stream))
			check("byte by byte", iotest.OneByteReader(strings.NewReader(test.stream)))
			check("half reads", iotest.HalfReader(strings.NewReader(test.stream)))
			check("last bytes with EOF", iotest.DataErrReader(strings.NewReader(test.stream)))
			check("byte by byte, the last with EOF", iotest.DataErrReader(iotest.OneByteReader(strings.NewReader(test.stream))))
			for at := range len(test.stream) {
				check("in two", io.MultiReader(strings.NewReader(test.stream[:at]), strings.NewReader(test.stream[at:])))
			}
			if got := naive([]byte(test.stream), ""); !slices.Equal(got, test.want) {
				t.Errorf("naive: got %q, want %q", got, test.want)
			}
		})
	}
}

func TestDecoderReturnsTheErrorOfTheReader(t *testing.T) {
	t.Parallel()
	stream := "id: 1\ndata: 1\n\nid: 2\ndata: 2\n"
	broken := errors.New("broken")
	for name, r := range map[string]io.Reader{
		"after_bytes": io.MultiReader(strings.NewReader(stream), iotest.ErrReader(broken)),
		"with_bytes":  iotest.DataErrReader(io.MultiReader(strings.NewReader(stream), iotest.ErrReader(broken))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := NewDecoder(r, DecoderConfig{})
			if e, err := d.Next(); err != nil || e.Data != "1" {
				t.Fatalf("got %+v, %v", e, err)
			}
			for range 3 {
				if e, err := d.Next(); err != broken || e != (Event{}) {
					t.Errorf("got %+v, %v, want no event and the reader's error", e, err)
				}
			}
			if id := d.LastEventID(); id != "1" {
				t.Errorf("last event ID %q", id)
			}
		})
	}
	if _, err := trace(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(stream))), DecoderConfig{}); err != iotest.ErrTimeout {
		t.Errorf("got %v, want a timeout", err)
	}
	if _, err := trace(iotest.ErrReader(io.ErrUnexpectedEOF), DecoderConfig{}); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v, want an unexpected EOF", err)
	}
}

// readerFunc is an io.Reader.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDecoderDoesNotReadOnAfterAnError(t *testing.T) {
	t.Parallel()
	broken, reads := errors.New("broken"), 0
	d := NewDecoder(readerFunc(func(p []byte) (int, error) {
		if reads++; reads > 1 {
			t.Error("read on")
		}
		return copy(p, "data: 1\n\ndata: 2\n\ndata"), broken
	}), DecoderConfig{})
	for _, want := range []string{"1", "2"} {
		if e, err := d.Next(); err != nil || e.Data != want {
			t.Errorf("got %+v, %v, want %s", e, err, want)
		}
	}
	for range 2 {
		if _, err := d.Next(); err != broken {
			t.Errorf("got %v", err)
		}
	}
}

func TestDecoderGivesUpOnAReaderThatReturnsNothing(t *testing.T) {
	t.Parallel()
	reads := 0
	d := NewDecoder(readerFunc(func([]byte) (int, error) { reads++; return 0, nil }), DecoderConfig{})
	for range 2 {
		if _, err := d.Next(); err != io.ErrNoProgress {
			t.Errorf("got %v, want no progress", err)
		}
	}
	if reads != maxEmptyReads {
		t.Errorf("%d reads, want %d", reads, maxEmptyReads)
	}
}

func TestDecoderToleratesEmptyReads(t *testing.T) {
	t.Parallel()
	stream, reads := strings.NewReader("data: 1\n\n"), 0
	d := NewDecoder(readerFunc(func(p []byte) (int, error) {
		if reads++; reads%maxEmptyReads != 0 {
			return 0, nil
		}
		return stream.Read(p[:1])
	}), DecoderConfig{})
	if e, err := d.Next(); err != nil || e.Data != "1" {
		t.Errorf("got %+v, %v", e, err)
	}
}

func TestDecoderRefusesImpossibleCounts(t *testing.T) {
	t.Parallel()
	for _, wrong := range []int{-1, math.MinInt, math.MaxInt} {
		d := NewDecoder(readerFunc(func([]byte) (int, error) { return wrong, nil }), DecoderConfig{})
		if _, err := d.Next(); err != errReadCount {
			t.Errorf("count %d: got %v", wrong, err)
		}
	}
}

// An event that ends with CR must not wait for the next byte. That byte may belong to the next
// event and arrive an hour later.
func TestDecoderDispatchesBeforeTheLFOfACRLF(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer r.Close()
	go func() { // each Write returns when all of it has been read
		for _, part := range []string{"data: 1\r", "\r", "\ndata: 2\r\n\r", "\n\r\ndata: 3\r\n\r"} {
			if _, err := io.WriteString(w, part); err != nil {
				return
			}
		}
		<-t.Context().Done() // sends nothing, not even EOF: Next must not read
	}()
	d := NewDecoder(r, DecoderConfig{})
	for _, want := range []string{"1", "2", "3"} {
		if e, err := d.Next(); err != nil || e.Data != want {
			t.Fatalf("got %+v, %v, want %s", e, err, want)
		}
	}
}

func TestDecoderHandlesAllBytesBeforeItReadsMore(t *testing.T) {
	t.Parallel()
	var d *Decoder
	var comments []string
	parts, ids := []string{"id: 1\n\n:a\n", "id: 2\ndata: 1\n\nid: 3\n", "\r", ""}, []string{"0", "1", "2", "3"}
	d = NewDecoder(readerFunc(func(p []byte) (int, error) {
		if id := d.LastEventID(); id != ids[0] {
			t.Errorf("when more is read, the last event ID is %q, want %q", id, ids[0])
		}
		if want := len(ids) < 4; want != (len(comments) == 1) {
			t.Errorf("when more is read, the comments are %q", comments)
		}
		n := copy(p, parts[0])
		parts, ids = parts[1:], ids[1:]
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}), DecoderConfig{LastEventID: "0", Comment: func(text string) { comments = append(comments, text) }})
	if e, err := d.Next(); err != nil || e.LastEventID != "2" {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := d.Next(); err != io.EOF || len(parts) != 0 {
		t.Errorf("got %v, and %q is left", err, parts)
	}
}

func TestDecoderBeginsWithTheGivenLastEventID(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader("data: 1\n\nid\n\ndata: 2\n\n"), DecoderConfig{LastEventID: "7"})
	if id := d.LastEventID(); id != "7" {
		t.Errorf("before the stream: %q", id)
	}
	for _, want := range []Event{{"message", "1", "7"}, {"message", "2", ""}} {
		if e, err := d.Next(); err != nil || e != want {
			t.Errorf("got %+v, %v, want %+v", e, err, want)
		}
	}
}

func TestDecodeEndsWithoutErrorAtTheEndOfTheStream(t *testing.T) {
	t.Parallel()
	var got []string
	for e, err := range Decode(strings.NewReader("data: 1\n\ndata: 2\n\ndata: 3")) {
		if err != nil {
			t.Error(err)
		}
		got = append(got, e.Data)
	}
	if !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q", got)
	}
}

func TestDecodeYieldsAnErrorOnceAndLast(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  io.Reader
		want error
	}{
		"readers":   {iotest.ErrReader(io.ErrClosedPipe), io.ErrClosedPipe},
		"too_large": {strings.NewReader("data: " + strings.Repeat("x", defaultMaxEventBytes+1) + "\n\ndata: 2\n\n"), new(EventTooLargeError)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []Event
			var errs []error
			for e, err := range Decode(io.MultiReader(strings.NewReader("data: 1\n\n"), test.end)) {
				events, errs = append(events, e), append(errs, err)
			}
			if !slices.Equal(events, []Event{{"message", "1", ""}, {}}) || errs[0] != nil {
				t.Fatalf("got %+v, %v", events, errs)
			}
			if reflect.TypeOf(errs[1]) != reflect.TypeOf(test.want) {
				t.Errorf("got %v, want %v", errs[1], test.want)
			}
		})
	}
}

func TestDecodeStopsReadingWhenTheLoopIsLeft(t *testing.T) {
	t.Parallel()
	r := io.MultiReader(strings.NewReader("data: 1\n\n"), readerFunc(func([]byte) (int, error) {
		t.Error("read on")
		return 0, io.EOF
	}))
	for range Decode(r) {
		break
	}
}

func TestDecoderLimitsTheWholeEvent(t *testing.T) {
	t.Parallel()
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := []struct {
		name, stream string
		over         bool
	}{
		{"data", "data: " + x(100) + "\n\n", false},
		{"data_over", "data: " + x(101) + "\n\n", true},
		{"data_without_space_over", "data:" + x(101) + "\n\n", true},
		{"lines_of_data", "data: " + x(50) + "\ndata: " + x(49) + "\n\n", false},
		{"lines_of_data_over", "data: " + x(50) + "\ndata: " + x(50) + "\n\n", true},
		{"empty_lines_of_data", strings.Repeat("data\n", 101) + "\n", false},
		{"empty_lines_of_data_over", strings.Repeat("data\n", 102) + "\n", true},
		{"type", "event: " + x(100) + "\ndata\n\n", false},
		{"type_over", "event: " + x(101) + "\n", true},
		{"id", "id: " + x(100) + "\ndata\n\n", false},
		{"id_over", "id: " + x(101) + "\n", true},
		{"id_with_nul_over", "id: \x00" + x(100) + "\n", true},
		{"together", "id: " + x(10) + "\nevent: " + x(20) + "\ndata: " + x(70) + "\n\n", false},
		{"together_over_by_data", "id: " + x(10) + "\nevent: " + x(20) + "\ndata: " + x(71) + "\n\n", true},
		{"together_over_by_type", "data: " + x(70) + "\nid: " + x(10) + "\nevent: " + x(21) + "\n\n", true},
		{"together_over_by_id", "data: " + x(70) + "\nevent: " + x(20) + "\nid: " + x(11) + "\n\n", true},
		{"only_the_last_type_and_id_count", "data: " + x(30) + strings.Repeat("\nevent: "+x(30)+"\nid: "+x(40), 9) + "\n\n", false},
		{"id_of_an_earlier_block_does_not", "id: " + x(100) + "\n\ndata: " + x(100) + "\n\n", false},
		{"ids_of_earlier_blocks_do_not", "id: " + x(100) + "\n\nid: " + x(99) + "\n\ndata: " + x(100) + "\n\n", false},
		{"each_event_for_itself", strings.Repeat("id: "+x(30)+"\nevent: "+x(30)+"\ndata: "+x(40)+"\n\n", 50), false},
		{"unfinished_line_over", "data: " + x(101), true},
		{"unfinished_block", "data: " + x(100), false},
		{"comment", ":" + x(100) + "\n", false},
		{"comment_over", ":" + x(101) + "\n", true},
		{"comments", "data: " + x(100) + "\n" + strings.Repeat(":"+x(100)+"\n", 9) + "\n", false},
		{"retry", "retry:" + strings.Repeat("0", 100) + "\n", false},
		{"retry_over", "retry:" + strings.Repeat("0", 101) + "\n", true},
		{"other_fields", x(5000) + "\n" + x(5000) + ": 1\nfoo:" + x(5000) + "\ndata: " + x(100) + "\n\n", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for way, r := range map[string]io.Reader{
				"at once":      strings.NewReader(test.stream),
				"byte by byte": iotest.OneByteReader(strings.NewReader(test.stream)),
			} {
				_, err := trace(r, DecoderConfig{MaxEventBytes: 100})
				var tooLarge *EventTooLargeError
				if errors.As(err, &tooLarge) != test.over || test.over && tooLarge.Limit != 100 || !test.over && err != io.EOF {
					t.Errorf("%s: got %v", way, err)
				}
				if steps, err := trace(strings.NewReader(test.stream), DecoderConfig{MaxEventBytes: -1}); err != io.EOF {
					t.Errorf("without limit: got %q, %v", steps, err)
				}
			}
		})
	}
}

func TestDecoderReturnsEventsBeforeOneThatIsTooLarge(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader("id: 1\ndata: 1\n\nid: 2\ndata: 22222\n\ndata: 3\n\n"), DecoderConfig{MaxEventBytes: 4})
	if e, err := d.Next(); err != nil || e.Data != "1" {
		t.Errorf("got %+v, %v", e, err)
	}
	for range 2 {
		var tooLarge *EventTooLargeError
		if e, err := d.Next(); !errors.As(err, &tooLarge) || e != (Event{}) || err.Error() != "ginsse: event is larger than 4 bytes" {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	if id := d.LastEventID(); id != "1" {
		t.Errorf("last event ID %q: the event with 2 was not returned", id)
	}
}

// endless returns prefix, then repeats one byte without end.
type endless struct {
	prefix string
	b      byte
	read   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.prefix)
	e.prefix = e.prefix[n:]
	for i := n; i < len(p); i++ {
		p[i] = e.b
	}
	e.read += len(p)
	return len(p), nil
}

func TestDecoderLimitsAnEndlessLine(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"data: ", "data: 1\ndata: ", "event: ", "id: ", "retry: ", ": "} {
		r := &endless{prefix: prefix, b: '1'}
		d := NewDecoder(r, DecoderConfig{MaxEventBytes: 100_000, Comment: func(string) {}, Retry: func(time.Duration) {}})
		var tooLarge *EventTooLargeError
		if _, err := d.Next(); !errors.As(err, &tooLarge) || r.read > 300_000 || d.buf != nil {
			t.Errorf("%q: %v after %d bytes, %d held", prefix, err, r.read, len(d.buf))
		}
	}
}

// Servers pad heartbeats to get through the buffers of proxies, sometimes with much padding.
func TestDecoderSkipsUnwantedLinesOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{":", "retry:", "unknown", "foo:", "datax", "data "} {
		var d *Decoder
		padding := io.LimitReader(&endless{prefix: prefix, b: ' '}, 4<<20)
		d = NewDecoder(io.MultiReader(strings.NewReader("data: 1\n"), readerFunc(func(p []byte) (int, error) {
			if len(d.buf) > minBuffer {
				t.Errorf("%q: a buffer of %d bytes", prefix, len(d.buf))
			}
			return padding.Read(p)
		}), strings.NewReader("\rdata: 2\n\n")), DecoderConfig{MaxEventBytes: 3})
		if e, err := d.Next(); err != nil || e.Data != "1\n2" {
			t.Errorf("%q: got %+v, %v", prefix, e, err)
		}
	}
}

// The decoder must not search a byte for line ends twice; otherwise a long line that arrives in
// small reads would take quadratic time. This test puts line ends into searched bytes.
func TestDecoderSearchesNoByteTwice(t *testing.T) {
	t.Parallel()
	const name, value = "data: ", 200_000
	for _, most := range []int{1, 7, 1000, 4096} {
		text := strings.NewReader(name + strings.Repeat("x", value) + "\n\n")
		var d *Decoder
		d = NewDecoder(readerFunc(func(p []byte) (int, error) {
			for i := max(d.pos+len(name), d.end-most); i < d.end; i++ { // the bytes of the last read
				d.buf[i] = "\r\n"[i%2]
			}
			return text.Read(p[:min(len(p), most)])
		}), DecoderConfig{})
		if e, err := d.Next(); err != nil || len(e.Data) != value {
			t.Errorf("reads of %d: %d bytes of data, %v, want %d", most, len(e.Data), err, value)
		}
	}
}

// On average the decoder moves each byte only a few times, for reads of any size.
func TestDecoderMovesFewBytes(t *testing.T) {
	t.Parallel()
	const size = 1 << 19
	for name, stream := range map[string]string{
		"one_line":   "data: " + strings.Repeat("x", size) + "\n\n",
		"many_lines": strings.Repeat("data: 1\n", size/8) + "\n",
		"crs":        strings.Repeat("data: 1\r", size/8) + "\r",
		"blocks":     strings.Repeat("id: 1\ndata: 1\n\n", size/15),
	} {
		for _, most := range []int{1, 7, 4096, size} {
			text := strings.NewReader(stream)
			var d *Decoder
			moved, start, end := 0, unsafe.SliceData([]byte(nil)), 0
			d = NewDecoder(readerFunc(func(p []byte) (int, error) {
				if unsafe.SliceData(d.buf) != start || d.end != end {
					moved += d.end
				}
				n, err := text.Read(p[:min(len(p), most)])
				start, end = unsafe.SliceData(d.buf), d.end+n
				return n, err
			}), DecoderConfig{})
			for {
				if _, err := d.Next(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if moved > 4*len(stream) {
				t.Errorf("%s, reads of %d: %d bytes moved for a stream of %d", name, most, moved, len(stream))
			}
		}
	}
}

// again repeats the same stream without end, some bytes at a time.
type again struct {
	stream []byte
	at     int
	most   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), a.most)], a.stream[a.at:])
	a.at = (a.at + n) % len(a.stream)
	return n, nil
}

func TestDecoderAllocatesOncePerEvent(t *testing.T) {
	large := strings.Repeat("x", 300_000)
	for name, test := range map[string]struct {
		stream string
		events int
		want   float64
	}{
		"data":                {"data: 1\n\n", 1, 1},
		"all_fields":          {"id: 1\nevent: add\ndata: 1\n\nid: 2\nevent: remove\ndata: 2\n\n", 2, 2},
		"ids":                 {"id: 1\ndata: 1\n\nid: 2\n\nid: 3\n\ndata: 2\n\n", 2, 2},
		"lines":               {strings.Repeat("data: some text\n", 500) + "\n", 1, 1},
		"comments_and_more":   {strings.Repeat(": padding\nretry: 10\nfoo: bar\n\n", 50) + "data: 1\n\n", 1, 1},
		"crlf":                {"id: 1\r\nevent: add\r\ndata: 1\r\n\r\nid: 2\r\nevent: remove\r\ndata: 2\r\n\r\n", 2, 2},
		"invalid_utf8":        {"id: \xff1\nevent: \xff\ndata: \xff\xff\n\nid: \xff2\nevent: \xfe\ndata: \xfe\n\n", 2, 2},
		"large_beside_ids":    {"id: 1\nevent: add\ndata: " + large + "\n\nid: 2\nevent: remove\ndata: 2\n\n", 2, 2},
		"large_then_none":     {"id: 1\nevent: add\ndata: " + large + "\n\nevent: add\ndata\n\ndata: 1\n\n", 3, 3},
		"large_ids":           {"id: " + large + "\ndata: 1\n\ndata: 2\n\nid: 1\ndata: 3\n\n", 3, 4}, // and a new buffer for the ID
		"nothing_new_at_all":  {"id: 1\nevent: add\ndata:\n\n", 1, 0},
		"nothing_new_nor_old": {"data\n\n", 1, 0},
	} {
		for _, most := range []int{7, 1 << 20} {
			if len(test.stream) > 100_000 && most == 7 {
				most = 4096
			}
			d := NewDecoder(&again{stream: []byte(test.stream), most: most}, DecoderConfig{})
			for range 20 * test.events { // until the buffer has grown
				if _, err := d.Next(); err != nil {
					t.Fatal(err)
				}
			}
			allocs := testing.AllocsPerRun(50, func() {
				for range test.events {
					if _, err := d.Next(); err != nil {
						t.Fatal(err)
					}
				}
			})
			if allocs > test.want {
				t.Errorf("%s, reads of %d: %v allocations for %d events, want %v", name, most, allocs, test.events, test.want)
			}
		}
	}
}

func TestDecoderFreesALargeBuffer(t *testing.T) {
	t.Parallel()
	large := "event: add\nid: 1\ndata: " + strings.Repeat("x", defaultMaxEventBytes-100) + "\n\n"
	for name, heartbeat := range map[string]string{"comment": ":\n", "block": ":\n\n", "crlf": ":\r\n\r\n", "event": "id: 1\nevent: add\ndata\n\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heartbeats, done := 0, false
			stream := strings.NewReader(large)
			var d *Decoder
			d = NewDecoder(readerFunc(func(p []byte) (int, error) {
				if stream.Len() > 0 {
					return stream.Read(p)
				}
				if len(d.buf) >= 3*len(large) {
					t.Errorf("a buffer of %d bytes for an event of %d", len(d.buf), len(large))
				}
				if heartbeats++; heartbeats > sparePatience+1 {
					if len(d.buf) != minBuffer {
						t.Errorf("after %d heartbeats there is a buffer of %d bytes", heartbeats, len(d.buf))
					}
					done = true
					return 0, io.EOF
				}
				return copy(p, heartbeat), nil
			}), DecoderConfig{})
			for !done {
				if _, err := d.Next(); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestDecoderKeepsABufferThatIsNeeded(t *testing.T) {
	t.Parallel()
	small := strings.Repeat("data: 1\n\n", 50)
	for name, test := range map[string]struct {
		events     string
		most, size int
	}{
		"one_line":  {"data: " + strings.Repeat("x", 300_000) + "\n\n:\n\n", 1000, 512 << 10},
		"lines":     {"event: add\n" + strings.Repeat("data: "+strings.Repeat("x", 94)+"\n", 3000) + "\n:\n\n", 1000, 512 << 10},
		"small":     {strings.Repeat("data: "+strings.Repeat("x", 2900)+"\n\n", 7), 1 << 20, minBuffer},
		"drips":     {small, 1, minBuffer},
		"now_large": {"data: " + strings.Repeat("x", 20_000) + "\n\n" + small, 20, 32 << 10},
	} {
		d := NewDecoder(&again{stream: []byte(test.events), most: test.most}, DecoderConfig{})
		var buf *byte
		for range 200 {
			if _, err := d.Next(); err != nil {
				t.Fatal(err)
			}
			now := unsafe.SliceData(d.buf)
			if len(d.buf) != test.size || buf != nil && now != buf {
				t.Fatalf("%s: a new buffer, of %d bytes", name, len(d.buf))
			}
			buf = now
		}
	}
}

func TestDecoderFreesALargeTypeAndID(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 100_000)
	d := NewDecoder(strings.NewReader("event: "+large+"\nid: "+large+"\ndata\n\nid: 1\ndata\n\nid: 2\ndata\n\n"), DecoderConfig{})
	for range 3 {
		if _, err := d.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := cap(d.eventType) + cap(d.newID) + cap(d.lastID) + len(d.lastType); n > minBuffer {
		t.Errorf("%d bytes are held", n)
	}
}

// Otherwise each small event after a large ID would allocate the ID again.
func TestEventsShareALargeLastEventID(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader("id: "+strings.Repeat("x", 100_000)+"\ndata: 1\n\ndata: 2\n\n"), DecoderConfig{})
	first, _ := d.Next()
	second, err := d.Next()
	if err != nil || len(first.LastEventID) != 100_000 || unsafe.StringData(first.LastEventID) != unsafe.StringData(second.LastEventID) {
		t.Errorf("IDs of %d and %d bytes, %v", len(first.LastEventID), len(second.LastEventID), err)
	}
}

func TestDecoderWithoutLimit(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader("data: "+strings.Repeat("x", 3<<20)+"\n\n"), DecoderConfig{MaxEventBytes: -1})
	if e, err := d.Next(); err != nil || len(e.Data) != 3<<20 {
		t.Errorf("%d bytes, %v", len(e.Data), err)
	}
}

// The type and ID that a Decoder keeps must not keep the event's data alive.
func TestDecoderDoesNotKeepLargeData(t *testing.T) {
	t.Parallel()
	d := NewDecoder(strings.NewReader("id: 1\nevent: add\ndata: "+strings.Repeat("x", 100_000)+"\n\n"), DecoderConfig{})
	e, err := d.Next()
	if err != nil {
		t.Fatal(err)
	}
	within := func(s string) bool {
		at, data := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(e.Data)))
		return s != "" && at >= data && at <= data+110_000
	}
	if !within(e.Type) || !within(e.LastEventID) {
		t.Error("the event is more than one string")
	}
	if within(d.lastType) || within(d.idString) || within(d.LastEventID()) {
		t.Error("the decoder keeps the event alive")
	}
	if d.LastEventID() != "1" {
		t.Errorf("last event ID %q", d.LastEventID())
	}
}

func TestEventsOutliveTheBuffer(t *testing.T) {
	t.Parallel()
	stream := strings.Repeat("id: 1\nevent: add\ndata: one\n\nid: 2\nevent: remove\ndata: two\ndata: lines\n\n", 500)
	d := NewDecoder(iotest.HalfReader(strings.NewReader(stream)), DecoderConfig{})
	var events []Event
	for range 1000 {
		e, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	for i, e := range events {
		want := []Event{{"add", "one", "1"}, {"remove", "two\nlines", "2"}}[i%2]
		if e != want {
			t.Fatalf("event %d has become %+v, want %+v", i, e, want)
		}
	}
}

func TestUnmarshalErrorsNameTheTypeAndNotTheData(t *testing.T) {
	t.Parallel()
	var v struct {
		Count int
		At    time.Time
		When  map[string]int
	}
	for name, test := range map[string]struct {
		data   string
		target any
		as     any
		want   string
	}{
		"syntax":  {`{"count": secret}`, &v, new(*json.SyntaxError), `ginsse: data of event "add" is not JSON: error at byte 11`},
		"empty":   {``, &v, new(*json.SyntaxError), `ginsse: data of event "add" is not JSON: error at byte 0`},
		"type":    {`{"count": "secret"}`, &v, new(*json.UnmarshalTypeError), `ginsse: data of event "add" does not fit a Go value of type int: error at byte 18, field Count`},
		"key":     {`{"when": {"secret": "secret"}}`, &v, new(*json.UnmarshalTypeError), `ginsse: data of event "add" does not fit a Go value of type int: error at byte 28, field When`},
		"own":     {`{"at": "secret"}`, &v, new(*time.ParseError), `ginsse: data of event "add" was refused by the Go value that it was decoded into`},
		"pointer": {`{}`, v, new(*json.InvalidUnmarshalError), `ginsse: data of event "add" cannot be decoded into a value that is not a pointer`},
	} {
		t.Run(name, func(t *testing.T) {
			err := Event{Type: "add", Data: test.data}.Unmarshal(test.target)
			if err == nil || !errors.As(err, test.as) {
				t.Fatalf("got %v, want %T", err, test.as)
			}
			if strings.Contains(err.Error(), "secret") || !strings.EqualFold(err.Error(), test.want) {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
	if err := (Event{Data: `{"count": 3}`}).Unmarshal(&v); err != nil || v.Count != 3 {
		t.Errorf("got %+v, %v", v, err)
	}
	long := Event{Type: strings.Repeat("x", 1000), Data: "{"}.Unmarshal(&v)
	if long == nil || len(long.Error()) > 200 || !strings.Contains(long.Error(), "xxx") {
		t.Errorf("got %v", long)
	}
}
