package nodetest_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/client"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
)

func id(seq uint64) string { return eventlog.Cursor{Epoch: 1, Seq: seq}.String() }

// TestTabFindsWhatIsWrong has a tab of alice. Events 0 and 4 are for her, 1 is for bob, 2 for the
// topic, and 3 for all.
func TestTabFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	type event struct {
		n      int
		seq    uint64
		stream int64
	}
	gap := event{n: -1, stream: 1}
	for name, test := range map[string]struct {
		received []event
		end      uint64
		want     string // within the only fault; no fault if it is empty
	}{
		"all":                             {[]event{{0, 10, 1}, {3, 13, 1}, {4, 14, 1}}, 14, ""},
		"one_that_was_not_acknowledged":   {[]event{{0, 10, 1}, {3, 13, 1}, {4, 14, 1}, {8, 15, 1}}, 15, ""},
		"repeated_on_a_later_stream":      {[]event{{0, 10, 1}, {3, 13, 1}, {3, 13, 2}, {4, 14, 2}}, 14, ""},
		"repeated_on_the_same_stream":     {[]event{{0, 10, 1}, {3, 13, 1}, {3, 13, 1}, {4, 14, 1}}, 14, "event 3 was received twice"},
		"repeated_with_another_id":        {[]event{{0, 10, 1}, {3, 13, 1}, {4, 14, 1}, {3, 15, 2}}, 14, "event 3 was received twice"},
		"one_is_missing":                  {[]event{{0, 10, 1}, {4, 14, 1}}, 14, "event 3 was stored"},
		"one_is_missing_beyond_the_end":   {[]event{{0, 10, 1}, {3, 13, 1}}, 13, ""},
		"out_of_order":                    {[]event{{0, 10, 1}, {4, 14, 1}, {3, 13, 1}}, 14, "event 3 was received at 13, after 14"},
		"out_of_order_on_a_later_stream":  {[]event{{0, 10, 1}, {4, 14, 1}, {3, 13, 2}}, 14, "event 3 was received at 13, after 14"},
		"of_another_user":                 {[]event{{0, 10, 1}, {1, 11, 1}, {3, 13, 1}, {4, 14, 1}}, 14, "event 1 is for another user"},
		"of_a_topic_without_subscription": {[]event{{0, 10, 1}, {2, 12, 1}, {3, 13, 1}, {4, 14, 1}}, 14, "event 2 is for another user"},
		"with_another_id":                 {[]event{{0, 10, 1}, {3, 12, 1}, {4, 14, 1}}, 14, "event 3 was acknowledged as"},
		"with_a_gap":                      {[]event{{0, 10, 1}, gap, {3, 13, 1}, {4, 14, 1}}, 14, "sse.gap"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tb := &nodetest.Tab{User: "alice"}
			for _, e := range test.received {
				if e == gap {
					tb.Take(e.stream, client.Event{Type: "sse.gap"})
				} else {
					tb.Take(e.stream, client.Event{Type: "n", Data: strconv.Itoa(e.n), LastEventID: id(e.seq)})
				}
			}
			acked := map[int]string{0: id(10), 1: id(11), 2: id(12), 3: id(13), 4: id(14)}
			switch faults := tb.Compare(acked, test.end); {
			case test.want == "" && len(faults) > 0:
				t.Errorf("found %q", faults)
			case test.want != "" && (len(faults) != 1 || !strings.Contains(faults[0], test.want)):
				t.Errorf("found %q, want %q", faults, test.want)
			}
		})
	}
}

// TestTabExpectsToResume has a tab open three streams. The last one has not resumed.
func TestTabExpectsToResume(t *testing.T) {
	t.Parallel()
	tb := new(nodetest.Tab)
	for i, data := range []string{`{}`, `{"resumed":true}`, `{"resumed":false}`} {
		tb.Take(int64(i+1), client.Event{Type: "sse.open", Data: data})
	}
	if faults := tb.Compare(nil, 0); len(faults) != 1 || !strings.Contains(faults[0], "on stream 3") {
		t.Errorf("found %q", faults)
	}
}
