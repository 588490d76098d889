package sqllog_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/sqllog"
)

// writer is a process that appends and commits at full speed.
type writer struct {
	*nodetest.Process

	lines atomic.Int64
	read  sync.WaitGroup
	acked map[string]eventlog.Cursor // complete after kill; no position for those that were committed
}

func startWriter(t *testing.T, address, name string) *writer {
	t.Helper()
	w := &writer{
		Process: nodetest.Start(t, processVariable, processOptions{Driver: "sqlite", Address: address, Writer: name}),
		acked:   make(map[string]eventlog.Cursor),
	}
	w.read.Go(func() {
		in := bufio.NewReader(w.Stdout)
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
	_ = w.Signal(os.Kill)
	w.read.Wait() // before Kill, which closes the standard output
	if text := w.Kill(); text != "" {
		t.Errorf("a writer wrote to standard error:\n%s", text)
	}
}

// file is an SQLite file that processes write to, and what was read from it so far.
type file struct {
	path  string
	cfg   sqllog.Config
	at    eventlog.Cursor
	order []arrival // of all events
	place map[string]eventlog.Cursor
}

// TestKilledProcessesLoseNothingInSQLite kills processes that write to a file at full speed, one in
// each round or two, and reads the file after each. Every other round this process reads it
// meanwhile too.
func TestKilledProcessesLoseNothingInSQLite(t *testing.T) {
	t.Parallel()
	f := &file{path: inSQLite.make(t), cfg: sqllog.Config{}, place: make(map[string]eventlog.Cursor)}
	n := inSQLite.openNodes(t, f.cfg, f.path)[0]
	if _, err := n.db.ExecContext(t.Context(), `create table app_rows (n text primary key)`); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.at, err = n.log.Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.log.Close()
	n.db.Close()
	rounds, total := 20, 0
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		total += f.round(t, round)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	n = inSQLite.openNodes(t, f.cfg, f.path)[0]
	again, _ := readOn(t, n.log, nil, eventlog.Cursor{Epoch: f.at.Epoch})
	if !slices.Equal(again, f.order) {
		t.Errorf("in the end there are %d events, and %d were read before, or others", len(again), len(f.order))
	}
	rows := appRows(t, n.db)
	for n := range rows {
		if _, ok := f.place[n]; !ok {
			t.Errorf("the row of event %s is there, and the event is not", n)
		}
	}
	for n := range f.place {
		if n[0] == 't' && !rows[n] {
			t.Errorf("event %s is there, and its row is not", n)
		}
	}
	t.Logf("%d events, of which %d were acknowledged or committed", len(f.order), total)
}

// round starts writers and kills them. It returns how many events they wrote, by what they said.
func (f *file) round(t *testing.T, round int) (written int) {
	t.Helper()
	var watching *follower
	var n node
	if round%2 == 1 {
		n = inSQLite.openNodes(t, f.cfg, f.path)[0]
		watching = followFrom(t, f.at, n.log)
	}
	var writers []*writer
	for i := range 1 + round/2%2 {
		writers = append(writers, startWriter(t, fileAddress(f.path), fmt.Sprintf("r%dw%d", round, i)))
	}
	for _, w := range writers {
		until(t, "events of the writer", func() bool { return w.lines.Load() > 50 })
	}
	<-time.After(time.Duration(rand.Int64N(int64(50 * time.Millisecond)))) // a random moment
	for _, w := range writers {
		w.kill(t)
	}

	if watching == nil {
		n = inSQLite.openNodes(t, f.cfg, f.path)[0]
	}
	before := len(f.order)
	f.order, f.at = readOn(t, n.log, f.order, f.at)
	if watching != nil {
		until(t, "the end at the reader", func() bool { return watching.reached(f.at) })
		watching.stop()
		<-watching.done
		if len(watching.gaps) > 0 || !slices.Equal(watching.got, f.order[before:]) {
			t.Errorf("the reader got %d events and gaps %v, of %d events", len(watching.got), watching.gaps, len(f.order)-before)
		}
	}
	for _, a := range f.order[before:] {
		if other, ok := f.place[a.n]; ok {
			t.Errorf("event %s is at %v and at %v", a.n, other, a.at)
		}
		f.place[a.n] = a.at
	}
	for _, w := range writers {
		written += len(w.acked)
		for n, want := range w.acked {
			switch got, ok := f.place[n]; {
			case !ok:
				t.Errorf("event %s was stored at %v and is not there", n, want)
			case want != (eventlog.Cursor{}) && got != want:
				t.Errorf("event %s was stored at %v and is at %v", n, want, got)
			}
		}
	}
	for range 20 {
		f.resume(t, n.log, rand.IntN(len(f.order)-1))
	}
	n.log.Close()
	n.db.Close()
	return written
}

// resume reads the event after one that was read before.
func (f *file) resume(t *testing.T, log *sqllog.Log, i int) {
	t.Helper()
	page := pageOf(t, log, eventlog.Query{Subjects: allSubjects, After: f.order[i].at, MaxEntries: 1, MaxBytes: 1 << 20})
	if page.Gap != "" || len(page.Entries) != 1 {
		t.Errorf("after %v, read %d entries, gap %q", f.order[i].at, len(page.Entries), page.Gap)
		return
	}
	if got := (arrival{page.Entries[0].At, dataOf(page.Entries[0])}); got != f.order[i+1] {
		t.Errorf("after %v, read %v, want %v", f.order[i].at, got, f.order[i+1])
	}
}

// readOn reads all events after a position.
func readOn(t *testing.T, log *sqllog.Log, order []arrival, at eventlog.Cursor) ([]arrival, eventlog.Cursor) {
	t.Helper()
	headOf(t, log) // it has read what is there
	for {
		page := pageOf(t, log, eventlog.Query{Subjects: allSubjects, After: at, MaxEntries: 256, MaxBytes: 1 << 20})
		if page.Gap != "" {
			t.Fatalf("after %v: gap %q", at, page.Gap)
		}
		for _, e := range page.Entries {
			order = append(order, arrival{e.At, dataOf(e)})
		}
		if at = page.Through; !page.More {
			return order, at
		}
	}
}
