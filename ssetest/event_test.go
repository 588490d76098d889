package ssetest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/ssetest"
)

func TestParseReturnsWhatAnEventSourceDispatches(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 3<<20)
	for _, test := range []struct {
		name, stream string
		want         []ssetest.Event
	}{
		{"nothing", "", nil},
		{"events", "data: YHOO\ndata: +2\nid: 1\n\n: note\n\nevent: add\r\ndata: 2\r\n\r\n", []ssetest.Event{
			{Type: "message", Data: "YHOO\n+2", LastEventID: "1"}, {Type: "add", Data: "2", LastEventID: "1"},
		}},
		{"id_without_data_moves", "id: 7\n\ndata: 1\n\n", []ssetest.Event{{Type: "message", Data: "1", LastEventID: "7"}}},
		{"unfinished_block_is_none", "data: 1\n\ndata: 2\n", []ssetest.Event{{Type: "message", Data: "1"}}},
		{"large", "data: " + large + "\n\ndata: 2\n\n", []ssetest.Event{{Type: "message", Data: large}, {Type: "message", Data: "2"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := ssetest.Parse([]byte(test.stream)); !slices.Equal(got, test.want) {
				t.Errorf("got %.300q, want %.300q", got, test.want)
			}
		})
	}
}
