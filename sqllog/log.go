package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ginsse/ginsse/eventlog"
)

// Log is an [eventlog.SharedLog] in a database. It lives until [Log.Close].
//
// Concurrency: all methods may be called from several goroutines.
//
// Errors: [ErrUnavailable] while the database does not answer, [ErrClosed] after Close.
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

	life    context.Context // ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // the log's goroutines, and reads from the database
	closing sync.Mutex     // held while the log is closed, and while a read begins

	failure atomic.Pointer[error] // why the database cannot be read; nil while it can
	warned  sync.Once             // about rows that are not events
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
	l.messages.waiting = make(chan message, waitingMessages)
	l.window = eventlog.NewWindow(eventlog.WindowConfig{Store: store{l}, ContactTimeout: contactTimeout, StoreReads: storeReads})
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
	return l, nil
}

// Close ends the log. It returns when the log no longer uses the database. Calls of Append, Head
// and Read in progress end with an error. Close may be repeated.
//
// On SQLite it may wait as long as the busy timeout, while another transaction writes.
func (l *Log) Close() error {
	l.closing.Lock()
	l.end()
	l.closing.Unlock()
	l.running.Wait()
	l.window.Close()
	return nil
}

// Ready returns nil if the database has answered within the last 2 s. Otherwise the error says why
// not. A health endpoint returns it. Ready makes no request.
func (l *Log) Ready() error {
	switch {
	case l.life.Err() != nil:
		return ErrClosed
	case !l.window.HasContact():
		return l.disconnected()
	}
	return nil
}

func (l *Log) disconnected() error {
	if err := l.failure.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, *err)
	}
	return fmt.Errorf("%w: it does not answer", ErrUnavailable)
}

// setFailure notes why the database cannot be read; nil if it can. It logs the first failure of a
// row, and its end.
func (l *Log) setFailure(err error) {
	before := l.failure.Load()
	switch {
	case err != nil:
		l.failure.Store(&err)
		if before == nil {
			l.cfg.Logger.Warn("cannot read the log's database", slog.Any("error", err))
		}
	case before != nil:
		l.failure.Store(nil)
		l.cfg.Logger.Info("reading the log's database again")
	}
}

// Head implements [eventlog.Log]. It asks the database for its last sequence, and waits until this
// node has read up to there, for 4 s at most. Calls share requests.
//
// Errors: [ErrUnavailable], at once without contact; [ErrClosed].
func (l *Log) Head(ctx context.Context) (eventlog.Cursor, error) {
	at, err := l.window.Head(ctx)
	return at, l.wrap("asking for the head", err)
}

// Read implements [eventlog.Log]. Positions near the head are read from memory. Others take three
// queries for a page. Read returns after about 4 s at most. With [eventlog.Query.NoWait] it sends
// no query.
//
// Errors: [ErrUnavailable]; [eventlog.ErrWouldWait] with NoWait; [ErrClosed].
func (l *Log) Read(ctx context.Context, q eventlog.Query, dst []*eventlog.Entry) (eventlog.Page, error) {
	page, err := l.window.Read(ctx, q, dst)
	if err != nil {
		return eventlog.Page{}, l.wrap("reading", err)
	}
	return page, nil
}

// Watch implements [eventlog.Log]. fn runs on a goroutine of the log, under no lock.
func (l *Log) Watch(fn func(subject string, seq uint64)) (stop func()) { return l.window.Watch(fn) }

// wrap returns an error of the window as one of the log.
func (l *Log) wrap(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, eventlog.ErrClosed), l.life.Err() != nil:
		return ErrClosed
	case errors.Is(err, eventlog.ErrWouldWait):
		return err // the database was not asked
	case errors.Is(err, eventlog.ErrDisconnected):
		return l.disconnected()
	default:
		return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
	}
}

var _ eventlog.SharedLog = (*Log)(nil)
