package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// The errors of the store that callers can act on. The store knows nothing of HTTP: problemOf
// maps the errors to statuses.
var (
	errNoSuchUser = errors.New("no such user")
	errNoSuchPost = errors.New("no such post")
	errNameTaken  = errors.New("name is taken")
	errKeyReused  = errors.New("idempotency key belongs to a different request")
)

// store keeps users, posts and notifications in a database, SQLite or Postgres. Each method is one
// transaction: if it returns an error, it has changed nothing and sent nothing. Functions whose
// names end in "In" run inside a transaction of their caller.
//
// Concurrency: all methods may be called from several goroutines. Several processes may open
// the same database.
type store struct {
	// SQLite has one writer at a time. So write has a single connection there, and transactions
	// queue for it, which is fairer than SQLite's own lock. Readers do not wait for writers. On
	// Postgres both are the same pool.
	write, read *sql.DB
	events      *sql.DB // connections of the event log; nil if it has none of its own
	dialect     *dialect
	// openLog opens the event log in the database. It is called once. Close the log before the store.
	openLog func(ctx context.Context, logger *slog.Logger) (eventLog, error)
	sending sending // set before the first transaction that sends
}

// dialect is what differs between the databases. Both know parameters such as $1.
type dialect struct {
	migrations string // the folder
	// version returns the number of the last migration. Others who ask wait until tx has ended.
	version    func(ctx context.Context, tx *transaction) (int, error)
	setVersion string // the statement, with %d
	nameIs     string // whether the name of an account is $1, a name in small letters
	// lockAccount keeps other transactions that lock the account $1 waiting until this one has
	// ended. "" where transactions that write wait for each other anyway.
	lockAccount string
	// skipLocked ends a query of rows to be deleted. It leaves out those of other transactions.
	skipLocked string
	// clock returns the time of the database; "" for that of this process. See BeginSession.
	clock string
	// timeout limits a transaction. 0 if the database is in this process, and needs no limit.
	timeout time.Duration
}

// openStore opens a database and migrates its schema. database is the name of an SQLite file, which
// is created if needed, or [inMemory]. If postgres is not "", it is the address of a database instead.
func openStore(ctx context.Context, database, postgres string) (*store, error) {
	if postgres != "" {
		return openPostgres(ctx, postgres)
	}
	return openSQLite(ctx, database)
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

// Ping returns an error if the database cannot be read.
func (s *store) Ping(ctx context.Context) error {
	var n int
	return s.read.QueryRowContext(ctx, "SELECT count(*) FROM settings").Scan(&n)
}

//go:embed migrations/*/*.sql
var migrations embed.FS

// migrate runs the new migrations, all in one transaction.
func (s *store) migrate(ctx context.Context) error {
	files, err := migrations.ReadDir(s.dialect.migrations)
	if err != nil {
		return err
	}
	return s.update(ctx, func(ctx context.Context, tx *transaction) error {
		version, err := s.dialect.version(ctx, tx)
		if err != nil {
			return fmt.Errorf("reading its version: %w", err)
		}
		if version > len(files) {
			return fmt.Errorf("the database has schema %d, but this program knows schema %d only: start a newer program, or choose another database", version, len(files))
		}
		if version == len(files) {
			return nil
		}
		for _, file := range files[version:] {
			script, err := migrations.ReadFile(s.dialect.migrations + "/" + file.Name())
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(script)); err != nil {
				return fmt.Errorf("migration %s: %w", file.Name(), err)
			}
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf(s.dialect.setVersion, len(files)))
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
	if s.dialect.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.dialect.timeout)
		defer cancel()
	}
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
		if _, err := tx.ExecContext(ctx, "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, made); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = $1", name).Scan(&secret)
	})
	return secret, err
}

// now returns the time for a new row. Milliseconds are the precision of a page's clock.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// millis converts a stored time.
func millis(at int64) time.Time { return time.UnixMilli(at).UTC() }
