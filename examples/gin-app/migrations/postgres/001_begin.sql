-- The same tables as on SQLite; the comments are there.

CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value BYTEA NOT NULL
);

CREATE TABLE accounts (
	id            TEXT PRIMARY KEY,
	name          TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	void_through  BIGINT NOT NULL DEFAULT 0,
	read_through  BIGINT NOT NULL DEFAULT 0,
	demo          BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX accounts_by_name ON accounts (lower(name COLLATE "C"));

CREATE TABLE posts (
	id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	author_id  TEXT NOT NULL REFERENCES accounts (id),
	body       TEXT NOT NULL,
	created_at BIGINT NOT NULL
);

CREATE TABLE comments (
	id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	post_id    BIGINT NOT NULL REFERENCES posts (id),
	author_id  TEXT NOT NULL REFERENCES accounts (id),
	body       TEXT NOT NULL,
	created_at BIGINT NOT NULL
);
CREATE INDEX comments_of_post ON comments (post_id, id);

CREATE TABLE reactions (
	post_id    BIGINT NOT NULL REFERENCES posts (id),
	actor_id   TEXT NOT NULL REFERENCES accounts (id),
	kind       TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	removed    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (post_id, actor_id, kind)
);

CREATE TABLE notifications (
	id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	recipient_id TEXT NOT NULL REFERENCES accounts (id),
	type         TEXT NOT NULL,
	post_id      BIGINT NOT NULL REFERENCES posts (id),
	actor_id     TEXT NOT NULL REFERENCES accounts (id),
	kind         TEXT NOT NULL,
	body         TEXT NOT NULL,
	created_at   BIGINT NOT NULL
);
CREATE INDEX notifications_of_recipient ON notifications (recipient_id, id);

CREATE TABLE idempotency_keys (
	account_id TEXT NOT NULL REFERENCES accounts (id),
	key        TEXT NOT NULL,
	request    BYTEA NOT NULL,
	made_id    BIGINT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
