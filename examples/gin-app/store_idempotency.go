package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"
)

const (
	keyLifetime    = 24 * time.Hour // for how long a request can be repeated
	maxKeysRemoved = 10             // expired keys that each new key removes, at most
)

// createOnceIn calls create unless an earlier request of the account did so with the same key. So
// a client whose response was lost can repeat its request, and nothing is created twice.
//
// It returns the ID and the time of the new or the earlier row, and whether the row is new. Without
// a key the row is always new. A key expires after keyLifetime. It is stored in the transaction
// that creates the row. Errors: [errKeyReused], if the earlier request was different.
func createOnceIn(ctx context.Context, tx *sql.Tx, accountID, key, request string, create func(at time.Time) (id int64, err error)) (id int64, at time.Time, isNew bool, err error) {
	at = now()
	if key == "" {
		id, err = create(at)
		return id, at, true, err
	}
	hash := sha256.Sum256([]byte(request))
	oldest := at.Add(-keyLifetime).UnixMilli()
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
		"(SELECT rowid FROM idempotency_keys WHERE created_at <= ? ORDER BY created_at LIMIT ?)", oldest, maxKeysRemoved)
	if err != nil {
		return 0, at, false, err
	}
	// REPLACE, because an expired row with this key may still be there.
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO idempotency_keys (account_id, key, request, made_id, created_at) VALUES (?, ?, ?, ?, ?)",
		accountID, key, hash[:], id, at.UnixMilli())
	return id, at, true, err
}
