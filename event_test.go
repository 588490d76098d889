package ginsse_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/ssetest"
)

type named string

type pair struct {
	A int    `json:"a"`
	B string `json:"b"`
}

// latin1 marshals to JSON that is not UTF-8.
type latin1 struct{}

func (latin1) MarshalJSON() ([]byte, error) { return []byte("\"caf\xe9\""), nil }

func TestEventWireForm(t *testing.T) {
	t.Parallel()
	text := "by pointer"
	tests := []struct {
		name  string
		event ginsse.Event
		want  string
	}{
		{"string_as_it_is", ginsse.Event{Data: `say "hi" <b>`}, "data: say \"hi\" <b>\n\n"},
		{"bytes_as_they_are", ginsse.Event{Data: []byte("raw")}, "data: raw\n\n"},
		{"struct_is_json", ginsse.Event{Type: "t", Data: pair{1, "x\ny"}}, "event: t\ndata: {\"a\":1,\"b\":\"x\\ny\"}\n\n"},
		{"pointer_is_json_not_an_address", ginsse.Event{Data: &text}, "data: \"by pointer\"\n\n"},
		{"nil_pointer_is_null", ginsse.Event{Data: (*pair)(nil)}, "data: null\n\n"},
		{"array_is_json", ginsse.Event{Data: [2]int{1, 2}}, "data: [1,2]\n\n"},
		{"number_is_json", ginsse.Event{Data: 1.5}, "data: 1.5\n\n"},
		{"named_string_is_json", ginsse.Event{Data: named("x")}, "data: \"x\"\n\n"},
		{"raw_json_is_one_line", ginsse.Event{Data: json.RawMessage("{\n\"a\": 1}")}, "data: {\"a\":1}\n\n"},
		{"empty_string_is_data", ginsse.Event{Data: ""}, "data: \n\n"},
		{"type_alone_is_dispatched", ginsse.Event{Type: "ping"}, "event: ping\ndata: \n\n"},
		{"leading_space_survives", ginsse.Event{Data: " x"}, "data:  x\n\n"},
		{"lines", ginsse.Event{Data: "a\nb\rc\r\nd"}, "data: a\ndata: b\ndata: c\ndata: d\n\n"},
		{"trailing_newline_survives", ginsse.Event{Data: "a\n"}, "data: a\ndata: \n\n"},
		{"field_in_data_is_data", ginsse.Event{Data: "a\nid: 7\n\nevent: admin"}, "data: a\ndata: id: 7\ndata: \ndata: event: admin\n\n"},
		{"all_fields", ginsse.Event{Type: "t", Data: "d", ID: "7", ReconnectionTime: 1500 * time.Microsecond, Comment: "c\nd"}, ": c\n: d\nretry: 2\nevent: t\ndata: d\nid: 7\n\n"},
		{"reset_id", ginsse.Event{Data: "d", ResetID: true}, "data: d\nid: \n\n"},
		{"comment_alone", ginsse.Event{Comment: "still here"}, ": still here\n\n"},
		{"longest_reconnection_time", ginsse.Event{ReconnectionTime: math.MaxInt64}, "retry: 9223372036855\n\n"},
		{"reconnection_time_alone", ginsse.Event{ReconnectionTime: 3 * time.Second}, "retry: 3000\n\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.event.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestEventRefusesInvalidFields(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		event ginsse.Event
		says  string
	}{
		{"lf_in_type", ginsse.Event{Type: "a\nb", Data: "x"}, `type "a\nb" contains a line break`},
		{"cr_in_type", ginsse.Event{Type: "a\rb", Data: "x"}, `type "a\rb" contains a line break`},
		{"nul_in_type", ginsse.Event{Type: "a\x00b", Data: "x"}, `type "a\x00b" contains NUL`},
		{"invalid_utf8_in_type", ginsse.Event{Type: "\xff", Data: "x"}, "not valid UTF-8"},
		{"reserved_type", ginsse.Event{Type: "sse.gap", Data: "x"}, "reserved"},
		{"lf_in_id", ginsse.Event{ID: "1\nevent: admin", Data: "x"}, "contains a line break"},
		{"cr_in_id", ginsse.Event{ID: "1\r", Data: "x"}, "contains a line break"},
		{"nul_in_id", ginsse.Event{ID: "\x00", Data: "x"}, "contains NUL"},
		{"tab_in_id", ginsse.Event{ID: "a\tb", Data: "x"}, "control character"},
		{"escape_in_id", ginsse.Event{ID: "\x1b[1m", Data: "x"}, "control character"},
		{"delete_in_id", ginsse.Event{ID: "a\x7f", Data: "x"}, "control character"},
		{"leading_space_in_id", ginsse.Event{ID: " 1", Data: "x"}, "begins or ends with a space"},
		{"trailing_space_in_id", ginsse.Event{ID: "1 ", Data: "x"}, "begins or ends with a space"},
		{"no_break_space_around_id", ginsse.Event{ID: "\u00a01", Data: "x"}, "begins or ends with a space"},
		{"invalid_utf8_in_raw_json", ginsse.Event{Data: json.RawMessage("\"caf\xe9\"")}, "base64"},
		{"invalid_utf8_in_nested_raw_json", ginsse.Event{Data: map[string]any{"a": json.RawMessage("\"\xff\"")}}, "base64"},
		{"invalid_utf8_from_marshaler", ginsse.Event{Data: latin1{}}, "base64"},
		{"id_and_reset", ginsse.Event{ID: "1", ResetID: true, Data: "x"}, "both ID and ResetID"},
		{"negative_reconnection_time", ginsse.Event{ReconnectionTime: -1, Data: "x"}, "negative"},
		{"nan", ginsse.Event{Type: "t", Data: math.NaN()}, "float64 does not marshal"},
		{"channel", ginsse.Event{Data: make(chan int)}, "does not marshal"},
		{"invalid_utf8_in_data", ginsse.Event{Data: "\xff"}, "base64"},
		{"invalid_utf8_in_bytes", ginsse.Event{Data: []byte{0xff}}, "base64"},
		{"invalid_utf8_in_comment", ginsse.Event{Comment: "\xff"}, "comment"},
		{"empty", ginsse.Event{}, "no field is set"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.event.Encode()
			if !errors.Is(err, ginsse.ErrInvalidEvent) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got error %v, want one that says %q", err, test.says)
			}
			if got != nil {
				t.Errorf("got bytes %q beside the error", got)
			}
		})
	}
}

// A browser dispatches the event that was sent, with each line break as LF.
func FuzzEventRoundTrip(f *testing.F) {
	f.Add("", "", "", "", false)
	f.Add("comment", "{\"a\":1}", "7", "note", false)
	f.Add("t", " lead\r\n\r\rtrail\n", "id", "a\rb", false)
	f.Add("", "id: 1\n\ndata: x", "", ":\n", true)
	f.Add("message", "\uFEFF\x00", "\uFEFF", "\u2028", false)
	f.Fuzz(func(t *testing.T, eventType, data, id, comment string, reset bool) {
		e := ginsse.Event{Type: eventType, Data: data, ID: id, Comment: comment, ResetID: reset}
		wire, err := e.Encode()
		if err != nil {
			valid := utf8.ValidString(eventType + "|" + data + "|" + id + "|" + comment)
			fitsHeader := strings.TrimSpace(id) == id && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f })
			if valid && fitsHeader && !strings.ContainsAny(eventType, "\r\n\x00") && !strings.HasPrefix(eventType, "sse.") && (id == "" || !reset) {
				t.Fatalf("a valid event was refused: %v", err)
			}
			return
		}
		normal := strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
		want := ssetest.Event{Type: eventType, Data: normal, LastEventID: id}
		if eventType == "" {
			want.Type = "message"
		}
		if id == "" && !reset {
			want.LastEventID = "before"
		}
		next := ssetest.Event{Type: "message", Data: "after", LastEventID: want.LastEventID}
		stream := append([]byte("id: before\n\n"), wire...)
		stream = append(stream, "data: after\n\n"...)
		got := ssetest.Parse(stream)
		if len(got) != 2 || got[0] != want || got[1] != next {
			t.Fatalf("sent %+v as %q\ngot  %q\nwant %q and %q", e, wire, got, want, next)
		}
	})
}

// Users write the text, so many line breaks must not make encoding slow.
//
// Not parallel: the test measures time.
func TestEventOfManyLinesIsEncodedInLinearTime(t *testing.T) {
	for _, lineBreak := range []string{"\n", "\r", "\r\n"} {
		text := strings.Repeat(lineBreak, 1<<20)
		began := time.Now()
		frame, err := ginsse.Event{Data: text}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.Repeat("data: \n", 1<<20+1) + "\n"; string(frame) != want {
			t.Errorf("%q: the frame has %d bytes, not %d", lineBreak, len(frame), len(want))
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%q: 1 Mi lines took %v", lineBreak, took)
		}
	}
}

func BenchmarkEventEncode(b *testing.B) {
	for name, data := range map[string]any{
		"string": strings.Repeat("x", 100),
		"struct": pair{1, strings.Repeat("x", 90)},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			e := ginsse.Event{Type: "comment", Data: data}
			room := make([]byte, 0, 1024)
			for b.Loop() {
				if _, err := e.EncodeTo(room); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
