package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"time"
)

// user is what other users see of an account. Tokens and streams use the random ID, so that
// names could be changed.
type user struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// account is a user with what is needed to check a sign-in or a token.
type account struct {
	user
	PasswordHash string
	// RevokedThrough revokes tokens: those that expire at or before it were signed out. Its
	// column is void_through.
	RevokedThrough time.Time
	// Demo marks an account whose password is public. It can be used in the demo only.
	Demo bool
}

const selectAccount = "SELECT id, name, password_hash, void_through, demo FROM accounts "

func scanAccount(row *sql.Row) (a account, err error) {
	var revokedThrough int64
	err = row.Scan(&a.ID, &a.Name, &a.PasswordHash, &revokedThrough, &a.Demo)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoSuchUser
	}
	a.RevokedThrough = time.Unix(revokedThrough, 0).UTC()
	return a, err
}

// AddAccount adds an account. Names are equal if they differ only in case. Errors:
// [errNameTaken].
func (s *store) AddAccount(ctx context.Context, name, passwordHash string) (added user, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		added, err = addAccountIn(ctx, tx.Tx, name, passwordHash, false)
		return err
	})
	return added, err
}

// AddDemoAccount adds a demo account with a post. Errors: [errNameTaken].
func (s *store) AddDemoAccount(ctx context.Context, name, passwordHash, body string) error {
	return s.update(ctx, func(ctx context.Context, tx *transaction) error {
		added, err := addAccountIn(ctx, tx.Tx, name, passwordHash, true)
		if err != nil {
			return err
		}
		_, _, err = addPostIn(ctx, tx, added, body, "")
		return err
	})
}

func addAccountIn(ctx context.Context, tx *sql.Tx, name, passwordHash string, demo bool) (user, error) {
	added := user{ID: rand.Text(), Name: name}
	done, err := tx.ExecContext(ctx, "INSERT INTO accounts (id, name, password_hash, demo) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
		added.ID, name, passwordHash, demo)
	if err != nil {
		return user{}, err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return user{}, errors.Join(err, errNameTaken)
	}
	return added, nil
}

// Account returns the account with an ID, or [errNoSuchUser].
func (s *store) Account(ctx context.Context, id string) (account, error) {
	return scanAccount(s.read.QueryRowContext(ctx, selectAccount+"WHERE id = $1", id))
}

// AccountNamed returns the account with a name, or [errNoSuchUser]. It ignores case.
func (s *store) AccountNamed(ctx context.Context, name string) (account, error) {
	if !validName.MatchString(name) {
		return account{}, errNoSuchUser // Postgres refuses some texts
	}
	return scanAccount(s.read.QueryRowContext(ctx, selectAccount+"WHERE "+s.dialect.nameIs, strings.ToLower(name)))
}

// BeginSession returns an account and the expiry for a new token with a lifetime. Errors:
// [errNoSuchUser].
//
// BeginSession and EndSessions lock the account before they read the clock, so they run one after
// the other. A token is therefore either issued before EndSessions and revoked by it, or issued
// later and expires later. Nodes on several machines need one clock for that, the database's.
func (s *store) BeginSession(ctx context.Context, id string, lifetime time.Duration) (a account, expires time.Time, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		if err := tx.lockAccount(ctx, id); err != nil {
			return err
		}
		if a, err = scanAccount(tx.QueryRowContext(ctx, selectAccount+"WHERE id = $1", id)); err != nil {
			return err
		}
		at, err := tx.now(ctx)
		if err != nil {
			return err
		}
		expires = later(at.Add(lifetime).Truncate(time.Second), a.RevokedThrough.Add(time.Second)).UTC()
		return nil
	})
	return a, expires, err
}

// EndSessions revokes all tokens of a user that were issued until now with this lifetime, and ends
// the user's streams. It changes nothing if the request's own token, which expires at expires, is
// already revoked.
func (s *store) EndSessions(ctx context.Context, id string, expires time.Time, lifetime time.Duration) error {
	return s.update(ctx, func(ctx context.Context, tx *transaction) error {
		ended, err := endSessionsIn(ctx, tx, id, expires, lifetime)
		if err != nil || !ended {
			return err
		}
		return tx.events.Disconnect(ctx, id, reasonSignedOut)
	})
}

// endSessionsIn returns false if the tokens were revoked already.
func endSessionsIn(ctx context.Context, tx *transaction, id string, expires time.Time, lifetime time.Duration) (bool, error) {
	if err := tx.lockAccount(ctx, id); err != nil {
		return false, err
	}
	a, err := scanAccount(tx.QueryRowContext(ctx, selectAccount+"WHERE id = $1", id))
	if err != nil || revoked(a, expires) {
		return false, err
	}
	at, err := tx.now(ctx)
	if err != nil {
		return false, err
	}
	// A token issued in the second of an earlier EndSessions expires one second later.
	through := later(at.Add(lifetime).Truncate(time.Second), a.RevokedThrough.Add(time.Second))
	_, err = tx.ExecContext(ctx, "UPDATE accounts SET void_through = $1 WHERE id = $2", through.Unix(), id)
	return err == nil, err
}

// userIn returns the user with an ID, or [errNoSuchUser].
func userIn(ctx context.Context, tx *sql.Tx, id string) (u user, err error) {
	err = tx.QueryRowContext(ctx, "SELECT id, name FROM accounts WHERE id = $1", id).Scan(&u.ID, &u.Name)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoSuchUser
	}
	return u, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
