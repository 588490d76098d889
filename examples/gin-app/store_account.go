package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"
)

// user is a person as others see them. The ID is random and says nothing; it is
// what tokens and streams carry, so that a name could change.
type user struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// account is what signing in needs to know of a person.
type account struct {
	user
	PasswordHash string
	// VoidThrough is the latest expiry of the tokens that were signed out.
	VoidThrough time.Time
	// Demo people are let in by a demo only: everybody knows their password.
	Demo bool
}

const selectAccount = "SELECT id, name, password_hash, void_through, demo FROM accounts "

func scanAccount(row *sql.Row) (a account, err error) {
	var voidThrough int64
	err = row.Scan(&a.ID, &a.Name, &a.PasswordHash, &voidThrough, &a.Demo)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoSuchUser
	}
	a.VoidThrough = time.Unix(voidThrough, 0).UTC()
	return a, err
}

// AddAccount adds a person. Names that differ only in case are the same:
// [errNameTaken].
func (s *store) AddAccount(ctx context.Context, name, passwordHash string) (added user, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		added, err = addAccountIn(ctx, tx, name, passwordHash, false)
		return err
	})
	return added, err
}

// AddDemoAccount adds one of the demo people and their post. Errors: [errNameTaken].
func (s *store) AddDemoAccount(ctx context.Context, name, passwordHash, body string) error {
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		added, err := addAccountIn(ctx, tx, name, passwordHash, true)
		if err != nil {
			return err
		}
		_, _, err = addPostIn(ctx, tx, added, body, "")
		return err
	})
}

func addAccountIn(ctx context.Context, tx *sql.Tx, name, passwordHash string, demo bool) (user, error) {
	added := user{ID: rand.Text(), Name: name}
	done, err := tx.ExecContext(ctx, "INSERT INTO accounts (id, name, password_hash, demo) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
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
	return scanAccount(s.read.QueryRowContext(ctx, selectAccount+"WHERE id = ?", id))
}

// AccountNamed returns the account with a name, in any case, or [errNoSuchUser].
func (s *store) AccountNamed(ctx context.Context, name string) (account, error) {
	return scanAccount(s.read.QueryRowContext(ctx, selectAccount+"WHERE name = ?", name))
}

// BeginSession returns the account with an ID, or [errNoSuchUser], and when a token
// for it expires that lasts for lifetime from now.
//
// This and EndSessions look at the clock within a transaction that writes, and so one
// after the other: what expires by this is either void by that, or later than it.
func (s *store) BeginSession(ctx context.Context, id string, lifetime time.Duration) (a account, expires time.Time, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if a, err = scanAccount(tx.QueryRowContext(ctx, selectAccount+"WHERE id = ?", id)); err != nil {
			return err
		}
		expires = later(time.Now().Add(lifetime).Truncate(time.Second), a.VoidThrough.Add(time.Second)).UTC()
		return nil
	})
	return a, expires, err
}

// EndSessions voids all tokens of a person that were issued until now, and last
// for lifetime. With a token that expires at a time that is void already there is
// nothing more to do.
func (s *store) EndSessions(ctx context.Context, id string, expires time.Time, lifetime time.Duration) error {
	return s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		a, err := scanAccount(tx.QueryRowContext(ctx, selectAccount+"WHERE id = ?", id))
		if err != nil {
			return err
		}
		if void(a, expires) {
			return nil
		}
		// A token issued in the second of an earlier EndSessions expires one second later.
		through := later(time.Now().Add(lifetime).Truncate(time.Second), a.VoidThrough.Add(time.Second))
		_, err = tx.ExecContext(ctx, "UPDATE accounts SET void_through = ? WHERE id = ?", through.Unix(), id)
		return err
	})
}

// userIn returns a person that a row refers to, or [errNoSuchUser].
func userIn(ctx context.Context, tx *sql.Tx, id string) (u user, err error) {
	err = tx.QueryRowContext(ctx, "SELECT id, name FROM accounts WHERE id = ?", id).Scan(&u.ID, &u.Name)
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
