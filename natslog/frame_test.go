package natslog_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// invalidFrames are messages of another publisher that are not one event in wire form.
var invalidFrames = map[string]string{
	"empty":                        "",
	"no_line":                      "data: 7",
	"no_blank_line":                "data: 7\n",
	"only_a_line_break":            "\n",
	"only_a_blank_line":            "\n\n",
	"two_blank_lines":              "data: 7\n\n\n",
	"two_events":                   "data: 7\n\ndata: 8\n\n",
	"blank_line_first":             "\ndata: 7\n\n",
	"carriage_returns":             "data: 7\r\n\r\n",
	"blank_line_of_other_kind":     "data: 7\r\rdata: 8\n\n",
	"ends_in_a_carriage_return":    "data: 7\n\r",
	"blank_line_of_mixed_kind":     "data: 7\n\r\ndata: 8\n\n",
	"text_after_the_blank_line":    "data: 7\n\ndata: 8\n",
	"carriage_return_in_the_field": "data: 7\rdata: 8\n\n",
}

// recorder is a slog.Handler that keeps lines of level, message and attributes.
type recorder struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	line := record.Level.String() + " " + record.Message
	record.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

func (r *recorder) WithAttrs([]slog.Attr) slog.Handler { return r }

func (r *recorder) WithGroup(string) slog.Handler { return r }

// with returns the lines that contain a text.
func (r *recorder) with(text string) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestMessageThatIsNotAnEventIsNotDelivered has another publisher write into the stream. The
// events around its messages arrive unchanged, however they are read, and the log warns once.
func TestMessageThatIsNotAnEventIsNotDelivered(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		recentBytes int
		direct      bool // the stream allows direct gets
	}{
		"from_memory":                 {0, true},
		"from_the_broker":             {1, false},
		"from_the_broker_in_a_batch":  {1, true},
		"from_memory_and_from_broker": {1500, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := connect(t, newServer(t).ClientURL())
			logged := new(recorder)
			log := open(t, nc, natslog.Config{RecentBytes: test.recentBytes, Logger: slog.New(logged)})
			js := jet(t, nc)
			if !test.direct {
				cfg := streamInfo(t, js).Config
				cfg.AllowDirect = false
				if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			r := newReader(t, log, alice, all)
			add(t, log, alice, 1)
			for _, frame := range invalidFrames {
				if _, err := js.Publish(patient(t), "ginsse.user.YWxpY2U", []byte(frame)); err != nil {
					t.Fatal(err)
				}
			}
			add(t, log, all, 2)
			if _, err := js.Publish(patient(t), "ginsse.user.YWxpY2U", nil); err != nil {
				t.Fatal(err)
			}
			last := add(t, log, alice, 3)
			old := *r
			r.want(t, 1, 2, 3)
			var text string
			for _, e := range readAll(t, log, old.at, alice, all) {
				text += string(e.Block)
			}
			if strings.Contains(text, "data: 7") || strings.Count(text, "\n\n") != 3 {
				t.Errorf("the blocks are\n%s", text)
			}
			for n := 1; n <= 3; n++ { // a page of one event has one
				page, err := read(t, log, eventlog.Query{Subjects: r.subjects, After: old.at, MaxEntries: 1, MaxBytes: 1})
				if got := numbers(page.Entries); err != nil || len(got) != 1 || got[0] != n {
					t.Errorf("page %d has %v, error %v", n, got, err)
				}
				old.at = page.Through
			}
			if r.at != last {
				t.Errorf("the reader is at %+v, the last event at %+v", r.at, last)
			}
			if lines := logged.with("is not an event"); len(lines) != 1 || !strings.HasPrefix(lines[0], "WARN") || !strings.Contains(lines[0], "seq=2") {
				t.Errorf("logged %q", lines)
			}
		})
	}
}
