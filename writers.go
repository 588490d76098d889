package ginsse

import (
	"context"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/ginsse/ginsse/internal/readiness"
	"github.com/ginsse/ginsse/internal/timerwheel"
)

// writers write the compact streams of a registry: a few goroutines for all of them. A stream that
// has something to write waits in their queue. The goroutines start when there are streams in the
// queue, and end when there are none.
//
// Concurrency: all methods may be called from several goroutines.
type writers struct {
	most   int             // goroutines that write streams from the queue
	ctx    context.Context // for reads of the log, which limit their own time; it never ends
	timers *timerwheel.Wheel[*compact]
	head   func() uint64 // the sequence of the newest entry that the registry knows of

	mu          sync.Mutex // guards the fields below
	first, last *compact   // the queue
	queued      int        // its length
	running     int        // goroutines that write streams from the queue

	connsMu sync.Mutex     // guards the fields below; never held together with mu
	ready   *readiness.Set // nil while no stream is in it
	streams int            // compact streams
	slots   []slotted      // of the streams in the set
	free    []int          // slots that are not used
	added   uint32         // sockets that were ever added to a set
}

// queuedPerWriter is how many streams wait for each writer before another one starts. To start one
// may wake up a processor, which costs as much as a write.
const queuedPerWriter = 8

// timersLate is more than the timers of compact streams are late.
const timersLate = 20 * time.Millisecond

// slotted is a stream in the readiness set. Its token has the number of the slot, and the number of
// its socket: an event may come after its connection was closed, and even after its set was.
type slotted struct {
	stream *compact
	socket uint32
}

func newWriters(head func() uint64) *writers {
	w := &writers{most: runtime.GOMAXPROCS(0), ctx: context.Background(), head: head}
	w.timers = timerwheel.New(func(due []*compact) {
		for _, k := range due {
			k.wakeUp(signalDue)
		}
	})
	return w
}

// push adds a stream to the queue.
func (w *writers) push(k *compact) {
	w.mu.Lock()
	if w.last != nil {
		w.last.next = k
	} else {
		w.first = k
	}
	w.last = k
	w.queued++
	start := w.running < w.most && w.queued > w.running*queuedPerWriter
	if start {
		w.running++
	}
	w.mu.Unlock()
	if start {
		go w.run()
	}
}

// pop takes a stream from the queue. Without one, the calling goroutine is to end.
func (w *writers) pop() *compact {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.first
	if k == nil {
		w.running--
		return nil
	}
	if w.first = k.next; w.first == nil {
		w.last = nil
	}
	k.next = nil
	w.queued--
	return k
}

// waiting returns the length of the queue.
func (w *writers) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queued
}

func (w *writers) run() {
	space := borrowWorkspace()
	defer space.release()
	head := w.head()
	for n := 1; ; n++ {
		k := w.pop()
		if k == nil {
			return
		}
		k.run(space, false)
		if n%roundStreams == 0 {
			rest(w.head()-head, space.taken)
			head, space.taken = w.head(), 0
		}
	}
}

const (
	// roundStreams is after how many streams a writer looks whether senders are faster.
	roundStreams = 32
	// enoughEntries is the number of entries for each stream from which more are hardly cheaper.
	enoughEntries = 16
	// restTime is how long a writer waits for more entries.
	restTime = time.Millisecond
)

// rest waits for a moment if senders are faster than the writer: while it wrote roundStreams
// streams, they sent more than twice as many entries, and it has taken only a few. Then a write
// later takes more of them, and costs little more. Meanwhile the processor is the senders'. What
// they send during the rest does not count: it would cause the next one.
//
// Without it, sends to single users at full speed reach 0.55 times as many events a second.
func rest(sent uint64, taken int) {
	if sent > 2*roundStreams && taken < roundStreams*enoughEntries {
		time.Sleep(restTime)
	}
}

// add adds a stream and the socket of its connection, unless the readiness set cannot have it.
func (w *writers) add(k *compact, fd int) error {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	err := w.watchLocked(k, fd)
	if err == nil {
		w.streams++
	}
	return err
}

// addConn adds a stream. It reports whether the readiness set has its connection.
func (w *writers) addConn(k *compact, conn net.Conn) (watched bool) {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	w.streams++
	if sys, ok := conn.(syscall.Conn); ok {
		if raw, err := sys.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { watched = w.watchLocked(k, int(fd)) == nil })
		}
	}
	return watched
}

// watchLocked adds a socket to the readiness set. It sets the token of the stream, unless that
// fails.
func (w *writers) watchLocked(k *compact, fd int) error {
	if w.ready == nil {
		ready, err := readiness.New(w.onReady)
		if err != nil {
			return err
		}
		w.ready = ready
	}
	if len(w.free) == 0 {
		w.free = append(w.free, len(w.slots))
		w.slots = append(w.slots, slotted{})
	}
	slot := w.free[len(w.free)-1]
	w.added++
	k.token = uint64(w.added)<<32 | uint64(slot)
	w.slots[slot] = slotted{k, w.added} // before the first event
	if err := w.ready.Add(fd, k.token); err != nil {
		w.slots[slot].stream, k.token = nil, 0
		w.closeUnusedLocked()
		return err
	}
	w.free = w.free[:len(w.free)-1]
	return nil
}

// closeUnusedLocked closes a readiness set without sockets. It has a goroutine.
func (w *writers) closeUnusedLocked() {
	if len(w.free) < len(w.slots) {
		return
	}
	unused := w.ready
	w.ready, w.slots, w.free = nil, nil, nil
	go func() { _ = unused.Close() }() // which may wait for onReady
}

// watchWrites has the readiness set report when a connection can be written to.
func (w *writers) watchWrites(k *compact) error {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	return w.ready.WatchWrites(k.fd, k.token)
}

// remove removes a stream, whose connection is closed next.
func (w *writers) remove(k *compact) {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	w.streams--
	if k.token == 0 {
		return
	}
	slot := int(uint32(k.token))
	w.slots[slot].stream = nil
	w.free = append(w.free, slot)
	w.closeUnusedLocked()
}

// count returns the number of compact streams.
func (w *writers) count() int {
	w.connsMu.Lock()
	defer w.connsMu.Unlock()
	return w.streams
}

// onReady wakes a stream up whose connection is ready.
func (w *writers) onReady(token uint64, e readiness.Events) {
	w.connsMu.Lock()
	var k *compact
	if slot := int(uint32(token)); slot < len(w.slots) && w.slots[slot].socket == uint32(token>>32) {
		k = w.slots[slot].stream
	}
	w.connsMu.Unlock()
	if k == nil {
		return
	}
	var signal uint32
	if e.Readable {
		signal |= signalReadable
	}
	if e.Writable {
		signal |= signalWritable
	}
	if e.Closed {
		signal |= signalGone
	}
	k.wakeUp(signal)
}
