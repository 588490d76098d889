-- Version 2 of the log in SQLite 3.35 or later: keys, and keys against repeats. The names in braces
-- are replaced. Statements end with a semicolon before a blank line.

alter table {log} add column key text check (length(cast(key as blob)) between 1 and {max_name});

-- prev is the sequence of the row that one with a key replaces. The frame of that row becomes empty
-- after some seconds. The row stays, since clients may hold its position.
alter table {log} add column prev integer;

-- net is total without the frames that were replaced. total never falls, since rows are removed by
-- it: it is the highest value that net has had. Rows of version 1 have no net.
alter table {log} add column net integer;

drop index {log}_by_subject;

create index {log}_by_subject on {log} (subject, seq) where key is null;

create index {log}_keyed on {log} (subject, seq) where key is not null and length(frame) > 0;

create index {log}_by_key on {log} (subject, key, seq) where key is not null and length(frame) > 0;

-- Processes of version 1 know nothing of keys.
create trigger {log}_version before insert on {log} when new.net is null
begin
	select raise(abort, 'the tables of the log have version 2, and this process is of version 1: update it');
end;

-- The records of the last minutes with keys against repeats, by their subjects. at is that of {log}.
create table {repeats} (
	subject text not null,
	key text not null check (length(cast(key as blob)) between 1 and {max_name}),
	seq integer not null,
	chk integer not null,
	at integer not null,
	primary key (subject, key)
) without rowid;

create index {repeats}_by_age on {repeats} (at);

update {meta} set version = 2;
