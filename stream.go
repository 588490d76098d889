package ginsse

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// StreamConfig holds the settings of a stream. Zero means default, negative
// means off.
type StreamConfig struct {
	// HeartbeatInterval is the longest silence. After it, a stream of a registry sends the event
	// sse.heartbeat, with empty data and its position as the ID. So a page can tell a quiet stream
	// from a dead one, and resumes from a fresh position. sse.open names the interval. While only
	// events of [Stream.Send] go out, which carry no position, a heartbeat follows once an interval
	// if the position has moved. On a stream without a registry, a heartbeat is a comment.
	//
	// Each stream uses 75 to 100 % of the interval, so that heartbeats are spread out. Keep it
	// below every proxy's idle timeout. Default 15 s; at least 1 ms.
	HeartbeatInterval time.Duration

	// HeartbeatComments has a registry's streams send comments as heartbeats, or blocks with
	// nothing but an id. Pages do not see these.
	HeartbeatComments bool

	// WriteTimeout is how long a client may take no byte while there is something to write. Then,
	// or up to a quarter of the time later, the stream ends as [ReasonSlow]. A client that takes a
	// little at a time keeps its stream, however slow its line.
	//
	// On Linux the kernel reports what a client has taken. Elsewhere, and on Unix sockets, progress
	// is a piece of 32 KiB that was accepted. Behind a proxy the proxy is the client: it takes
	// bytes in lumps, so set minutes for slow lines behind one. With [ConnContext], Linux drops a
	// client that takes nothing for 35 s, whatever is set, unless the stream is compact.
	//
	// It replaces http.Server.WriteTimeout. When it is off, a client that takes nothing holds its
	// handler, or its compact stream, until the stream ends or TCP gives up. Default 30 s; at least
	// 1 ms.
	WriteTimeout time.Duration

	// ReconnectionTime is how long clients wait before they reestablish a lost connection. Each
	// stream sends 50 to 150 % of it, so that clients do not come back together. Default 3 s; at
	// least 1 ms.
	ReconnectionTime time.Duration

	// MaxLifetime ends a stream; the client of a registry is asked to come back. Each stream uses
	// 90 to 100 % of it. Default 24 h; at least 1 ms.
	MaxLifetime time.Duration

	// Compact takes the connection of a registry's stream over from net/http once the stream is
	// open. The handler returns then, and a few goroutines of the registry write all such streams.
	// An idle stream costs about 1.6 KB and no goroutine, instead of 31 KB and two. Delivering an
	// event costs less too.
	//
	// It works on Linux with HTTP/1.1. Other streams are served as without it, which
	// [Stats.Compact] and the log show.
	//
	// What changes: middleware around the route sees the request end when the stream has opened,
	// and the request's context ends then. Access logs, spans and timers of streams belong in
	// [RegistryConfig.ConnectFunc] and DisconnectFunc. After [Registry.Serve] has returned, the
	// handler must not touch the response. http.Server.Shutdown and Close neither wait for these
	// streams nor end them, [Registry.Shutdown] does. The connection is closed after the stream.
	Compact bool
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
	cfg.HeartbeatComments = cfg.HeartbeatComments || defaults.HeartbeatComments
	cfg.Compact = cfg.Compact || defaults.Compact
	return cfg, nil
}

// reconnectionTime returns the reconnection time for sse.reconnect, which needs one.
func (cfg StreamConfig) reconnectionTime() time.Duration {
	if cfg.ReconnectionTime > 0 {
		return cfg.ReconnectionTime
	}
	return defaultReconnectionTime
}

// Stream is the server's end of one event stream.
//
// It begins with the call that serves it, and has ended once [Stream.Done] is closed. For a while
// after that, its client may still get what was sent before.
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: once the stream has ended, every method reports the [Reason].
type Stream struct {
	// unread counts the notifications since the writer last looked. The first one puts a token
	// into wake, which holds one: the writer misses no news, and no sender waits for the writer.
	unread atomic.Int64
	wake   chan struct{}
	// commanded is when a command was noticed that the stream has not read yet, in nanoseconds
	// since it was opened; 0 for none.
	commanded atomic.Int64
	// What [Stream.Stats] returns. The writer sets it.
	events, bytes atomic.Uint64
	backlog       atomic.Int64 // notifications that the writer has seen, and whose events it has not written
	ended         atomic.Bool  // set with err
	queued        atomic.Bool  // set with queue

	registry *Registry // nil on a stream without one
	// subjects are what it reads from the log: the user's commands, then events; see stream_topics.go.
	// The writer changes them, under subscribers.mu.
	subjects []string
	// opening is the head of the log when the stream was opened. Only later commands are for it.
	opening eventlog.Cursor

	// The fields up to mu are the writer's.
	at          eventlog.Cursor // the position that it has read through
	transient   eventlog.Cursor // the same among transient events
	granted     []grantedTopic  // topics that it has got since its opening
	sent        uint64          // sequence of the last event ID sent
	more        bool            // there is more to write than one turn takes, or the stream must look again
	lookedAgain bool            // an ended stream has looked once more
	failing     bool            // the log could not be read
	lags        bool            // the last page of the log was full
	missed      bool            // it may have missed transient events of presence
	cutOff      bool            // there were entries from before on
	noWait      bool            // the writer must not wait for the store of the log
	follows     bool            // it follows a run, and only the run's own end is final
	preludes    *preludes       // what it gets before events; nil for most streams
	schedule

	mu      sync.Mutex    // guards the fields below, up to position; never held during I/O
	queue   []byte        // events of Send, encoded
	job     job           // gives IDs to the events of a stream of one request
	space   chan struct{} // closed when the queue was taken or the stream ended; nil if no Send waits
	done    chan struct{} // closed when the stream ended; made when first asked for
	err     error         // why it ended; nil while open
	endedAt time.Duration // since it was opened; set with ended, and not changed afterwards
	before  atomic.Uint64 // sequence of the first entry that an ended stream does not deliver
	// position is at, as of the last write, for the watchdog. It is kept on a shared log only.
	position eventlog.Cursor

	loop    *loop    // writes it on its handler's goroutine; nil after its connection was taken over
	compact *compact // has it written by the registry's writers; nil for other streams

	id       string
	user     string
	opened   time.Time
	expiry   atomic.Int64 // in milliseconds since 1970; 0 if never
	metadata map[string]any
	presence *streamPresence       // nil for most streams
	cfg      *StreamConfig         // resolved, and not changed
	slots    []int                 // its slot in the list of each subject; guarded by subscribers.mu
	hooks    int32                 // hooks of it that run, or will; guarded by Registry.mu, as the next two
	detached bool                  // it has been a subscriber, and no longer is
	holds    bool                  // it has ended, and keeps its place while hooks run
	exact    bool                  // before is the sequence of a command; guarded by mu
	fixed    [fixedSubjects]string // the first subjects, not changed
}

// maxQueueBytes is how much Send queues before it waits for the client.
const maxQueueBytes = 64 << 10

// newStream returns a stream of r that has not begun; r may be nil. cfg is resolved, and is not
// changed afterwards.
func newStream(r *Registry, user string, expires time.Time, cfg *StreamConfig) *Stream {
	var s *Stream
	if r != nil && cfg.Compact {
		both := new(struct { // 704 bytes; for more, Go would take 768
			Stream
			compact compact
		})
		s = &both.Stream
		s.compact = &both.compact
		s.compact.s, s.compact.writers = s, r.writers
		s.loop = new(loop) // it is freed before the stream
	} else {
		both := new(struct {
			Stream
			loop loop
		})
		s = &both.Stream
		s.loop = &both.loop
	}
	s.loop.s = s
	s.registry = r
	s.id = rand.Text()
	s.user = user
	s.opened = time.Now()
	if !expires.IsZero() {
		s.expiry.Store(expires.UnixMilli()) // by the wall clock, which goes on while the machine sleeps
	}
	s.cfg = cfg
	s.wake = make(chan struct{}, 1)
	return s
}

// ID returns the stream's ID. It is random and unique, and the client reads it in the data
// of sse.open.
func (s *Stream) ID() string { return s.id }

// UserID returns the user that the stream belongs to; "" without a registry.
func (s *Stream) UserID() string { return s.user }

// Opened returns when the stream was opened.
func (s *Stream) Opened() time.Time { return s.opened }

// Expiry returns when the credential that opened the stream expires, which ends the stream. The
// zero Time means never. [Registry.Renew] moves it.
func (s *Stream) Expiry() time.Time {
	if at := s.expiry.Load(); at != 0 {
		return time.UnixMilli(at)
	}
	return time.Time{}
}

// renew moves the expiry to a later time.
func (s *Stream) renew(until time.Time) {
	to := until.UnixMilli()
	for {
		at := s.expiry.Load()
		if at == 0 || to <= at || s.expiry.CompareAndSwap(at, to) {
			return
		}
	}
}

// Metadata returns what [WithMetadata] attached. It must not be changed.
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

// Send sends an event to this stream alone. The log does not keep it: a client that reconnects does
// not get it again.
//
// Send returns nil once the event is queued. While 64 KiB wait for the client, Send waits until
// there is room, ctx ends, or the stream ends.
//
// Errors: [ErrInvalidEvent] for an event that cannot be encoded, [ErrEventTooLarge] for one over
// the registry's limit, the cause of ctx's end, or why the stream has ended. The event was not
// queued.
func (s *Stream) Send(ctx context.Context, e Event) error {
	if s.registry != nil && (e.ID != "" || e.ResetID) {
		return fmt.Errorf("%w: ID is set, and the IDs of this stream are the registry's", ErrInvalidEvent)
	}
	if err := e.checkUnregistered(); err != nil {
		return err
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

// identifyLocked gives the event that was queued last an ID of the kit's, unless the producer sets
// IDs.
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

// notify wakes the writer: there may be something to write. It never blocks. It returns the number
// of calls since the writer last looked.
func (s *Stream) notify() int64 {
	n := s.unread.Add(1)
	switch {
	case n > 1:
	case s.compact != nil:
		s.compact.wakeUp(0)
	default:
		s.wakeWriter()
	}
	return n
}

// wakeWriter wakes the goroutine that writes the stream. It never blocks.
func (s *Stream) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// interrupt has the stream look at more than news, such as its end. It also reaches a compact
// stream that waits for its client.
func (s *Stream) interrupt() {
	s.notify()
	if s.compact != nil {
		s.compact.wakeUp(signalLook)
	}
}

func (s *Stream) makeRoomLocked() {
	if s.space != nil {
		close(s.space)
		s.space = nil
	}
}

// take puts the queued events into t.
func (s *Stream) take(t *turn) {
	if !s.queued.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued.Store(false)
	t.bytes = append(t.bytes, s.queue...)
	t.counted += bytes.Count(s.queue, []byte("\n\n")) // each ends with a blank line, and has no other
	s.queue = s.queue[:0]
	if cap(s.queue) > 4<<10 {
		s.queue = nil // an idle stream holds no large buffer
	}
	s.makeRoomLocked()
}

// discardQueue frees the queue of a stream that is no longer written. The application may keep
// the Stream.
func (s *Stream) discardQueue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = nil
}

// jitter returns a duration between low and high times d.
func jitter(d time.Duration, low, high float64) time.Duration {
	f := float64(d) * (low + (high-low)*mathrand.Float64())
	return time.Duration(min(f, math.MaxInt64/2))
}
