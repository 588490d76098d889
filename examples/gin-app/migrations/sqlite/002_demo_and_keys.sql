-- Marks the demo accounts, whose password is public. Earlier programs always added them.
ALTER TABLE accounts ADD COLUMN demo INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET demo = 1 WHERE name IN ('alice', 'bob', 'carol');

-- Posts and comments by the key of the request that added them, so that a client can repeat it.
CREATE TABLE idempotency_keys (
	account_id TEXT NOT NULL REFERENCES accounts (id),
	key        TEXT NOT NULL,
	request    BLOB NOT NULL, -- SHA-256 of the request
	made_id    INTEGER NOT NULL, -- ID of the post or comment
	created_at INTEGER NOT NULL,
	PRIMARY KEY (account_id, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
