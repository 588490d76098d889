-- The log in PostgreSQL 13 or later. The names in braces are replaced. Statements end with a
-- semicolon before a blank line.

create table {meta} (version integer not null);

-- What is to be added to the log, in transactions of the application. Whoever may insert into it
-- may send any event to any user.
create table {inbox} (
	xid xid8 not null default pg_current_xact_id(),
	id bigint generated always as identity,
	subject text not null,
	frame bytea not null,
	primary key (xid, id)
);

-- The log. Only the function {step} adds to it. at is in microseconds since 1970, by the server's
-- clock. total counts the bytes of all entries up to this one, each with {overhead} beside its
-- text.
create table {log} (
	seq bigint primary key,
	chk integer not null,
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
	taken bigint not null, -- no row of the inbox with a higher id was added
	seen pg_snapshot not null, -- the rows of the inbox that it sees were added
	system bigint, -- of pg_control_system(); null if the role may not ask
	timeline integer
);

-- Messages between nodes. An id is a time in microseconds since 1970.
create unlogged table {messages} (
	id bigint primary key,
	receiver text not null,
	body bytea not null
);

-- {server} says which server this is: the timeline changes when a standby is promoted.
create function {server}(out system bigint, out timeline integer)
language plpgsql set search_path from current as $$
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

-- {step} adds a batch of records to the log, and before them what was committed to the inbox. It
-- returns the state of the log. frames are the frames of the batch in one piece, subjects their
-- subjects in lines, sizes and checks their lengths and checks with commas between; null for none.
-- fence says that positions from before a promotion are no longer valid.
--
-- A row of the inbox is new if the snapshot of the last step does not see its transaction, and this
-- one does. So no transaction is passed over, however late it commits, and none waits. Rows are deleted
-- here, by their keys: to look for old rows later would take ever longer while an old transaction
-- keeps those that were deleted.
create function {step}(
	subjects text, sizes text, checks text, frames bytea, fence boolean,
	out epoch integer, out last bigint, out message bigint
)
language plpgsql set search_path from current set enable_seqscan = off set plan_cache_mode = force_generic_plan set jit = off as $$
declare
	key constant bigint := 7451600000000000000 + '{steps}'::regclass::oid::bigint;
	own constant boolean := pg_current_xact_id_if_assigned() is not null;
	previous {steps};
	here record;
	low xid8;
	waiting xid8[];
	moved boolean := false; -- to a server whose transactions have other numbers
	fenced boolean;
	moved_subjects text[];
	moved_frames bytea[];
	moved_seen pg_snapshot;
begin
	if pg_is_in_recovery() then
		raise exception 'this server is a standby, which takes no events'
			using hint = 'connect to the primary, for example with target_session_attrs=read-write';
	end if;
	if current_setting('transaction_isolation') <> 'read committed' then
		raise exception 'the isolation level is %, and the log needs read committed', current_setting('transaction_isolation')
			using hint = 'set default_transaction_isolation of the role to read committed';
	end if;
	select * into here from {server}();
	for attempt in 1..2 loop
		select * into strict previous from {steps} s order by s.id desc limit 1;
		moved := coalesce(previous.system <> here.system, false)
			or pg_snapshot_xmax(previous.seen) > pg_snapshot_xmax(pg_current_snapshot());
		fenced := moved or fence and coalesce(previous.timeline <> here.timeline, false);
		low := case when moved then '0' else pg_snapshot_xmax(previous.seen) end;
		waiting := array(select pg_snapshot_xip(previous.seen));
		if subjects is null and not fenced
			and not exists (select from {inbox} i where i.xid >= low)
			and not exists (select from {inbox} i where i.xid = any(waiting)) then
			epoch := previous.epoch;
			last := previous.seq;
			message := coalesce((select m.id from {messages} m order by m.id desc limit 1), 0);
			return;
		end if;
		if attempt = 1 then
			if own then
				raise exception '{step} was called in a transaction that has written'
					using hint = 'call it alone; transactions of the application insert into {inbox}';
			end if;
			if subjects is not null or fenced then
				perform pg_advisory_xact_lock(key); -- then look again
			elsif not pg_try_advisory_xact_lock(key) then -- another node adds to the log
				epoch := previous.epoch;
				last := previous.seq;
				message := coalesce((select m.id from {messages} m order by m.id desc limit 1), 0);
				return;
			end if;
		end if;
	end loop;
	if moved then
		-- The numbers of the rows mean nothing here. Those that the last step did not see are added; ids
		-- tell them from rows that were inserted here.
		with old as (delete from {inbox} returning *)
		select array_agg(o.subject order by o.id), array_agg(o.frame order by o.id), pg_current_snapshot()
		into moved_subjects, moved_frames, moved_seen
		from old o
		where o.id > previous.taken or not pg_visible_in_snapshot(o.xid, previous.seen);
		-- Without a row the aggregate still returns the snapshot.
	end if;
	with committed as (
		delete from {inbox} i where not moved and (i.xid >= low or i.xid = any(waiting)) returning i.id, i.subject, i.frame
	), given as (
		select t.n, t.subject, t.chk, substring(frames from (sum(t.size) over (order by t.n) - t.size)::integer + 1 for t.size) as frame
		from unnest(string_to_array(subjects, E'\n'), string_to_array(sizes, ',')::integer[], string_to_array(checks, ',')::integer[])
			with ordinality as t(subject, size, chk, n)
	), new as (
		select row_number() over (order by a.part, a.n) as n, a.subject, a.frame, a.chk
		from (
			select 1 as part, m.n, m.subject, m.frame, null::integer as chk
			from unnest(moved_subjects, moved_frames) with ordinality as m(subject, frame, n)
			union all select 2, c.id, c.subject, c.frame, null from committed c
			union all select 3, g.n, g.subject, g.frame, g.chk from given g
		) a
	), added as (
		insert into {log} (seq, chk, at, total, subject, frame)
		select previous.seq + w.n, coalesce(w.chk, 1 + floor(random() * 2147483646)::integer),
			(extract(epoch from clock_timestamp()) * 1000000)::bigint,
			previous.total + sum(octet_length(w.subject) + octet_length(w.frame) + {overhead}) over (order by w.n),
			w.subject, w.frame
		from new w
		returning seq, total
	)
	insert into {steps} as made (id, epoch, seq, total, taken, seen, system, timeline)
	select previous.id + 1,
		case when fenced then 1 + floor(random() * 2147483646)::integer else previous.epoch end,
		coalesce((select max(a.seq) from added a), previous.seq),
		coalesce((select max(a.total) from added a), previous.total),
		greatest(previous.taken, (select max(c.id) from committed c)),
		coalesce(moved_seen, pg_current_snapshot()),
		coalesce(here.system, previous.system),
		coalesce(here.timeline, previous.timeline)
	returning made.epoch, made.seq into epoch, last;
	delete from {steps} s where s.id = previous.id - 100;
	message := coalesce((select m.id from {messages} m order by m.id desc limit 1), 0);
	perform pg_notify('{channel}', '');
end
$$;

-- {post} adds messages to nodes. receivers are names in lines, of which * stands for all nodes.
create function {post}(receivers text, sizes text, bodies bytea) returns void
language plpgsql set search_path from current as $$
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
language plpgsql set search_path from current as $$
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
		raise exception 'data is null'
			using errcode = 'invalid_parameter_value', hint = 'for the JSON value null, pass ''null''';
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
language sql set search_path from current as $$ select {publish}($1, $2, $3::json) $$;

-- A literal is text. It must be JSON too.
create function {publish}(subject text, type text, data text) returns void
language sql set search_path from current as $$ select {publish}($1, $2, $3::json) $$;

-- {disconnect} ends the streams of a user, as part of the transaction.
create function {disconnect}(user_id text, reason text) returns void
language plpgsql set search_path from current as $$
begin
	if user_id is null or user_id = '' or octet_length(user_id) > 256 or user_id ~ '[\u0001-\u001f\u007f-\u009f]' then
		raise exception 'user ID % must have 1 to 256 bytes, without control characters', coalesce(quote_literal(left(user_id, 64)), 'null')
			using errcode = 'invalid_parameter_value';
	end if;
	insert into {inbox} (subject, frame) values ('command:' || user_id,
		convert_to(E'event: disconnect\ndata: ' || json_build_object('reason', coalesce(reason, ''))::text || E'\n\n', 'UTF8'));
end
$$;

insert into {steps} (id, epoch, seq, total, taken, seen, system, timeline)
select 0, 1 + floor(random() * 2147483646)::integer, 0, 0, 0, pg_current_snapshot(), s.system, s.timeline
from {server}() s;

insert into {meta} (version) values (1);
