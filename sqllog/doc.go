// Package sqllog is an [eventlog.Log] in the application's own database, PostgreSQL or SQLite.
// Events can be part of the application's transactions: a comment and the event that tells its
// author commit together, or not at all.
//
//	events, err := sqllog.OpenPostgres(ctx, db, sqllog.Config{Logger: slog.Default()})
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{Log: events})
//
//	tx, err := db.BeginTx(ctx, nil)
//	_, err = tx.ExecContext(ctx, `insert into comments ...`)
//	err = registry.In(events.Tx(tx)).SendTo(ctx, post.AuthorID, ginsse.Event{Type: "comment", Data: comment})
//	err = tx.Commit()
//
// # PostgreSQL
//
// An event that was committed reaches every stream on every node, in one order, or the stream gets
// a gap. A transaction that stays open delays no other event. An event costs the application's
// transaction one insert, and neither a lock nor a NOTIFY.
//
// The transaction inserts into a table, the inbox. Each node polls the inbox every few
// milliseconds. A function in the database, which runs in one short transaction, moves committed
// events into the log and numbers them. Any node may run it, one node at a time. Nodes read the log
// in the order of the numbers, which have no holes.
//
// A failover to an asynchronous standby can lose the newest events, as it can lose the
// application's rows. All streams get a gap then; see [Config.SynchronousStandby].
//
// # SQLite
//
// A restart or a crash of the process loses nothing and gives no gap. Several processes on one
// machine may share the file.
//
// # Names in the database
//
// With the default [Config.TablePrefix] the tables are ginsse_log, ginsse_meta, ginsse_messages and
// ginsse_repeats, and on Postgres ginsse_inbox and ginsse_steps. The log makes them, unless
// [Config.SkipMigrations] is set. The functions ginsse_publish, ginsse_disconnect, ginsse_grant,
// ginsse_revoke and ginsse_revoke_topic on Postgres send from SQL: see docs/database.md.
package sqllog
