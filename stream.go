package ginsse

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// StreamConfig holds the settings of a stream. Zero means default, negative
// means off.
type StreamConfig struct {
	// HeartbeatInterval is the longest silence. A stream of a registry sends the event
	// sse.heartbeat after it, with empty data and its position as the id: a page can tell a
	// quiet stream from a dead one, and resumes from a fresh position. What [Stream.Send]
	// sends carries no position; while nothing else is sent, a heartbeat follows once an
	// interval if the position has moved. sse.open names the interval. On a stream without a registry a heartbeat is a comment.
	// Each stream uses between three quarters and all of the interval, so that
	// heartbeats are spread out. Default 15 s; keep it below every proxy's idle timeout.
	// At least 1 ms.
	HeartbeatInterval time.Duration

	// HeartbeatComments has a registry's streams send comments as heartbeats, or blocks
	// with nothing but an id, which pages do not see.
	HeartbeatComments bool

	// WriteTimeout is how long a client may take no byte while there is something to
	// write: then, or up to a quarter of it later, the stream ends as [ReasonSlow]. A
	// client that takes a little at a time keeps its stream, however slow its line. On
	// Linux the kernel says what a client has taken; elsewhere, and on Unix sockets,
	// the stream sees that a piece of 32 KiB was accepted. Behind a proxy the proxy is
	// the client: it takes bytes in lumps, so for slow lines behind one set minutes. With
	// [ConnContext], Linux drops a client that takes nothing for 35 s, whatever is set.
	//
	// It takes the place of http.Server.WriteTimeout. When it is off, a client that
	// takes nothing holds its handler until TCP gives up. Default 30 s. At least 1 ms.
	WriteTimeout time.Duration

	// ReconnectionTime is how long clients are told to wait before they
	// reestablish a lost connection. Each stream is told between half and one and
	// a half times it, so that clients do not come back together. Default 3 s.
	ReconnectionTime time.Duration

	// MaxLifetime ends a stream; the client of a registry is asked to come back. Each stream uses between nine tenths and all of it.
	// Default 24 h.
	MaxLifetime time.Duration
}

const (
	defaultHeartbeatInterval = 15 * time.Second
	defaultWriteTimeout      = 30 * time.Second
	defaultReconnectionTime  = 3 * time.Second
	defaultMaxLifetime       = 24 * time.Hour
)

var defaultStreamConfig = StreamConfig{
	HeartbeatInterval: defaultHeartbeatInterval,
	WriteTimeout:      defaultWriteTimeout,
	ReconnectionTime:  defaultReconnectionTime,
	MaxLifetime:       defaultMaxLifetime,
}

// resolve returns cfg with defaults for zeros, and then zeros for what is off.
func (cfg StreamConfig) resolve(defaults StreamConfig) (StreamConfig, error) {
	for _, field := range []struct {
		name      string
		value     *time.Duration
		otherwise time.Duration
	}{
		{"HeartbeatInterval", &cfg.HeartbeatInterval, defaults.HeartbeatInterval},
		{"WriteTimeout", &cfg.WriteTimeout, defaults.WriteTimeout},
		{"ReconnectionTime", &cfg.ReconnectionTime, defaults.ReconnectionTime},
		{"MaxLifetime", &cfg.MaxLifetime, defaults.MaxLifetime},
	} {
		switch d := *field.value; {
		case d == 0:
			*field.value = field.otherwise
		case d < 0:
			*field.value = 0
		case d < time.Millisecond:
			return cfg, fmt.Errorf("%s is %v; the least is 1ms", field.name, d)
		}
	}
	return cfg, nil
}

// reconnectionTime is what a client is told that is asked to come back.
func (cfg StreamConfig) reconnectionTime() time.Duration {
	if cfg.ReconnectionTime > 0 {
		return cfg.ReconnectionTime
	}
	return defaultReconnectionTime
}

// Stream is the server's end of one event stream.
//
// It lives from the call that opened it until that handler returns. What is to
// be written, and when, is decided here; the handler's goroutine writes it, and
// nobody else touches the response.
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: once the stream has ended, every method reports the [Reason].
type Stream struct {
	// unread counts what has happened since the writer last looked. Whoever makes
	// it 1 puts a token into wake, which holds one: the writer never misses
	// news, and nobody waits for the writer.
	unread atomic.Int64
	wake   chan struct{}
	// since is one more than the sequence that the stream started from, and 0
	// until it has started: events at or above it will reach the client.
	since atomic.Uint64
	// came is where the head of a shared log was when the stream was opened; nil until that
	// is known.
	came   atomic.Pointer[Cursor]
	ended  atomic.Bool // set with err
	queued atomic.Bool // set with queue

	registry *Registry // nil on a stream without one
	subjects []string  // what it reads from the log
	at       Cursor    // read through here; the writer's
	told     uint64    // sequence of the last event ID sent; the writer's

	mu    sync.Mutex    // guards the fields below, up to loop; never held during I/O
	queue []byte        // events of Send, encoded
	job   job           // what gives them IDs, on a stream of one request
	space chan struct{} // closed when the queue was taken or the stream ended; nil if nobody waits
	done  chan struct{} // closed when the stream ended; made when first asked for
	err   error         // why it ended; nil while open
	// before is where delivery stops: events from this sequence on are not the
	// stream's. 0 while it is open.
	before uint64

	loop loop // writes it; the handler's

	id       string
	user     string
	opened   time.Time
	expires  time.Time // zero if never
	metadata map[string]any
	cfg      StreamConfig // resolved
	slots    []int        // its place in the audience of each subject; guarded by Registry.mu
	hooks    int          // hooks of it that run; guarded by Registry.mu
	lingers  bool         // it has ended, and hooks of it run; guarded by Registry.mu
	room     [2]string    // of subjects, for a stream without topics
}

// maxQueueBytes is how much Send takes in before it waits for the client.
const maxQueueBytes = 64 << 10

// newStream returns a stream that nobody writes yet. cfg is resolved.
func newStream(user string, expires time.Time, cfg StreamConfig) *Stream {
	return &Stream{
		id:      rand.Text(),
		user:    user,
		opened:  time.Now(),
		expires: expires.Round(0), // on the wall clock, which goes on while the machine sleeps
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
	}
}

// ID returns the stream's session ID: random, unlike any other stream's, and
// known to the client from the data of sse.open.
func (s *Stream) ID() string { return s.id }

// UserID returns the user that the stream belongs to; "" without a registry.
func (s *Stream) UserID() string { return s.user }

// Opened returns when the stream was opened.
func (s *Stream) Opened() time.Time { return s.opened }

// Expiry returns when the credential that opened the stream ends, and the stream
// with it; the zero Time means never.
func (s *Stream) Expiry() time.Time { return s.expires }

// Metadata returns what [WithMetadata] attached. Nobody may change it.
func (s *Stream) Metadata() map[string]any { return s.metadata }

// Done returns a channel that is closed when the stream has ended. [Stream.Err]
// then says why.
func (s *Stream) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.err != nil {
			close(s.done)
		}
	}
	return s.done
}

// Err returns nil while the stream is open and then why it ended: a [Reason],
// which may wrap a cause.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Send sends an event to this stream alone. It is not kept in the log: a client
// that reconnects does not get it again.
//
// Send returns nil once the event is queued. When 64 KiB wait for the client, it
// waits too, until there is room, ctx ends or the stream does. An event that
// cannot be encoded is [ErrInvalidEvent], one over a registry's limit
// [ErrEventTooLarge]; both leave the stream as it was.
func (s *Stream) Send(ctx context.Context, e Event) error {
	if s.registry != nil && (e.ID != "" || e.ResetID) {
		return fmt.Errorf("%w: ID is set, and the IDs of this stream are the registry's", ErrInvalidEvent)
	}
	b := borrowBuffer()
	defer b.release()
	frame, err := e.appendTo(b.bytes)
	if err != nil {
		return err
	}
	b.bytes = frame
	if s.registry != nil {
		if err := s.registry.checkSize(frame); err != nil {
			return err
		}
	}
	return s.enqueue(ctx, frame, e)
}

// enqueue adds a frame to the queue, waiting for room.
func (s *Stream) enqueue(ctx context.Context, frame []byte, e Event) error {
	if ctx == nil {
		return errNilContext
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.mu.Lock()
		if s.err != nil {
			defer s.mu.Unlock()
			return s.err
		}
		if len(s.queue) == 0 || len(s.queue)+len(frame) <= maxQueueBytes {
			s.queue = append(s.queue, frame...)
			s.identifyLocked(e)
			s.queued.Store(true)
			s.mu.Unlock()
			s.notify()
			return nil
		}
		if s.space == nil {
			s.space = make(chan struct{})
		}
		space := s.space
		s.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
		}
	}
}

// identifyLocked gives an event that was just queued an ID of the kit's, unless the
// producer sets IDs.
func (s *Stream) identifyLocked(e Event) {
	switch {
	case s.job.key == 0:
	case e.ID != "" || e.ResetID:
		s.job = job{}
	case e.Type != "" || e.Data != nil:
		s.job.events++
		s.queue = append(appendField(s.queue[:len(s.queue)-1], idField, s.job.id()), '\n')
	}
}

// Disconnect ends the stream with a reason; "" means [ReasonDisconnected]. What was
// sent to it before is still delivered, within 10 s, or the client gets sse.gap with the
// reason "undelivered". Then it gets sse.close, or sse.reconnect for a reason of the kit's
// that asks for it (see [Reason]). A stream without a registry gets none of these events.
// Disconnect does not wait, and it may be repeated: the first reason stays.
func (s *Stream) Disconnect(reason Reason) { s.end(reason.orDisconnected()) }

// Close ends the stream as done. It does not wait, and it may be repeated. It returns nil, or
// why the stream ended if it had ended before for another reason.
func (s *Stream) Close() error {
	s.end(ReasonDone)
	return notDone(s.Err())
}

// end ends the stream, unless it has ended before: the first cause stays. What
// its registry has sent by now is still delivered, nothing later is.
func (s *Stream) end(cause error) {
	before := uint64(0)
	if s.registry != nil {
		before = s.registry.head.Load() + 1
	}
	s.endBefore(cause, before)
}

// endBefore is end for what has happened at a sequence: what is in the log before it is
// still delivered.
func (s *Stream) endBefore(cause error, before uint64) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = cause
	s.before = before
	s.ended.Store(true)
	if s.done != nil {
		close(s.done)
	}
	s.makeRoomLocked()
	s.mu.Unlock()
	if s.registry != nil {
		s.registry.detach(s)
	}
	s.notify()
}

const (
	// drainTime is how long a stream that has ended delivers what was sent before its
	// end, page by page.
	drainTime = 10 * time.Second
	// closeTime is how long a client may take for the last page and sse.close.
	closeTime = time.Minute
)

// graceOf returns how long the writes of a stream that ended for a reason may go on
// while the client takes them. A client that is asked to come back gets the rest then.
// What a producer has sent is delivered, however slow the line, for the stream's lifetime.
func (s *Stream) graceOf(reason Reason) time.Duration {
	switch {
	case s.registry == nil && (reason == ReasonDone || reason == ReasonFailed):
		return math.MaxInt64
	case reason.reconnects(), reason == ReasonReplaced:
		return drainTime
	default:
		return closeTime
	}
}

// notify tells the writer that there may be something to write. It never blocks.
// It returns how often it was called since the writer last looked.
func (s *Stream) notify() int64 {
	n := s.unread.Add(1)
	if n == 1 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return n
}

func (s *Stream) makeRoomLocked() {
	if s.space != nil {
		close(s.space)
		s.space = nil
	}
}

// bound returns the sequence that the stream must not reach; 0 for none. While the stream
// is open, it is where it has to wait.
func (s *Stream) bound() (before uint64, waits bool) {
	if !s.ended.Load() {
		before = s.registry.control.limit.Load()
		return before, before != 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before, false
}

// take appends to b what is queued.
func (s *Stream) take(b []byte) []byte {
	if !s.queued.Load() {
		return b
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued.Store(false)
	b = append(b, s.queue...)
	s.queue = s.queue[:0]
	if cap(s.queue) > 4<<10 {
		s.queue = nil // an idle stream keeps no large buffer
	}
	s.makeRoomLocked()
	return b
}

// drop lets go of what is queued: nobody will write it, and somebody may keep the
// stream.
func (s *Stream) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
}

// jitter returns a duration between low and high times d.
func jitter(d time.Duration, low, high float64) time.Duration {
	f := float64(d) * (low + (high-low)*mathrand.Float64())
	return time.Duration(min(f, math.MaxInt64/2))
}
