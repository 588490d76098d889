package natslog_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/natslog"
)

// The tail of a node hangs. The node says how far it is behind, once a stream has asked for the head,
// and since when it has not heard of the store. It has all that it missed when the tail goes on.
func TestStatsSayHowFarTheTailIsBehind(t *testing.T) {
	t.Parallel()
	s := startServer(t, server.RANDOM_PORT, t.TempDir())
	first, second := open(t, connect(t, s.ClientURL()), natslog.Config{}), open(t, connect(t, s.ClientURL()), natslog.Config{})
	entered, hung := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(hung) })
	t.Cleanup(release)
	var once sync.Once
	stop := first.Watch(func(subject string, _ uint64) {
		if subject != "" {
			once.Do(func() {
				close(entered)
				<-hung
			})
		}
	})
	defer stop()
	add(t, second, alice, 0)
	<-entered
	for n := range 10 {
		add(t, second, alice, n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if at, err := first.Head(ctx); err == nil {
		t.Errorf("a node that is behind knows the head, %v", at)
	}
	until(t, "a node that is behind", func() bool { return first.Stats().Store.Behind == 10 })
	if s := first.Stats(); s.Entries != 1 {
		t.Errorf("one event has come: %+v", s)
	}
	until(t, "a lost contact", func() bool {
		s := first.Stats().Store
		return !s.Connected && time.Since(s.Heard) >= 2*time.Second
	})
	release()
	until(t, "a node that has all", func() bool {
		s := first.Stats()
		return s.Entries == 11 && s.Store.Behind == 0 && s.Store.Connected
	})
	if s := second.Stats(); s.Entries != 11 || s.Bytes == 0 || s.Bytes > s.MaxBytes || s.Since.IsZero() || s.Store.Behind != 0 || s.Store.Inbox != -1 {
		t.Errorf("the other node: %+v, %+v", s, s.Store)
	}
}

// A client comes back whose position is not in memory.
func TestStatsCountReadsOfOlderEvents(t *testing.T) {
	t.Parallel()
	log := open(t, connect(t, startServer(t, server.RANDOM_PORT, t.TempDir()).ClientURL()), natslog.Config{RecentBytes: 1})
	at, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		add(t, log, alice, n)
	}
	before := log.Stats()
	if before.Entries != 1 || before.Evicted.Size != 9 {
		t.Errorf("10 events came, and the newest is in memory: %+v", before)
	}
	q := eventlog.Query{Subjects: []string{alice}, After: at, MaxEntries: 100, MaxBytes: 1 << 20}
	page, err := log.Read(t.Context(), q, nil)
	if err != nil || len(page.Entries) != 10 {
		t.Fatalf("%d events, gap %q, error %v", len(page.Entries), page.Gap, err)
	}
	if s := log.Stats().Store; s.Reads != before.Store.Reads+1 || s.ReadEntries != before.Store.ReadEntries+10 || s.ReadErrors != 0 {
		t.Errorf("one page of 10 was read: %+v", s)
	}
}
