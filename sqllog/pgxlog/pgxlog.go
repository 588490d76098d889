// Package pgxlog connects package sqllog with the PostgreSQL driver pgx: it listens for
// notifications, and puts events into transactions of pgx.
package pgxlog

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// Listen returns a [sqllog.ListenFunc] for [sqllog.Config.Listen]. It holds one connection to the
// server while the log is open. url is a connection string of pgx, without pgbouncer in transaction
// mode in between: there, notifications do not arrive.
//
// A connection whose peer has vanished is noticed within about 20 s, by a query every 10 s.
//
// The error says that url is not valid. It does not say why, because url may have a password.
func Listen(url string) (sqllog.ListenFunc, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errAddress // the cause would show parts of the address
	}
	return listener{cfg}.listen, nil
}

var errAddress = errors.New("pgxlog: the address is not a valid connection string of pgx; a URL needs special characters of its password as %XX")

type listener struct{ cfg *pgx.ConnConfig }

const (
	// connectTimeout bounds connecting, and an answer of the server.
	connectTimeout = 10 * time.Second
	// checkInterval is how often an idle connection is checked.
	checkInterval = 10 * time.Second
)

func (l listener) listen(ctx context.Context, channel string, ready, notified func()) error {
	conn, err := l.connect(ctx, channel)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // it is not used again
	ready()
	for {
		wait, cancel := context.WithTimeout(ctx, checkInterval)
		_, err := conn.WaitForNotification(wait)
		idle := wait.Err() != nil
		cancel()
		switch {
		case err == nil:
			notified()
		case ctx.Err() != nil:
			return ctx.Err()
		case idle && pgconn.Timeout(err):
			if err := ping(ctx, conn); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

func (l listener) connect(ctx context.Context, channel string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, l.cfg.Copy())
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

func ping(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return conn.Ping(ctx)
}

// Execer is what Tx needs of a pgx.Tx. A pool or a connection is none.
type Execer interface {
	Exec(ctx context.Context, statement string, args ...any) (pgconn.CommandTag, error)
	Commit(ctx context.Context) error
}

// Tx is [sqllog.Log.Tx] for a transaction of pgx.
func Tx(log *sqllog.Log, tx Execer) eventlog.Outbox {
	if tx == nil {
		return log.TxFunc(nil)
	}
	return log.TxFunc(func(ctx context.Context, statement string, args ...any) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}
