package sqllog_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/internal/nodetest"
	"github.com/ginsse/ginsse/sqllog"
)

// processVariable makes the test's program another one, with processOptions.
const processVariable = "SQLLOG_TEST_PROCESS"

// processOptions are the options of a process of the test's own. It can be killed, as by a crash.
type processOptions struct {
	Driver      string `json:"driver"` // of the database: pgx or sqlite
	Address     string `json:"address"`
	RecentBytes int    `json:"recentBytes"` // as in sqllog.Config
	Writer      string `json:"writer"`      // see serveWriter; a node if it is empty
}

// open opens the database and the log.
func (o processOptions) open() (*sql.DB, *sqllog.Log, error) {
	db, err := sql.Open(o.Driver, o.Address)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxIdleConns(8)
	open := sqllog.OpenSQLite
	if o.Driver == "pgx" {
		open = sqllog.OpenPostgres
	}
	log, err := open(context.Background(), db, sqllog.Config{
		RecentBytes: o.RecentBytes, // no gap, however fast the machine
	})
	return db, log, err
}

func serveProcess(o processOptions) error {
	db, log, err := o.open()
	if err != nil {
		return err
	}
	if o.Writer != "" {
		serveWriter(o.Writer, db, log)
		return nil
	}
	return nodetest.ServeNode(log, func(r *gin.Engine, registry *ginsse.Registry) {
		r.POST("/commit/:subject", func(c *gin.Context) {
			if err := commitWithRow(c, db, log, registry); err != nil {
				c.String(http.StatusServiceUnavailable, "%v", err)
			}
		})
	})
}

// commitWithRow commits the request's event and a row together.
func commitWithRow(c *gin.Context, db *sql.DB, log *sqllog.Log, registry *ginsse.Registry) error {
	ctx, e := c.Request.Context(), ginsse.Event{Type: c.Query("type"), Data: c.Query("n")}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	if _, err := tx.ExecContext(ctx, `insert into app_rows (n) values ($1)`, c.Query("n")); err != nil {
		return err
	}
	sender := registry.In(log.Tx(tx))
	switch kind, name, _ := strings.Cut(c.Param("subject"), ":"); kind {
	case "user":
		err = sender.SendTo(ctx, name, e)
	case "topic":
		err = sender.Publish(ctx, name, e)
	default:
		err = sender.Broadcast(ctx, e)
	}
	if err != nil {
		return err
	}
	return tx.Commit()
}

// newFleet starts the nodes on a database of their own. Some of the senders' events are part of
// transactions.
func newFleet(t *testing.T, k kind, recentBytes int) *nodetest.Fleet {
	t.Helper()
	address := k.make(t)
	db := k.open(t, address)
	o := processOptions{Driver: "pgx", Address: address, RecentBytes: recentBytes}
	if !strings.HasPrefix(address, "postgres:") {
		o.Driver, o.Address = "sqlite", fileAddress(address)
	}
	if _, err := db.ExecContext(t.Context(), `create table app_rows (n text primary key)`); err != nil {
		t.Fatal(err)
	}
	return nodetest.NewFleet(t, nodetest.Config{
		Variable: processVariable,
		Options:  func(int) any { return o },
		Route: func(n int) string {
			if committed(n) {
				return "/commit"
			}
			return "/send"
		},
		Complete: func(t testing.TB, acked map[int]string, tabs []*nodetest.Tab) { addRows(t, db, acked, tabs) },
	})
}

// newCutFleet starts the nodes on a database of their own. Between each and a server is a proxy.
func newCutFleet(t *testing.T, k kind) *nodetest.Fleet {
	t.Helper()
	address := k.make(t)
	cfg := nodetest.Config{Variable: processVariable, Options: func(int) any {
		return processOptions{Driver: "sqlite", Address: fileAddress(address)}
	}}
	if strings.HasPrefix(address, "postgres:") {
		var through [nodetest.Nodes]string
		for i := range cfg.Proxies {
			p := newProxy(t, address)
			cfg.Proxies[i], through[i] = p.Proxy, p.through(address)
		}
		cfg.Options = func(node int) any { return processOptions{Driver: "pgx", Address: through[node]} }
	}
	return nodetest.NewFleet(t, cfg)
}

// committed reports whether an event is part of a transaction. It alternates every four events, so
// that each destination has both kinds.
func committed(n int) bool { return n/4%2 == 1 }

// addRows counts all events as acknowledged whose rows are there. It takes their ids from the tabs
// that have received them.
func addRows(t testing.TB, db *sql.DB, acked map[int]string, tabs []*nodetest.Tab) {
	t.Helper()
	there := make(map[int]bool)
	for text := range appRows(t, db) {
		n, _ := strconv.Atoi(text)
		there[n] = true
		acked[n] = ""
	}
	for n := range acked {
		if committed(n) && !there[n] {
			t.Errorf("event %d was committed, and its row is not there", n)
		}
	}
	for _, tb := range tabs {
		for n, id := range tb.Received() {
			if committed(n) && !there[n] {
				t.Errorf("event %d was received as %q, and its row is not there", n, id)
			} else if committed(n) && acked[n] == "" {
				acked[n] = id
			}
		}
	}
}

// fileAddress is the address of a file for the driver "sqlite", as docs/nodes.md says.
func fileAddress(path string) string {
	return "file:" + path + "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"
}

func must(err error) {
	if err != nil {
		panic(err)
	}
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
