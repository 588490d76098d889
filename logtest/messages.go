package logtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
)

// mailbox receives messages under a name, and has what it got to itself.
type mailbox struct {
	name string
	stop func()
	news chan struct{} // has room for one: something has come

	mu  sync.Mutex // guards the field below
	got [][]byte   // kept as they came
}

func receive(log ginsse.SharedLog, name string) *mailbox {
	b := &mailbox{name: name, news: make(chan struct{}, 1)}
	b.stop = log.Receive(name, b.put)
	return b
}

func (b *mailbox) put(message []byte) {
	b.mu.Lock()
	b.got = append(b.got, message)
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

func (b *mailbox) has(message []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.got, func(got []byte) bool { return bytes.Equal(got, message) })
}

// begins reports whether it has a message that begins so.
func (b *mailbox) begins(with string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.got, func(got []byte) bool { return bytes.HasPrefix(got, []byte(with)) })
}

// sharedLogs returns a log and its peer, if they are such as exchange messages.
func sharedLogs(t *testing.T, s Suite) [2]ginsse.SharedLog {
	t.Helper()
	log := s.New(t, Bounds{})
	shared, ok := log.(ginsse.SharedLog)
	if !ok {
		t.Skip("the log is not a SharedLog")
	}
	peer, ok := s.Peer(t, log).(ginsse.SharedLog)
	if !ok {
		t.Fatal("the log is a SharedLog, and its peer is not")
	}
	return [2]ginsse.SharedLog{shared, peer}
}

// again is how soon a message that may be lost is posted again.
const again = 20 * time.Millisecond

// deliver posts a message again until it has come to all of these, and has the log see
// that it is not the log's: what was given to Post is overwritten.
func deliver(t *testing.T, limit time.Duration, from ginsse.SharedLog, to string, message []byte, boxes ...*mailbox) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	var failed error
	for _, b := range boxes {
		for !b.has(message) {
			given := bytes.Clone(message)
			failed = from.Post(to, given)
			scribble(given)
			if b.has(message) {
				break
			}
			select {
			case <-b.news:
			case <-time.After(again):
			case <-deadline.C:
				t.Fatalf("a message of %d bytes to %q did not come to %q: %v", len(message), to, b.name, failed)
			}
		}
	}
}

// names are such as a log may mix up.
var names = []string{"a", "A", "ab", "0", "all", "node", "nodes", strings.Repeat("Z", 32), strings.Repeat("Z", 31)}

// messagesReach has each node post to each name, and to all.
func messagesReach(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	var boxes []*mailbox
	for i, name := range names {
		b := receive(logs[i%2], name)
		defer b.stop()
		boxes = append(boxes, b)
	}
	for i, from := range logs {
		for _, b := range boxes {
			deliver(t, s.patience, from, b.name, fmt.Appendf(nil, "only for %s from %d", b.name, i), b)
		}
		deliver(t, s.patience, from, "", fmt.Appendf(nil, "for all from %d", i), boxes...)
	}
	for _, b := range boxes {
		for _, other := range boxes {
			if got := b.begins("only for " + other.name + " "); got != (b == other) {
				t.Errorf("%q has got what is for %q: %v", b.name, other.name, got)
			}
		}
	}
}

// messagesAreBytes posts what a log may take for its own, and the most there may be.
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

// messagesAreTheReceivers has receivers write on what they get, while both nodes post.
// Whoever keeps a message finds it as it came, though it was posted from memory that was
// written on since.
func messagesAreTheReceivers(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	var boxes []*mailbox
	for i, log := range logs {
		for j := range 2 {
			b := receive(log, fmt.Sprint("keeps", i, j))
			defer b.stop()
			boxes = append(boxes, b)
			defer log.Receive(fmt.Sprint("writes", i, j), func(message []byte) { scribble(message) })()
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
				scribble(given)
			}
		})
	}
	posting.Wait()
	for i, log := range logs {
		deliver(t, s.patience, log, "", message(i, count), boxes...)
	}
	for _, b := range boxes {
		b.mu.Lock()
		for _, got := range b.got {
			var i, n int
			if _, err := fmt.Sscanf(string(got), "%d from %d;", &n, &i); err != nil || !bytes.Equal(got, message(i, n)) {
				t.Errorf("%q has a message that nobody posted: %q", b.name, got)
			}
		}
		b.mu.Unlock()
	}
}

// messagesStop has one receiver after the other stop. What is posted after that does not
// come there, as the others show who get it.
func messagesStop(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	open := make(map[*mailbox]bool)
	var boxes []*mailbox
	for i := range 5 {
		// Two on one node have the same name.
		b := receive(logs[i%2], []string{"a", "b", "a", "c", "d"}[i])
		defer b.stop()
		boxes, open[b] = append(boxes, b), true
	}
	for round, i := range []int{2, 1, 4} {
		boxes[i].stop()
		boxes[i].stop() // may be repeated
		delete(open, boxes[i])
		for repeated := range 3 {
			text := fmt.Sprint("round ", round, ".", repeated)
			for b := range open {
				deliver(t, s.patience, logs[round%2], "", []byte(text), b)
				deliver(t, s.patience, logs[repeated%2], b.name, []byte(text+" to you"), b)
			}
			for j, b := range boxes {
				if !open[b] && b.begins(text) {
					t.Errorf("receiver %d had stopped, and got %q", j, text)
				}
			}
		}
	}
}

// messagesArriveAfterRestart has the receivers stay, and what they wait for comes.
func messagesArriveAfterRestart(t *testing.T, s Suite) {
	logs := sharedLogs(t, s)
	here, there := receive(logs[0], "here"), receive(logs[1], "there")
	defer here.stop()
	defer there.stop()
	for round := range 2 {
		s.Restart(t, logs[0])
		for i, log := range logs {
			text := fmt.Sprint("round ", round, " from ", i)
			deliver(t, s.long(), log, "", []byte(text), here, there)
			deliver(t, s.long(), log, "here", []byte(text+" to you"), here)
			deliver(t, s.long(), log, "there", []byte(text+" to you"), there)
		}
	}
}
