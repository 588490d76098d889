package ginsse

import (
	"bytes"
	"context"
	"crypto/rand"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/presence"
)

// cluster is what a registry exchanges with those of other nodes beside the log: messages, which
// may be lost, repeated and reordered. Their first byte says what they are.
//
// Concurrency: all methods may be called from several goroutines.
type cluster struct {
	log  eventlog.SharedLog
	node string // a random name

	unreceive func() // set by start

	mu       sync.RWMutex // guards handlers; not held during calls of them
	handlers map[byte]func(message []byte)
}

func newCluster(log eventlog.SharedLog) *cluster {
	return &cluster{log: log, node: rand.Text(), handlers: make(map[byte]func([]byte))}
}

// start begins to receive messages. It is called before other goroutines have the cluster.
func (c *cluster) start() { c.unreceive = c.log.Receive(c.node, c.dispatch) }

// stop ends that. It may be repeated.
func (c *cluster) stop() { c.unreceive() }

// The first bytes of messages.
const (
	messagePresence  = '{' // JSON of package presence
	messageTransient = 'T'
	messageQuestion  = 'Q' // asks for streams
	messageAnswer    = 'A' // to a question, to the node that asked
)

// Post sends a message to a node, or to all nodes for "".
func (c *cluster) Post(to string, message []byte) error { return c.log.Post(to, message) }

// Receive has the messages of presence handled until stop is called.
func (c *cluster) Receive(_ string, fn func(message []byte)) (stop func()) {
	c.handle(messagePresence, fn)
	return func() { c.handle(messagePresence, nil) }
}

// handle sets the function for messages that begin with a byte. It does not block, and owns the
// message.
func (c *cluster) handle(kind byte, fn func(message []byte)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handlers[kind] = fn
}

// maxMessageBytes is the most bytes of a message: see [eventlog.SharedLog]. A larger one is forged.
const maxMessageBytes = 64 << 10

func (c *cluster) dispatch(message []byte) {
	if len(message) == 0 || len(message) > maxMessageBytes {
		return
	}
	c.mu.RLock()
	fn := c.handlers[message[0]]
	c.mu.RUnlock()
	if fn != nil {
		fn(message)
	}
}

// transients carries events that are not kept. They are in a small log of this node, which streams
// read after the registry's log: a stream keeps no queue for them. What a stream has not read in
// time is dropped.
type transients struct {
	log  *eventlog.MemoryLog
	head atomic.Uint64 // highest sequence known to be visible

	held atomic.Int64 // above 0 if an event waits

	mu         sync.Mutex      // guards the fields below; held while events are added to log
	later      []heldTransient // by the time when they expire
	laterBytes int
	next       uint64 // no event of later can go on before this sequence, unless one expires
}

// heldTransient is an event of another node that has seen more of the registry's log than this
// one. It waits until this node has, so that no stream gets what was sent after a command
// before it has read the command.
type heldTransient struct {
	node   string // the sender
	record eventlog.Record
	after  uint64 // a sequence of the registry's log
	until  time.Time
}

const (
	// transientAge is how long a transient event waits for a stream.
	transientAge = 5 * time.Second
	// transientsPerSubject is how many events of one subject wait for a stream.
	transientsPerSubject = 64
	// transientBytes bounds the memory of all transient events.
	transientBytes = 4 << 20
	// maxHeld is the most events that wait for the registry's log.
	maxHeld = 1024
	// maxTransientBytes is the most bytes of one transient event: what a message between nodes can
	// carry beside the event's subject, key and attributes.
	maxTransientBytes = 48 << 10
	// maxAttributeBytes is the most bytes of the attributes: a trace of 128 characters may take 768 in JSON.
	maxAttributeBytes = 2 << 10
)

func newTransients(notify func(subject string)) (*transients, error) {
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{
		EventsPerSubject: transientsPerSubject,
		MaxAge:           transientAge,
		MaxBytes:         transientBytes,
	})
	if err != nil {
		return nil, err
	}
	t := &transients{log: log}
	log.Watch(func(subject string, seq uint64) {
		raise(&t.head, seq)
		notify(subject)
	})
	return t, nil
}

// add delivers an event to the streams of this node.
func (t *transients) add(r eventlog.Record) {
	_, _ = t.log.Append(context.Background(), r) // it is small, and the log does not wait
}

// addAfter delivers an event of another node when the registry's log has reached a sequence here, and
// after those that the node has sent before. seen returns what has been reached.
func (t *transients) addAfter(node string, r eventlog.Record, after uint64, seen func() uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.later = append(t.later, heldTransient{node, r, after, time.Now().Add(transientAge)})
	t.laterBytes += len(r.Frame)
	t.next = min(t.next, after)
	t.held.Store(1) // before seen: who raises it from here on calls release
	t.releaseLocked(seen())
	if len(t.later) > maxHeld || t.laterBytes > transientBytes {
		t.laterBytes -= len(t.later[0].record.Frame)
		t.later = slices.Delete(t.later, 0, 1)
		t.next = 0 // the next event of the same node may go on
	}
}

// release delivers the events that waited for a sequence of the registry's log.
func (t *transients) release(seen uint64) {
	if t.held.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.releaseLocked(seen)
}

func (t *transients) releaseLocked(seen uint64) {
	now := time.Now()
	if len(t.later) == 0 || seen < t.next && now.Before(t.later[0].until) {
		return
	}
	t.next = math.MaxUint64
	waiting := make(map[string]bool) // nodes
	t.later = slices.DeleteFunc(t.later, func(held heldTransient) bool {
		switch {
		case !now.Before(held.until):
		case waiting[held.node]:
			return false
		case held.after > seen:
			waiting[held.node] = true
			t.next = min(t.next, held.after)
			return false
		default:
			t.add(held.record)
		}
		t.laterBytes -= len(held.record.Frame)
		return true
	})
	t.held.Store(int64(len(t.later)))
}

// raise raises a value to at least v.
func raise(value *atomic.Uint64, v uint64) {
	for {
		old := value.Load()
		if v <= old || value.CompareAndSwap(old, v) {
			return
		}
	}
}

// A transient event travels as lines and its frame: the sending node, the position that the node has
// seen, the subject, the key. None of them has line breaks.

// sendTransient sends a transient event to the streams of this node, and to the other nodes. After an
// error of the log it has reached this node alone.
func (r *Registry) sendTransient(ctx context.Context, record eventlog.Record) error {
	if err := r.maySend(ctx); err != nil {
		return err
	}
	begun := r.appending()
	r.transients.add(record) //nolint:contextcheck // its log does not wait
	err := r.postTransient(record)
	r.appended(record, true, begun, err)
	return err
}

// postTransient sends a transient event to the other nodes.
func (r *Registry) postTransient(record eventlog.Record) error {
	if r.cluster == nil {
		return nil
	}
	b := borrowBuffer()
	defer b.release()
	seen := eventlog.Cursor{Epoch: r.epoch.Load(), Seq: r.head.Load()}
	message := append(b.bytes, messageTransient) //nolint:gocritic // b.bytes gets it back below
	for _, line := range []string{r.cluster.node, seen.String(), record.Subject, record.Key} {
		message = append(append(message, line...), '\n')
	}
	b.bytes = append(message, record.Frame...) //nolint:gocritic // as above
	return r.cluster.Post("", b.bytes)
}

// receiveTransient delivers a transient event of another node. A message that no node can have sent
// is dropped.
func (r *Registry) receiveTransient(message []byte) {
	var lines [4]string
	rest := message[1:]
	for i := range lines {
		line, after, found := bytes.Cut(rest, []byte("\n"))
		if !found {
			return
		}
		lines[i], rest = string(line), after
	}
	record := eventlog.Record{Subject: lines[2], Key: lines[3], Frame: rest}
	if lines[0] == r.cluster.node || !presence.IsNode(lines[0]) { // the node's own is delivered already
		return
	}
	seen, err := eventlog.ParseCursor(lines[1])
	kind, _, ok := eventlog.SplitSubject(record.Subject)
	if err != nil || !ok || !kind.HasEvents() || len(record.Frame) > maxTransientBytes+maxAttributeBytes ||
		record.Key != "" && eventlog.CheckName(record.Key) != nil || !isFrameOfApplication(record.Frame) {
		return
	}
	if seen.Epoch != r.epoch.Load() {
		seen.Seq = 0 // of a log that was recreated
	}
	r.transients.addAfter(lines[0], record, seen.Seq, r.head.Load)
}

// isFrameOfApplication reports whether a frame is that of an event which an application can have sent:
// the event has no ID, and no type of the kit's own.
func isFrameOfApplication(frame []byte) bool {
	if eventlog.CheckFrame(frame) != nil {
		return false
	}
	for line := range bytes.Lines(frame) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":"))
		switch string(name) {
		case "id":
			return false
		case "event":
			if bytes.HasPrefix(bytes.TrimPrefix(value, []byte(" ")), []byte(reservedTypes)) {
				return false
			}
		}
	}
	return true
}
