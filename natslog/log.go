package natslog

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ginsse/ginsse/eventlog"
)

// Log is an [eventlog.SharedLog] on a JetStream stream, which other nodes may share. It lives
// until [Log.Close].
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: [eventlog.ErrUnavailable] while the node is partitioned from the stream,
// [eventlog.ErrClosed] after Close.
type Log struct {
	cfg    Config // defaults filled in
	js     jetstream.JetStream
	broker broker
	made   time.Time
	window *eventlog.Window // has a lock of its own

	// duplicates is how long the broker knows the id of a message.
	duplicates time.Duration

	end  context.CancelFunc // ends the tail
	done chan struct{}      // closed by the tail when it has ended
	// started is closed, through start, when the tail has caught up for the first time.
	started chan struct{}
	start   sync.Once

	// caughtUp is when the window was last known to have all of the stream; since made.
	caughtUp atomic.Int64

	noBatches       atomic.Int64 // until when reads use no batches; since made
	noBatchesLogged sync.Once
}

// contactTimeout is how long the node counts as connected after the stream was last heard of.
const contactTimeout = 2 * time.Second

// Open returns the log on a stream. It creates the stream if there is none. It returns when it has
// read the newest events into memory, or when ctx ends. If ctx has no deadline,
// [Config.AppendTimeout] is one. Until then Open waits for servers that are starting or electing a
// leader. With [nats.RetryOnFailedConnect] it also waits for a first connection; ctx should have a
// minute then.
//
// The caller keeps the connection, and closes it after the log. Set nats.MaxReconnects(-1), so that
// the connection reconnects for as long as it takes. Set nats.FlusherTimeout(2*time.Second): a
// write on a dead connection blocks until the flusher times out. If the connection stops answering,
// the log forces a reconnect. After the connection was closed, the log remains unavailable.
//
// Errors: an invalid configuration; a stream on which the log could not keep its promises, with
// the name of the field; the broker's; [eventlog.ErrUnavailable] when ctx ends, with what the
// broker's permissions refused, or else the last failure.
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
		cfg:        cfg,
		js:         js,
		broker:     broker{nc: nc, api: api, stream: cfg.Stream, prefix: cfg.Prefix, logger: cfg.Logger},
		duplicates: info.Config.Duplicates,
		made:       time.Now(),
		done:       make(chan struct{}),
		started:    make(chan struct{}),
	}
	l.window = eventlog.NewWindow(eventlog.WindowConfig{
		Store: store{l}, Name: fmt.Sprintf("stream %q", cfg.Stream), Logger: cfg.Logger,
		Numbers: eventlog.NumbersDecided, ContactTimeout: contactTimeout,
	})
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	l.end = end
	go l.tail(life)
	select {
	case <-l.started:
		return l, nil
	case <-ctx.Done():
		_ = l.Close()
		return nil, cfg.notOpened(ctx.Err(), nc, l.window.Failure())
	}
}

// bound returns a context with the default deadline if it has none.
func (c *Config) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.AppendTimeout)
}

// Ready returns nil if the node has contact with the stream and has read all of it within the last
// 2 s. Otherwise the error says why not. A health endpoint returns it, so that new clients are sent
// to another node. Ready makes no request.
func (l *Log) Ready() error {
	if err := l.window.Ready(); err != nil {
		return err
	}
	if behind := time.Duration(l.now() - l.caughtUp.Load()); behind >= contactTimeout {
		return fmt.Errorf("natslog: lagging behind stream %q for %v", l.cfg.Stream, behind.Round(time.Millisecond))
	}
	return nil
}

// Stats implements [eventlog.StatsLog]. It makes no request.
func (l *Log) Stats() eventlog.Stats { return l.window.Stats() }

// Close ends the log. It returns when the log no longer uses the connection. Calls of Append, Head
// and Read in progress end with an error. Close may be repeated.
func (l *Log) Close() error {
	l.end()
	l.window.Close()
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

func (l *Log) now() int64 { return int64(time.Since(l.made)) }

// confirm notes that the stream answers. caughtUp says that the window has all of it.
func (l *Log) confirm(caughtUp bool) {
	if caughtUp {
		l.caughtUp.Store(l.now())
	}
	if l.window.ConfirmContact() {
		l.start.Do(func() { close(l.started) })
	}
}

var (
	_ eventlog.SharedLog = (*Log)(nil)
	_ eventlog.StatsLog  = (*Log)(nil)
)
