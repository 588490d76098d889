package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"
)

const (
	keyTime = 24 * time.Hour // a request may be repeated for so long
	oldKeys = 10             // are removed with each new one, at most
)

// onceIn has create make something, unless a person's request has made it before:
// one with the same key, which their client has chosen, and not longer than keyTime
// ago. It returns the ID and the time of what was made now or then, and whether it
// was now. Without a key it always is. That the request was made is noted in the
// transaction that does what it says. The same key with another request is
// [errKeyReused].
//
// So a client that got no answer can ask again: what it asks for is done once.
func onceIn(ctx context.Context, tx *sql.Tx, accountID, key, request string, create func(at time.Time) (id int64, err error)) (id int64, at time.Time, isNew bool, err error) {
	at = now()
	if key == "" {
		id, err = create(at)
		return id, at, true, err
	}
	hash := sha256.Sum256([]byte(request))
	oldest := at.Add(-keyTime).UnixMilli()
	var then int64
	var same bool
	err = tx.QueryRowContext(ctx, "SELECT made_id, created_at, request = ? FROM idempotency_keys WHERE account_id = ? AND key = ? AND created_at > ?",
		hash[:], accountID, key, oldest).Scan(&id, &then, &same)
	switch {
	case err == nil && same:
		return id, millis(then), false, nil
	case err == nil:
		return 0, at, false, errKeyReused
	case !errors.Is(err, sql.ErrNoRows):
		return 0, at, false, err
	}
	if id, err = create(at); err != nil {
		return 0, at, false, err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM idempotency_keys WHERE rowid IN "+
		"(SELECT rowid FROM idempotency_keys WHERE created_at <= ? ORDER BY created_at LIMIT ?)", oldest, oldKeys)
	if err != nil {
		return 0, at, false, err
	}
	// Replaced, for its own may be old and not removed yet.
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO idempotency_keys (account_id, key, request, made_id, created_at) VALUES (?, ?, ?, ?, ?)",
		accountID, key, hash[:], id, at.UnixMilli())
	return id, at, true, err
}
