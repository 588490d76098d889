package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"time"

	"modernc.org/sqlite" // the driver "sqlite", in Go alone
	sqlite3 "modernc.org/sqlite/lib"
)

// The conditions that a caller of the store can act on. problemOf knows their
// statuses; the store knows nothing of HTTP.
var (
	errNoSuchUser = errors.New("no such user")
	errNoSuchPost = errors.New("no such post")
	errNameTaken  = errors.New("name is taken")
	errKeyReused  = errors.New("idempotency key is of another request")
)

// store keeps people, posts and notifications in an SQLite database. Every method
// is one transaction: it does all of what it says or, with an error, nothing. A function
// whose name ends in In is a part of one.
//
// Concurrency: all methods may be called from several goroutines, and several
// processes may have the same file open; what they send to streams is each one's own.
type store struct {
	// SQLite has one writer at a time: transactions that write queue for one connection
	// here, rather than wait in the database's own lock. Readers see the state before.
	write, read *sql.DB
}

// inMemory is the name of a database that ends with its store.
const inMemory = ":memory:"

// openTime is how long a database may be busy before it is given up, and openPause
// how long it is left alone between two attempts to open it.
const (
	openTime  = 10 * time.Second
	openPause = 20 * time.Millisecond
)

// openStore opens the database in a file, makes the file if there is none, and brings
// its schema up to date. While others do the same it tries again: the change to a
// write-ahead log does not always wait for its turn, as other statements do.
func openStore(ctx context.Context, file string) (*store, error) {
	if err := makePrivate(file); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(openTime); ; {
		s, err := openStoreOnce(ctx, file)
		if !isBusy(err) || time.Now().After(deadline) {
			return s, err
		}
		select {
		case <-time.After(openPause):
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

func isBusy(err error) bool {
	var failed *sqlite.Error
	return errors.As(err, &failed) && failed.Code()&0xff == sqlite3.SQLITE_BUSY // the rest says why
}

func openStoreOnce(ctx context.Context, file string) (*store, error) {
	s := new(store)
	var err error
	if s.write, err = openDatabase(file, url.Values{"_txlock": {"immediate"}}, "journal_mode(WAL)"); err != nil {
		return nil, err
	}
	s.write.SetMaxOpenConns(1)
	if s.read = s.write; file != inMemory { // where each connection would have a database of its own
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

// makePrivate makes the file if there is none, and has it be its owner's alone: it
// holds the hashes of passwords and the key of the sessions. SQLite gives its other
// files the same rights.
func makePrivate(file string) error {
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

// openDatabase returns a pool whose connections run the pragmas first. That there is
// a write-ahead log is kept in the file, so one pool says it for all.
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
	return errors.Join(err, s.write.Close())
}

// Ping says whether the database can be read, and so whether the application is of
// any use.
func (s *store) Ping(ctx context.Context) error {
	var one int
	return s.read.QueryRowContext(ctx, "SELECT 1 FROM pragma_user_version").Scan(&one)
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the migrations that the database has not had, each in a transaction
// with the note that it was. Their number is the database's user_version.
func (s *store) migrate(ctx context.Context) error {
	files, err := migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var had int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&had); err != nil {
			return fmt.Errorf("opening the database: %w", err)
		}
		if had > len(files) {
			return fmt.Errorf("the database has schema %d, and this program knows %d: it is from a newer one", had, len(files))
		}
		for _, file := range files[had:] {
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

// update runs a transaction that writes. Nobody else writes meanwhile.
func (s *store) update(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	return transact(ctx, s.write, do)
}

// view runs a transaction that reads one state of the database.
func (s *store) view(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	return transact(ctx, s.read, do)
}

// transact waits for a connection until ctx ends. A transaction that has begun is
// short, and is not cut in the middle: database/sql would close the connection, and
// with it a database that is in memory.
func transact(ctx context.Context, db *sql.DB, do func(ctx context.Context, tx *sql.Tx) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // gives it back
	ctx = context.WithoutCancel(ctx)
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // without effect after Commit
	if err := do(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Secret returns the random bytes that are kept under a name, made when they are
// asked for first.
func (s *store) Secret(ctx context.Context, name string, size int) (secret []byte, err error) {
	made := make([]byte, size)
	_, _ = rand.Read(made) // never fails
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, made); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = ?", name).Scan(&secret)
	})
	return secret, err
}

// now is the time of what is stored, at the precision of a page's clock.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// millis reads a time that was stored.
func millis(at int64) time.Time { return time.UnixMilli(at).UTC() }
