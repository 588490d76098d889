-- Times of what people made are milliseconds since 1970, times of tokens seconds.

CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT;

CREATE TABLE accounts (
	id            TEXT PRIMARY KEY,
	name          TEXT NOT NULL UNIQUE COLLATE NOCASE,
	password_hash TEXT NOT NULL,
	void_through  INTEGER NOT NULL DEFAULT 0, -- see EndSessions
	read_through  INTEGER NOT NULL DEFAULT 0  -- the notifications up to this ID have been read
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

-- A reaction that was taken back stays: that the author has been told of it is not
-- forgotten.
CREATE TABLE reactions (
	post_id    INTEGER NOT NULL REFERENCES posts (id),
	actor_id   TEXT NOT NULL REFERENCES accounts (id),
	kind       TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	removed    INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (post_id, actor_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE notifications (
	id           INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, also when some are deleted
	recipient_id TEXT NOT NULL REFERENCES accounts (id),
	type         TEXT NOT NULL,
	post_id      INTEGER NOT NULL REFERENCES posts (id),
	actor_id     TEXT NOT NULL REFERENCES accounts (id),
	kind         TEXT NOT NULL,
	body         TEXT NOT NULL,
	created_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX notifications_of_recipient ON notifications (recipient_id, id);
