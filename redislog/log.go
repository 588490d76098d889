package redislog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ginsse/ginsse/eventlog"
)

// Log is an [eventlog.SharedLog] in Redis. It lives until [Log.Close].
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: [eventlog.ErrUnavailable] while Redis does not answer, [eventlog.ErrClosed] after Close.
type Log struct {
	cfg    Config // defaults filled in
	server *server
	keys   keys
	window *eventlog.Window // has a lock of its own
	older  older
	newest pace // of the tail

	waiting  chan *pendingRecord // records for the appender
	average  atomic.Int64        // bytes of an event, about
	total    atomic.Int64        // bytes of all events up to the last one that the tail has read
	messages messages

	life    context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // the log's goroutines

	warned sync.Once // about entries that are not events
}

// keys are the names of the log's keys.
type keys struct{ prefix, entries, state, batch string }

const (
	// contactTimeout is how long the node counts as connected after Redis has answered.
	contactTimeout = 2 * time.Second
	// requestTimeout bounds one request.
	requestTimeout = time.Second
	// dialTimeout bounds connecting, with Sentinel also the search for the master.
	dialTimeout = 2 * time.Second
	// longestRead bounds the answer to a request for entries that are large; see pace.
	longestRead = (1 + mostHalvings) * requestTimeout
	// storeReads is the most pages that are read from Redis at the same time.
	storeReads = 4
)

// Open opens the log in the Redis of a client: a *redis.Client, also one of Sentinel, or a
// *redis.ClusterClient. The log makes its keys if they are missing. It opens connections of its
// own, with the addresses and credentials of the client. The client stays the caller's, who closes it
// after the log.
//
// Open returns when this node has read the recent events. The end of ctx ends it; without a deadline
// it takes 30 s at most. Open does not wait for a Redis that is down: it returns an error.
//
// Errors: [eventlog.ErrUnavailable]; one that names a setting that is wrong; one for a Redis before
// 6.2, or with a maxmemory-policy that may evict the log.
func Open(ctx context.Context, client redis.UniversalClient, cfg Config) (_ *Log, err error) {
	if err := cfg.resolve(); err != nil {
		return nil, err
	}
	if single, ok := client.(*redis.Client); client == nil || ok && single == nil {
		return nil, errors.New("redislog: the client is nil")
	}
	name := func(key string) string { return cfg.Prefix + key }
	l := &Log{
		cfg:     cfg,
		keys:    keys{prefix: cfg.Prefix, entries: name("log"), state: name("state"), batch: name("batch:" + rand.Text())},
		waiting: make(chan *pendingRecord),
	}
	l.older.log = l
	l.window = eventlog.NewWindow(eventlog.WindowConfig{
		Store: store{l}, Name: "Redis", Logger: cfg.Logger, ContactTimeout: contactTimeout, StoreReads: storeReads,
	})
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	l.server = &server{application: client, key: l.keys.entries, life: l.life}
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	ctx, cancel := bound(ctx, openTimeout)
	defer cancel()
	server, err := l.server.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkServer(ctx, server); err != nil {
		return nil, err
	}
	if err := l.subscribe(ctx); err != nil {
		return nil, fmt.Errorf("%w: subscribing to Redis: %w", eventlog.ErrUnavailable, err)
	}
	caughtUp := make(chan struct{})
	l.running.Go(func() { l.tail(sync.OnceFunc(func() { close(caughtUp) })) })
	select {
	case <-caughtUp:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: reading the log in Redis: %w", eventlog.ErrUnavailable, errors.Join(ctx.Err(), l.window.Failure()))
	}
	l.running.Go(l.appender)
	l.running.Go(l.poster)
	l.running.Go(l.trimmer)
	return l, nil
}

// Close ends the log. It returns when the log no longer uses Redis. Calls of Append, Head and Read in
// progress end with an error. Close may be repeated.
func (l *Log) Close() error {
	l.end()
	l.server.close()
	l.unsubscribe()
	l.window.Close()
	l.running.Wait()
	return nil
}

// Ready returns nil if Redis has answered within the last 2 s. Otherwise the error says why not. A
// health endpoint returns it. Ready makes no request.
func (l *Log) Ready() error { return l.window.Ready() }

// Stats implements [eventlog.StatsLog]. It makes no request.
func (l *Log) Stats() eventlog.Stats { return l.window.Stats() }

// Head implements [eventlog.Log]. It asks Redis for its last number, and waits until this node has
// read up to there, for 4 s at most. Calls share requests.
//
// Errors: [eventlog.ErrUnavailable], at once without contact; [eventlog.ErrClosed].
func (l *Log) Head(ctx context.Context) (eventlog.Cursor, error) {
	return l.window.Head(ctx)
}

// Read implements [eventlog.Log]. Positions near the head are read from memory. For older ones, the
// log reads all events since then, in parts that readers share. Read returns after about 4 s at most.
// With [eventlog.Query.NoWait] it sends no request.
//
// Errors: [eventlog.ErrUnavailable]; [eventlog.ErrWouldWait] with NoWait; [eventlog.ErrClosed].
func (l *Log) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return l.window.Read(ctx, q, dst)
}

// Watch implements [eventlog.Log]. fn runs on a goroutine of the log, under no lock.
func (l *Log) Watch(fn func(subject string, seq uint64)) (stop func()) { return l.window.Watch(fn) }

var (
	_ eventlog.SharedLog = (*Log)(nil)
	_ eventlog.StatsLog  = (*Log)(nil)
)
