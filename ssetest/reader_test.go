package ssetest_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ginsse/ginsse/ssetest"
)

func TestReaderFollowsTheStandard(t *testing.T) {
	t.Parallel()
	message := func(data, id string) ssetest.Event {
		return ssetest.Event{Type: "message", Data: data, LastEventID: id}
	}
	tests := []struct {
		name, stream string
		want         []ssetest.Event
	}{
		{"three_lines_of_data", "data: YHOO\ndata: +2\ndata: 10\n\n", []ssetest.Event{message("YHOO\n+2\n10", "")}},
		{"four_blocks_of_the_standard", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []ssetest.Event{
			message("first event", "1"), message("second event", ""), message(" third event", ""),
		}},
		{"empty_data", "data\n\ndata\ndata\n\ndata:", []ssetest.Event{message("", ""), message("\n", "")}},
		{"space_after_colon", "data:test\n\ndata: test\n\n", []ssetest.Event{message("test", ""), message("test", "")}},
		{"event_type", "event: add\ndata: 1\n\ndata: 2\n\n", []ssetest.Event{{Type: "add", Data: "1"}, message("2", "")}},
		{"event_without_data_is_none", "event: add\n\ndata: 1\n\n", []ssetest.Event{message("1", "")}},
		{"id_without_data_moves", "id: 7\n\ndata: 1\n\n", []ssetest.Event{message("1", "7")}},
		{"id_with_nul_is_ignored", "id: 7\n\nid: 8\x00\ndata: 1\n\n", []ssetest.Event{message("1", "7")}},
		{"unfinished_block_is_none", "data: 1\n\ndata: 2\n", []ssetest.Event{message("1", "")}},
		{"unfinished_block_keeps_id", "id: 1\ndata: 1\n\nid: 2\ndata: 2\n", []ssetest.Event{message("1", "1")}},
		{"cr_ends_lines", "data: 1\rdata: 2\r\r", []ssetest.Event{message("1\n2", "")}},
		{"crlf_ends_lines", "data: 1\r\ndata: 2\r\n\r\n", []ssetest.Event{message("1\n2", "")}},
		{"mixed_line_ends", "data: 1\r\n\rdata: 2\n\r\n", []ssetest.Event{message("1", ""), message("2", "")}},
		{"byte_order_mark", "\uFEFFdata: 1\n\n\uFEFFdata: 2\n\n", []ssetest.Event{message("1", "")}},
		{"unknown_field", "foo: 1\ndata: 1\nDATA: 2\n data: 3\n\n", []ssetest.Event{message("1", "")}},
		{"invalid_utf8", "data: \xff!\n\n", []ssetest.Event{message("\uFFFD!", "")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := ssetest.Parse([]byte(test.stream)); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			// One byte at a time must make no difference.
			r := ssetest.NewReader(iotest.OneByteReader(strings.NewReader(test.stream)))
			for _, want := range test.want {
				if got, err := r.Next(); err != nil || got != want {
					t.Errorf("byte by byte: got %q, %v, want %q", got, err, want)
				}
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: got %v, want EOF", err)
			}
		})
	}
}

func TestReaderKeepsWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	r := ssetest.NewReader(strings.NewReader("retry: 1500\nretry: +2\nretry: 3s\nretry:\n: a\n:b\nid: 9\n\n"))
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want EOF", err)
	}
	if got := r.ReconnectionTime(); got != 1500*time.Millisecond {
		t.Errorf("reconnection time is %v", got)
	}
	if got := r.Comments(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("comments are %q", got)
	}
	if got := r.LastEventID(); got != "9" {
		t.Errorf("last event ID is %q", got)
	}
}

// A reader that waited for the LF of a CRLF would hold back a complete event.
func TestReaderDispatchesBeforeTheLFOfACRLF(t *testing.T) {
	t.Parallel()
	reader, writer := io.Pipe()
	go func() { _, _ = writer.Write([]byte("data: 1\r\n\r")) }()
	if got, err := ssetest.NewReader(reader).Next(); err != nil || got.Data != "1" {
		t.Errorf("got %q, %v", got, err)
	}
}
