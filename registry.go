package ginsse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/clock"
	"github.com/ginsse/ginsse/internal/presence"
	"github.com/ginsse/ginsse/internal/readiness"
)

// RegistryConfig holds the settings of a [Registry]. Zero means default, negative
// means off.
type RegistryConfig struct {
	// Log holds the events that the registry sends and its streams read. A shared log, such as
	// that of package natslog, connects several nodes. The log is the caller's, who closes it
	// after the registry. NewRegistry fails if the log does not say within 5 s where its head is.
	// Default: an [eventlog.MemoryLog] with its defaults.
	Log eventlog.Log

	// Stream holds the settings of the registry's streams.
	Stream StreamConfig

	// MaxStreams is the most streams at a time on this node. A client beyond it is asked to come
	// back later, with [ReasonOverloaded]. A stream costs about 30 KB, or 1.6 KB with
	// [StreamConfig.Compact], and on HTTP/1.1 a file descriptor. It counts until its hooks have
	// returned. Default 50,000.
	MaxStreams int

	// MaxStreamsPerUser is the most streams of one user on this node. A stream beyond it gets in,
	// and the user's oldest ends with [ReasonReplaced]. The tabs of a browser share one with
	// ginsse.js, and have one each with EventSource: at most six per host on HTTP/1.1. A stream
	// counts until its hooks have returned. Default 16.
	MaxStreamsPerUser int

	// RefuseNewest refuses a stream beyond MaxStreamsPerUser with status 429, which a browser's
	// EventSource takes as final, and keeps the older streams. Connections that are dead but not
	// yet noticed then lock a user out: see [ConnContext].
	RefuseNewest bool

	// MaxOpensPerMinute is how often one user may open a stream on this node. A client beyond it
	// is asked to come back later, with [ReasonThrottled]. So clients of one user that keep
	// replacing each other cost little. Requests to [Registry.ControlHandler] and
	// [Registry.StopRunHandler] have the same bound, together. Default: eight times
	// MaxStreamsPerUser, which is 128; off if that is off.
	MaxOpensPerMinute int

	// MaxEventBytes is the most bytes of one event in wire form. The log may allow less. All
	// streams that write an event share one copy of it. Default 1 MiB.
	MaxEventBytes int

	// Run holds the settings of runs: see [Registry.Run].
	Run RunConfig

	// LastEventIDParameter is the query parameter in which a page that was reloaded may name its
	// last event ID. The Last-Event-ID header, which a browser sends when it reconnects, takes
	// precedence. It cannot be off. Default "lastEventId".
	LastEventIDParameter string

	// AllowTopicFunc reports whether the user of a request may read a topic that the page asks for:
	// in [RegistryConfig.TopicParameter] when it opens a stream, or later by
	// [Registry.ControlHandler]. It runs on the handler's goroutine, and may block. Topics that it
	// refuses are left out. After an error, the client of a stream is asked to come back later.
	//
	// It is called after the stream's place in the log is known. So no revocation is missed, if
	// what it reads is committed before [Registry.Revoke] is called.
	//
	// Default: pages cannot ask for topics; see [WithTopics].
	AllowTopicFunc func(c *gin.Context, topic string) (bool, error)

	// TopicParameter is the query parameter, which may be repeated, in which a page names the topics
	// of a stream. It has an effect with AllowTopicFunc. It cannot be off. Default "topic".
	TopicParameter string

	// MaxStateBytes is the most bytes that a stream gets first, before events: see [WithState],
	// [WithLatest] and [WithHistory]. They are in memory until the client has taken them. It cannot
	// be off. Default 1 MiB.
	MaxStateBytes int

	// MaxStates is how many states are collected at a time on this node. Other streams wait, so that
	// a restart does not flood the database. It cannot be off. Default 32.
	MaxStates int

	// StateTimeout is the longest time in which a state is collected, not counting the wait for a
	// place among MaxStates. It cannot be off. Default 10 s; at least 1 ms.
	StateTimeout time.Duration

	// PresenceGrace is how long a user stays online, and present at topics, after the last stream: a
	// reload is no absence. See [Registry.Online] and [Registry.Present]. Default 5 s.
	PresenceGrace time.Duration

	// ShutdownWindow is the time over which [Registry.Shutdown] spreads the ends of the streams. A
	// client that comes back within it is asked to wait longer, so turn it off on a single node.
	// Default 5 s.
	ShutdownWindow time.Duration

	// ConnectFunc is called for each stream that has opened. DisconnectFunc is called when it has
	// ended, with the reason, after ConnectFunc has returned. They run on goroutines of their own
	// and may block. Shutdown waits for them.
	ConnectFunc    func(s *Stream)
	DisconnectFunc func(s *Stream, reason Reason)

	// Observers are told what happens, to count it, to trace it, or to show it.
	Observers []*Observer

	// Logger gets the opening and the end of each stream at level debug, and trouble at level warn.
	// It never gets a credential or an event. Default: no logging.
	Logger *slog.Logger
}

const (
	defaultMaxStreams        = 50_000
	defaultMaxStreamsPerUser = 16
	defaultMaxEventBytes     = 1 << 20
	defaultMaxStateBytes     = 1 << 20
	defaultMaxStates         = 32
	defaultStateTimeout      = 10 * time.Second
	defaultShutdownWindow    = 5 * time.Second
	defaultPresenceGrace     = 5 * time.Second
	headTimeout              = 5 * time.Second
	maxTopics                = 64
)

// Registry maps user IDs to their live streams and delivers events to them. Each event is
// appended to the registry's [eventlog.Log], from which the streams of its subject read it: a
// sender does no network I/O for its readers and waits for none of them.
//
// Concurrency: all methods may be called from several goroutines. Events that one goroutine
// sends one after another arrive in that order.
//
// Errors: an event that is refused, or that the log did not take, reaches no stream. A user
// without a stream is no error: the event waits in the log.
type Registry struct {
	cfg     RegistryConfig // defaults filled in
	log     eventlog.Log
	logger  *slog.Logger
	clock   *clock.Clock // for what the observers get
	observe Observer     // all of them
	unwatch func()       // ends the watch on the log

	life context.Context    // ends when the registry is closed
	end  context.CancelFunc // ends life

	subscribers subscribers
	wakers      wakers
	writers     *writers
	transients  *transients
	states      chan struct{} // has room for MaxStates; collectors put in and take out
	cluster     *cluster      // nil unless the log connects several nodes
	presence    *presence.Tracker
	questions   *questions

	closed atomic.Bool   // set with stateClosed
	head   atomic.Uint64 // highest sequence known to be visible
	epoch  atomic.Uint32 // the log's, of head
	opened atomic.Uint64 // streams ever opened
	gaps   atomic.Uint64 // sse.gap events ever sent
	slow   atomic.Uint64 // streams ever ended for not reading
	warned sync.Map      // what was warned of: types of writers, errNotWatched, and panics of observers

	// mu guards the fields below. Only the locks of subscribers and presence are taken while it
	// is held. It is not held during I/O, a log's methods, or hooks.
	mu        sync.Mutex
	state     registryState
	admission admission
	followers followers
	runs      map[*Run]struct{} // that have not ended
	runsOf    map[string]int    // the same by user; none is 0
	active    int               // streams that are served, runs, and hooks that have not returned
	idle      chan struct{}     // closed when active is 0 after closing; nil before
}

type registryState int

const (
	stateOpen     registryState = iota
	stateDraining               // no new streams; events still go out
	stateClosed
)

// Receipt says what became of an event.
type Receipt struct {
	// ID is the event's ID: what the client's lastEventId will be; "" for a transient event.
	ID string `json:"id"`
	// Streams is how many streams on this node read the subject of the event. With 0 the user has
	// no stream on this node; [Registry.Online] looks at all nodes.
	Streams int `json:"streams"`
}

// NewRegistry returns a registry for cfg. The error names the field that is wrong.
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
	cfg.LastEventIDParameter = cmp.Or(cfg.LastEventIDParameter, "lastEventId")
	cfg.TopicParameter = cmp.Or(cfg.TopicParameter, "topic")
	cfg.MaxStateBytes = cmp.Or(cfg.MaxStateBytes, defaultMaxStateBytes)
	cfg.MaxStates = cmp.Or(cfg.MaxStates, defaultMaxStates)
	cfg.StateTimeout = cmp.Or(cfg.StateTimeout, defaultStateTimeout)
	cfg.PresenceGrace = cmp.Or(cfg.PresenceGrace, defaultPresenceGrace)
	switch {
	case cfg.MaxStateBytes < 0:
		return nil, fmt.Errorf("ginsse: RegistryConfig.MaxStateBytes is %d; it cannot be off", cfg.MaxStateBytes)
	case cfg.MaxStates < 0:
		return nil, fmt.Errorf("ginsse: RegistryConfig.MaxStates is %d; it cannot be off", cfg.MaxStates)
	case cfg.StateTimeout < time.Millisecond:
		return nil, fmt.Errorf("ginsse: RegistryConfig.StateTimeout is %v; the least is 1ms", cfg.StateTimeout)
	}
	var err error
	if cfg.Stream, err = cfg.Stream.resolve(defaultStreamConfig); err != nil {
		return nil, fmt.Errorf("ginsse: RegistryConfig.Stream.%w", err)
	}
	if cfg.Run, err = cfg.Run.resolve(); err != nil {
		return nil, fmt.Errorf("ginsse: RegistryConfig.Run.%w", err)
	}
	if cfg.Log == nil {
		if cfg.Log, err = eventlog.NewMemoryLog(eventlog.MemoryLogConfig{}); err != nil {
			return nil, err
		}
	}
	if v := reflect.ValueOf(cfg.Log); v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, fmt.Errorf("ginsse: RegistryConfig.Log is a nil %T; leave the field unset for the default", cfg.Log)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Stream.Compact && !readiness.Supported {
		cfg.Logger.Warn("serving no compact streams", "error", errNeedsLinux)
	}
	r := &Registry{
		cfg:         cfg,
		log:         cfg.Log,
		logger:      cfg.Logger,
		clock:       clock.New(),
		subscribers: subscribers{lists: make(map[string]*subscriberList)},
		admission:   newAdmission(cfg),
		questions:   newQuestions(),
		states:      make(chan struct{}, cfg.MaxStates),
		followers:   followers{byUser: make(map[string][]*Stream)},
		runs:        make(map[*Run]struct{}),
		runsOf:      make(map[string]int),
	}
	r.observe = joinObservers(r.guardObservers(cfg.Observers))
	r.writers = newWriters(r.head.Load)
	r.life, r.end = context.WithCancel(context.Background())
	if r.transients, err = newTransients(func(subject string) { r.subscribers.notify(subject, false) }); err != nil {
		return nil, err
	}
	tracked := presence.Config{
		ValidName:  func(name string) bool { return eventlog.CheckName(name) == nil },
		Grace:      cfg.PresenceGrace,
		HasReaders: r.hasReaders,
		Changed:    r.presenceChanged,
	}
	if shared, ok := r.log.(eventlog.SharedLog); ok {
		r.cluster = newCluster(shared)
		r.cluster.handle(messageTransient, r.receiveTransient)
		r.cluster.handle(messageQuestion, r.receiveQuestion)
		r.cluster.handle(messageAnswer, r.questions.receive)
		tracked.Node, tracked.Transport = r.cluster.node, r.cluster
	}
	r.presence = presence.New(tracked)
	r.unwatch = r.log.Watch(r.notify)
	if err := r.findHead(); err != nil {
		r.unwatch()
		r.end()
		return nil, fmt.Errorf("ginsse: RegistryConfig.Log: %w", err)
	}
	if r.cluster != nil {
		r.cluster.start()
		go r.presence.Run(r.life)
	}
	go r.watchLog()
	return r, nil
}

// notify wakes the streams that read a subject. The log calls it for the entries of all nodes, in
// any order: the streams read the log and see for themselves.
func (r *Registry) notify(subject string, seq uint64) {
	r.seen(seq)
	r.transients.release(seq)
	if strings.HasPrefix(subject, runPrefix) {
		r.wakers.wake(subject)
		return
	}
	user, mayCommand := strings.CutPrefix(subject, commandPrefix)
	if mayCommand || subject == "" {
		r.wakers.wake(subject)
	}
	switch {
	case mayCommand:
		subject = userSubject(user)
	case subject == "": // entries of any subject
		subject, mayCommand = eventlog.SubjectAll, true
	}
	r.subscribers.notify(subject, mayCommand)
}

// findHead asks for the head of the log, which may hold events already. A stream that ends before
// the first new one still delivers those.
func (r *Registry) findHead() error {
	_, err := r.currentHead(r.life)
	return err
}

// atEpoch lowers the head of the log if the log was recreated.
func (r *Registry) atEpoch(head eventlog.Cursor) {
	if before := r.epoch.Load(); before != head.Epoch && r.epoch.CompareAndSwap(before, head.Epoch) {
		r.head.Store(head.Seq)
	}
	r.seen(head.Seq)
}

// SendTo sends an event to all streams of one user. A client that is away gets the event when it
// comes back, if the log still has it then.
//
// The end of ctx ends the wait for a log across a network. The default log does not wait, and
// ignores ctx. What must outlive its request needs a context that does:
//
//	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), 2*time.Second)
//
// Errors: [ErrInvalidSubject], [ErrInvalidEvent], [ErrEventTooLarge], [ErrClosed], or the log's. An
// error of a log across a network may leave open whether it has the event: sending again may
// repeat it.
func (r *Registry) SendTo(ctx context.Context, userID string, e Event) (Receipt, error) {
	if err := checkName("user ID", userID); err != nil {
		return Receipt{}, err
	}
	return r.send(ctx, eventlog.KindUser, userSubject(userID), e)
}

// SendToUsers is [Registry.SendTo] for several users. Each gets the event once, however often
// its ID is named. The receipt has the ID of the last event and the number of all streams.
//
// Without a user ID, no event is sent, and that is no error.
//
// Errors: those of SendTo. All user IDs are checked before the first event is stored. An error of
// the log is a [PartialError], which says which users have the event.
func (r *Registry) SendToUsers(ctx context.Context, userIDs []string, e Event) (all Receipt, err error) {
	users, err := distinctUsers(userIDs)
	if err != nil {
		return Receipt{}, err
	}
	ctx, trace := r.sending(ctx, eventlog.KindUser, len(users), e)
	err = errSendPanicked
	defer func() { r.sent(ctx, eventlog.KindUser, all, err) }()
	b := borrowBuffer()
	defer b.release()
	if err := r.encode(b, e, trace); err != nil {
		return Receipt{}, err
	}
	for i, userID := range users {
		receipt, err := r.deliver(ctx, userSubject(userID), b.bytes, e)
		if err != nil {
			return all, &PartialError{Sent: users[:i:i], Unsent: users[i:], Err: err}
		}
		all.ID = receipt.ID
		all.Streams += receipt.Streams
	}
	return all, nil
}

// distinctUsers returns the user IDs, each once, or an error if one of them is not valid.
func distinctUsers(userIDs []string) ([]string, error) {
	users, seen := make([]string, 0, len(userIDs)), make(map[string]bool, len(userIDs))
	for _, userID := range userIDs {
		if err := checkName("user ID", userID); err != nil {
			return nil, err
		}
		if !seen[userID] {
			seen[userID], users = true, append(users, userID)
		}
	}
	return users, nil
}

// Broadcast sends an event to every stream of every user.
func (r *Registry) Broadcast(ctx context.Context, e Event) (Receipt, error) {
	return r.send(ctx, eventlog.KindAll, eventlog.SubjectAll, e)
}

// Publish sends an event to every stream that was opened with the topic.
func (r *Registry) Publish(ctx context.Context, topic string, e Event) (Receipt, error) {
	subject, err := topicSubject(topic)
	if err != nil {
		return Receipt{}, err
	}
	return r.send(ctx, eventlog.KindTopic, subject, e)
}

func (r *Registry) send(ctx context.Context, kind eventlog.Kind, subject string, e Event) (receipt Receipt, err error) {
	ctx, trace := r.sending(ctx, kind, 1, e)
	err = errSendPanicked
	defer func() { r.sent(ctx, kind, receipt, err) }()
	b := borrowBuffer()
	defer b.release()
	if err = r.encode(b, e, trace); err == nil {
		receipt, err = r.deliver(ctx, subject, b.bytes, e)
	}
	return receipt, err
}

// errSendPanicked is what observers are told of an event whose data panics when it is encoded, for
// example. The caller gets the panic.
var errSendPanicked = errors.New("ginsse: sending the event has panicked")

// encode encodes an event, once for all streams.
func (r *Registry) encode(b *buffer, e Event, trace string) error {
	attributes, err := e.attributes()
	if err != nil {
		return err
	}
	attributes.Trace = trace
	if e.Transient {
		attributes.Seen = r.head.Load()
	}
	if e.Transient || attributes != (eventlog.Attributes{}) {
		b.bytes = attributes.Append(b.bytes)
	}
	begin := len(b.bytes) // of what clients get: whether an event is too large must not depend on a trace
	frame, err := e.appendTo(b.bytes)
	if err != nil {
		return err
	}
	b.bytes = frame
	if size := len(frame) - begin; e.Transient && size > maxTransientBytes {
		return fmt.Errorf("%w: %d bytes, and a transient event has at most %d", ErrEventTooLarge, size, maxTransientBytes)
	}
	return r.checkSize(frame[begin:])
}

func (r *Registry) checkSize(frame []byte) error {
	if most := r.cfg.MaxEventBytes; most > 0 && len(frame) > most {
		return fmt.Errorf("%w: %d bytes, more than MaxEventBytes, %d", ErrEventTooLarge, len(frame), most)
	}
	return nil
}

// deliver appends the frame of an event to the log, or posts it to all nodes if it is transient, and
// reports what became of it.
func (r *Registry) deliver(ctx context.Context, subject string, frame []byte, e Event) (receipt Receipt, err error) {
	record := eventlog.Record{Subject: subject, Key: e.Key, DedupKey: e.DedupKey, Frame: frame}
	if e.Transient {
		err = r.sendTransient(ctx, record)
	} else {
		var at eventlog.Cursor
		at, err = r.append(ctx, record)
		receipt.ID = at.String()
	}
	if err != nil {
		return Receipt{}, err
	}
	var pause pause
	receipt.Streams, pause = r.subscribers.count(subject)
	pause.take()
	return receipt, nil
}

// maySend reports why nothing can be sent.
func (r *Registry) maySend(ctx context.Context) error {
	switch {
	case ctx == nil:
		return errNilContext
	case r.closed.Load():
		return ErrClosed
	}
	return nil
}

// append appends an event or a command to the log.
func (r *Registry) append(ctx context.Context, record eventlog.Record) (eventlog.Cursor, error) {
	if err := r.maySend(ctx); err != nil {
		return eventlog.Cursor{}, err
	}
	begun := r.appending()
	at, err := r.log.Append(ctx, record)
	r.appended(record, false, begun, err)
	if err != nil {
		return eventlog.Cursor{}, tooLarge(err)
	}
	if at.Epoch == r.epoch.Load() { // or the log was recreated meanwhile
		r.seen(at.Seq)
	}
	return at, nil
}

// seen raises the head.
func (r *Registry) seen(seq uint64) { raise(&r.head, seq) }

func userSubject(user string) string { return eventlog.Subject(eventlog.KindUser, user) }

func topicSubject(topic string) (string, error) {
	if err := checkName("topic", topic); err != nil {
		return "", err
	}
	return eventlog.Subject(eventlog.KindTopic, topic), nil
}

// checkName refuses a user ID or a topic that cannot be part of a subject.
func checkName(kind, name string) error {
	if err := eventlog.CheckName(name); err != nil {
		return fmt.Errorf("%w: the %s %w", ErrInvalidSubject, kind, err)
	}
	return nil
}
