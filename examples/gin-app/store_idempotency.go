package main

import (
	"context"
	"crypto/sha256"
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
func createOnceIn(ctx context.Context, tx *transaction, accountID, key, request string, create func(at time.Time) (id int64, err error)) (id int64, at time.Time, isNew bool, err error) {
	at = now()
	if key == "" {
		id, err = create(at)
		return id, at, true, err
	}
	hash := sha256.Sum256([]byte(request))
	oldest := at.Add(-keyLifetime).UnixMilli()
	// The key comes first: a request with the same key waits here until this transaction has ended.
	// An expired key is replaced.
	claimed, err := tx.ExecContext(ctx, "INSERT INTO idempotency_keys (account_id, key, request, made_id, created_at) VALUES ($1, $2, $3, 0, $4) "+
		"ON CONFLICT (account_id, key) DO UPDATE SET request = excluded.request, created_at = excluded.created_at WHERE idempotency_keys.created_at <= $5",
		accountID, key, hash[:], at.UnixMilli(), oldest)
	if err != nil {
		return 0, at, false, err
	}
	n, err := claimed.RowsAffected()
	if err != nil {
		return 0, at, false, err
	}
	if n == 0 {
		id, at, err = madeIn(ctx, tx, accountID, key, hash[:])
		return id, at, false, err
	}
	if id, err = create(at); err != nil {
		return 0, at, false, err
	}
	_, err = tx.ExecContext(ctx, "UPDATE idempotency_keys SET made_id = $1 WHERE account_id = $2 AND key = $3", id, accountID, key)
	if err != nil {
		return 0, at, false, err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM idempotency_keys WHERE (account_id, key) IN "+
		"(SELECT account_id, key FROM idempotency_keys WHERE created_at <= $1 ORDER BY created_at LIMIT $2"+tx.dialect.skipLocked+")", oldest, maxKeysRemoved)
	return id, at, true, err
}

// madeIn returns the ID and the time of what an earlier request with a key has created.
func madeIn(ctx context.Context, tx *transaction, accountID, key string, hash []byte) (id int64, at time.Time, err error) {
	var then int64
	var same bool
	err = tx.QueryRowContext(ctx, "SELECT made_id, created_at, request = $1 FROM idempotency_keys WHERE account_id = $2 AND key = $3",
		hash, accountID, key).Scan(&id, &then, &same)
	if err == nil && !same {
		err = errKeyReused
	}
	return id, millis(then), err
}
