package sqllog_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ginsse/ginsse/sqllog"
	"github.com/ginsse/ginsse/sqllog/pgxlog"
)

// TestListeningThatIsLost has the server end the listening connections while nodes append. The nodes
// look for events meanwhile, and listen again.
func TestListeningThatIsLost(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	listenAt := newProxy(t, address)
	listen, err := pgxlog.Listen(listenAt.through(address) + "&application_name=listener")
	if err != nil {
		t.Fatal(err)
	}
	records := new(logged)
	cfg := sqllog.Config{Listen: listen, Logger: slog.New(slog.NewTextHandler(records, nil))}
	nodes := inPostgres.openNodes(t, cfg, address, address)
	readers := []*follower{follow(t, nodes[0].log), follow(t, nodes[1].log)}
	l := startLoad(t, nodes...)
	l.await(t, 50)
	has := func(text string, count int) func() bool {
		return func() bool { return strings.Count(records.String(), text) == count }
	}
	for round := range 2 {
		listenAt.Refuse(true)
		var ended int
		err := nodes[0].db.QueryRowContext(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where application_name = 'listener' and datname = current_database()`).Scan(&ended)
		if err != nil || ended != len(nodes) {
			t.Fatalf("ended %d connections: %v", ended, err)
		}
		until(t, "records of the loss", has("cannot listen for notifications", (round+1)*len(nodes)))
		l.await(t, 100)
		l.recovers(t, 20*time.Second, readers...)
		listenAt.Refuse(false)
		until(t, "records of the end of it", has("listening for notifications again", (round+1)*len(nodes)))
	}
	if text := records.String(); strings.Count(text, "\n") != 4*len(nodes) || strings.Contains(text, "postgres@") {
		t.Errorf("the records are:\n%s", text)
	}
	l.verify(t, readers...)
	wantNoGaps(t, readers...)
}

// TestListeningAgainWakesNodes has nodes that poll seldom.
func TestListeningAgainWakesNodes(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	listenAt := newProxy(t, address)
	listen, err := pgxlog.Listen(listenAt.through(address))
	if err != nil {
		t.Fatal(err)
	}
	records := new(logged)
	cfg := sqllog.Config{Listen: listen, PollInterval: seldom, Logger: slog.New(slog.NewTextHandler(records, nil))}
	nodes := inPostgres.openNodes(t, cfg, address, address)
	r := newReader(t, nodes[1].log, "all")
	listenAt.Refuse(true)
	listenAt.DropAll()
	until(t, "the loss", func() bool { return strings.Count(records.String(), "cannot listen") == len(nodes) })
	if _, err := nodes[0].log.Append(t.Context(), record("all", "1")); err != nil {
		t.Fatal(err)
	}
	r.next(t, 1)
	listenAt.Refuse(false)
	until(t, "the end of the loss", func() bool { return strings.Count(records.String(), "again") == len(nodes) })
	wantWoken(t, nodes[0].log, r)
}
