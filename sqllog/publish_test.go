package sqllog_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

func TestPublishFromSQL(t *testing.T) {
	t.Parallel()
	url := newDatabase(t)
	db := openURL(t, url)
	log := inPostgres.openLog(t, db, sqllog.Config{})
	r := newReader(t, log, "user:alice", "topic:news", "all", "user:Ünï")
	for _, statement := range []string{
		`select ginsse_publish('user:alice', 'comment', '{"a": "b"}')`,
		`select ginsse_publish('topic:news', 'comment', json_build_object('a', 1))`,
		`select ginsse_publish('all', '', jsonb_build_object('a', 1))`,
		`select ginsse_publish('all', null, to_json('x'::text))`,
		"select ginsse_publish('user:Ünï', 'c', E'[1,\\r\\n2]')",
		`select ginsse_publish('user:alice', 'c', 'null')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	want := []string{`{"a": "b"}`, `{"a" : 1}`, `{"a": 1}`, `"x"`, `[1,  2]`, `null`}
	for i, got := range r.next(t, len(want)) {
		if got != want[i] || !json.Valid([]byte(got)) {
			t.Errorf("event %d has data %s, want %s", i, got, want[i])
		}
	}
	for statement, want := range map[string]string{
		`select ginsse_publish('alice', 'c', '1')`:                         "subject 'alice'",
		`select ginsse_publish(null, 'c', '1')`:                            "subject null",
		`select ginsse_publish('user:', 'c', '1')`:                         "1 to 256 bytes",
		`select ginsse_publish('user', 'c', '1')`:                          "subject 'user'",
		`select ginsse_publish('command:alice', 'c', '1')`:                 "subject 'command:alice'",
		`select ginsse_publish('all:x', 'c', '1')`:                         "subject 'all:x'",
		`select ginsse_publish('user:' || repeat('ä', 129), 'c', '1')`:     "1 to 256 bytes",
		"select ginsse_publish(E'user:a\\nb', 'c', '1')":                   "control characters",
		"select ginsse_publish(E'user:a\\u0085b', 'c', '1')":               "control characters",
		"select ginsse_publish('all', E'c\\nd', '1')":                      "line break",
		"select ginsse_publish('all', E'c\\rd', '1')":                      "line break",
		`select ginsse_publish('all', 'sse.gap', '1')`:                     "reserved",
		`select ginsse_publish('all', 'c', null::json)`:                    "null",
		`select ginsse_publish('all', 'c', 'not json')`:                    "json",
		`select ginsse_publish('all', 'c', to_json(repeat('x', 1 << 20)))`: "more than 1048576",
		`select ginsse_publish('all', 'c', '1', '')`:                       "key '' must have 1 to 256 bytes",
		`select ginsse_grant('alice', '')`:                                 "topic '' must have 1 to 256 bytes",
		`select ginsse_grant(null, 'news')`:                                "user ID null",
		`select ginsse_revoke('', 'news')`:                                 "user ID ''",
		`select ginsse_revoke_topic(null)`:                                 "topic null",
		`select ginsse_disconnect('', 'signed-out')`:                       "1 to 256 bytes",
		`begin isolation level serializable; select * from ginsse_step(null, null, null, null, null, null, true); commit`: "read committed",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", statement, err, want)
		}
	}
	if _, err := db.ExecContext(t.Context(), `select ginsse_publish('all', 'last', '1')`); err != nil {
		t.Fatal(err)
	}
	if got := r.next(t, 1); len(got) != 1 {
		t.Errorf("what was refused was delivered: %q", got)
	}
}

// TestPublishWithKey replaces events from SQL.
func TestPublishWithKey(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, db, sqllog.Config{})
	for _, statement := range []string{
		`select ginsse_publish('user:alice', 'unread', '1', 'unread')`,
		`select ginsse_publish('user:alice', 'unread', json_build_object('n', 2), key => 'unread')`,
		`select ginsse_publish('user:alice', 'other', to_jsonb(3), 'other')`,
		`select ginsse_publish('user:alice', 'plain', '4', null)`,
		`select ginsse_publish('user:alice', 'unread', '5', 'unread')`,
	} {
		run(t, db, statement)
	}
	until(t, "the newest events alone", func() bool { return slices.Equal(contents(t, log), []string{"3", "4", "5"}) })
}

// TestCommandsFromSQL compares the commands that SQL sends with the kit's.
func TestCommandsFromSQL(t *testing.T) {
	t.Parallel()
	db := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, db, sqllog.Config{})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	topic := `post:"7" <ü>`
	subjects := []string{"command:alice", "revoke:all"}
	read := func(at eventlog.Cursor) (entries []*eventlog.Entry) {
		t.Helper()
		until(t, "four commands", func() bool {
			page, err := log.Read(t.Context(), eventlog.Query{Subjects: subjects, After: at, MaxEntries: 10, MaxBytes: 1 << 20}, nil)
			entries = page.Entries
			return err == nil && len(entries) == 4
		})
		return entries
	}
	send := func(fn func(tx *sql.Tx) error) []*eventlog.Entry {
		t.Helper()
		at, err := log.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if err := fn(tx); err != nil {
			t.Fatal(err)
		}
		commit(t, tx)
		return read(at)
	}
	want := send(func(tx *sql.Tx) error {
		in := registry.In(log.Tx(tx))
		return errors.Join(in.Grant(t.Context(), "alice", topic), in.Revoke(t.Context(), "alice", topic),
			in.RevokeTopic(t.Context(), topic), in.Disconnect(t.Context(), "alice", "bye"))
	})
	got := send(func(tx *sql.Tx) error {
		exec := func(statement string, args ...any) error {
			_, err := tx.ExecContext(t.Context(), statement, args...)
			return err
		}
		return errors.Join(exec(`select ginsse_grant('alice', $1::text)`, topic), exec(`select ginsse_revoke('alice', $1::text)`, topic),
			exec(`select ginsse_revoke_topic($1::text)`, topic), exec(`select ginsse_disconnect('alice', 'bye')`))
	})
	for i := range want {
		var data [2]any
		var lines [2][]string
		for j, e := range []*eventlog.Entry{want[i], got[i]} {
			if lines[j] = strings.Split(string(e.Block), "\n"); len(lines[j]) != 5 {
				t.Fatalf("a command is %q", e.Block)
			}
			if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[j][1], "data: ")), &data[j]); err != nil {
				t.Errorf("the data of %q: %v", e.Block, err)
			}
		}
		if got[i].Subject != want[i].Subject || lines[0][0] != lines[1][0] || !reflect.DeepEqual(data[0], data[1]) {
			t.Errorf("SQL sends %q to %s, and the kit %q to %s", got[i].Block, got[i].Subject, want[i].Block, want[i].Subject)
		}
	}
}

// TestPublishRefusesWhatTheKitRefuses compares ginsse_publish and ginsse_disconnect with the kit:
// they refuse the same.
func TestPublishRefusesWhatTheKitRefuses(t *testing.T) {
	t.Parallel()
	admin := openURL(t, newDatabase(t))
	log := inPostgres.openLog(t, admin, sqllog.Config{})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = registry.Shutdown(ctx)
	}()
	names := []string{"", " ", "a b", "a:b", ":", "user:alice", strings.Repeat("x", 256), strings.Repeat("x", 257), strings.Repeat("é", 128), strings.Repeat("é", 129), "%", "_", "\\", "a\\n", "'", `"`, "\u2028", "\ufeff", "\U0010ffff", "\ufffd", "all", "e\u0301"}
	for _, r := range []rune{1, '\t', '\n', '\v', '\f', '\r', 0x1f, 0x7f, 0x80, 0x85, 0x9f, 0xa0, 0xad} {
		names = append(names, "a"+string(r)+"b", string(r))
	}
	types := append([]string{"sse.", "sse", "sse.open", "SSE.open", " sse.open", "ssexopen", "sse\u2024open", "open", "error", "data: x"}, names...)
	for _, conforming := range []string{"on", "off"} {
		t.Run("standard_conforming_strings_"+conforming, func(t *testing.T) {
			conn, err := admin.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			try := func(statement string, args ...any) error {
				_, err := conn.ExecContext(t.Context(), statement, args...)
				return err
			}
			for _, statement := range []string{"set standard_conforming_strings = " + conforming, "set client_min_messages = error"} {
				if err := try(statement); err != nil {
					t.Fatal(err)
				}
			}
			same := func(what string, got, want error) {
				t.Helper()
				if (got == nil) != (want == nil) {
					t.Errorf("%s: %v, and the kit: %v", what, got, want)
				}
			}
			for _, name := range names {
				want := eventlog.CheckName(name)
				same(fmt.Sprintf("topic %q", name), try(`select ginsse_publish('topic:' || $1::text, 'e', '1'::json)`, name), want)
				same(fmt.Sprintf("disconnecting %q", name), try(`select ginsse_disconnect($1::text, 'r')`, name), want)
				same(fmt.Sprintf("key %q", name), try(`select ginsse_publish('all', 'e', '1'::json, $1::text)`, name), want)
				same(fmt.Sprintf("granting topic %q", name), try(`select ginsse_grant('alice', $1::text)`, name), want)
				same(fmt.Sprintf("granting to %q", name), try(`select ginsse_grant($1::text, 'news')`, name), want)
				same(fmt.Sprintf("revoking topic %q", name), try(`select ginsse_revoke('alice', $1::text)`, name), want)
				same(fmt.Sprintf("revoking from %q", name), try(`select ginsse_revoke($1::text, 'news')`, name), want)
				same(fmt.Sprintf("revoking %q from all", name), try(`select ginsse_revoke_topic($1::text)`, name), want)
			}
			for _, kind := range types {
				_, want := registry.Broadcast(t.Context(), ginsse.Event{Type: kind, Data: 1})
				same(fmt.Sprintf("type %q", kind), try(`select ginsse_publish('all', $1::text, '1'::json)`, kind), want)
			}
			for _, subject := range []string{"all:", "all:x", "command:alice", "users:alice", "User:alice", "user", "topic", "", "user:", " user:a", "ALL", "all ", "us\u0435r:a", "user\n:a"} {
				kind, _, ok := eventlog.SplitSubject(subject)
				if err := try(`select ginsse_publish($1::text, 'e', '1'::json)`, subject); (err == nil) != (ok && kind != eventlog.KindCommand) {
					t.Errorf("subject %q: %v", subject, err)
				}
			}
			// Each is one event with the same JSON.
			r := newReader(t, log, "user:json")
			data := []string{`1`, `null`, ` {"a" :  1 } `, "{\"a\":\n1}", "{\r\n\"a\"\r:\n\n1\r\n\r\n}", "\n\n1\n\n", `"\n\nevent: sse.close\ndata: x\n\n"`, `"\u0000"`, "\"\u2028\u0085\"", `"\\"`, `"'"`, `"\ud83d\ude00"`, `[1,"id: 7"]`}
			for _, text := range data {
				if err := try(`select ginsse_publish('user:json', 'e', $1::text)`, text); err != nil {
					t.Errorf("data %q: %v", text, err)
				}
			}
			got := r.next(t, len(data))
			if len(got) != len(data) {
				t.Fatalf("%d events of %d", len(got), len(data))
			}
			for i := range got {
				var arrived, sent any
				err := errors.Join(json.Unmarshal([]byte(got[i]), &arrived), json.Unmarshal([]byte(data[i]), &sent))
				if err != nil || !reflect.DeepEqual(arrived, sent) {
					t.Errorf("data %q arrives as %q; %v", data[i], got[i], err)
				}
			}
			for _, text := range []string{``, `{`, `alice`, `1 2`, `'a'`, "\"a\nb\"", `{"a":1}x`, `NaN`, "\"\x01\""} {
				if try(`select ginsse_publish('user:json', 'e', $1::text)`, text) == nil {
					t.Errorf("data %q was taken", text)
				}
			}
		})
	}
	for _, statement := range []string{
		`select ginsse_publish('all', repeat('x', 1048576), '1')`,
		`select ginsse_disconnect('alice', repeat('x', 1025))`,
	} {
		if _, err := admin.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	run(t, admin, `select ginsse_disconnect('alice', repeat('x', 1024))`)
}
