package ginsse

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/internal/presence"
)

// RegistryConfig holds the settings of a [Registry]. Zero means default, negative
// means off.
type RegistryConfig struct {
	// Log is the history that the registry appends to and its streams read from.
	// It is the caller's: the registry does not close it. Default: a [MemoryLog]
	// with its defaults. NewRegistry asks it for its head, and fails if it does not
	// know within 5 s.
	Log Log

	// Stream holds the settings of the registry's streams.
	Stream StreamConfig

	// MaxStreams is the most streams at a time; beyond it a client is asked to come
	// back later, with [ReasonOverloaded]. A stream costs about 30 KB. A stream
	// counts until its hooks have returned. Default 50,000.
	MaxStreams int

	// MaxStreamsPerUser is the most streams of one user on this node; a stream beyond it
	// gets in, and the user's oldest ends with [ReasonReplaced]. Browsers open one per
	// tab, and at most six per host on HTTP/1.1. Hooks of a stream that have not
	// returned take a place too. Default 16.
	MaxStreamsPerUser int

	// RefuseNewest refuses a stream beyond MaxStreamsPerUser with status 429, which a
	// browser's EventSource takes as final, and keeps the older ones. Connections that are
	// dead but not yet noticed then lock a user out: see [ConnContext].
	RefuseNewest bool

	// MaxOpensPerMinute is how often one user may open a stream on this node; beyond it
	// the client is asked to come back later, with [ReasonThrottled]. So clients of one
	// user that do not stop replacing each other cost little. The default is eight times
	// MaxStreamsPerUser, 128; off if that is off.
	MaxOpensPerMinute int

	// MaxEventBytes is the most bytes of one event in wire form. The log may allow
	// less. Each stream that writes an event holds a copy of it, for as long as its
	// client is slow to take it: 5,000 readers of an event of 1 MiB hold 5 GB. Default
	// 1 MiB.
	MaxEventBytes int

	// LastEventIDParameter is the query parameter in which a page that was
	// reloaded may name its last event ID; the Last-Event-ID header, which a
	// browser sends by itself when it reconnects, goes before it. Default
	// "lastEventId". It cannot be off.
	LastEventIDParameter string

	// ShutdownWindow is the time over which [Registry.Shutdown] spreads the ends
	// of the streams. Default 5 s.
	ShutdownWindow time.Duration

	// ConnectFunc is called for each stream that has opened, and DisconnectFunc
	// when it has ended, with why. They run on goroutines of their own, for one
	// stream in this order, and may block; Shutdown waits for them.
	ConnectFunc    func(s *Stream)
	DisconnectFunc func(s *Stream, reason Reason)

	// Logger is told what an operator should know: streams at level debug,
	// trouble at warn. It is never given a credential or an event. Default: silent.
	Logger *slog.Logger
}

const (
	defaultMaxStreams        = 50_000
	defaultMaxStreamsPerUser = 16
	defaultMaxEventBytes     = 1 << 20
	defaultShutdownWindow    = 5 * time.Second
	findHeadTimeout          = 5 * time.Second
	maxTopics                = 64
)

// Registry maps user IDs to their live streams and delivers events to them. Each
// event goes into the registry's [Log] and is read from there by the streams it
// concerns: a sender does no network I/O and waits for no reader.
//
// Concurrency: all methods may be called from several goroutines. Events sent by
// one goroutine one after another arrive in that order.
//
// Errors: an event that is refused, or that the log did not take, has reached
// nobody. A user who has no stream is no error: the event waits in the log.
type Registry struct {
	cfg    RegistryConfig // defaults filled in
	log    Log
	logger *slog.Logger
	stop   func() // ends the watch on the log

	// life ends when the registry is closed, by end.
	life context.Context
	end  context.CancelFunc

	shared   SharedLog // the log, if other nodes are on it; nil if not
	node     string    // who this registry is among them
	control  control
	presence *presence.Tracker // nil if shared is

	closed atomic.Bool   // set with stateClosed
	head   atomic.Uint64 // highest sequence known to be visible
	opened atomic.Uint64 // streams ever opened
	gaps   atomic.Uint64 // sse.gap events ever sent
	slow   atomic.Uint64 // streams ever cut for not reading
	warned sync.Map      // types of writers of which was warned

	// mu guards the fields below. Of other locks only that of presence is taken while it is
	// held. It is not held during I/O, a log's methods, or hooks.
	mu        sync.RWMutex
	state     registryState
	audiences map[string]*audience // by subject; none is empty
	users     int                  // audiences of users
	streams   int                  // attached
	handlers  int                  // of streams that were attached, and have not returned
	held      int                  // places of streams that have ended, and whose hooks run
	heldBy    map[string]int       // the same, by user; never 0
	opens     opens
	active    int           // handlers and hooks that have not returned
	idle      chan struct{} // closed when active is 0 after closing; nil before
}

type registryState int

const (
	stateOpen     registryState = iota
	stateDraining               // no new streams; events still go out
	stateClosed
)

// Receipt says what became of an event.
type Receipt struct {
	// ID is the event's ID: what the client's lastEventId will be.
	ID string `json:"id"`
	// Streams is how many live streams on this node will get the event, as far as
	// is known now. With 0 the user is not connected here: on one node an e-mail may
	// be better. On several, [Registry.Online] says so.
	Streams int `json:"streams"`
}

// NewRegistry returns a registry for cfg, or an error that names the field that
// is wrong.
func NewRegistry(cfg RegistryConfig) (*Registry, error) {
	for _, field := range []struct {
		name      string
		value     *int
		otherwise int
	}{
		{"MaxStreams", &cfg.MaxStreams, defaultMaxStreams},
		{"MaxStreamsPerUser", &cfg.MaxStreamsPerUser, defaultMaxStreamsPerUser},
		{"MaxEventBytes", &cfg.MaxEventBytes, defaultMaxEventBytes},
	} {
		if *field.value == 0 {
			*field.value = field.otherwise
		}
	}
	if cfg.MaxOpensPerMinute == 0 && cfg.MaxStreamsPerUser > 0 {
		cfg.MaxOpensPerMinute = 8 * cfg.MaxStreamsPerUser
	}
	if cfg.ShutdownWindow == 0 {
		cfg.ShutdownWindow = defaultShutdownWindow
	}
	cfg.LastEventIDParameter = orDefault(cfg.LastEventIDParameter, "lastEventId")
	var err error
	if cfg.Stream, err = cfg.Stream.resolve(defaultStreamConfig); err != nil {
		return nil, fmt.Errorf("ginsse: RegistryConfig.Stream.%w", err)
	}
	if cfg.Log == nil {
		if cfg.Log, err = NewMemoryLog(MemoryLogConfig{}); err != nil {
			return nil, err
		}
	}
	if v := reflect.ValueOf(cfg.Log); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, fmt.Errorf("ginsse: RegistryConfig.Log is a nil %T; leave the field unset for the default", cfg.Log)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Registry{
		cfg:       cfg,
		log:       cfg.Log,
		logger:    cfg.Logger,
		audiences: make(map[string]*audience),
		heldBy:    make(map[string]int),
		opens:     opens{perMinute: cfg.MaxOpensPerMinute},
	}
	r.life, r.end = context.WithCancel(context.Background())
	if shared, ok := r.log.(SharedLog); ok {
		r.share(shared)
	}
	r.stop = r.log.Watch(r.notify)
	if err := r.findHead(); err != nil {
		r.stop()
		r.end()
		return nil, fmt.Errorf("ginsse: RegistryConfig.Log: %w", err)
	}
	if r.shared != nil {
		go r.runControl()
		go r.runTelling()
		go r.presence.Run(r.life)
	}
	return r, nil
}

// share makes ready for other nodes.
func (r *Registry) share(log SharedLog) {
	r.shared, r.node = log, rand.Text()
	r.control = control{wake: make(chan struct{}, 1), untold: make(map[string]order)}
	r.presence = presence.New(presence.Config{
		Node:      r.node,
		Transport: log,
		ValidUser: func(user string) bool { return checkName("user ID", user) == nil },
	})
}

// findHead looks where the log is, which may hold events already: a stream that ends
// before the first new one is still given what was sent before its end.
func (r *Registry) findHead() error {
	ctx, cancel := context.WithTimeout(context.Background(), findHeadTimeout)
	defer cancel()
	page, err := r.log.Read(ctx, Query{}, nil)
	if err == nil && page.Through.IsZero() {
		err = errNoPosition
	}
	r.seen(page.Through.Seq)
	r.control.start(page.Through)
	return err
}

// SendTo sends an event to all streams of one user, now or, within what the log
// keeps, when the user's client comes back.
//
// The end of ctx abandons the wait for a log across a network; the default log
// has none, so that a comment whose own request was just cancelled still
// notifies its author.
//
// Errors: [ErrInvalidSubject], [ErrInvalidEvent], [ErrEventTooLarge],
// [ErrClosed], or the log's. One of a log across a network leaves open whether the event
// was stored: sending it again may repeat it. What must outlive its request needs a
// context that does: context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second).
func (r *Registry) SendTo(ctx context.Context, userID string, e Event) (Receipt, error) {
	if err := checkName("user ID", userID); err != nil {
		return Receipt{}, err
	}
	return r.send(ctx, subjectUser+userID, e)
}

// SendToUsers is [Registry.SendTo] for several users; each gets the event once,
// however often it is named. All are checked before the first event is stored.
// The receipt has the ID of the last event and the streams of all. After an error
// of the log's, users before the one it names have the event.
func (r *Registry) SendToUsers(ctx context.Context, userIDs []string, e Event) (Receipt, error) {
	if len(userIDs) == 0 {
		return Receipt{}, fmt.Errorf("%w: there is no user ID", ErrInvalidSubject)
	}
	for _, userID := range userIDs {
		if err := checkName("user ID", userID); err != nil {
			return Receipt{}, err
		}
	}
	b := borrowBuffer()
	defer b.release()
	if err := r.encode(b, e); err != nil {
		return Receipt{}, err
	}
	var all Receipt
	sent := make(map[string]bool, len(userIDs))
	for _, userID := range userIDs {
		if sent[userID] {
			continue
		}
		sent[userID] = true
		receipt, err := r.append(ctx, subjectUser+userID, b.bytes)
		if err != nil {
			return all, fmt.Errorf("user %q: %w", userID, err)
		}
		all.ID = receipt.ID
		all.Streams += receipt.Streams
	}
	return all, nil
}

// Broadcast sends an event to every stream of every user.
func (r *Registry) Broadcast(ctx context.Context, e Event) (Receipt, error) {
	return r.send(ctx, subjectAll, e)
}

// Publish sends an event to every stream that was opened with the topic.
func (r *Registry) Publish(ctx context.Context, topic string, e Event) (Receipt, error) {
	if err := checkName("topic", topic); err != nil {
		return Receipt{}, err
	}
	return r.send(ctx, subjectTopic+topic, e)
}

func (r *Registry) send(ctx context.Context, subject string, e Event) (Receipt, error) {
	b := borrowBuffer()
	defer b.release()
	if err := r.encode(b, e); err != nil {
		return Receipt{}, err
	}
	return r.append(ctx, subject, b.bytes)
}

// encode makes the event's bytes, once for all streams.
func (r *Registry) encode(b *buffer, e Event) error {
	if e.ID != "" || e.ResetID {
		return fmt.Errorf("%w: ID is set, and a registry gives each event its own", ErrInvalidEvent)
	}
	frame, err := e.appendTo(b.bytes)
	if err != nil {
		return err
	}
	b.bytes = frame
	return r.checkSize(frame)
}

func (r *Registry) checkSize(frame []byte) error {
	if most := r.cfg.MaxEventBytes; most > 0 && len(frame) > most {
		return fmt.Errorf("%w: %d bytes, more than MaxEventBytes, %d", ErrEventTooLarge, len(frame), most)
	}
	return nil
}

func (r *Registry) append(ctx context.Context, subject string, frame []byte) (Receipt, error) {
	if ctx == nil {
		return Receipt{}, errNilContext
	}
	if r.closed.Load() {
		return Receipt{}, ErrClosed
	}
	at, err := r.log.Append(ctx, subject, frame)
	if err != nil {
		return Receipt{}, err
	}
	r.seen(at.Seq)
	streams, behind := r.reach(subject, at.Seq)
	makeWay(behind)
	return Receipt{ID: at.String(), Streams: streams}, nil
}

// seen raises the head.
func (r *Registry) seen(seq uint64) {
	for {
		head := r.head.Load()
		if seq <= head || r.head.CompareAndSwap(head, seq) {
			return
		}
	}
}
