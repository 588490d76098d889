package sqllog_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// writer is a process that appends and commits at full speed.
type writer struct {
	*process

	lines atomic.Int64
	read  sync.WaitGroup
	acked map[string]eventlog.Cursor // complete after kill; no position for those that were committed
}

func startWriter(t *testing.T, address, name string) *writer {
	t.Helper()
	w := &writer{
		process: startProcess(t, processOptions{Driver: "sqlite", Address: address, Writer: name}),
		acked:   make(map[string]eventlog.Cursor),
	}
	w.read.Go(func() {
		in := bufio.NewReader(w.stdout)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return // a line that is not complete says nothing
			}
			n, id, _ := strings.Cut(strings.TrimSpace(line), " ")
			at, _ := eventlog.ParseCursor(id)
			w.acked[n] = at
			w.lines.Add(1)
		}
	})
	return w
}

func (w *writer) kill(t *testing.T) {
	t.Helper()
	_ = w.cmd.Process.Kill()
	w.read.Wait()
	if text := w.process.kill(); text != "" {
		t.Errorf("a writer wrote to standard error:\n%s", text)
	}
}

// TestKilledProcessesLoseNothingInSQLite kills processes that write to a file at full speed, one in
// each round or two, and reads the file after each. Every other round this process reads it
// meanwhile too.
func TestKilledProcessesLoseNothingInSQLite(t *testing.T) {
	t.Parallel()
	path := inSQLite.make(t)
	db := inSQLite.open(t, path)
	if _, err := db.ExecContext(t.Context(), `create table app_rows (n text primary key)`); err != nil {
		t.Fatal(err)
	}
	cfg := sqllog.Config{EventsPerSubject: 1_000_000}
	first := inSQLite.openLog(t, db, cfg)
	at, err := first.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	db.Close()

	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	var order []arrival // of all events, as they were read after each round
	place := make(map[string]eventlog.Cursor)
	total := 0
	for round := range rounds {
		var watching *follower
		var log *sqllog.Log
		if round%2 == 1 {
			log = inSQLite.openNodes(t, cfg, path)[0].log
			watching = followFrom(t, at, log)
		}
		var writers []*writer
		for i := range 1 + round/2%2 {
			writers = append(writers, startWriter(t, fileAddress(path), fmt.Sprintf("r%dw%d", round, i)))
		}
		for _, w := range writers {
			until(t, "events of the writer", func() bool { return w.lines.Load() > 100 })
		}
		<-time.After(time.Duration(rand.Int64N(int64(50 * time.Millisecond)))) // a random moment
		for _, w := range writers {
			w.kill(t)
		}

		if log == nil {
			log = inSQLite.openNodes(t, cfg, path)[0].log
		}
		before := len(order)
		order, at = readOn(t, log, order, at)
		if watching != nil {
			until(t, "the end at the reader", func() bool { return watching.reached(at) })
			watching.stop()
			<-watching.done
			if len(watching.gaps) > 0 || fmt.Sprint(watching.got) != fmt.Sprint(order[before:]) {
				t.Errorf("round %d: the reader got %d events and gaps %v, of %d events", round, len(watching.got), watching.gaps, len(order)-before)
			}
		}
		for _, a := range order[before:] {
			if other, ok := place[a.n]; ok {
				t.Errorf("event %s is at %v and at %v", a.n, other, a.at)
			}
			place[a.n] = a.at
		}
		for _, w := range writers {
			total += len(w.acked)
			for n, want := range w.acked {
				switch got, ok := place[n]; {
				case !ok:
					t.Errorf("round %d: event %s was stored at %v and is not there", round, n, want)
				case want != (eventlog.Cursor{}) && got != want:
					t.Errorf("round %d: event %s was stored at %v and is at %v", round, n, want, got)
				}
			}
		}
		for range 20 { // positions from before resume
			i := rand.IntN(len(order) - 1)
			page, err := log.Read(t.Context(), eventlog.Query{Subjects: allSubjects, After: order[i].at, MaxEntries: 1, MaxBytes: 1 << 20}, nil)
			if err != nil || page.Gap != "" || len(page.Entries) != 1 || page.Entries[0].At != order[i+1].at || dataOf(page.Entries[0]) != order[i+1].n {
				t.Errorf("round %d: after %v, read %d entries, gap %q, error %v", round, order[i].at, len(page.Entries), page.Gap, err)
			}
		}
		log.Close()
		if t.Failed() {
			return
		}
	}

	n := inSQLite.openNodes(t, cfg, path)[0]
	again, _ := readOn(t, n.log, nil, eventlog.Cursor{Epoch: at.Epoch})
	if fmt.Sprint(again) != fmt.Sprint(order) {
		t.Errorf("in the end there are %d events, and %d were read before, or others", len(again), len(order))
	}
	rows, err := n.db.QueryContext(t.Context(), `select n from app_rows`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	there := 0
	for ; rows.Next(); there++ {
		var n string
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		if _, ok := place[n]; !ok {
			t.Errorf("the row of event %s is there, and the event is not", n)
		}
	}
	committed := 0
	for n := range place {
		if n[0] == 't' {
			committed++
		}
	}
	if committed != there {
		t.Errorf("%d events of transactions, and %d rows", committed, there)
	}
	t.Logf("%d events, of which %d were acknowledged or committed", len(order), total)
}

// readOn reads all events after a position.
func readOn(t *testing.T, log *sqllog.Log, order []arrival, at eventlog.Cursor) ([]arrival, eventlog.Cursor) {
	t.Helper()
	if _, err := log.Head(t.Context()); err != nil { // it has read what is there
		t.Fatal(err)
	}
	for {
		page, err := log.Read(t.Context(), eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 256, MaxBytes: 1 << 20}, nil)
		if err != nil || page.Gap != "" {
			t.Fatalf("after %v: gap %q, error %v", at, page.Gap, err)
		}
		for _, e := range page.Entries {
			order = append(order, arrival{e.At, dataOf(e)})
		}
		if at = page.Through; !page.More {
			return order, at
		}
	}
}
