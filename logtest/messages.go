package logtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// receiver records the messages to a name.
type receiver struct {
	name string
	stop func()
	news chan struct{} // has room for one: a message came

	mu  sync.Mutex // guards got
	got [][]byte   // not copied
}

func receive(log eventlog.SharedLog, name string) *receiver {
	r := &receiver{name: name, news: make(chan struct{}, 1)}
	r.stop = log.Receive(name, r.record)
	return r
}

func (r *receiver) record(message []byte) {
	r.mu.Lock()
	r.got = append(r.got, message)
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (r *receiver) has(message []byte) bool {
	return r.hasAny(func(got []byte) bool { return bytes.Equal(got, message) })
}

func (r *receiver) hasPrefix(prefix string) bool {
	return r.hasAny(func(got []byte) bool { return bytes.HasPrefix(got, []byte(prefix)) })
}

func (r *receiver) hasAny(match func([]byte) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.got, match)
}

// sharedLogs returns a log and its peer. It skips the test if they carry no messages.
func sharedLogs(t *testing.T, s Suite) [2]eventlog.SharedLog {
	t.Helper()
	log := s.New(t, Bounds{})
	shared, ok := log.(eventlog.SharedLog)
	if !ok {
		t.Skip("the log is not a SharedLog")
	}
	peer, ok := s.Peer(t, log).(eventlog.SharedLog)
	if !ok {
		t.Fatal("the log is a SharedLog, and its peer is not")
	}
	return [2]eventlog.SharedLog{shared, peer}
}

// retryInterval is how soon something that may be lost, or failed, is tried again.
const retryInterval = 20 * time.Millisecond

// deliver posts a message again until each receiver has it. It overwrites what it gave to Post.
func deliver(t *testing.T, limit time.Duration, from eventlog.SharedLog, to string, message []byte, receivers ...*receiver) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	var failed error
	for _, r := range receivers {
		for !r.has(message) {
			given := bytes.Clone(message)
			failed = from.Post(to, given)
			overwrite(given)
			if r.has(message) {
				break
			}
			select {
			case <-r.news:
			case <-time.After(retryInterval):
			case <-deadline.C:
				t.Fatalf("a message of %d bytes to %q did not reach %q: %v", len(message), to, r.name, failed)
			}
		}
	}
}

func overwrite(message []byte) {
	for i := range message {
		message[i] = '#'
	}
}

// names are names that a log may confuse.
var names = []string{"a", "A", "ab", "0", "all", "node", "nodes", strings.Repeat("Z", 32), strings.Repeat("Z", 31)}

// messagesReach has each node post to each name, and to all.
func messagesReach(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	var receivers []*receiver
	for i, name := range names {
		r := receive(logs[i%2], name)
		defer r.stop()
		receivers = append(receivers, r)
	}
	for i, from := range logs {
		for _, r := range receivers {
			deliver(t, s.patience, from, r.name, fmt.Appendf(nil, "only for %s from %d", r.name, i), r)
		}
		deliver(t, s.patience, from, "", fmt.Appendf(nil, "for all from %d", i), receivers...)
	}
	for _, r := range receivers {
		for _, other := range receivers {
			if got := r.hasPrefix("only for " + other.name + " "); got != (r == other) {
				t.Errorf("%q got the messages to %q: %v", r.name, other.name, got)
			}
		}
	}
}

// messagesAreBytes posts what a log may take for something of its own, and the longest message.
func messagesAreBytes(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	here, there := receive(logs[0], "here"), receive(logs[1], "there")
	defer here.stop()
	defer there.stop()
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, message := range [][]byte{
		{0}, []byte("\n"), []byte("\r\n\r\n"), []byte(" x "), []byte(`{"a":[`), []byte("\xff\xfe"), every,
		bytes.Repeat(every, 4<<10/256), bytes.Repeat(every, 64<<10/256)[1:], bytes.Repeat(every, 64<<10/256),
	} {
		deliver(t, s.patience, logs[0], "there", message, there)
		deliver(t, s.patience, logs[1], "", message, here, there)
	}
}

// messagesBelongToTheReceiver has some receivers overwrite their messages, and senders reuse
// theirs. The other receivers keep their messages, which must not change.
func messagesBelongToTheReceiver(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	var receivers []*receiver
	for i, log := range logs {
		for j := range 2 {
			r := receive(log, fmt.Sprint("keeps", i, j))
			defer r.stop()
			receivers = append(receivers, r)
			defer log.Receive(fmt.Sprint("overwrites", i, j), overwrite)()
		}
	}
	const count = 20
	message := func(i, n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d from %d;", n, i), 10) }
	var posting sync.WaitGroup
	for i, log := range logs {
		posting.Go(func() {
			for n := range count {
				given := message(i, n)
				_ = log.Post("", given)
				overwrite(given)
			}
		})
	}
	posting.Wait()
	for i, log := range logs {
		deliver(t, s.patience, log, "", message(i, count), receivers...)
	}
	for _, r := range receivers {
		wrong := r.hasAny(func(got []byte) bool {
			var i, n int
			_, err := fmt.Sscanf(string(got), "%d from %d;", &n, &i)
			return err != nil || !bytes.Equal(got, message(i, n))
		})
		if wrong {
			t.Errorf("%q has a message that was not posted: %q", r.name, r.got)
		}
	}
}

// messagesStop stops one receiver after another. Later messages reach the others only.
func messagesStop(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	open := make(map[*receiver]bool)
	var receivers []*receiver
	for i := range 5 {
		// Two on one node have the same name.
		r := receive(logs[i%2], []string{"a", "b", "a", "c", "d"}[i])
		defer r.stop()
		receivers, open[r] = append(receivers, r), true
	}
	for round, i := range []int{2, 1, 4} {
		receivers[i].stop()
		receivers[i].stop() // may be repeated
		delete(open, receivers[i])
		for repeated := range 3 {
			text := fmt.Sprint("round ", round, ".", repeated)
			for r := range open {
				deliver(t, s.patience, logs[round%2], "", []byte(text), r)
				deliver(t, s.patience, logs[repeated%2], r.name, []byte(text+" to you"), r)
			}
			for j, r := range receivers {
				if !open[r] && r.hasPrefix(text) {
					t.Errorf("receiver %d had stopped, and got %q", j, text)
				}
			}
		}
	}
}

// messagesArriveAfterRestart keeps its receivers over restarts of the store.
func messagesArriveAfterRestart(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	here, there := receive(logs[0], "here"), receive(logs[1], "there")
	defer here.stop()
	defer there.stop()
	for round := range 2 {
		s.Restart(t, logs[0])
		for i, log := range logs {
			text := fmt.Sprint("round ", round, " from ", i)
			deliver(t, s.longPatience(), log, "", []byte(text), here, there)
			deliver(t, s.longPatience(), log, "here", []byte(text+" to you"), here)
			deliver(t, s.longPatience(), log, "there", []byte(text+" to you"), there)
		}
	}
}
