-- Version 2 of the log in PostgreSQL 13 or later: keys, keys against repeats, and the order of the
-- inbox. The functions here are those in use. The names in braces are replaced. Statements end with a
-- semicolon before a blank line.

-- No step is in progress. Nodes of version 1 wait until the transaction ends, and are then refused by
-- {step}.
do $$ begin lock table {log}, {steps}, {inbox} in access exclusive mode; end $$;

-- Ids are drawn one by one when rows are inserted. So they are in the order of each transaction's
-- inserts, and of transactions that waited for each other's locks. Transaction ids are not: a
-- transaction has its own from its first write, which may be long before it inserts a row here.
alter table {inbox}
	add column key text check (octet_length(key) between 1 and {max_name}),
	add column dedup_key text check (octet_length(dedup_key) between 1 and {max_name});

-- prev is the sequence of the row that one with a key replaces. The frame of that row becomes empty
-- after some seconds. The row stays, since clients may hold its position.
alter table {log}
	add column key text collate "C",
	add column prev bigint;

drop index {log}_subject_seq_idx;

create index on {log} (subject, seq) where key is null;

create index on {log} (subject, seq) where key is not null and length(frame) > 0;

create index on {log} (subject, key, seq) where key is not null and length(frame) > 0;

-- net is total without the frames that were replaced. total never falls, since rows are removed by
-- it: it is the highest value that net has had.
alter table {steps}
	add column net bigint;

update {steps} set net = total;

alter table {steps}
	alter column net set not null;

-- The records of the last minutes with keys against repeats, by their subjects. at is that of {log}.
create table {repeats} (
	subject text collate "C" not null,
	key text collate "C" not null,
	seq bigint not null,
	chk integer not null,
	at bigint not null,
	primary key (subject, key)
);

create index on {repeats} (at);

drop function {fresh}(pg_snapshot);

-- {spans} returns which transactions have ended since a snapshot, as spans of their numbers up to
-- before high: those that it saw as open, and later ones without those that are still open.
create function {spans}(seen pg_snapshot) returns table (low xid8, high xid8)
language sql stable as $$
	select x, (x::text::bigint + 1)::text::xid8
	from pg_snapshot_xip(seen) as x where pg_visible_in_snapshot(x, pg_current_snapshot())
	union all
	select coalesce((lag(x) over (order by x)::text::bigint + 1)::text::xid8, pg_snapshot_xmax(seen)), x
	from (
		select x from pg_snapshot_xip(pg_current_snapshot()) as x where x >= pg_snapshot_xmax(seen)
		union all select pg_snapshot_xmax(pg_current_snapshot())
	) as open(x)
$$;

-- Nodes of version 1 know nothing of keys.
create or replace function {step}(
	subjects text, sizes text, checks text, frames bytea, fence boolean,
	out epoch integer, out last bigint, out message bigint
)
language plpgsql as $$
begin
	raise exception 'the tables of the log have version 2, and this node is of version 1: update it';
end
$$;

-- {step} adds a batch of records to the log, and before them what was committed to the inbox. It
-- returns the state of the log, and where each record of the batch is, as numbers and checks with
-- commas between. frames are the frames of the batch in one piece, subjects, keys and dedup_keys are in
-- lines, sizes and checks have commas between; all are null for no batch. A key of no bytes is none.
-- fence says that positions from before a promotion are no longer valid. The lock is held until the
-- transaction ends, so the answer is one row.
--
-- A row of the inbox is new if the snapshot of the last step does not see its transaction, and this
-- one does. So no transaction is passed over, however late it commits, and none waits. Rows are
-- deleted at once, by their keys: to look for old ones would take ever longer while an old
-- transaction keeps those that were deleted. New rows are added in the order of their ids. If more
-- are new than one step adds, the snapshot stays, and the rest, whose ids are higher, is for the next
-- step.
--
-- New rows are found by their transactions, {max_step} and one at a time in the order of the primary
-- key. That many of one transaction are enough: the others of it have higher ids.
create function {step}(
	subjects text, sizes text, checks text, keys text, dedup_keys text, frames bytea, fence boolean,
	out epoch integer, out last bigint, out message bigint, out batch_seqs text, out batch_checks text
)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
	lock_key constant bigint := 7451600000000000000 + '{steps}'::regclass::oid::bigint;
	has_written constant boolean := pg_current_xact_id_if_assigned() is not null;
	previous record;
	this_server record;
	other_server boolean; -- this is a restored copy: here, transactions may have other numbers
	new_epoch boolean;
	now_at bigint;
begin
	if pg_is_in_recovery() then
		raise exception 'this server is a standby, which takes no events: connect to the primary, for example with target_session_attrs=read-write';
	end if;
	if current_setting('transaction_isolation') <> 'read committed' then
		raise exception 'the isolation level is %, and the log needs read committed: set default_transaction_isolation of the role to it',
			current_setting('transaction_isolation');
	end if;
	for attempt in 1..2 loop
		select s.*, exists (
				select from {spans}(s.seen) p
				cross join lateral (select from {inbox} i where i.xid >= p.low and i.xid < p.high order by i.xid, i.id limit 1) as one
			) as news,
			pg_snapshot_xmax(s.seen) > pg_snapshot_xmax(pg_current_snapshot()) as went_back,
			coalesce((select m.id from {messages} m order by m.id desc limit 1), 0) as message
		into strict previous from {steps} s order by s.id desc limit 1;
		if previous.started <> pg_postmaster_start_time() then
			select * into this_server from {server}();
		else
			select previous.system, previous.timeline into this_server;
		end if;
		other_server := previous.went_back or previous.home <> '{steps}'::regclass::oid
			or coalesce(previous.system <> this_server.system, false);
		new_epoch := other_server
			or fence and coalesce(previous.timeline <> this_server.timeline, false);
		epoch := previous.epoch;
		last := previous.seq;
		message := previous.message;
		if subjects is null and not new_epoch and not previous.news then
			return;
		end if;
		if attempt = 1 then
			if has_written then
				raise exception '{step} was called in a transaction that has written: call it alone, and let the application insert into {inbox}';
			end if;
			if subjects is not null or new_epoch then
				perform pg_advisory_xact_lock(lock_key); -- then look again
			elsif not pg_try_advisory_xact_lock(lock_key) then -- another node adds to the log
				return;
			end if;
		end if;
	end loop;
	if other_server then
		-- What is there becomes what this transaction has inserted. The snapshot is from before it has
		-- its number, and so does not see it.
		with moved as (
			delete from {inbox} i returning i.id, i.subject, i.frame, i.key, i.dedup_key
		), kept as (
			insert into {inbox} (id, subject, frame, key, dedup_key) overriding system value
			select m.id, m.subject, m.frame, m.key, m.dedup_key from moved m
		)
		insert into {steps} as made (id, epoch, seq, total, net, seen, system, timeline, started, home)
		values (previous.id + 1, 1 + floor(random() * 2147483646)::integer, previous.seq, previous.total, previous.net, pg_current_snapshot(),
			coalesce(this_server.system, previous.system), coalesce(this_server.timeline, previous.timeline),
			pg_postmaster_start_time(), '{steps}'::regclass::oid)
		returning made.* into strict previous;
		new_epoch := false;
	end if;
	now_at := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
	with recursive walk as (
		select p.high, c.xids, c.ids
		from {spans}(previous.seen) p
		cross join lateral (
			select array_agg(r.xid) as xids, array_agg(r.id) as ids
			from (
				select i.xid, i.id from {inbox} i where i.xid >= p.low and i.xid < p.high
				order by i.xid, i.id limit {max_step} + 1
			) as r
		) as c
		union all
		select w.high, c.xids, c.ids
		from walk w
		cross join lateral (
			select array_agg(r.xid) as xids, array_agg(r.id) as ids
			from (
				select i.xid, i.id from {inbox} i
				where i.xid < w.high and (i.xid, i.id) > (w.xids[{max_step} + 1],
					case when w.xids[1] = w.xids[{max_step} + 1] then 9223372036854775807 else w.ids[{max_step} + 1] end)
				order by i.xid, i.id limit {max_step} + 1
			) as r
		) as c
		where cardinality(w.ids) > {max_step}
	), found as (
		select i.*
		from (
			select u.xid, u.id from walk w cross join lateral unnest(w.xids, w.ids) as u(xid, id)
			order by u.id limit {max_step} + 1
		) as f
		cross join lateral (
			select n.ctid as tid, n.id, n.subject, n.frame, n.key, n.dedup_key from {inbox} n where n.xid = f.xid and n.id = f.id offset 0
		) as i
	), sized as (
		select f.*, row_number() over part as n, sum(octet_length(f.frame)) over part as bytes
		from found f window part as (order by f.id)
	), committed as (
		select z.* from sized z where z.n = 1 or z.n <= {max_step} and z.bytes <= {max_frame}
	), rest as (
		select (select count(*) from found) > (select count(*) from committed) as more
	), given as (
		select t.n, t.subject, t.chk, nullif(t.key, '') as key, nullif(t.dedup_key, '') as dedup_key,
			substring(frames from (sum(t.size) over (order by t.n) - t.size)::integer + 1 for t.size) as frame
		from unnest(string_to_array(subjects, E'\n'), string_to_array(sizes, ',')::integer[], string_to_array(checks, ',')::integer[],
			string_to_array(keys, E'\n'), string_to_array(dedup_keys, E'\n'))
			with ordinality as t(subject, size, chk, key, dedup_key, n)
	), known as ( -- and the place of an earlier record with the same key, in the log or here
		select a.*, r.seq as first_seq, r.chk as first_chk,
			a.dedup_key is null or r.seq is null
				and row_number() over (partition by a.subject, a.dedup_key order by a.part, a.n) = 1 as is_new
		from (
			select 1 as part, c.n, c.subject, c.frame, c.key, c.dedup_key, 1 + floor(random() * 2147483646)::integer as chk
			from committed c
			union all
			select 2, g.n, g.subject, g.frame, g.key, g.dedup_key, g.chk from given g
		) as a
		left join lateral (
			select k.seq, k.chk from {repeats} k
			where k.subject = a.subject and k.key = a.dedup_key and k.at > now_at - {dedup_window} offset 0
		) as r on true
	), placed as (
		select k.*, previous.seq + count(*) filter (where k.is_new) over (order by k.part, k.n) as seq
		from known k
	), new as (
		select p.seq, p.chk, p.subject, p.frame, p.key,
			case when p.key is not null then coalesce(lag(p.seq) over same, old.seq) end as prev,
			octet_length(p.subject) + octet_length(p.frame) + coalesce(octet_length(p.key), 0) + {overhead}
			- case when p.key is not null then coalesce(lag(octet_length(p.frame)) over same, old.size, 0) else 0 end as grows
		from placed p
		left join lateral (
			select o.seq, octet_length(o.frame) as size from {log} o
			where o.subject = p.subject and o.key = p.key and length(o.frame) > 0 order by o.seq desc limit 1
		) as old on true
		where p.is_new window same as (partition by p.subject, p.key order by p.seq)
	), counted as (
		select w.*, previous.net + sum(w.grows) over (order by w.seq) as net from new w
	), added as (
		insert into {log} (seq, chk, at, total, subject, key, prev, frame)
		select c.seq, c.chk, now_at, greatest(previous.total, max(c.net) over (order by c.seq)), c.subject, c.key, c.prev, c.frame
		from counted c
		returning seq, total
	), remembered as (
		insert into {repeats} as k (subject, key, seq, chk, at)
		select p.subject, p.dedup_key, p.seq, p.chk, now_at from placed p where p.is_new and p.dedup_key is not null
		on conflict (subject, key) do update set seq = excluded.seq, chk = excluded.chk, at = excluded.at
	), removed as (
		delete from {inbox} i where i.ctid = any(array(select c.tid from committed c))
	), batch as (
		select string_agg(b.seq::text, ',' order by b.n) as seqs, string_agg(b.chk::text, ',' order by b.n) as checks
		from (
			select p.part, p.n,
				case when p.dedup_key is null then p.seq else coalesce(p.first_seq, first_value(p.seq) over same) end as seq,
				case when p.dedup_key is null then p.chk else coalesce(p.first_chk, first_value(p.chk) over same) end as chk
			from placed p window same as (partition by p.subject, p.dedup_key order by p.part, p.n)
		) as b
		where b.part = 2
	)
	insert into {steps} as made (id, epoch, seq, total, net, seen, system, timeline, started, home)
	select previous.id + 1,
		case when new_epoch then 1 + floor(random() * 2147483646)::integer else previous.epoch end,
		coalesce((select max(a.seq) from added a), previous.seq),
		coalesce((select max(a.total) from added a), previous.total),
		coalesce((select c.net from counted c order by c.seq desc limit 1), previous.net),
		case when r.more or other_server then previous.seen else pg_current_snapshot() end,
		coalesce(this_server.system, previous.system),
		coalesce(this_server.timeline, previous.timeline),
		pg_postmaster_start_time(),
		'{steps}'::regclass::oid
	from rest r
	returning made.epoch, made.seq, (select b.seqs from batch b), (select b.checks from batch b)
	into epoch, last, batch_seqs, batch_checks;
	delete from {steps} s where s.id = previous.id - 100; -- they help to see what happened
	perform pg_notify('{channel}', '');
end
$$;

-- {check_name} raises an exception if a name is none that the kit takes.
create function {check_name}(what text, name text) returns void
language plpgsql immutable as $$
begin
	if name is null or name = '' or octet_length(name) > {max_name} or name ~ '[\u0001-\u001f\u007f-\u009f]' then
		raise exception '% % must have 1 to {max_name} bytes, without control characters', what, coalesce(quote_literal(left(name, 64)), 'null')
			using errcode = 'invalid_parameter_value';
	end if;
end
$$;

-- {publish} sends an event from SQL, as part of the transaction: to 'user:ID', 'topic:NAME' or
-- 'all'. An empty type means "message". With a key, the event replaces earlier ones of its subject
-- with the same key. The role needs the right to insert into {inbox}.
create function {publish}(subject text, type text, data json, key text) returns void
language plpgsql as $$
declare
	kind constant text := split_part(subject, ':', 1);
	frame bytea;
begin
	if subject is null or not (subject = 'all' or kind in ('user', 'topic') and strpos(subject, ':') > 0) then
		raise exception 'subject % is not ''all'', ''user:'' with an ID, or ''topic:'' with a name', coalesce(quote_literal(left(subject, 64)), 'null')
			using errcode = 'invalid_parameter_value';
	end if;
	if subject <> 'all' then
		perform {check_name}('the name in the subject,', substr(subject, length(kind) + 2));
	end if;
	if key is not null then
		perform {check_name}('key', key);
	end if;
	if type ~ '[\n\r]' then
		raise exception 'type % contains a line break', quote_literal(left(type, 64))
			using errcode = 'invalid_parameter_value';
	end if;
	if type like 'sse.%' then
		raise exception 'type % begins with ''sse.'', which is reserved', quote_literal(left(type, 64))
			using errcode = 'invalid_parameter_value';
	end if;
	if data is null then
		raise exception 'data is null: for the JSON value null, pass ''null'''
			using errcode = 'invalid_parameter_value';
	end if;
	-- Line breaks of JSON are white space.
	frame := convert_to(case when type <> '' then 'event: ' || type || E'\n' else '' end
		|| 'data: ' || translate(data::text, E'\r\n', '  ') || E'\n\n', 'UTF8');
	if octet_length(frame) > 1048576 then
		raise exception 'the event has % bytes, more than 1048576', octet_length(frame)
			using errcode = 'invalid_parameter_value';
	end if;
	if key is null then -- the role may lack the right to other columns
		insert into {inbox} (subject, frame) values (subject, frame);
	else
		insert into {inbox} (subject, frame, key) values (subject, frame, key);
	end if;
end
$$;

create function {publish}(subject text, type text, data jsonb, key text) returns void
language sql as $$ select {publish}($1, $2, $3::json, $4) $$;

-- A literal is text. It must be JSON too.
create function {publish}(subject text, type text, data text, key text) returns void
language sql as $$ select {publish}($1, $2, $3::json, $4) $$;

create or replace function {publish}(subject text, type text, data json) returns void
language sql as $$ select {publish}($1, $2, $3, null::text) $$;

-- {command} sends a command to streams, as part of the transaction.
create function {command}(subject text, command text, data json) returns void
language sql as $$
	insert into {inbox} (subject, frame)
	values ($1, convert_to('event: ' || $2 || E'\ndata: ' || $3::text || E'\n\n', 'UTF8'))
$$;

-- {grant} has the open streams of a user read a topic, as part of the transaction.
create function {grant}(user_id text, topic text) returns void
language plpgsql as $$
begin
	perform {check_name}('user ID', user_id);
	perform {check_name}('topic', topic);
	perform {command}('command:' || user_id, 'grant', json_build_object('topic', topic));
end
$$;

-- {revoke} has no open stream of a user read a topic any more, as part of the transaction.
create function {revoke}(user_id text, topic text) returns void
language plpgsql as $$
begin
	perform {check_name}('user ID', user_id);
	perform {check_name}('topic', topic);
	perform {command}('command:' || user_id, 'revoke', json_build_object('topic', topic));
end
$$;

-- {revoke_topic} is {revoke} for all users.
create function {revoke_topic}(topic text) returns void
language plpgsql as $$
begin
	perform {check_name}('topic', topic);
	perform {command}('revoke:all', 'revoke', json_build_object('topic', topic));
end
$$;

-- The functions search the schema of the tables alone, whoever calls them. {spans} has none, so that
-- it becomes part of the statements that call it.
do $$
declare
	f regprocedure;
	own constant name := (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = '{log}'::regclass);
begin
	foreach f in array array[
		'{step}(text, text, text, bytea, boolean)', '{step}(text, text, text, text, text, bytea, boolean)',
		'{check_name}(text, text)', '{command}(text, text, json)',
		'{publish}(text, text, json)', '{publish}(text, text, json, text)', '{publish}(text, text, jsonb, text)', '{publish}(text, text, text, text)',
		'{grant}(text, text)', '{revoke}(text, text)', '{revoke_topic}(text)'
	]::regprocedure[] loop
		execute format('alter function %s set search_path = %I, pg_temp', f, own);
	end loop;
end
$$;

update {meta} set version = 2;
