package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Log is an [eventlog.SharedLog] in a database. It lives until [Log.Close].
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: [eventlog.ErrUnavailable] while the database does not answer, [eventlog.ErrClosed] after
// Close.
type Log struct {
	cfg     Config // defaults filled in
	db      *sql.DB
	dialect dialect
	*namer
	window    *eventlog.Window // has a lock of its own
	reading   heldConn         // the tail's
	appending heldConn         // the appender's

	waiting chan *pendingRecord // records for the appender
	kicked  chan struct{}       // has room for one: the tail is to read at once
	hurried chan struct{}       // has room for one: the tail is to poll more often
	opened  time.Time
	lastPut atomic.Int64 // when a record was last put into a transaction, since opened

	messages messages
	keyed    keyed
	inbox    inbox

	life    context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // the log's goroutines

	warned sync.Once // about rows that are not events
}

const (
	// contactTimeout is how long the node counts as connected after the database has answered.
	contactTimeout = 2 * time.Second
	// storeReads is the most pages that are read from the database at the same time.
	storeReads = 4
)

// open returns the log of a dialect. cfg has its defaults.
func open(ctx context.Context, db *sql.DB, cfg Config, d dialect, names *namer) (_ *Log, err error) {
	if db == nil {
		return nil, errors.New("sqllog: the database is nil")
	}
	l := &Log{
		cfg:     cfg,
		db:      db,
		dialect: d,
		namer:   names,
		waiting: make(chan *pendingRecord),
		kicked:  make(chan struct{}, 1),
		hurried: make(chan struct{}, 1),
		opened:  time.Now(),

		reading:   heldConn{db: db},
		appending: heldConn{db: db},
	}
	l.inbox.waiting.Store(inboxUnknown)
	l.messages.waiting = make(chan message, waitingMessages)
	l.window = eventlog.NewWindow(eventlog.WindowConfig{
		Store: store{l}, Name: "the database", Logger: cfg.Logger, ContactTimeout: contactTimeout, StoreReads: storeReads,
	})
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			_ = l.Close()
			l.reading.release()
			l.appending.release()
		}
	}()
	ctx, cancel := bound(ctx, openTimeout)
	defer cancel()
	if err := l.prepare(ctx); err != nil {
		return nil, fmt.Errorf("sqllog: %w", err)
	}
	if err := l.follow(ctx, true); err != nil {
		return nil, fmt.Errorf("sqllog: %w", err)
	}
	if _, err := l.appending.get(ctx); err != nil {
		return nil, fmt.Errorf("sqllog: %w", err)
	}
	if err := l.startListening(ctx); err != nil {
		return nil, fmt.Errorf("sqllog: listening: %w", err)
	}
	l.running.Go(l.tail)
	l.running.Go(l.appender)
	l.running.Go(l.poster)
	l.running.Go(l.trimmer)
	l.running.Go(l.watchInbox)
	return l, nil
}

// Close ends the log. It returns when the log no longer uses the database. Calls of Append, Head
// and Read in progress end with an error. Close may be repeated.
//
// On SQLite it may wait as long as the busy timeout, while another transaction writes.
func (l *Log) Close() error {
	l.end()
	l.window.Close()
	l.running.Wait()
	return nil
}

// Ready returns nil if the database has answered within the last 2 s. Otherwise the error says why
// not. A health endpoint returns it. Ready makes no request.
func (l *Log) Ready() error { return l.window.Ready() }

// Head implements [eventlog.Log]. It asks the database for its last sequence, and waits until this
// node has read up to there, for 4 s at most. Calls share requests.
//
// Errors: [eventlog.ErrUnavailable], at once without contact; [eventlog.ErrClosed].
func (l *Log) Head(ctx context.Context) (eventlog.Cursor, error) {
	return l.window.Head(ctx)
}

// Read implements [eventlog.Log]. Positions near the head are read from memory. Others take three
// queries for a page. Read returns after about 4 s at most. With [eventlog.Query.NoWait] it sends
// no query.
//
// Errors: [eventlog.ErrUnavailable]; [eventlog.ErrWouldWait] with NoWait; [eventlog.ErrClosed].
func (l *Log) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	return l.window.Read(ctx, q, dst)
}

// Watch implements [eventlog.Log]. fn runs on a goroutine of the log, under no lock.
func (l *Log) Watch(fn func(subject string, seq uint64)) (stop func()) { return l.window.Watch(fn) }

var _ eventlog.SharedLog = (*Log)(nil)
