package sqllog_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// freezer forwards connections to a server until it has passed some bytes of answers on. From then
// on it reads and passes on nothing, and keeps connections open, as a node that is stopped.
type freezer struct {
	listener net.Listener
	server   string
	mu       sync.Mutex
	left     int // bytes of answers; below 0 for no bound
	frozen   chan struct{}
	end      chan struct{}
	running  sync.WaitGroup
}

func newFreezer(t *testing.T, server string) *freezer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{listener: l, server: server, left: -1, frozen: make(chan struct{}), end: make(chan struct{})}
	f.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			f.running.Go(func() { f.serve(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(f.end)
		f.running.Wait()
	})
	return f
}

func (f *freezer) allow(answers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = answers
}

func (f *freezer) serve(client net.Conn) {
	defer client.Close()
	select {
	case <-f.frozen:
		<-f.end
		return
	default:
	}
	server, err := net.Dial("tcp", f.server)
	if err != nil {
		return
	}
	defer server.Close()
	server.(*net.TCPConn).SetReadBuffer(64 << 10)
	go io.Copy(server, &stopping{client, f.frozen}) // what the node says is passed on until it freezes
	buffer := make([]byte, 16<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		f.mu.Lock()
		if f.left >= 0 {
			if f.left -= n; f.left < 0 {
				f.left = 0
				select {
				case <-f.frozen:
				default:
					close(f.frozen)
				}
			}
		}
		f.mu.Unlock()
		select {
		case <-f.frozen:
			<-f.end // the connection stays open
			return
		default:
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// stopping is a reader that never returns once the node is frozen.
type stopping struct {
	net.Conn
	frozen chan struct{}
}

func (s *stopping) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.frozen:
		return 0, io.EOF
	default:
		return n, err
	}
}

// TestReviewFrozenNodeBlocksAllSenders: a node that catches up asks with one statement for the step,
// which takes the lock, and for a page of up to 512 entries. The transaction ends when the page has
// been sent. If the node is stopped meanwhile, the server keeps the lock, and no node can send.
func TestReviewFrozenNodeBlocksAllSenders(t *testing.T) {
	t.Parallel()
	address := newDatabase(t)
	direct := openURL(t, address)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	f := newFreezer(t, u.Host)
	u.Host = f.listener.Addr().String()
	slow := inPostgres.openLog(t, openURL(t, u.String()), sqllog.Config{PollInterval: time.Hour, AppendTimeout: time.Minute})
	time.Sleep(200 * time.Millisecond) // its first 100 ms of looking often are over
	other := inPostgres.openLog(t, direct, sqllog.Config{})
	large := eventlog.Record{Subject: "all", Frame: event(strings.Repeat("x", 200<<10))}
	for range 150 {
		if _, err := other.Append(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	_ = other.Close() // so that it is the slow node that takes what is committed now
	run(t, direct, `select ginsse_publish('all', 'e', '1')`)
	f.allow(1 << 20)
	if err := slow.Post("", []byte("x")); err != nil { // has it look
		t.Logf("posting: %v", err)
	}
	select {
	case <-f.frozen:
	case <-time.After(20 * time.Second):
		t.Fatal("the node did not read much")
	}
	time.Sleep(7 * time.Second) // more than the turn's timeout on a node that lives
	healthy := openURL(t, address)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	log, err := sqllog.OpenPostgres(ctx, healthy, sqllog.Config{})
	if err == nil {
		_, err = log.Append(ctx, record("all", "2"))
		_ = log.Close()
	}
	if err != nil {
		t.Errorf("a healthy node cannot send while another one is frozen: %v", err)
		rows, err := direct.Query(`select pid, state, coalesce(wait_event, ''), left(query, 60), (select count(*) from pg_locks l where l.pid = a.pid and locktype = 'advisory' and granted)
			from pg_stat_activity a where datname = current_database() and pid <> pg_backend_pid()`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var pid, locks int
			var state, wait, query string
			_ = rows.Scan(&pid, &state, &wait, &query, &locks)
			t.Log(pid, state, wait, "advisory locks:", locks, strings.Join(strings.Fields(query), " "))
		}
	}
}

// TestReviewPageAfterStrangeRows: rows that are not events count for the bound of a page in SQL and
// not in Go. What SQL cuts off is then skipped, without a gap.
func TestReviewPageAfterStrangeRows(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]kind{"sqlite": inSQLite, "postgres": inPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := k.open(t, k.make(t))
			log := k.openLog(t, db, sqllog.Config{RecentBytes: 1})
			if _, err := log.Append(t.Context(), record("user:alice", "0")); err != nil {
				t.Fatal(err)
			}
			r := newReader(t, log, "user:alice")
			table := "ginsse_log (total, subject, frame) values (0, "
			if name == "postgres" {
				table = "ginsse_inbox (subject, frame) values ("
			}
			strange := bytes.Repeat([]byte("x"), 2<<20) // or more, smaller ones
			if _, err := db.ExecContext(t.Context(), "insert into "+table+"'user:alice', $1)", strange); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				if _, err := log.Append(t.Context(), record("user:alice", fmt.Sprint(i+1))); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for {
				page := r.read(t)
				if page.Gap != "" {
					t.Fatal("gap", page.Gap) // would be allowed
				}
				for _, e := range page.Entries {
					got = append(got, string(e.Block[bytes.Index(e.Block, []byte("data: ")):][6:7]))
				}
				if r.at = page.Through; !page.More {
					break
				}
			}
			head, err := log.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "") != "12345" {
				t.Errorf("read %q up to %d of %d, without a gap", got, r.at.Seq, head.Seq)
			}
		})
	}
}
