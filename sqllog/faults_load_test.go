package sqllog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// node is a log and its pool, as a process of an application has them.
type node struct {
	log *sqllog.Log
	db  *sql.DB
}

// openNodes opens logs, each with a pool of its own.
func (k kind) openNodes(t testing.TB, cfg sqllog.Config, addresses ...string) (nodes []node) {
	t.Helper()
	for _, address := range addresses {
		db := k.open(t, address)
		nodes = append(nodes, node{k.openLog(t, db, cfg), db})
	}
	return nodes
}

// What becomes of an event.
const (
	unknown   = iota // the answer was lost: it may have been stored or not
	stored           // it was acknowledged or committed
	abandoned        // its transaction was rolled back, or had no answer before the commit
)

// sent is an event that was sent.
type sent struct {
	fate  int
	at    eventlog.Cursor // of an event that was appended
	began time.Time
	took  time.Duration
}

// load appends and commits numbered events at its nodes until it is stopped. Each transaction also
// inserts the number into the table app_rows: the event and the row are there together, or neither
// is.
type load struct {
	nodes   []node
	timeout time.Duration // of an append, and of a transaction
	stop    func()

	mu     sync.Mutex      // guards the fields below
	sent   map[string]sent // by number, which begins with a for appended, t for a transaction
	tried  int
	stored int
}

// operationTimeout bounds an append and a transaction.
const operationTimeout = 3 * time.Second

// startLoad has two appenders and two committers at each node.
func startLoad(t testing.TB, nodes ...node) *load {
	t.Helper()
	return startPatientLoad(t, operationTimeout, nodes...)
}

// startPatientLoad is startLoad with a timeout of operations.
func startPatientLoad(t testing.TB, timeout time.Duration, nodes ...node) *load {
	t.Helper()
	if _, err := nodes[0].db.ExecContext(t.Context(), `create table if not exists app_rows (n text primary key)`); err != nil {
		t.Fatal(err)
	}
	l := &load{nodes: nodes, timeout: timeout, sent: make(map[string]sent)}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	var sending sync.WaitGroup
	l.stop = sync.OnceFunc(func() {
		close(stopped)
		sending.Wait()
		cancel()
	})
	t.Cleanup(l.stop)
	for _, n := range nodes {
		for range 2 {
			l.repeat(&sending, stopped, func() { l.append(ctx, n) })
			l.repeat(&sending, stopped, func() { l.commit(ctx, n) })
		}
	}
	return l
}

// repeat calls fn until the load is stopped. Pauses bound how much the nodes have to do.
func (l *load) repeat(sending *sync.WaitGroup, stopped <-chan struct{}, fn func()) {
	sending.Go(func() {
		for {
			select {
			case <-time.After(time.Duration(rand.Int64N(int64(4 * time.Millisecond)))):
				fn()
			case <-stopped:
				return
			}
		}
	})
}

func (l *load) next(kind string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tried++
	return fmt.Sprint(kind, l.tried)
}

func (l *load) note(n string, s sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.took = time.Since(s.began)
	l.sent[n] = s
	if s.fate == stored {
		l.stored++
	}
}

// subjectOf determines the subject of an event by its number.
func subjectOf(n string) string {
	return []string{"user:alice", "all", "topic:news"}[len(n)*7%3]
}

var allSubjects = []string{"user:alice", "all", "topic:news"}

func (l *load) append(ctx context.Context, at node) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	n, s := l.next("a"), sent{began: time.Now()}
	var err error
	if s.at, err = at.log.Append(ctx, record(subjectOf(n), n)); err == nil {
		s.fate = stored
	}
	l.note(n, s)
}

func (l *load) commit(ctx context.Context, at node) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	n, s := l.next("t"), sent{began: time.Now(), fate: abandoned}
	defer func() { l.note(n, s) }()
	tx, err := at.db.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if err := putWithRow(ctx, at.log, tx, n); err != nil {
		return
	}
	switch rand.IntN(8) {
	case 0:
		return
	case 1: // it is still open when later ones have committed
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(100 * time.Millisecond)))):
		case <-ctx.Done():
		}
	}
	if s.fate = unknown; tx.Commit() == nil {
		s.fate = stored
	}
}

// putWithRow puts an event and a row of the application into a transaction.
func putWithRow(ctx context.Context, log *sqllog.Log, tx *sql.Tx, n string) error {
	_, err := tx.ExecContext(ctx, `insert into app_rows (n) values ($1)`, n)
	return errors.Join(err, log.Tx(tx).Put(ctx, record(subjectOf(n), n)))
}

// await waits until so many more events were acknowledged or committed.
func (l *load) await(t testing.TB, more int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.stored
	}
	had := count()
	until(t, fmt.Sprint(more, " events"), func() bool { return count() >= had+more })
}

// settle stops the load. It has each node append an event, and waits for it. It returns the last
// position and the rows of the application.
func (l *load) settle(t testing.TB) (end eventlog.Cursor, rows map[string]bool) {
	t.Helper()
	l.stop()
	for _, n := range l.nodes {
		until(t, "an event that is acknowledged", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
			defer cancel()
			at, err := n.log.Append(ctx, record("all", "end"))
			if end.Seq < at.Seq {
				end = at
			}
			return err == nil
		})
	}
	return end, appRows(t, l.nodes[0].db)
}

// appRows returns the rows of the application: the numbers of events that were committed.
func appRows(t testing.TB, db *sql.DB) map[string]bool {
	t.Helper()
	rows := make(map[string]bool)
	list, err := db.QueryContext(t.Context(), `select n from app_rows`)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	for list.Next() {
		var n string
		if err := list.Scan(&n); err != nil {
			t.Fatal(err)
		}
		rows[n] = true
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// recovers waits until an event that a node appends has come to all readers, and a transaction has
// been committed there. It fails after the bound.
func (l *load) recovers(t testing.TB, bound time.Duration, readers ...*follower) {
	t.Helper()
	began := time.Now()
	for _, n := range l.nodes {
		var at eventlog.Cursor
		until(t, "an append after the fault", func() (ok bool) {
			ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
			defer cancel()
			var err error
			at, err = n.log.Append(ctx, record("all", "recovered"))
			return err == nil
		})
		for _, r := range readers {
			until(t, "the event at a reader", func() bool { return r.reached(at) })
		}
		until(t, "a commit after the fault", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), operationTimeout)
			defer cancel()
			_, err := n.db.ExecContext(ctx, `delete from app_rows where n = ''`)
			return err == nil
		})
		until(t, "contact after the fault", func() bool { return n.log.Ready() == nil })
	}
	took := time.Since(began).Round(time.Millisecond)
	if t.Logf("all nodes work again after %v", took); took > bound {
		t.Errorf("all nodes work again after %v, more than %v", took, bound)
	}
}

// follower reads logs as a stream does, while a test goes on: when a log calls its watcher, or
// after an error. With several logs it reads from each in turn, as a client whose requests go to
// different nodes.
type follower struct {
	logs []*sqllog.Log
	from eventlog.Cursor
	done chan struct{}
	stop context.CancelFunc

	mu   sync.Mutex // guards the fields below
	at   eventlog.Cursor
	got  []arrival
	gaps []gap
}

// arrival is an event as a reader got it.
type arrival struct {
	at eventlog.Cursor
	n  string
}

// gap is a gap that a reader got.
type gap struct {
	reason eventlog.GapReason
	before int // events
	when   time.Time
}

// follow returns a follower that starts at the head of its first log.
func follow(t testing.TB, logs ...*sqllog.Log) *follower {
	t.Helper()
	return followFrom(t, headOf(t, logs[0]), logs...)
}

func followFrom(t testing.TB, at eventlog.Cursor, logs ...*sqllog.Log) *follower {
	t.Helper()
	r := &follower{logs: logs, from: at, at: at, done: make(chan struct{})}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	t.Cleanup(func() {
		r.stop()
		<-r.done
	})
	news := make(chan struct{}, 1)
	var stops []func()
	for _, log := range logs {
		stops = append(stops, log.Watch(func(string, uint64) {
			select {
			case news <- struct{}{}:
			default:
			}
		}))
	}
	go func() {
		defer close(r.done)
		for turn := 0; ctx.Err() == nil; turn++ {
			if r.page(ctx, logs[turn%len(logs)]) {
				continue
			}
			again := time.After(patience)
			if len(logs) > 1 {
				again = time.After(20 * time.Millisecond) // the next one may not have been read when this one called
			}
			select {
			case <-news:
			case <-again:
			case <-ctx.Done():
			}
		}
		for _, stop := range stops {
			stop()
		}
	}()
	return r
}

// page reads one page. It reports whether to read on at once.
func (r *follower) page(ctx context.Context, log *sqllog.Log) (more bool) {
	page, err := log.Read(ctx, eventlog.Query{Subjects: allSubjects, After: r.at, MaxEntries: 100, MaxBytes: 64 << 10}, nil)
	if err != nil {
		select {
		case <-time.After(100 * time.Millisecond): // as a stream does after an error
		case <-ctx.Done():
		}
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = page.Through
	if page.Gap != "" {
		r.gaps = append(r.gaps, gap{page.Gap, len(r.got), time.Now()})
	}
	for _, e := range page.Entries {
		r.got = append(r.got, arrival{e.At, dataOf(e)})
	}
	return page.More || page.Gap != ""
}

func dataOf(e *eventlog.Entry) string {
	_, data, _ := strings.Cut(string(e.Block), "data: ")
	data, _, _ = strings.Cut(data, "\n")
	return data
}

func (r *follower) reached(at eventlog.Cursor) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at.Epoch == at.Epoch && r.at.Seq >= at.Seq
}

// positions returns positions that the reader had, evenly spread.
func (r *follower) positions(count int) (list []eventlog.Cursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range count {
		list = append(list, r.got[i*(len(r.got)-1)/max(count-1, 1)].at)
	}
	return list
}

func (r *follower) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func (r *follower) gapCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.gaps)
}

// verify settles the load and compares what it sent with what the readers got.
func (l *load) verify(t testing.TB, readers ...*follower) {
	t.Helper()
	end, rows := l.settle(t)
	for _, r := range readers {
		until(t, fmt.Sprintf("position %d at a reader", end.Seq), func() bool { return r.reached(end) })
		r.stop()
		<-r.done
	}
	l.judge(t, rows, readers...)
}

// judge compares. After a gap, a reader may lack what was sent before it; never what was sent later.
func (l *load) judge(t testing.TB, rows map[string]bool, readers ...*follower) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	order := make(map[eventlog.Cursor]string) // the same for all readers
	for i, r := range readers {
		name := fmt.Sprint("reader ", i)
		place := make(map[string]eventlog.Cursor)
		last := r.from
		for _, a := range r.got {
			if a.at.Epoch == last.Epoch && a.at.Seq <= last.Seq {
				fault("%s: position %d came after %d", name, a.at.Seq, last.Seq)
			}
			last = a.at
			if other, ok := order[a.at]; ok && other != a.n {
				fault("%s: position %d is event %s, and for another reader %s", name, a.at.Seq, a.n, other)
			}
			order[a.at] = a.n
			if a.n == "end" || a.n == "recovered" {
				continue
			}
			if before, again := place[a.n]; again {
				fault("%s: event %s came at %v and at %v", name, a.n, before, a.at)
			}
			place[a.n] = a.at
			switch s, ok := l.sent[a.n]; {
			case !ok:
				fault("%s: event %s was not sent", name, a.n)
			case s.fate == abandoned:
				fault("%s: event %s came, whose transaction was not committed", name, a.n)
			case a.n[0] == 't' && !rows[a.n] && len(r.gaps) == 0:
				fault("%s: event %s came, and its row is not there", name, a.n)
			case s.at != (eventlog.Cursor{}) && s.at != a.at:
				fault("%s: event %s was acknowledged at %v and came at %v", name, a.n, s.at, a.at)
			}
		}
		var covered time.Time // what was sent before is covered by a gap
		for _, g := range r.gaps {
			covered = g.when
		}
		for n, s := range l.sent {
			if _, ok := place[n]; ok || s.began.Before(covered) {
				continue
			}
			if s.fate == stored {
				fault("%s: event %s was stored at %v and did not come", name, n, s.at)
			} else if rows[n] {
				fault("%s: event %s did not come, and its row is there", name, n)
			}
		}
		t.Logf("%s: %d events, gaps %v", name, len(r.got), r.gaps)
	}
	slices.Sort(faults)
	for _, text := range faults[:min(len(faults), 12)] {
		t.Error(text)
	}
	if len(faults) > 12 {
		t.Errorf("and %d more", len(faults)-12)
	}
	counts := make(map[int]int)
	longest := slices.MaxFunc(slices.Collect(maps.Values(l.sent)), func(a, b sent) int { return int(a.took - b.took) })
	for _, s := range l.sent {
		counts[s.fate]++
	}
	t.Logf("%d events stored, %d unknown, %d abandoned, %d rows; the longest took %v",
		counts[stored], counts[unknown], counts[abandoned], len(rows), longest.took.Round(time.Millisecond))
}

// wantNoGaps fails if a reader has a gap.
func wantNoGaps(t testing.TB, readers ...*follower) {
	t.Helper()
	for i, r := range readers {
		if r.gapCount() > 0 {
			t.Errorf("reader %d has gaps: %v", i, r.gaps)
		}
	}
}
