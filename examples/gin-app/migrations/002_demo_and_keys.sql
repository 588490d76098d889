-- The demo's people, whose password everybody knows. Before this, they were there by
-- default.
ALTER TABLE accounts ADD COLUMN demo INTEGER NOT NULL DEFAULT 0;
UPDATE accounts SET demo = 1 WHERE name IN ('alice', 'bob', 'carol');

-- What was made by requests that their clients may send again.
CREATE TABLE idempotency_keys (
	account_id TEXT NOT NULL REFERENCES accounts (id),
	key        TEXT NOT NULL,
	request    BLOB NOT NULL, -- a hash
	made_id    INTEGER NOT NULL, -- of the post or the comment
	created_at INTEGER NOT NULL,
	PRIMARY KEY (account_id, key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
