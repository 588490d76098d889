package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"time"

	"modernc.org/sqlite" // the driver "sqlite", in pure Go
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// The errors of the store that callers can act on. The store knows nothing of HTTP: problemOf
// maps the errors to statuses.
var (
	errNoSuchUser = errors.New("no such user")
	errNoSuchPost = errors.New("no such post")
	errNameTaken  = errors.New("name is taken")
	errKeyReused  = errors.New("idempotency key belongs to a different request")
)

// store keeps users, posts and notifications in an SQLite database. Each method is one
// transaction: if it returns an error, it has changed nothing and sent nothing. Functions whose
// names end in "In" run inside a transaction of their caller.
//
// Concurrency: all methods may be called from several goroutines. Several processes may open
// the same file.
type store struct {
	file string
	// SQLite has one writer at a time. So write has a single connection, and transactions queue
	// for it, which is fairer than SQLite's own lock. Readers do not wait for writers.
	write, read *sql.DB
	events      *sql.DB // pool of the event log; nil if the log is not in the database
	sending     sending // set before the first transaction that sends
}

// inMemory is the name of a database in memory, which is lost when its store is closed.
const inMemory = ":memory:"

// openTimeout is how long openStore retries while the database is busy. openRetryInterval is
// the pause between two attempts.
const (
	openTimeout       = 10 * time.Second
	openRetryInterval = 20 * time.Millisecond
)

// openStore opens the database in a file and migrates its schema. It creates the file if needed.
//
// It retries while another process opens the same file: the switch to a write-ahead log can fail
// at once with SQLITE_BUSY, without waiting for busy_timeout.
func openStore(ctx context.Context, file string) (*store, error) {
	if err := createPrivate(file); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(openTimeout); ; {
		s, err := openStoreOnce(ctx, file)
		if !isBusy(err) || time.Now().After(deadline) {
			return s, err
		}
		select {
		case <-time.After(openRetryInterval):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

func isBusy(err error) bool {
	var failed *sqlite.Error
	return errors.As(err, &failed) && failed.Code()&0xff == sqlite3.SQLITE_BUSY // the other bits are the detailed reason
}

func openStoreOnce(ctx context.Context, file string) (*store, error) {
	s := &store{file: file}
	var err error
	if s.write, err = openDatabase(file, url.Values{"_txlock": {"immediate"}}, "journal_mode(WAL)"); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	if s.read = s.write; file != inMemory { // in memory, each connection would have its own database
		if s.read, err = openDatabase(file, url.Values{}, "query_only(1)"); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.read.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// createPrivate creates the file if needed, and lets only its owner read it. The file contains
// password hashes and the key that signs sessions. SQLite gives its other files the same mode.
func createPrivate(file string) error {
	if file == inMemory {
		return nil
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, name := range []string{file, file + "-wal", file + "-shm"} {
		info, err := os.Stat(name)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(name, 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// openDatabase returns a pool whose new connections run the pragmas. Only one pool needs the
// pragma journal_mode, because the file keeps it.
func openDatabase(file string, options url.Values, pragmas ...string) (*sql.DB, error) {
	options["_pragma"] = append([]string{"busy_timeout(5000)", "foreign_keys(1)"}, pragmas...)
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: options.Encode()}
	return sql.Open("sqlite", name.String())
}

// Close closes the database.
func (s *store) Close() error {
	var err error
	if s.read != nil && s.read != s.write {
		err = s.read.Close()
	}
	if s.events != nil {
		err = errors.Join(err, s.events.Close())
	}
	return errors.Join(err, s.write.Close())
}

// openLog opens the event log in the database. It is called once, and the log is closed before the
// store. The log has connections of its own, because write has only one.
func (s *store) openLog(ctx context.Context, logger *slog.Logger) (eventLog, error) {
	if s.file == inMemory {
		log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
		return memoryLog{log}, err
	}
	var err error
	if s.events, err = openDatabase(s.file, url.Values{"_txlock": {"immediate"}}); err != nil {
		return nil, err
	}
	log, err := sqllog.OpenSQLite(ctx, s.events, sqllog.Config{Logger: logger})
	if err != nil {
		return nil, err // not log, which is a nil pointer
	}
	return log, nil
}

// Ping returns an error if the database cannot be read.
func (s *store) Ping(ctx context.Context) error {
	var one int
	return s.read.QueryRowContext(ctx, "SELECT 1 FROM pragma_user_version").Scan(&one)
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the new migrations, all in one transaction. The database keeps the number of the
// last one as its user_version.
func (s *store) migrate(ctx context.Context) error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	return s.update(ctx, func(ctx context.Context, tx *transaction) error {
		var version int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return fmt.Errorf("reading its version: %w", err)
		}
		if version > len(files) {
			return fmt.Errorf("the database has schema %d, but this program knows schema %d only: start a newer program, or choose another file with -db", version, len(files))
		}
		for _, file := range files[version:] {
			script, err := migrations.ReadFile("migrations/" + file.Name())
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return fmt.Errorf("migration %s: %w", file.Name(), err)
			}
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(files)))
		return err
	})
}

// view runs a transaction that only reads. It sees one state of the database.
func (s *store) view(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	return s.transact(ctx, s.read, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, do)
}

// transact runs a transaction. The end of ctx stops only the wait for a connection. It does not
// abort a running transaction: database/sql would then close the connection, and so delete a
// database in memory.
func (s *store) transact(ctx context.Context, db *sql.DB, options *sql.TxOptions, do func(ctx context.Context, tx *sql.Tx) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // returns it to the pool
	ctx = context.WithoutCancel(ctx)
	tx, err := conn.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := do(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Secret returns the random bytes with a name. The first call for a name creates them.
func (s *store) Secret(ctx context.Context, name string, size int) (secret []byte, err error) {
	made := make([]byte, size)
	_, _ = rand.Read(made) // never fails
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, made); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = ?", name).Scan(&secret)
	})
	return secret, err
}

// now returns the time for a new row. Milliseconds are the precision of a page's clock.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// millis converts a stored time.
func millis(at int64) time.Time { return time.UnixMilli(at).UTC() }
