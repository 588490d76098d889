package natslog_test

import (
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// TestFloodOfOneSubjectLosesNothingOfOthers has one subject lose most of its events before a node
// has read them. Its readers get a gap, and readers of other subjects do not.
func TestFloodOfOneSubjectLosesNothingOfOthers(t *testing.T) {
	t.Parallel()
	for name, recentBytes := range map[string]int{"much_in_memory": 0, "little_in_memory": 4 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const most, each = 50, 40
			cfg := natslog.Config{EventsPerSubject: most, RecentBytes: recentBytes}
			s := newServer(t)
			p := newProxy(t, s.Addr().String())
			here, there := open(t, p.connect(t), cfg), open(t, connect(t, s.ClientURL()), cfg)
			add(t, here, bob, 0) // the stream begins with it
			catchUp := func(r *reader) *reader {
				if _, gap := r.follow(t, func(events []int) bool { return len(events) == 1 }); gap != "" {
					t.Fatalf("gap %q", gap)
				}
				return r
			}
			const commands = "command:carol"
			disconnects := newReader(t, here, commands)
			quiet, flooded := newReader(t, here, alice), newReader(t, here, alice, all)
			n := 1
			add(t, here, alice, n)
			catchUp(quiet)
			catchUp(flooded)
			for round := range 3 {
				p.Stall(true)
				until(t, "the loss of contact", func() bool { return here.Ready() != nil })
				p.DropAll() // messages on the way are lost, too
				first := n + 1
				add(t, there, commands, n)
				for i := range 3 * each {
					if i%each == 0 {
						n++
						add(t, there, alice, n)
					}
					add(t, there, all, i)
				}
				// The node recognises the stream by the newest event that it has read.
				last := add(t, there, bob, 0)
				p.Stall(false)
				events, gap := quiet.follow(t, func(events []int) bool { return len(events) == 3 })
				if gap != "" && recentBytes == 0 { // otherwise the event at its position may be gone
					t.Errorf("round %d: gap %q for a reader that missed nothing", round, gap)
				}
				for i, event := range events {
					if event != first+i {
						t.Errorf("round %d: got event %d, want %d", round, event, first+i)
					}
				}
				if events, gap := disconnects.follow(t, func(events []int) bool { return len(events) == 1 }); gap != "" || events[0] != first-1 {
					t.Errorf("round %d: the command subject has gap %q, %v", round, gap, events)
				}
				if _, gap := flooded.follow(t, func([]int) bool { return false }); gap != eventlog.GapTrimmed {
					t.Errorf("round %d: gap %q for a reader that missed most", round, gap)
				}
				for _, gap := range flooded.reach(t, last) {
					if gap != eventlog.GapTrimmed {
						t.Fatalf("gap is %q", gap)
					}
				}
				// Its position is that of an event which the next round does not remove.
				if gaps := quiet.reach(t, last); len(gaps) > 0 && recentBytes == 0 {
					t.Errorf("round %d: gaps %q after the last event", round, gaps)
				}
				until(t, "readiness", func() bool { return here.Ready() == nil })
			}
			// A reader can still resume from an older position.
			if recentBytes == 0 {
				old := newReader(t, here, alice)
				old.at = quiet.at
				if events, gap := old.follow(t, func([]int) bool { return old.at.Seq >= quiet.at.Seq }); gap != "" || len(events) != 0 {
					t.Errorf("gap %q, %v", gap, events)
				}
			}
		})
	}
}

// TestFloodOfOneKeyIsNoGap has one key lose most of its events before a node has read them. Its
// readers get the newest one.
func TestFloodOfOneKeyIsNoGap(t *testing.T) {
	t.Parallel()
	cfg := natslog.Config{EventsPerSubject: 50}
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	here, there := open(t, p.connect(t), cfg), open(t, connect(t, s.ClientURL()), cfg)
	add(t, here, bob, 0) // the stream begins with it
	addKeyed(t, here, all, "k", 0)
	add(t, here, bob, 0)
	r := newReader(t, here, alice, all)
	for round := range 3 {
		p.Stall(true)
		until(t, "the loss of contact", func() bool { return here.Ready() != nil })
		p.DropAll() // messages on the way are lost, too
		add(t, there, alice, 1)
		add(t, there, all, 2)
		for n := range 120 {
			addKeyed(t, there, all, "k", 1000*round+n)
		}
		last := add(t, there, bob, 0) // the node recognises the stream by the newest event that it has read
		p.Stall(false)
		head(t, here) // so that the reader sees none of the other updates
		r.want(t, 1, 2, 1000*round+119)
		if gaps := r.reach(t, last); len(gaps) > 0 {
			t.Errorf("round %d: gaps %q after the last event", round, gaps)
		}
	}
}

// TestFloodThatRemovedTheNewestEvent has the event removed by which a node recognises the stream.
// Its readers may get a gap, but lose nothing silently.
func TestFloodThatRemovedTheNewestEvent(t *testing.T) {
	t.Parallel()
	cfg := natslog.Config{EventsPerSubject: 50}
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	nc := connect(t, s.ClientURL())
	here, there := open(t, p.connect(t), cfg), open(t, nc, cfg)
	add(t, here, bob, 0)
	add(t, here, all, 0)
	r := newReader(t, here, alice)
	p.Stall(true)
	until(t, "the loss of contact", func() bool { return here.Ready() != nil })
	p.DropAll()
	stream, err := jet(t, nc).Stream(t.Context(), "GINSSE")
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() { // as the broker does after a minute
		_ = stream.DeleteConsumer(t.Context(), name)
	}
	for i := range 60 {
		add(t, there, all, i)
	}
	add(t, there, alice, 1)
	p.Stall(false)
	if events, gap := r.follow(t, func(events []int) bool { return len(events) == 1 }); gap != eventlog.GapTrimmed && (gap != "" || events[0] != 1) {
		t.Errorf("gap %q, %v", gap, events)
	}
	add(t, there, alice, 2)
	if events, gap := r.follow(t, func(events []int) bool { return len(events) > 0 && events[len(events)-1] == 2 }); gap != "" {
		t.Errorf("gap %q after the gap, %v", gap, events)
	}
}

// TestBoundThatIsLoweredIsAGap has an operator lower the stream's bound while a node uses the old
// one.
func TestBoundThatIsLoweredIsAGap(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newProxy(t, s.Addr().String())
	js := jet(t, connect(t, s.ClientURL()))
	here, there := open(t, p.connect(t), natslog.Config{}), open(t, connect(t, s.ClientURL()), natslog.Config{})
	add(t, here, bob, 0)
	lowered := streamInfo(t, js).Config
	lowered.MaxMsgsPerSubject = 11
	if _, err := js.UpdateStream(t.Context(), lowered); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, here, all)
	add(t, here, bob, 1)
	p.Stall(true)
	until(t, "the loss of contact", func() bool { return here.Ready() != nil })
	p.DropAll()
	for i := range 30 {
		add(t, there, all, i)
	}
	p.Stall(false)
	if events, gap := r.follow(t, func(events []int) bool { return len(events) > 0 }); gap != eventlog.GapTrimmed {
		t.Errorf("gap %q, %v", gap, events)
	}
}
