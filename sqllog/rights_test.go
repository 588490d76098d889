package sqllog_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// documented returns the block of SQL in docs/database.md that has a text. Tests run it, so that it
// works as it stands there.
func documented(t *testing.T, text string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/database.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for i, part := range strings.Split(string(page), "```") {
		if block, ok := strings.CutPrefix(part, "sql\n"); ok && i%2 == 1 && strings.Contains(block, text) {
			found = append(found, block)
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/database.md has %d blocks of SQL with %q", len(found), text)
	}
	return found[0]
}

// documentedGrants returns the rights of nodes and of roles that only send.
func documentedGrants(t *testing.T) (node, sender string) {
	return documented(t, "to node"), documented(t, "to sender")
}

// newRole makes a role, and returns a pool of it. Roles are of the whole server, so each test has
// other names.
func newRole(t *testing.T, admin *sql.DB, url, name string) *sql.DB {
	t.Helper()
	run(t, admin, "create role "+name+" login")
	db := openURL(t, strings.Replace(url, "postgres@", name+"@", 1))
	t.Cleanup(func() {
		_ = db.Close()
		_, _ = admin.Exec("drop owned by " + name + " cascade")
		_, _ = admin.Exec("drop role " + name)
	})
	return db
}

// wantDenied fails unless the role lacks the right to each statement.
func wantDenied(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// TestDocumentedRightsSuffice has a role for nodes and one that only sends, whose rights are those
// of docs/database.md. Another role has made the tables.
func TestDocumentedRightsSuffice(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	run(t, admin, allStatements(t, "ginsse_")...)
	node, sender := newRole(t, admin, url, "node"), newRole(t, admin, url, "sender")
	nodeGrants, senderGrants := documentedGrants(t)
	run(t, admin, nodeGrants, senderGrants)
	log := inPostgres.openLog(t, node, sqllog.Config{})
	r := newReader(t, log, "user:alice")
	run(t, sender, `select ginsse_publish('user:alice', 'e', '1')`)
	r.next(t, 1)
	commit(t, putAs(t, sender, log, record("user:alice", "2")))
	r.next(t, 1)
	run(t, sender, `select ginsse_disconnect('bob', 'signed out')`, `select ginsse_grant('bob', 'news')`, `select ginsse_revoke('bob', 'news')`, `select ginsse_revoke_topic('news')`)
	keyed := record("user:alice", "replaced")
	for _, keyed.DedupKey = range []string{"1", "2", "2"} { // a row with frame, and one without
		keyed.Key = "k"
		commit(t, putAs(t, sender, log, keyed))
	}
	r.next(t, 1)
	until(t, "the end of a replaced frame", func() bool {
		return scan[int](t, admin, `select count(*) from ginsse_log where key = 'k' and length(frame) = 0`) == 1
	})
	if _, err := log.Append(t.Context(), record("user:alice", "3")); err != nil {
		t.Fatal(err)
	}
	r.next(t, 1)
	got := make(chan []byte, 1)
	defer log.Receive("me", func(m []byte) { got <- m })()
	if err := log.Post("me", []byte("hello")); err != nil {
		t.Error(err)
	}
	<-got

	// Each step would add a row of a transaction of the future again.
	wantDenied(t, sender,
		`insert into ginsse_inbox (xid, subject, frame) values ('999999999999', 'user:alice', convert_to(E'data: 1\n\n', 'UTF8'))`,
		`select last from ginsse_step('all', '1', '1', '', '', 'x', true)`, `select frame from ginsse_log`, `delete from ginsse_inbox`)
	run(t, admin, `revoke create on schema public from public`)
	_, err := sqllog.OpenPostgres(t.Context(), sender, sqllog.Config{TablePrefix: "other_"})
	if err == nil || !strings.Contains(err.Error(), "PostgresMigrations") {
		t.Errorf("a role that may make no tables: %v", err)
	}
}

// TestDocumentedRightsSufficeInASchema has tables in a schema that is in no role's search path.
func TestDocumentedRightsSufficeInASchema(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	run(t, admin, `create schema events`)
	run(t, admin, allStatements(t, "events.ginsse_")...)
	node, sender := newRole(t, admin, url, "schema_node"), newRole(t, admin, url, "schema_sender")
	run(t, admin, `grant usage on schema events to schema_node, schema_sender`)
	nodeGrants, senderGrants := documentedGrants(t)
	run(t, admin, strings.NewReplacer("ginsse_", "events.ginsse_", "to node", "to schema_node", "to sender", "to schema_sender").Replace(nodeGrants+senderGrants))
	log := inPostgres.openLog(t, node, sqllog.Config{TablePrefix: "events.ginsse_"})
	r := newReader(t, log, "all")
	run(t, sender, `select events.ginsse_publish('all', 'e', '1')`)
	commit(t, putAs(t, sender, log, record("all", "2")))
	if _, err := log.Append(t.Context(), record("all", "3")); err != nil {
		t.Error(err)
	}
	r.next(t, 3)
}

// putAs puts an event into a transaction of a role.
func putAs(t *testing.T, role *sql.DB, log *sqllog.Log, r eventlog.Record) *sql.Tx {
	t.Helper()
	tx, err := role.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if err := log.Tx(tx).Put(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return tx
}

// TestMissingRightsAreNamed takes rights from a node's role.
func TestMissingRightsAreNamed(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	_ = inPostgres.openLog(t, admin, sqllog.Config{}).Close()
	node := newRole(t, admin, url, "lacking_node")
	nodeGrants, _ := documentedGrants(t)
	for _, test := range []struct{ revoke, want string }{
		{`revoke delete on ginsse_log from lacking_node`, "delete on ginsse_log"},
		{`revoke insert, select on ginsse_messages from lacking_node`, "insert on ginsse_messages"},
		{`revoke update on ginsse_log from lacking_node`, "update on ginsse_log"},
		{`revoke update on ginsse_repeats from lacking_node`, "update on ginsse_repeats"},
		{`revoke all on ginsse_meta from lacking_node`, "ginsse_meta"},
	} {
		run(t, admin, strings.ReplaceAll(nodeGrants, "to node", "to lacking_node"))
		_ = inPostgres.openLog(t, node, sqllog.Config{}).Close()
		run(t, admin, test.revoke)
		log, err := sqllog.OpenPostgres(t.Context(), node, sqllog.Config{})
		if err == nil {
			_ = log.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "docs/database.md") {
			t.Errorf("after %s: %v", test.revoke, err)
		}
	}
}

// documentedTrigger makes the tables and the trigger of docs/database.md, with two posts.
func documentedTrigger(t *testing.T, admin *sql.DB) {
	t.Helper()
	run(t, admin,
		`create table posts (id bigint primary key, author text not null)`,
		`create table comments (id bigint generated always as identity, post bigint not null, author text not null, body text not null)`,
		`insert into posts values (1, 'alice'), (2, 'bob')`,
		documented(t, "create trigger"))
}

// TestDocumentedTriggerPublishes has a role that may only insert comments.
func TestDocumentedTriggerPublishes(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	documentedTrigger(t, admin)
	writer := newRole(t, admin, url, "commenter")
	run(t, admin, `grant insert on comments to commenter`)
	r := newReader(t, log, "user:alice")
	tx, err := writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, statement := range []string{
		`savepoint one`, `insert into comments (post, author, body) values (1, 'carol', 'no')`, `rollback to savepoint one`,
		`insert into comments (post, author, body) values (2, 'carol', 'other')`,
		`insert into comments (post, author, body) values (1, 'carol', 'yes')`,
	} {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	commit(t, tx)
	if got := r.next(t, 1); len(got) != 1 || !strings.Contains(got[0], `"body": "yes"`) {
		t.Errorf("read %q", got)
	}
	wantDenied(t, writer, `insert into ginsse_inbox (subject, frame) values ('all', 'x')`, `select author from posts`)
}

// TestTemporaryTablesAreNotUsed has a role that may only insert comments make a temporary table with
// the name of the inbox, and a trigger on it. The function of docs/database.md would run it with the
// rights of its owner.
func TestTemporaryTablesAreNotUsed(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{"documented": "", "manual": "public, pg_temp"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := newDatabase(t)
			admin := openURL(t, url)
			log := inPostgres.openLog(t, admin, sqllog.Config{})
			documentedTrigger(t, admin)
			if path != "" {
				run(t, admin, `alter function notify_author set search_path = `+path)
			}
			writer := newRole(t, admin, url, "writer_"+name)
			run(t, admin, `create table secrets (s text)`, `insert into secrets values ('hidden')`, `grant insert on comments to writer_`+name)
			conn, err := writer.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			r := newReader(t, log, "user:alice")
			for _, statement := range []string{
				`create temporary table loot (who text, s text)`,
				`create temporary table ginsse_inbox (subject text, frame bytea)`,
				`grant all on loot, ginsse_inbox to public`,
				`create function pg_temp.steal() returns trigger language plpgsql as $$ begin insert into pg_temp.loot select current_user, s from public.secrets s; return new; end $$`,
				`create trigger steal before insert on ginsse_inbox for each row execute function pg_temp.steal()`,
				`insert into comments (post, author, body) values (1, 'carol', 'hello')`,
			} {
				if _, err := conn.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			var stolen int
			if err := conn.QueryRowContext(t.Context(), `select count(*) from loot`).Scan(&stolen); err != nil || stolen > 0 {
				t.Errorf("a role that may only insert comments ran its code with the rights of the owner; %v", err)
			}
			r.next(t, 1)
		})
	}
}

// TestSchemaNamedAfterItsOwner has the tables in the schema that only its owner finds by the default
// search path.
func TestSchemaNamedAfterItsOwner(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	owner, node, sender := newRole(t, admin, url, "own_owner"), newRole(t, admin, url, "own_node"), newRole(t, admin, url, "own_sender")
	run(t, admin, `create schema own_owner authorization own_owner`)
	log := inPostgres.openLog(t, owner, sqllog.Config{})
	run(t, admin, `grant usage on schema own_owner to own_node, own_sender`, `grant all on all tables in schema own_owner to own_node`,
		`grant insert (subject, frame) on own_owner.ginsse_inbox to own_sender`)
	r := newReader(t, log, "all")
	run(t, sender, `select own_owner.ginsse_publish('all', 'e', '1')`)
	other := inPostgres.openLog(t, node, sqllog.Config{TablePrefix: "own_owner.ginsse_"})
	if _, err := other.Append(t.Context(), record("all", "2")); err != nil {
		t.Error(err)
	}
	r.next(t, 2)
}

// TestFunctionsOfOtherRolesAreNotCalled has a role make a function with the name of the log's, which
// would fit a call without types. On Postgres 13 and 14, any role may do so in the schema public.
func TestFunctionsOfOtherRolesAreNotCalled(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	admin := openURL(t, url)
	_ = inPostgres.openLog(t, admin, sqllog.Config{}).Close()
	other := newRole(t, admin, url, "maker")
	run(t, admin, `grant create on schema public to maker`)
	run(t, other, `create table loot (who text)`, `grant all on loot to public`,
		`create function ginsse_step(subjects text, sizes text, checks text, keys text, dedup_keys text, frames text, fence boolean, out epoch integer, out last bigint, out message bigint)
		language plpgsql as $$ begin
			insert into public.loot values (current_user);
			select s.epoch, s.seq, 0 into epoch, last, message from ginsse_steps s order by id desc limit 1;
		end $$`)
	for _, mode := range []string{"", "&default_query_exec_mode=simple_protocol"} {
		log := inPostgres.openLog(t, openURL(t, url+mode), sqllog.Config{})
		if _, err := log.Append(t.Context(), record("user:alice", "1")); err != nil {
			t.Error(err)
		}
		commit(t, putAs(t, admin, log, record("user:alice", "2")))
		if _, err := log.Head(t.Context()); err != nil {
			t.Error(err)
		}
	}
	var called int
	if err := admin.QueryRowContext(t.Context(), `select count(*) from loot`).Scan(&called); err != nil || called > 0 {
		t.Errorf("a function of another role was called %d times; %v", called, err)
	}
}
