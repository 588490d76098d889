package main

import (
	"context"
	"database/sql"
	"errors"
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

// inMemory is the name of a database in memory, which is lost when its store is closed.
const inMemory = ":memory:"

// openTimeout is how long openSQLite retries while the database is busy. openRetryInterval is
// the pause between two attempts.
const (
	openTimeout       = 10 * time.Second
	openRetryInterval = 20 * time.Millisecond
)

var sqliteDialect = &dialect{
	migrations: "migrations/sqlite",
	version: func(ctx context.Context, tx *transaction) (version int, err error) {
		err = tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
		return version, err
	},
	setVersion: "PRAGMA user_version = %d",
	nameIs:     "name = $1", // the column ignores case
}

// openSQLite opens the database in a file and migrates its schema. It creates the file if needed.
//
// It retries while another process opens the same file: the switch to a write-ahead log can fail
// at once with SQLITE_BUSY, without waiting for busy_timeout.
func openSQLite(ctx context.Context, file string) (*store, error) {
	if err := createPrivate(file); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(openTimeout); ; {
		s, err := openSQLiteOnce(ctx, file)
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

func openSQLiteOnce(ctx context.Context, file string) (*store, error) {
	s := &store{dialect: sqliteDialect}
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
	s.openLog = func(ctx context.Context, logger *slog.Logger) (eventLog, error) {
		return s.openSQLiteLog(ctx, file, logger)
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

// openSQLiteLog opens the event log in the database. It has connections of its own, because write
// has only one.
func (s *store) openSQLiteLog(ctx context.Context, file string, logger *slog.Logger) (eventLog, error) {
	if file == inMemory {
		log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
		return memoryLog{log}, err
	}
	var err error
	if s.events, err = openDatabase(file, url.Values{"_txlock": {"immediate"}}); err != nil {
		return nil, err
	}
	log, err := sqllog.OpenSQLite(ctx, s.events, sqllog.Config{Logger: logger})
	if err != nil {
		return nil, err // not log, which is a nil pointer
	}
	return log, nil
}
