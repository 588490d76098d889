-- Version 1 of the log in PostgreSQL. postgres_2.sql has what followed. The names in braces are
-- replaced. Statements end with a semicolon before a blank line.

create table {meta} (version integer not null);

-- What is to be added to the log, by transactions of the application. A step deletes what it adds.
-- Whoever may insert into it may send any event to any user. The bounds are those of the log: no row of it keeps others out.
create table {inbox} (
	xid xid8 not null default pg_current_xact_id(),
	id bigint generated always as identity,
	subject text not null check (octet_length(subject) <= {max_subject}),
	frame bytea not null check (octet_length(frame) <= {max_frame}),
	primary key (xid, id)
);

-- The log. Only the function {step} adds to it. at is in microseconds since 1970, by the server's
-- clock. total counts the bytes of all entries up to this one, each with {overhead} beside its
-- text.
create table {log} (
	seq bigint primary key check (seq > 0),
	chk integer not null check (chk > 0),
	at bigint not null,
	total bigint not null,
	subject text collate "C" not null,
	frame bytea not null
);

create index on {log} (subject, seq);

-- One row for each time that entries were added. Only the newest one counts. It is never updated,
-- as old versions of a row would have to be skipped while a transaction stays open.
create table {steps} (
	id bigint primary key,
	epoch integer not null,
	seq bigint not null,
	total bigint not null,
	seen pg_snapshot not null, -- committed rows of the inbox are of transactions that it does not see
	system bigint, -- of pg_control_system(); null if the role may not ask
	timeline integer,
	started timestamptz not null, -- when the server was: the same time is the same server
	home oid not null -- of this table: a restored copy has another
);

-- Messages between nodes. An id is a time in microseconds since 1970.
create unlogged table {messages} (
	id bigint primary key,
	receiver text not null,
	body bytea not null
);

-- {server} says which server this is: the timeline changes when a standby is promoted.
create function {server}(out system bigint, out timeline integer)
language plpgsql as $$
begin
	begin
		select s.system_identifier into system from pg_control_system() s;
	exception when others then
		system := null;
	end;
	begin
		timeline := ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer;
	exception when others then
		timeline := null;
	end;
end
$$;

-- {fresh} returns the rows of the inbox that were committed since a snapshot: its transactions that
-- have ended, and later ones, of which those in between are skipped that are still open.
create function {fresh}(seen pg_snapshot) returns table (xid xid8, id bigint, subject text, frame bytea)
language sql stable as $$
	select i.xid, i.id, i.subject, i.frame
	from (
		select x as low, (x::text::bigint + 1)::text::xid8 as high
		from pg_snapshot_xip(seen) as x where pg_visible_in_snapshot(x, pg_current_snapshot())
		union all
		select coalesce((lag(x) over (order by x)::text::bigint + 1)::text::xid8, pg_snapshot_xmax(seen)), x
		from (
			select x from pg_snapshot_xip(pg_current_snapshot()) as x where x >= pg_snapshot_xmax(seen)
			union all select pg_snapshot_xmax(pg_current_snapshot())
		) as open(x)
	) as span
	cross join lateral (
		select n.xid, n.id, n.subject, n.frame from {inbox} n
		where n.xid >= span.low and n.xid < span.high order by n.xid, n.id
	) as i
$$;

-- {step} adds a batch of records to the log, and before them what was committed to the inbox. It
-- returns the state of the log. frames are the frames of the batch in one piece, subjects their
-- subjects in lines, sizes and checks their lengths and checks with commas between; null for none.
-- fence says that positions from before a promotion are no longer valid. The lock is held until the
-- transaction ends, so the answer is one row.
--
-- A row of the inbox is new if the snapshot of the last step does not see its transaction, and this
-- one does. So no transaction is passed over, however late it commits, and none waits. Rows are
-- deleted at once, by their keys: to look for old ones would take ever longer while an old
-- transaction keeps those that were deleted. If more rows are new than one step adds, the snapshot
-- stays, and the rest is for the next step.
create function {step}(
	subjects text, sizes text, checks text, frames bytea, fence boolean,
	out epoch integer, out last bigint, out message bigint
)
language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
	key constant bigint := 7451600000000000000 + '{steps}'::regclass::oid::bigint;
	has_written constant boolean := pg_current_xact_id_if_assigned() is not null;
	previous record;
	this_server record;
	other_server boolean; -- this is a restored copy: here, transactions may have other numbers
	new_epoch boolean;
begin
	if pg_is_in_recovery() then
		raise exception 'this server is a standby, which takes no events: connect to the primary, for example with target_session_attrs=read-write';
	end if;
	if current_setting('transaction_isolation') <> 'read committed' then
		raise exception 'the isolation level is %, and the log needs read committed: set default_transaction_isolation of the role to it',
			current_setting('transaction_isolation');
	end if;
	for attempt in 1..2 loop
		select s.*, exists (select from {fresh}(s.seen)) as news,
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
				perform pg_advisory_xact_lock(key); -- then look again
			elsif not pg_try_advisory_xact_lock(key) then -- another node adds to the log
				return;
			end if;
		end if;
	end loop;
	if other_server then
		-- What is there becomes what this transaction has inserted. The snapshot is from before it has
		-- its number, and so does not see it.
		with moved as (
			delete from {inbox} i returning i.id, i.subject, i.frame
		), kept as (
			insert into {inbox} (id, subject, frame) overriding system value select m.id, m.subject, m.frame from moved m
		)
		insert into {steps} as made (id, epoch, seq, total, seen, system, timeline, started, home)
		values (previous.id + 1, 1 + floor(random() * 2147483646)::integer, previous.seq, previous.total, pg_current_snapshot(),
			coalesce(this_server.system, previous.system), coalesce(this_server.timeline, previous.timeline),
			pg_postmaster_start_time(), '{steps}'::regclass::oid)
		returning made.* into strict previous;
		new_epoch := false;
	end if;
	with found as (
		select f.xid, f.id, f.subject, f.frame from {fresh}(previous.seen) f
		limit {max_step} + 1
	), sized as (
		select f.*, row_number() over part as n, sum(octet_length(f.frame)) over part as bytes
		from found f window part as (order by f.xid, f.id)
	), committed as (
		select z.* from sized z where z.n = 1 or z.n <= {max_step} and z.bytes <= {max_frame}
	), rest as (
		select (select count(*) from found) > (select count(*) from committed) as more
	), given as (
		select t.n, t.subject, t.chk, substring(frames from (sum(t.size) over (order by t.n) - t.size)::integer + 1 for t.size) as frame
		from unnest(string_to_array(subjects, E'\n'), string_to_array(sizes, ',')::integer[], string_to_array(checks, ',')::integer[])
			with ordinality as t(subject, size, chk, n)
	), new as (
		select row_number() over (order by a.part, a.n) as n, a.subject, a.frame, a.chk
		from (
			select 1 as part, c.n, c.subject, c.frame, null::integer as chk from committed c
			union all select 2, g.n, g.subject, g.frame, g.chk from given g
		) a
	), added as (
		insert into {log} (seq, chk, at, total, subject, frame)
		select previous.seq + w.n, coalesce(w.chk, 1 + floor(random() * 2147483646)::integer),
			(extract(epoch from clock_timestamp()) * 1000000)::bigint,
			previous.total + sum(octet_length(w.subject) + octet_length(w.frame) + {overhead}) over (order by w.n),
			w.subject, w.frame
		from new w
		returning seq, total
	), removed as (
		delete from {inbox} i using committed c where i.xid = c.xid and i.id = c.id
	)
	insert into {steps} as made (id, epoch, seq, total, seen, system, timeline, started, home)
	select previous.id + 1,
		case when new_epoch then 1 + floor(random() * 2147483646)::integer else previous.epoch end,
		coalesce((select max(a.seq) from added a), previous.seq),
		coalesce((select max(a.total) from added a), previous.total),
		case when r.more or other_server then previous.seen else pg_current_snapshot() end,
		coalesce(this_server.system, previous.system),
		coalesce(this_server.timeline, previous.timeline),
		pg_postmaster_start_time(),
		'{steps}'::regclass::oid
	from rest r
	returning made.epoch, made.seq into epoch, last;
	delete from {steps} s where s.id = previous.id - 100; -- they help to see what happened
	perform pg_notify('{channel}', '');
end
$$;

-- {post} adds messages to nodes. receivers are names in lines, of which * stands for all nodes.
create function {post}(receivers text, sizes text, bodies bytea) returns void
language plpgsql as $$
declare
	newest bigint;
begin
	perform pg_advisory_xact_lock(7451600000000000000 + '{messages}'::regclass::oid::bigint);
	newest := greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint, (select max(m.id) from {messages} m));
	insert into {messages} (id, receiver, body)
	select newest + t.n, t.receiver, substring(bodies from (sum(t.size) over (order by t.n) - t.size)::integer + 1 for t.size)
	from unnest(string_to_array(receivers, E'\n'), string_to_array(sizes, ',')::integer[]) with ordinality as t(receiver, size, n);
	perform pg_notify('{channel}', '');
end
$$;

-- {publish} sends an event from SQL, as part of the transaction: to 'user:ID', 'topic:NAME' or
-- 'all'. An empty type means "message". The role needs the right to insert into {inbox}.
create function {publish}(subject text, type text, data json) returns void
language plpgsql as $$
declare
	kind constant text := split_part(subject, ':', 1);
	name constant text := substr(subject, length(split_part(subject, ':', 1)) + 2);
	frame bytea;
begin
	if subject is null or not (subject = 'all' or kind in ('user', 'topic') and strpos(subject, ':') > 0) then
		raise exception 'subject % is not ''all'', ''user:'' with an ID, or ''topic:'' with a name', coalesce(quote_literal(left(subject, 64)), 'null')
			using errcode = 'invalid_parameter_value';
	end if;
	if subject <> 'all' and (name = '' or octet_length(name) > 256 or name ~ '[\u0001-\u001f\u007f-\u009f]') then
		raise exception 'the name in subject % must have 1 to 256 bytes, without control characters', quote_literal(left(subject, 64))
			using errcode = 'invalid_parameter_value';
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
	insert into {inbox} (subject, frame) values (subject, frame);
end
$$;

create function {publish}(subject text, type text, data jsonb) returns void
language sql as $$ select {publish}($1, $2, $3::json) $$;

-- A literal is text. It must be JSON too.
create function {publish}(subject text, type text, data text) returns void
language sql as $$ select {publish}($1, $2, $3::json) $$;

-- {disconnect} ends the streams of a user, as part of the transaction.
create function {disconnect}(user_id text, reason text) returns void
language plpgsql as $$
begin
	if user_id is null or user_id = '' or octet_length(user_id) > 256 or user_id ~ '[\u0001-\u001f\u007f-\u009f]' then
		raise exception 'user ID % must have 1 to 256 bytes, without control characters', coalesce(quote_literal(left(user_id, 64)), 'null')
			using errcode = 'invalid_parameter_value';
	end if;
	if octet_length(reason) > 1024 then
		raise exception 'the reason has % bytes, more than 1024', octet_length(reason)
			using errcode = 'invalid_parameter_value';
	end if;
	insert into {inbox} (subject, frame) values ('command:' || user_id,
		convert_to(E'event: disconnect\ndata: ' || json_build_object('reason', coalesce(reason, ''))::text || E'\n\n', 'UTF8'));
end
$$;

insert into {steps} (id, epoch, seq, total, seen, system, timeline, started, home)
select 0, 1 + floor(random() * 2147483646)::integer, 0, 0, '1:1:', s.system, s.timeline, pg_postmaster_start_time(), '{steps}'::regclass::oid
from {server}() s;

-- The functions search the schema of the tables alone, whoever calls them.
do $$
declare
	f record;
begin
	for f in
		select p.oid::regprocedure as name, n.nspname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
		where p.pronamespace = (select c.relnamespace from pg_class c where c.oid = '{log}'::regclass)
			and p.oid in ('{step}(text, text, text, bytea, boolean)'::regprocedure, '{server}()'::regprocedure,
				'{post}(text, text, bytea)'::regprocedure, '{disconnect}(text, text)'::regprocedure,
				'{publish}(text, text, json)'::regprocedure, '{publish}(text, text, jsonb)'::regprocedure,
				'{publish}(text, text, text)'::regprocedure)
	loop
		execute format('alter function %s set search_path = %I, pg_temp', f.name, f.nspname);
	end loop;
end
$$;

insert into {meta} (version) values (1);
