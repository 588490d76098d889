package ginsse_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// recordingOutbox keeps the records that are put. From the call with the number failAt on, it
// returns err.
type recordingOutbox struct {
	puts   []eventlog.Record
	ctx    context.Context // of the last Put
	calls  int
	failAt int // 0 is never
	err    error
}

func (o *recordingOutbox) Put(ctx context.Context, r eventlog.Record) error {
	o.calls++
	o.ctx = ctx
	if o.failAt > 0 && o.calls >= o.failAt {
		return o.err
	}
	o.puts = append(o.puts, cloned(r))
	return nil
}

func cloned(r eventlog.Record) eventlog.Record {
	return eventlog.Record{Subject: r.Subject, Frame: append([]byte(nil), r.Frame...)}
}

// recordingLog keeps the records that a registry appends.
type recordingLog struct {
	*eventlog.MemoryLog

	mu       sync.Mutex
	appended []eventlog.Record
}

func (l *recordingLog) Append(ctx context.Context, r eventlog.Record) (eventlog.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appended = append(l.appended, cloned(r))
	return l.MemoryLog.Append(ctx, r)
}

type contextKey struct{}

// sending is a call of a Sender's method and of the registry's method with the same name.
type sending struct {
	name string
	in   func(ctx context.Context, s ginsse.Sender) error
	on   func(ctx context.Context, r *ginsse.Registry) error
}

// sendings has each method of a Sender.
func sendings(e ginsse.Event) []sending {
	users := []string{"bob", "alice", "bob", "carol", "alice"}
	return []sending{
		{"SendTo", func(ctx context.Context, s ginsse.Sender) error {
			return s.SendTo(ctx, "alice", e)
		}, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.SendTo(ctx, "alice", e)
			return err
		}},
		{"SendToUsers", func(ctx context.Context, s ginsse.Sender) error {
			return s.SendToUsers(ctx, users, e)
		}, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.SendToUsers(ctx, users, e)
			return err
		}},
		{"Broadcast", func(ctx context.Context, s ginsse.Sender) error {
			return s.Broadcast(ctx, e)
		}, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.Broadcast(ctx, e)
			return err
		}},
		{"Publish", func(ctx context.Context, s ginsse.Sender) error {
			return s.Publish(ctx, "news", e)
		}, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.Publish(ctx, "news", e)
			return err
		}},
		{"Grant", func(ctx context.Context, s ginsse.Sender) error {
			return s.Grant(ctx, "alice", "news", ginsse.ForStream("s"), ginsse.WithHistory(""))
		}, func(ctx context.Context, r *ginsse.Registry) error {
			return r.Grant(ctx, "alice", "news", ginsse.ForStream("s"), ginsse.WithHistory(""))
		}},
		{"Revoke", func(ctx context.Context, s ginsse.Sender) error {
			return s.Revoke(ctx, "alice", "news")
		}, func(ctx context.Context, r *ginsse.Registry) error {
			return r.Revoke(ctx, "alice", "news")
		}},
		{"RevokeTopic", func(ctx context.Context, s ginsse.Sender) error {
			return s.RevokeTopic(ctx, "news")
		}, func(ctx context.Context, r *ginsse.Registry) error {
			return r.RevokeTopic(ctx, "news")
		}},
		{"Disconnect", func(ctx context.Context, s ginsse.Sender) error {
			return s.Disconnect(ctx, "alice", ginsse.Reason(e.Type))
		}, func(ctx context.Context, r *ginsse.Registry) error {
			_, err := r.Disconnect(ctx, "alice", ginsse.Reason(e.Type))
			return err
		}},
	}
}

func TestSendingsHasEachMethodOfSender(t *testing.T) {
	t.Parallel()
	methods := make(map[string]bool)
	for _, call := range sendings(numbered(1)) {
		methods[call.name] = true
	}
	sender := reflect.TypeFor[ginsse.Sender]()
	if sender.NumMethod() == 0 {
		t.Error("a Sender has no methods")
	}
	for i := range sender.NumMethod() {
		if name := sender.Method(i).Name; !methods[name] {
			t.Errorf("sendings has no call of %s", name)
		}
	}
}

func TestSenderPutsWhatTheRegistryAppends(t *testing.T) {
	t.Parallel()
	for _, call := range sendings(ginsse.Event{Type: "comment", Data: map[string]any{"text": "a\nb", "n": 7}}) {
		t.Run(call.name, func(t *testing.T) {
			t.Parallel()
			log := &recordingLog{MemoryLog: newMemoryLog(t, eventlog.MemoryLogConfig{})}
			registry := newRegistry(t, ginsse.RegistryConfig{Log: log})
			outbox := &recordingOutbox{}
			ctx := context.WithValue(t.Context(), contextKey{}, 1)
			if err := call.in(ctx, registry.In(outbox)); err != nil {
				t.Fatal(err)
			}
			if len(log.appended) > 0 {
				t.Fatalf("the log got %q before the commit", log.appended)
			}
			if outbox.ctx != ctx {
				t.Error("the outbox got another context than the call's")
			}
			if err := call.on(ctx, registry); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(outbox.puts, log.appended) {
				t.Errorf("the sender put     %q\nthe registry appends %q", outbox.puts, log.appended)
			}
		})
	}
}

func TestSenderWorksAfterTheRegistryWasClosed(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	registry.Close()
	for _, call := range sendings(numbered(1)) {
		if err := call.on(t.Context(), registry); !errors.Is(err, ginsse.ErrClosed) {
			t.Errorf("the registry's %s returned %v after Close", call.name, err)
		}
		outbox := &recordingOutbox{}
		if err := call.in(t.Context(), registry.In(outbox)); err != nil || len(outbox.puts) == 0 {
			t.Errorf("%s after Close put %q, error %v", call.name, outbox.puts, err)
		}
	}
}

func TestSenderReturnsTheErrorOfTheOutbox(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	aborted := errors.New("transaction is aborted")
	for _, call := range sendings(numbered(1)) {
		outbox := &recordingOutbox{failAt: 1, err: fmt.Errorf("putting: %w", aborted)}
		err := call.in(t.Context(), registry.In(outbox))
		if !errors.Is(err, aborted) || errors.Is(err, ginsse.ErrEventTooLarge) {
			t.Errorf("%s returned %v", call.name, err)
		}
		if outbox.calls != 1 {
			t.Errorf("%s put %d records after the error", call.name, outbox.calls-1)
		}
		outbox = &recordingOutbox{failAt: 1, err: fmt.Errorf("putting: %w", eventlog.ErrTooLarge)}
		err = call.in(t.Context(), registry.In(outbox))
		if !errors.Is(err, ginsse.ErrEventTooLarge) || !errors.Is(err, eventlog.ErrTooLarge) {
			t.Errorf("%s returned %v for a record that is too large for the log", call.name, err)
		}
	}
}

func TestSenderPutsNothingAfterAnError(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	outbox := &recordingOutbox{failAt: 2, err: errors.New("transaction is aborted")}
	err := registry.In(outbox).SendToUsers(t.Context(), []string{"alice", "bob", "carol"}, numbered(1))
	if !errors.Is(err, outbox.err) || outbox.calls != 2 || len(outbox.puts) != 1 {
		t.Errorf("error %v; %d calls of Put, of which %d put a record", err, outbox.calls, len(outbox.puts))
	}
}

func TestSenderRefusesWhatTheRegistryRefuses(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{MaxEventBytes: 100})
	long := strings.Repeat("x", 200)
	type tc struct {
		name string
		send func(ctx context.Context, s ginsse.Sender) error
		want error
	}
	tests := []tc{
		{"user ID of SendTo", func(ctx context.Context, s ginsse.Sender) error { return s.SendTo(ctx, "", numbered(1)) }, ginsse.ErrInvalidSubject},
		{"user ID of SendToUsers", func(ctx context.Context, s ginsse.Sender) error {
			return s.SendToUsers(ctx, []string{"alice", "a\nb"}, numbered(1))
		}, ginsse.ErrInvalidSubject},
		{"user ID of Disconnect", func(ctx context.Context, s ginsse.Sender) error { return s.Disconnect(ctx, "\xff", "") }, ginsse.ErrInvalidSubject},
		{"topic", func(ctx context.Context, s ginsse.Sender) error { return s.Publish(ctx, "", numbered(1)) }, ginsse.ErrInvalidSubject},
		{"event without a user", func(ctx context.Context, s ginsse.Sender) error {
			return s.SendToUsers(ctx, nil, ginsse.Event{})
		}, ginsse.ErrInvalidEvent},
	}
	commands := []string{"Grant", "Revoke", "RevokeTopic"} // these have no event
	for _, call := range sendings(ginsse.Event{Type: long, Data: 1}) {
		if !slices.Contains(commands, call.name) {
			tests = append(tests, tc{"size of " + call.name, call.in, ginsse.ErrEventTooLarge})
		}
	}
	for _, e := range []ginsse.Event{{ID: "1", Data: 1}, {Key: "a\nb", Data: 1}, {TTL: -1, Data: 1}, {Transient: true, Data: 1}} {
		for _, call := range sendings(e) {
			if !slices.Contains(append(commands, "Disconnect"), call.name) {
				tests = append(tests, tc{fmt.Sprintf("%+v of %s", e, call.name), call.in, ginsse.ErrInvalidEvent})
			}
		}
	}
	tests = append(tests,
		tc{"topic of Grant", func(ctx context.Context, s ginsse.Sender) error { return s.Grant(ctx, "alice", "") }, ginsse.ErrInvalidSubject},
		tc{"user ID of Revoke", func(ctx context.Context, s ginsse.Sender) error { return s.Revoke(ctx, "", "news") }, ginsse.ErrInvalidSubject},
		tc{"topic of RevokeTopic", func(ctx context.Context, s ginsse.Sender) error { return s.RevokeTopic(ctx, "\xff") }, ginsse.ErrInvalidSubject},
		tc{"history of Grant", func(ctx context.Context, s ginsse.Sender) error {
			return s.Grant(ctx, "alice", "news", ginsse.WithHistory("7"))
		}, eventlog.ErrInvalidCursor},
	)
	for _, test := range tests {
		outbox := &recordingOutbox{}
		if err := test.send(t.Context(), registry.In(outbox)); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.want)
		}
		if outbox.calls > 0 {
			t.Errorf("%s: %d records were put", test.name, outbox.calls)
		}
	}
}

func TestSenderWithoutUsersPutsNothing(t *testing.T) {
	t.Parallel()
	outbox := &recordingOutbox{}
	err := newRegistry(t, ginsse.RegistryConfig{}).In(outbox).SendToUsers(t.Context(), nil, numbered(1))
	if err != nil || outbox.calls > 0 {
		t.Errorf("error %v, %d records were put", err, outbox.calls)
	}
}

func TestSenderDoesNotChangeTheCallersUsers(t *testing.T) {
	t.Parallel()
	users := []string{"alice", "bob"}
	if err := newRegistry(t, ginsse.RegistryConfig{}).In(&recordingOutbox{}).SendToUsers(t.Context(), users, numbered(1)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(users, []string{"alice", "bob"}) {
		t.Errorf("the caller's users are %q", users)
	}
}

func TestSenderRefusesNil(t *testing.T) {
	t.Parallel()
	registry := newRegistry(t, ginsse.RegistryConfig{})
	calls := append(sendings(numbered(1)), sending{name: "SendToUsers without a user", in: func(ctx context.Context, s ginsse.Sender) error {
		return s.SendToUsers(ctx, nil, numbered(1))
	}})
	for _, call := range calls {
		if err := call.in(t.Context(), registry.In(nil)); err == nil || !strings.Contains(err.Error(), "outbox") {
			t.Errorf("%s into a nil outbox returned %v", call.name, err)
		}
		outbox := &recordingOutbox{}
		var ctx context.Context
		if err := call.in(ctx, registry.In(outbox)); err == nil || !strings.Contains(err.Error(), "context") {
			t.Errorf("%s with a nil context returned %v", call.name, err)
		}
		if outbox.calls > 0 {
			t.Errorf("%s with a nil context put %d records", call.name, outbox.calls)
		}
	}
}
