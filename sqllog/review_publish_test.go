package sqllog_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// ginsse_publish and ginsse_disconnect refuse what the kit refuses, and nothing else.
func TestReviewPublishChecks(t *testing.T) {
	url := newDatabase(t)
	admin := openURL(t, url)
	admin.SetMaxOpenConns(4)
	log := inPostgres.openLog(t, openURL(t, url), sqllog.Config{})
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = registry.Shutdown(ctx)
	}()
	names := []string{"", " ", "a b", "a:b", ":", "user:alice", strings.Repeat("x", 256), strings.Repeat("x", 257), strings.Repeat("é", 128), strings.Repeat("é", 129), "%", "_", "\\", "a\\n", "'", `"`, "\u2028", "\ufeff", "\U0010ffff", "\ufffd", "all", "e\u0301"}
	types := append([]string{"sse.", "sse", "sse.open", "SSE.open", " sse.open", "ssexopen", "sse\u2024open", "open", "error", "data: x"}, names...)
	for r := rune(1); r < 0x120; r++ {
		names = append(names, "a"+string(r)+"b", string(r))
		types = append(types, "a"+string(r)+"b", string(r))
	}
	for _, conforming := range []string{"on", "off"} {
		conn, err := admin.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, statement := range []string{"set standard_conforming_strings = " + conforming, "set client_min_messages = error"} {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range names {
			_, err := conn.ExecContext(t.Context(), `select ginsse_publish('topic:' || $1::text, 'e', '1'::json)`, name)
			if want := eventlog.CheckName(name); (err == nil) != (want == nil) {
				t.Errorf("%s: topic %q: %v, and the kit: %v", conforming, name, err, want)
			}
			_, err = conn.ExecContext(t.Context(), `select ginsse_disconnect($1::text, 'r')`, name)
			if want := eventlog.CheckName(name); (err == nil) != (want == nil) {
				t.Errorf("%s: disconnect %q: %v, and the kit: %v", conforming, name, err, want)
			}
		}
		for _, kind := range types {
			_, err := conn.ExecContext(t.Context(), `select ginsse_publish('all', $1::text, '1'::json)`, kind)
			_, want := registry.Broadcast(t.Context(), ginsse.Event{Type: kind, Data: 1})
			if (err == nil) != (want == nil) {
				t.Errorf("%s: type %q: %v, and the kit: %v", conforming, kind, err, want)
			}
		}
		for _, subject := range []string{"all:", "all:x", "command:alice", "users:alice", "User:alice", "user", "topic", "", "user:", " user:a", "ALL", "all ", "us\u0435r:a", "user\n:a"} {
			_, err := conn.ExecContext(t.Context(), `select ginsse_publish($1::text, 'e', '1'::json)`, subject)
			kind, _, want := eventlog.SplitSubject(subject)
			if want = want && kind != eventlog.KindCommand; (err == nil) != want {
				t.Errorf("%s: subject %q: %v, and the kit: %v", conforming, subject, err, want)
			}
		}
		// What is stored is one event, with the JSON.
		r := newReader(t, log, "user:json")
		data := []string{`1`, `null`, ` {"a" :  1 } `, "{\"a\":\n1}", "{\r\n\"a\"\r:\n\n1\r\n\r\n}", "\n\n1\n\n", `"\n\nevent: sse.close\ndata: x\n\n"`, `"\u0000"`, "\"\u2028\u0085\"", `"\\"`, `"'"`, `"\ud83d\ude00"`, `[1,"id: 7"]`}
		for _, text := range data {
			if _, err := conn.ExecContext(t.Context(), `select ginsse_publish('user:json', 'e', $1::text)`, text); err != nil {
				t.Errorf("%s: data %q: %v", conforming, text, err)
			}
		}
		got := r.next(t, len(data))
		if len(got) != len(data) {
			t.Errorf("%d events of %d", len(got), len(data))
		}
		for i := range min(len(got), len(data)) {
			var a, b any
			if json.Unmarshal([]byte(got[i]), &a) != nil || json.Unmarshal([]byte(data[i]), &b) != nil {
				t.Errorf("data %q arrives as %q", data[i], got[i])
			}
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(b)
			if string(x) != string(y) {
				t.Errorf("data %q arrives as %q", data[i], got[i])
			}
		}
		for _, text := range []string{``, `{`, `alice`, `1 2`, `'a'`, "\"a\nb\"", `{"a":1}x`, `NaN`, "\"\x01\""} {
			if _, err := conn.ExecContext(t.Context(), `select ginsse_publish('user:json', 'e', $1::text)`, text); err == nil {
				t.Errorf("%s: data %q is accepted", conforming, text)
			}
		}
	}
	// The bound of bytes.
	for _, statement := range []string{
		`select ginsse_publish('all', 'e', to_json(repeat('x', 1048576)))`,
		`select ginsse_publish('all', repeat('x', 1048576), '1')`,
		`select ginsse_disconnect('alice', repeat('x', 1048576))`,
	} {
		if _, err := admin.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("%s is accepted, and the kit has a bound of 1 MiB", statement)
		}
	}
}
