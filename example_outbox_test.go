package ginsse_test

import (
	"bytes"
	"context"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/eventlog"
)

// exampleTx stands for a transaction of the application's database, in which the log is.
type exampleTx struct {
	log  eventlog.Log
	puts []eventlog.Record
}

// Put implements eventlog.Outbox.
func (tx *exampleTx) Put(_ context.Context, r eventlog.Record) error {
	tx.puts = append(tx.puts, eventlog.Record{Subject: r.Subject, Frame: bytes.Clone(r.Frame)})
	return nil
}

// Commit appends what was put. A transaction that is dropped is rolled back.
func (tx *exampleTx) Commit(ctx context.Context) error {
	for _, r := range tx.puts {
		if _, err := tx.log.Append(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// An event is sent in a transaction. Streams get it if the transaction commits, and only then.
func ExampleRegistry_In() {
	log, err := eventlog.NewMemoryLog(eventlog.MemoryLogConfig{})
	if err != nil {
		panic(err)
	}
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: log})
	if err != nil {
		panic(err)
	}
	defer registry.Close()
	server := exampleServer(registry.Handler())
	defer server.Close()
	alice := exampleOpen(server, "alice", "")
	defer alice.Close()

	ctx := context.Background()
	for _, text := range []string{"spam", "welcome"} {
		tx := &exampleTx{log: log}
		// The comment is inserted in the same transaction.
		if err := registry.In(tx).SendTo(ctx, "alice", ginsse.Event{Type: "comment", Data: text}); err != nil {
			panic(err)
		}
		if text == "spam" {
			continue // rolled back
		}
		if err := tx.Commit(ctx); err != nil {
			panic(err)
		}
	}
	alice.print(1)

	// Output:
	// comment welcome
}
