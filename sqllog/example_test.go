package sqllog_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
	"github.com/ginsse/ginsse/sqllog"
)

// An event is part of the transaction that inserts a comment. It is in the log after the commit.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "app.db")+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	events, err := sqllog.OpenSQLite(ctx, db, sqllog.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer events.Close()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: events})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registry.Close()

	start, err := events.Head(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	news := make(chan string, 1)
	defer events.Watch(func(subject string, _ uint64) { news <- subject })()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, `create table comments (body text)`)
	if err == nil {
		_, err = tx.ExecContext(ctx, `insert into comments values ('Nice!')`)
	}
	if err == nil {
		err = registry.In(events.Tx(tx)).SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: "Nice!"})
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		fmt.Println(err)
		return
	}

	fmt.Println("news for", <-news)
	page, err := events.Read(ctx, eventlog.Query{Subjects: []string{"user:alice"}, After: start, MaxEntries: 10, MaxBytes: 1 << 10}, nil)
	fmt.Println(len(page.Entries), "event", err)
	// Output:
	// news for user:alice
	// 1 event <nil>
}
