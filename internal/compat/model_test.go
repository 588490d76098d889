package compat_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// The promises of the kit, checked against a naive model of them. A plan is a list of commands.
// They send, open streams at any position, read byte by byte or not at all, hold a stream between
// two of its steps, close the connection, disconnect, and let time pass. A plan is drawn first and
// run afterwards in a bubble of testing/synctest, where waiting takes no time and the test can wait
// until nothing moves. A failure comes back as text, and rapid makes the plan smaller.
//
// For each stream the model promises the events of its subjects from its position on, in order,
// each once. sse.gap comes where events were lost, and only there. Last event IDs only grow, and
// never pass an event that was not delivered. Everything that was sent before the end is delivered,
// or replaced by sse.gap, and nothing sent after it; then comes sse.close or sse.reconnect. A
// heartbeat follows each silence. For each page the same holds across its reconnections. Each
// receipt counts the streams that get the event. While things move, the model allows the narrowest
// possible range; when nothing moves, it is exact.
func TestPromisesHoldForAnyCourseOfEvents(t *testing.T) {
	t.Parallel()
	overhead := entryOverhead(t)
	for name, bounds := range map[string]func(t *rapid.T) eventlog.MemoryLogConfig{
		"roomy_log": func(*rapid.T) eventlog.MemoryLogConfig {
			return eventlog.MemoryLogConfig{EventsPerSubject: 1 << 20}
		},
		"few_events_per_subject": func(t *rapid.T) eventlog.MemoryLogConfig {
			return eventlog.MemoryLogConfig{EventsPerSubject: rapid.IntRange(1, 6).Draw(t, "EventsPerSubject")}
		},
		"short_age": func(t *rapid.T) eventlog.MemoryLogConfig {
			return eventlog.MemoryLogConfig{
				EventsPerSubject: rapid.IntRange(2, 20).Draw(t, "EventsPerSubject"),
				MaxAge:           rapid.SampledFrom([]time.Duration{5 * time.Second, 30 * time.Second}).Draw(t, "MaxAge"),
			}
		},
		"little_memory": func(t *rapid.T) eventlog.MemoryLogConfig {
			return eventlog.MemoryLogConfig{MaxBytes: overhead + int64(rapid.IntRange(30, 15_000).Draw(t, "MaxBytes"))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				p := plan{log: bounds(rt), overhead: overhead}
				p.log.EventsPerSubject = orElse(p.log.EventsPerSubject, 1<<20)
				p.log.MaxAge = orElse(p.log.MaxAge, math.MaxInt64)
				p.log.MaxBytes = orElse(p.log.MaxBytes, 1<<40)
				// Draw scenes of a few commands each, because rapid mostly draws short lists.
				scene := rapid.SliceOfN(rapid.Custom(drawCommand), 1, 20)
				p.commands = slices.Concat(rapid.SliceOfN(scene, 1, 20).Draw(rt, "scenes")...)
				p.end = rapid.SampledFrom([]string{"settle and close", "close", "shutdown"}).Draw(rt, "end")
				if failure := run(t, p); failure != "" {
					rt.Fatalf("%s\n%v", failure, p)
				}
			})
		})
	}
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// plan is what one check does.
type plan struct {
	log      eventlog.MemoryLogConfig
	overhead int64
	commands []command
	end      string
}

func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "with a log of %+v:\n", p.log)
	for i, c := range p.commands {
		fmt.Fprintf(&b, "%3d. %v\n", i+1, c)
	}
	return b.String() + "then " + p.end
}

// sending is one event to send, to some users, to a topic, or to all.
type sending struct {
	users []string
	topic string
	all   bool
	size  int
}

// subjects returns the subjects of the event, each user once.
func (s sending) subjects() []string {
	switch {
	case s.all:
		return []string{"all"}
	case s.topic != "":
		return []string{"topic:" + s.topic}
	}
	var subjects []string
	seen := make(map[string]bool)
	for _, user := range s.users {
		if !seen[user] {
			subjects = append(subjects, "user:"+user)
		}
		seen[user] = true
	}
	return subjects
}

func (s sending) String() string {
	return fmt.Sprintf("send %d bytes to %s", s.size, strings.Join(s.subjects(), ", "))
}

// command is one step of a plan. A number that picks something counts modulo the number of
// candidates.
type command struct {
	do     string
	settle bool // wait until nothing moves, and check

	pick       int
	send       sending
	storm      [][]sending
	from       string // where an opened stream begins
	byQuery    bool
	topics     []string
	sameTopics bool
	read       int  // bytes the client may read; below 0 is no limit
	leaves     bool // whether the client disconnects after them
	holdAt     int  // hold the n-th read of the log from now on; 0 is none
	holdAfter  bool
	reason     ginsse.Reason
	size       int
	pass       time.Duration
}

func (c command) String() string {
	text := c.do
	switch c.do {
	case "send":
		text = c.send.String()
	case "storm":
		text = fmt.Sprintf("storm of %v", c.storm)
	case "open":
		text = fmt.Sprintf("open %d from %s, by query %v, topics %v or the same %v", c.pick, c.from, c.byQuery, c.topics, c.sameTopics)
		text += fmt.Sprintf("; read %d, leaves %v; hold at %d, after it %v", c.read, c.leaves, c.holdAt, c.holdAfter)
	case "read":
		text = fmt.Sprintf("read %d of %d, leaves %v", c.read, c.pick, c.leaves)
	case "hold":
		text = fmt.Sprintf("hold %d at %d, after it %v", c.pick, c.holdAt, c.holdAfter)
	case "leave", "disconnect_one", "overstay", "send_alone":
		text = fmt.Sprintf("%s %d", c.do, c.pick)
	case "disconnect":
		text = fmt.Sprintf("disconnect %s for %q", users[c.pick%len(users)], string(c.reason))
	case "pass":
		text = fmt.Sprintf("pass %v", c.pass)
	}
	if c.settle {
		text += "; settle"
	}
	return text
}

func drawCommand(t *rapid.T) command {
	c := command{
		// Repetition is the weight.
		do: rapid.SampledFrom([]string{
			"send", "send", "send", "send", "send", "send", "send",
			"open", "open", "open", "open", "open",
			"leave", "leave", "read", "read", "hold", "release", "release", "storm", "pass", "pass",
			"disconnect", "disconnect_one", "overstay", "send_alone",
		}).Draw(t, "do"),
		settle: rapid.IntRange(0, 3).Draw(t, "settle") < 3,
		pick:   rapid.IntRange(0, 11).Draw(t, "pick"),
		read:   -1,
	}
	switch c.do {
	case "send":
		c.send = drawSending(t)
	case "storm":
		single := rapid.Custom(func(t *rapid.T) sending {
			s := drawSending(t)
			s.users = s.users[:min(len(s.users), 1)]
			return s
		})
		c.storm = rapid.SliceOfN(rapid.SliceOfN(single, 1, 8), 2, 4).Draw(t, "storm")
	case "open":
		c.from = rapid.SampledFrom([]string{"fresh", "latest", "latest", "latest", "earlier", "earlier", "foreign", "garbage"}).Draw(t, "from")
		c.byQuery = rapid.Bool().Draw(t, "byQuery")
		c.topics = rapid.SliceOfNDistinct(rapid.SampledFrom(topics), 0, 2, rapid.ID).Draw(t, "topics")
		c.sameTopics = rapid.IntRange(0, 3).Draw(t, "sameTopics") < 3
		if rapid.IntRange(0, 2).Draw(t, "slow") == 2 {
			drawReading(t, &c)
		}
		if rapid.IntRange(0, 3).Draw(t, "held") == 3 {
			drawHold(t, &c)
		}
	case "read":
		if rapid.Bool().Draw(t, "limited") {
			drawReading(t, &c)
		}
	case "hold":
		drawHold(t, &c)
	case "disconnect", "disconnect_one", "overstay":
		c.reason = rapid.SampledFrom([]ginsse.Reason{"", "moderated"}).Draw(t, "reason")
	case "send_alone":
		c.size = rapid.IntRange(0, 20).Draw(t, "size")
	case "pass":
		c.pass = rapid.SampledFrom([]time.Duration{
			time.Second, 5 * time.Second, 9 * time.Second, 16 * time.Second, 31 * time.Second, time.Hour,
		}).Draw(t, "pass")
	}
	return c
}

// drawReading limits how much the client reads, to a point within the first blocks or a large
// event.
func drawReading(t *rapid.T, c *command) {
	c.read = rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 70_000)).Draw(t, "read")
	c.leaves = rapid.Bool().Draw(t, "leaves")
}

func drawHold(t *rapid.T, c *command) {
	c.holdAt = rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "holdAt")
	c.holdAfter = rapid.Bool().Draw(t, "holdAfter")
}

func drawSending(t *rapid.T) sending {
	small, large := rapid.IntRange(0, 30), rapid.IntRange(1000, 60_000)
	s := sending{size: rapid.OneOf(small, small, small, large).Draw(t, "size")}
	switch rapid.IntRange(0, 4).Draw(t, "to") {
	case 0, 1:
		s.users = []string{rapid.SampledFrom(users).Draw(t, "user")}
	case 2:
		s.users = rapid.SliceOfN(rapid.SampledFrom(users), 1, 4).Draw(t, "users")
	case 3:
		s.topic = rapid.SampledFrom(topics).Draw(t, "topic")
	default:
		s.all = true
	}
	return s
}
