package natslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse"
)

// Log is a [ginsse.Log] on a JetStream stream, which other nodes may share. It lives
// until [Log.Close].
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: [ErrUnavailable] while there is no touch with the broker, [ErrClosed] after
// Close.
type Log struct {
	cfg    Config // defaults filled in
	js     jetstream.JetStream
	broker broker
	window time.Duration // for which the broker knows the id of a message
	made   time.Time

	end  context.CancelFunc // ends the tail
	done chan struct{}      // closed by the tail when it has ended
	// started is closed, through start, when the tail has caught up for the first time.
	started chan struct{}
	start   sync.Once

	// confirmed and level are when the tail was last known to be in touch with the
	// stream, and to have seen all of it; since made, 0 for never.
	confirmed, level atomic.Int64
	// trouble is what the tail met last; nil while there is none.
	trouble atomic.Pointer[error]

	mu      sync.RWMutex        // guards the fields below; not held during I/O or calls to watchers
	recent  *recent             // replaced when the stream is not the one it was
	waiting map[uint64][]waiter // by sequence; none is empty

	// asking has room for the reads that ask the broker: a storm of them must not
	// keep the leader from taking events. Readers put in and take out.
	asking chan struct{}

	noBatches       atomic.Int64 // until when reads do without batches; since made
	noBatchesLogged sync.Once

	watchMu  sync.Mutex                 // taken to change watchers
	watchers atomic.Pointer[[]*watcher] // replaced, never changed
}

type watcher struct {
	fn func(subject string, seq uint64)
}

const (
	// touch is how long the tail counts as in touch after it was last confirmed.
	touch = 2 * time.Second
	// askers is the most reads at a time that ask the broker.
	askers = 16
)

// Open returns the log on a stream, which it creates if there is none. It returns when
// what is recent has been read, or ctx has ended; without a deadline, after
// [Config.AppendTimeout]. Until then it waits for servers that are starting or choosing a leader; with
// [nats.RetryOnFailedConnect], also for one to connect to: give ctx a minute then.
//
// The connection stays the caller's, who closes it after the log. It should reconnect
// for ever, [nats.MaxReconnects] of -1, and give up a write early, [nats.FlusherTimeout] of
// 2 s: while a connection is dead without a word, whatever is sent by it waits so long. The
// log has one that does not answer reconnect. A log whose connection was closed stays out
// of touch.
//
// Errors: an invalid configuration; a stream on which the log could not keep its
// promises, with the field's name; the broker's; [ErrUnavailable] when ctx has ended, with
// what the broker's permissions forbade, or else the trouble met last.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Log, error) {
	if err := cfg.resolve(); err != nil {
		return nil, err
	}
	ctx, cancel := cfg.bound(ctx)
	defer cancel()
	js, api, err := cfg.jetStream(nc)
	if err != nil {
		return nil, fmt.Errorf("natslog: %w", err)
	}
	info, err := cfg.open(ctx, js)
	if err != nil {
		return nil, err
	}
	l := &Log{
		cfg:     cfg,
		js:      js,
		broker:  broker{nc: nc, api: api, stream: cfg.Stream, prefix: cfg.Prefix, logger: cfg.Logger},
		window:  info.Config.Duplicates,
		made:    time.Now(),
		done:    make(chan struct{}),
		started: make(chan struct{}),
		recent:  new(recent),
		waiting: make(map[uint64][]waiter),
		asking:  make(chan struct{}, askers),
	}
	l.watchers.Store(new([]*watcher))
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	l.end = end
	go l.tail(life)
	select {
	case <-l.started:
		return l, nil
	case <-ctx.Done():
		_ = l.Close()
		return nil, cfg.notOpened(ctx.Err(), nc, l.lastTrouble())
	}
}

// bound gives a context that has no deadline the default one.
func (c *Config) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.AppendTimeout)
}

// Ready returns nil while the log is in touch with the broker and has seen all of the
// stream within the last 2 s, and else says what is wrong: for a health endpoint, so
// that new clients are sent to another node. It asks nobody and returns at once.
func (l *Log) Ready() error {
	switch now := l.now(); {
	case l.closed():
		return ErrClosed
	case !l.inTouch():
		return l.outOfTouch()
	case now-l.level.Load() >= int64(touch):
		return fmt.Errorf("natslog: behind the stream %q for %v", l.cfg.Stream, time.Duration(now-l.level.Load()).Round(time.Millisecond))
	}
	return nil
}

// Close ends the log and waits until it uses the connection no more. It may be
// repeated. What was being appended or read ends with an error.
func (l *Log) Close() error {
	l.end()
	<-l.done
	return nil
}

func (l *Log) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// Watch implements [ginsse.Log]. fn runs on goroutines of the log's own, under no lock.
func (l *Log) Watch(fn func(subject string, seq uint64)) (stop func()) {
	w := &watcher{fn: fn}
	l.changeWatchers(func(list []*watcher) []*watcher { return append(list, w) })
	return func() {
		l.changeWatchers(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(other *watcher) bool { return other == w })
		})
	}
}

func (l *Log) changeWatchers(change func([]*watcher) []*watcher) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	list := change(slices.Clone(*l.watchers.Load()))
	l.watchers.Store(&list)
}

func (l *Log) wake(subject string, seq uint64) {
	for _, w := range *l.watchers.Load() {
		w.fn(subject, seq)
	}
}

func (l *Log) now() int64 { return int64(time.Since(l.made)) }

// inTouch reports whether the tail has been confirmed within the time.
func (l *Log) inTouch() bool {
	confirmed := l.confirmed.Load()
	return confirmed > 0 && l.now()-confirmed < int64(touch)
}

// errUnreachable: the stream has not answered for a while, for the reason that follows.
var errUnreachable = errors.New("the stream does not answer")

// unreachable says what keeps the log from the stream, as far as the tail knows. It asks the
// connection nothing.
func (l *Log) unreachable() error {
	if err := l.lastTrouble(); err != nil {
		return fmt.Errorf("%w: %w", errUnreachable, err)
	}
	return errUnreachable
}

func (l *Log) outOfTouch() error {
	return fmt.Errorf("%w: stream %q: %w", ErrUnavailable, l.cfg.Stream, l.unreachable())
}

func (l *Log) lastTrouble() error {
	if err := l.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// setTrouble notes what the tail met, nil for nothing, and logs the first of a row.
func (l *Log) setTrouble(err error) {
	before := l.lastTrouble()
	switch {
	case err != nil:
		l.trouble.Store(&err)
		if before == nil {
			l.cfg.Logger.Warn("following the stream", slog.String("stream", l.cfg.Stream), slog.Any("error", err))
		}
	case before != nil:
		l.trouble.Store(nil)
		l.cfg.Logger.Info("following the stream again", slog.String("stream", l.cfg.Stream))
	}
}

var _ ginsse.SharedLog = (*Log)(nil)
