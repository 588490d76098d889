-- The columns created_at are in milliseconds since 1970. void_through is in seconds, like the
-- expiry of a token.

CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT;

CREATE TABLE accounts (
	id            TEXT PRIMARY KEY,
	name          TEXT NOT NULL UNIQUE COLLATE NOCASE,
	password_hash TEXT NOT NULL,
	void_through  INTEGER NOT NULL DEFAULT 0, -- tokens that expire up to this time were signed out
	read_through  INTEGER NOT NULL DEFAULT 0  -- notifications up to this ID are read
) STRICT;

CREATE TABLE posts (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	author_id  TEXT NOT NULL REFERENCES accounts (id),
	body       TEXT NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE comments (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	post_id    INTEGER NOT NULL REFERENCES posts (id),
	author_id  TEXT NOT NULL REFERENCES accounts (id),
	body       TEXT NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX comments_of_post ON comments (post_id, id);

-- A removed reaction keeps its row. If the same user adds it again, the author of the post gets
-- no second notification.
CREATE TABLE reactions (
	post_id    INTEGER NOT NULL REFERENCES posts (id),
	actor_id   TEXT NOT NULL REFERENCES accounts (id),
	kind       TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	removed    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (post_id, actor_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE notifications (
	id           INTEGER PRIMARY KEY AUTOINCREMENT, -- AUTOINCREMENT: IDs of deleted rows are not reused
	recipient_id TEXT NOT NULL REFERENCES accounts (id),
	type         TEXT NOT NULL,
	post_id      INTEGER NOT NULL REFERENCES posts (id),
	actor_id     TEXT NOT NULL REFERENCES accounts (id),
	kind         TEXT NOT NULL,
	body         TEXT NOT NULL,
	created_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX notifications_of_recipient ON notifications (recipient_id, id);
