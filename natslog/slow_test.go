package natslog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// largeFrame is the frame of an event of 4 KiB.
func largeFrame(n int) []byte {
	return fmt.Appendf(nil, ": %s\ndata: %d\n\n", strings.Repeat("x", 4<<10), n)
}

// TestSlowNodeCatchesUp has one node append faster than another can read.
func TestSlowNodeCatchesUp(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]func(t *testing.T, p *proxy){
		"throttled": func(t *testing.T, p *proxy) { p.SetRate(500 << 10) },
		"throttled_after_a_partition": func(t *testing.T, p *proxy) {
			p.SetRate(500 << 10)
			p.Refuse(true)
			p.DropAll()
		},
		"stalled_now_and_then": func(t *testing.T, p *proxy) {
			p.SetRate(4 << 20)
			end, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for stalled := true; ; stalled = !stalled {
					p.Stall(stalled)
					select {
					case <-time.After(200 * time.Millisecond):
					case <-end:
						return
					}
				}
			}()
			t.Cleanup(func() { close(end); <-ended })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onServers(t, func(t *testing.T, s single, cfg natslog.Config) { catchUp(t, s, cfg, slow) })
		})
	}
}

func catchUp(t *testing.T, s single, cfg natslog.Config, slow func(t *testing.T, p *proxy)) {
	const count = 1500
	p := newProxy(t, s.Addr().String())
	here, there := open(t, p.connect(t), cfg), open(t, connect(t, s.ClientURL()), cfg)
	r := newReader(t, here, alice)
	slow(t, p)
	begun := time.Now()
	for n := range count {
		if _, err := there.Append(t.Context(), eventlog.Record{Subject: alice, Frame: largeFrame(n)}); err != nil {
			t.Fatal(err)
		}
	}
	p.Refuse(false)
	events, gap := r.follow(t, func(events []int) bool { return len(events) >= count })
	t.Logf("caught up in %v", time.Since(begun).Round(time.Millisecond))
	if gap != "" {
		t.Errorf("gap %q", gap)
	}
	for i, n := range events {
		if n != i {
			t.Fatalf("event %d came in place of %d", n, i)
		}
	}
	until(t, "readiness", func() bool { return here.Ready() == nil })
}

// TestLossOnASlowNodeIsAGap has events leave the stream before a slow node has read them.
func TestLossOnASlowNodeIsAGap(t *testing.T) {
	t.Parallel()
	onServers(t, overtake)
}

func overtake(t *testing.T, s single, cfg natslog.Config) {
	p := newProxy(t, s.Addr().String())
	cfg.EventsPerSubject = 50
	here, there := open(t, p.connect(t), cfg), open(t, connect(t, s.ClientURL()), cfg)
	r := newReader(t, here, alice)
	p.SetRate(500 << 10)
	var last eventlog.Cursor
	const count = 2000
	for n := range count {
		var err error
		if last, err = there.Append(t.Context(), eventlog.Record{Subject: alice, Frame: largeFrame(n)}); err != nil {
			t.Fatal(err)
		}
	}
	next, gaps := 0, 0
	for r.at.Seq < last.Seq {
		events, gap := r.follow(t, func(events []int) bool { return len(events) > 0 || r.at.Seq >= last.Seq })
		for _, n := range events {
			if n < next || n > next && gaps == 0 {
				t.Fatalf("event %d came in place of %d, after %d gaps", n, next, gaps)
			}
			next = n + 1
		}
		if gap != "" {
			gaps++
		}
	}
	if gaps == 0 {
		t.Error("no gap")
	}
	t.Logf("%d gaps, the last event is %d", gaps, next-1)
}
