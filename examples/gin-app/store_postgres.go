package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

var postgresDialect = &dialect{
	migrations: "migrations/postgres",
	version: func(ctx context.Context, tx *transaction) (version int, err error) {
		// Several nodes may start at once.
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(4155730194)"); err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"); err != nil {
			return 0, err
		}
		err = tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
		return version, err
	},
	setVersion:  "INSERT INTO schema_version (version) VALUES (%d)",
	nameIs:      `lower(name COLLATE "C") = $1`,
	lockAccount: "SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", // other rows may refer to it meanwhile
	skipLocked:  " FOR UPDATE SKIP LOCKED",
	clock:       "SELECT clock_timestamp()",
	timeout:     10 * time.Second,
}

// maxConnections is the most connections of one node to Postgres, without the one that listens.
const maxConnections = 20

// openPostgres opens a database on a server and migrates its schema.
func openPostgres(ctx context.Context, address string) (*store, error) {
	cfg, err := parsePostgres(address)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	s := &store{write: db, read: db, dialect: postgresDialect}
	s.openLog = func(ctx context.Context, logger *slog.Logger) (eventLog, error) {
		return openPostgresLog(ctx, db, address, logger)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openPostgresLog opens the event log in the database. Notifications of Postgres bring the events of
// other nodes at once.
func openPostgresLog(ctx context.Context, db *sql.DB, address string, logger *slog.Logger) (eventLog, error) {
	listen, err := pgxlog.Listen(address)
	if err != nil {
		return nil, errPostgresAddress
	}
	log, err := sqllog.OpenPostgres(ctx, db, sqllog.Config{Logger: logger, Listen: listen})
	if err != nil {
		return nil, err // not log, which is a nil pointer
	}
	return log, nil
}

// errPostgresAddress does not have the error of pgx, which may show parts of a password.
var errPostgresAddress = errors.New("the address of -postgres is not valid; it is like postgres://user@host:5432/database")

const connectTimeout = 10 * time.Second

func parsePostgres(address string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errPostgresAddress
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	return cfg, nil
}

// describePostgres returns an address without its password.
func describePostgres(address string) string {
	cfg, err := parsePostgres(address)
	if err != nil {
		return "of -postgres"
	}
	return fmt.Sprintf("%s on %s:%d", cfg.Database, cfg.Host, cfg.Port)
}
