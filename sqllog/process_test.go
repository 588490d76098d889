package sqllog_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/sqllog"
)

// processVariable makes the test's program another one, with options in JSON.
const processVariable = "SQLLOG_TEST_PROCESS"

// processOptions are the options of a process of the test's own. It can be killed, as by a crash.
type processOptions struct {
	Driver      string `json:"driver"` // of the database: pgx or sqlite
	Address     string `json:"address"`
	RecentBytes int    `json:"recentBytes"` // as in sqllog.Config
	Writer      string `json:"writer"`      // see serveWriter; a node if it is empty
}

// open opens the database and the log.
func (o processOptions) open() (*sql.DB, *sqllog.Log) {
	db, err := sql.Open(o.Driver, o.Address)
	must(err)
	db.SetMaxIdleConns(8)
	open := sqllog.OpenSQLite
	if o.Driver == "pgx" {
		open = sqllog.OpenPostgres
	}
	log, err := open(context.Background(), db, sqllog.Config{
		RecentBytes: o.RecentBytes, // no gap, however fast the machine
	})
	must(err)
	return db, log
}

// serveProcess runs until it is killed, or until the process that started it has ended. It writes
// only failures to standard error.
func serveProcess(text string) {
	var o processOptions
	must(json.Unmarshal([]byte(text), &o))
	db, log := o.open()
	if o.Writer != "" {
		serveWriter(o.Writer, db, log)
	} else {
		serveNode(db, log)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// serveNode has the process be a node of an application. It writes its address to standard output.
func serveNode(db *sql.DB, log *sqllog.Log) {
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log, Stream: ginsse.StreamConfig{
		HeartbeatInterval: 250 * time.Millisecond, ReconnectionTime: 50 * time.Millisecond,
		Compact: os.Getenv("GINSSE_TEST_COMPACT") != "",
	}})
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listener.Addr())
	go func() { must(http.Serve(listener, nodeEngine(db, log, registry))) }()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// nodeEngine has no Recovery, so that a panic fails the test.
func nodeEngine(db *sql.DB, log *sqllog.Log, registry *ginsse.Registry) *gin.Engine {
	auth, err := ginsse.NewAuthFunc(func(c *gin.Context) (ginsse.Identity, error) {
		return ginsse.Identity{UserID: c.GetHeader("X-User")}, nil
	})
	must(err)
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.GET("/events", ginsse.Middleware(auth), func(c *gin.Context) {
		_ = registry.Serve(c, ginsse.WithTopics(c.QueryArray("topic")...))
	})
	// The subject is as the log has it. The answer is the event's id, once it is acknowledged.
	r.POST("/send/:subject", func(c *gin.Context) {
		ctx, e := c.Request.Context(), ginsse.Event{Type: c.Query("type"), Data: c.Query("n")}
		var receipt ginsse.Receipt
		var err error
		switch kind, name, _ := strings.Cut(c.Param("subject"), ":"); kind {
		case "user":
			receipt, err = registry.SendTo(ctx, name, e)
		case "topic":
			receipt, err = registry.Publish(ctx, name, e)
		default:
			receipt, err = registry.Broadcast(ctx, e)
		}
		if err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
			return
		}
		c.String(http.StatusOK, "%s", receipt.ID)
	})
	// The event and a row are committed together.
	r.POST("/commit/:subject", func(c *gin.Context) {
		ctx, e := c.Request.Context(), ginsse.Event{Type: c.Query("type"), Data: c.Query("n")}
		tx, err := db.BeginTx(ctx, nil)
		if err == nil {
			defer func() { _ = tx.Rollback() }() // does nothing after Commit
			_, err = tx.ExecContext(ctx, `insert into app_rows (n) values ($1)`, c.Query("n"))
		}
		if err == nil {
			switch kind, name, _ := strings.Cut(c.Param("subject"), ":"); kind {
			case "user":
				err = registry.In(log.Tx(tx)).SendTo(ctx, name, e)
			case "topic":
				err = registry.In(log.Tx(tx)).Publish(ctx, name, e)
			default:
				err = registry.In(log.Tx(tx)).Broadcast(ctx, e)
			}
		}
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
		}
	})
	r.DELETE("/streams/:user", func(c *gin.Context) {
		if _, err := registry.Disconnect(c.Request.Context(), c.Param("user"), "signed out"); err != nil {
			c.String(http.StatusServiceUnavailable, "%v", err)
		}
	})
	return r
}

// process is a process from its start to its end.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout io.Reader
	stderr bytes.Buffer // complete after the process has ended
}

func startProcess(t *testing.T, o processOptions) *process {
	t.Helper()
	options, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), processVariable+"="+string(options))
	p.cmd.Stderr = &p.stderr
	if p.stdout, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// kill ends the process at once, as a crash does.
func (p *process) kill() (stderr string) {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
	return p.stderr.String()
}

// fleet has the nodes of an application, each a process, and balances requests between them.
type fleet struct {
	options processOptions // of the nodes
	db      *sql.DB
	nodes   [3]*process

	mu   sync.Mutex // guards the fields below
	urls [3]string  // also of a node that was killed, until it is started again
	out  [3]bool    // the balancer leaves the node out
	turn int
}

// newFleet starts the nodes on a database of their own.
func newFleet(t *testing.T, k kind, recentBytes int) *fleet {
	t.Helper()
	address := k.make(t)
	f := &fleet{db: k.open(t, address), options: processOptions{Driver: "pgx", Address: address, RecentBytes: recentBytes}}
	if !strings.HasPrefix(address, "postgres:") {
		f.options.Driver, f.options.Address = "sqlite", fileAddress(address)
	}
	if _, err := f.db.ExecContext(t.Context(), `create table app_rows (n text primary key)`); err != nil {
		t.Fatal(err)
	}
	for i := range f.nodes {
		t.Cleanup(func() { f.kill(t, i) })
		f.start(t, i)
	}
	return f
}

// start returns when the node serves.
func (f *fleet) start(t *testing.T, i int) {
	t.Helper()
	f.nodes[i] = startProcess(t, f.options)
	address, err := bufio.NewReader(f.nodes[i].stdout).ReadString('\n')
	if err != nil {
		f.kill(t, i)
		t.Fatalf("node %d does not start: %v", i, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.urls[i] = "http://" + strings.TrimSpace(address)
}

// kill ends a node at once. It may be repeated.
func (f *fleet) kill(t *testing.T, i int) {
	t.Helper()
	p := f.nodes[i]
	if p == nil {
		return
	}
	f.nodes[i] = nil
	if text := p.kill(); text != "" {
		t.Errorf("node %d wrote to standard error:\n%s", i, text)
	}
}

// signal sends a signal to a node: to stop it and to continue it.
func (f *fleet) signal(t *testing.T, i int, signal os.Signal) {
	t.Helper()
	if err := f.nodes[i].cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// setOut sets whether the balancer leaves a node out.
func (f *fleet) setOut(i int, out bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out[i] = out
}

// roaming stands for the node that the balancer chooses.
const roaming = -1

// url returns the URL of a node; for roaming, of the next one in turn. The balancer does not notice
// that a node was killed.
func (f *fleet) url(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i != roaming {
		return f.urls[i]
	}
	for f.turn++; f.out[f.turn%len(f.urls)]; {
		f.turn++
	}
	return f.urls[f.turn%len(f.urls)]
}

// disconnect ends the streams of a user by a request to one node.
func (f *fleet) disconnect(t *testing.T, node int, user string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, f.url(node)+"/streams/"+user, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, err := io.ReadAll(response.Body)
		t.Fatalf("status %d: %s, %v", response.StatusCode, body, err)
	}
}

// fileAddress is the address of a file for the driver "sqlite", as docs/nodes.md says.
func fileAddress(path string) string {
	return "file:" + path + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"
}

// serveWriter has the process append and commit at full speed. It writes a line for each event that
// was acknowledged, with its position, and for each that was committed.
func serveWriter(name string, db *sql.DB, log *sqllog.Log) {
	var count atomic.Int64
	next := func(kind string) string { return fmt.Sprint(kind, name, "-", count.Add(1)) }
	repeat := func(fn func(ctx context.Context) error) {
		go func() {
			for {
				must(fn(context.Background()))
			}
		}()
	}
	for range 2 {
		repeat(func(ctx context.Context) error {
			n := next("a")
			at, err := log.Append(ctx, record(subjectOf(n), n))
			fmt.Println(n, at)
			return err
		})
		repeat(func(ctx context.Context) error {
			n := next("t")
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if err := putWithRow(ctx, log, tx, n); err != nil {
				return err
			}
			err = tx.Commit()
			fmt.Println(n)
			return err
		})
	}
}
