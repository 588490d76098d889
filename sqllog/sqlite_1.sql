-- Version 1 of the log in SQLite. sqlite_2.sql has what followed. The names in braces are replaced.
-- Statements end with a semicolon before a blank line.

-- SQLite has one writer at a time, so the order of the keys is that of the commits. A key is one more
-- than the highest. The newest row is never removed, so no key is given twice, but for one that was
-- rolled back, which nobody has seen. at is in microseconds since 1970. total counts the bytes of all
-- entries up to this one, each with {overhead} beside its text.
create table if not exists {log} (
	seq integer primary key,
	chk integer not null check (chk > 0) default (1 + abs(random() % 2147483646)),
	at integer not null default (cast((julianday('now') - 2440587.5) * 86400000000 as integer)),
	total integer not null,
	subject text not null check (length(subject) <= {max_subject}),
	frame blob not null check (length(frame) <= {max_frame})
);

create index if not exists {log}_by_subject on {log} (subject, seq);

-- Messages between processes. An id is a time in microseconds since 1970.
create table if not exists {messages} (
	id integer primary key,
	receiver text not null,
	body blob not null
);

create table if not exists {meta} (
	one integer primary key check (one = 1),
	version integer not null,
	epoch integer not null
);

insert into {meta} (one, version, epoch)
values (1, 1, 1 + abs(random() % 2147483646)) on conflict do nothing;
